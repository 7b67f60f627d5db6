"""The graph IR: a typed SSA program over whole tensors.

Enters from tracing user code; is rewritten by `autodiff/` and `passes/`; leaves to `lower/`. Pure:
state is inputs and outputs. A `Graph` is read-only once finished; rewriting means building another
one (`GraphBuilder`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import MappingProxyType, TracebackType
from typing import Any, TypeAlias

import numpy as np

from pellucid.core.dtype import DType, Scalar
from pellucid.core.errors import TraceError, VerifyError
from pellucid.core.shape import Shape, size_of
from pellucid.core.source import user_line
from pellucid.graph.op import Op


@dataclass(frozen=True, slots=True)
class TensorType:
    """Shape and element type; prints as `f32[64, 784]`."""

    shape: Shape
    dtype: DType

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return size_of(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes, without padding."""
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype.short}[{', '.join(map(str, self.shape))}]"


class ArrayAttr:
    """A constant array as an attribute: read-only, compared by dtype, shape and bytes."""

    __slots__ = ("array", "digest")

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = np.array(array, order="C", copy=True)
        self.array.flags.writeable = False
        head = f"{self.array.dtype}{self.array.shape}".encode()
        self.digest = hashlib.sha256(head + self.array.tobytes()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ArrayAttr) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"ArrayAttr({self.array.dtype}{self.array.shape}, {self.digest[:8]})"


Attr: TypeAlias = "Scalar | str | DType | ArrayAttr | tuple[Attr, ...] | Graph | None"
Attrs: TypeAlias = Mapping[str, Attr]


class Value:
    """One tensor of a program: its type, its node (None for an input) and its place there."""

    __slots__ = ("index", "name", "node", "type")

    def __init__(self, type: TensorType, node: Node | None, index: int, name: str) -> None:
        self.type, self.node, self.index, self.name = type, node, index, name

    @property
    def shape(self) -> Shape:
        """The type's shape."""
        return self.type.shape

    @property
    def dtype(self) -> DType:
        """The type's dtype."""
        return self.type.dtype

    @property
    def rank(self) -> int:
        """The type's number of axes."""
        return len(self.type.shape)

    def __repr__(self) -> str:
        return f"{self.name}: {self.type}"


class Node:
    """One application of an op. `source` is the user's line, `file.py:12`."""

    __slots__ = ("attrs", "inputs", "op", "outputs", "source")

    def __init__(self, op: Op, inputs: tuple[Value, ...], attrs: Attrs, source: str) -> None:
        self.op, self.inputs, self.attrs, self.source = op, inputs, attrs, source
        self.outputs: tuple[Value, ...] = ()

    def __repr__(self) -> str:
        made = ", ".join(map(repr, self.outputs))
        return f"{made} = {self.op.name}({', '.join(v.name for v in self.inputs)})"


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A finished program: inputs, nodes in topological order, outputs."""

    name: str
    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]

    def __str__(self) -> str:
        """The text form, large constants shortened; `print_graph` gives the whole."""
        from pellucid.graph.printer import print_graph  # noqa: PLC0415  # it imports this module

        return print_graph(self, elide_arrays=True)


class GraphBuilder:
    """Collects nodes. As a context manager it is where `emit` puts what ops functions make.

    Names are unique within a builder: `a`, `b`, … from the hint given, with a number where taken.
    While `source` is set, it is the source line of every node made; transforms set it to the line
    of the node they derive from.
    """

    def __init__(self, name: str = "graph") -> None:
        self.name = name
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []
        self.source: str | None = None
        self._taken: dict[str, int] = {}
        self._tokens: list[Token[GraphBuilder | None]] = []

    def input(self, type: TensorType, name: str = "") -> Value:
        """A new graph input."""
        value = Value(type, None, len(self.inputs), self.unique(name or "x"))
        self.inputs.append(value)
        return value

    def unique(self, hint: str) -> str:
        """`hint`, or `hint_1`, `hint_2`, … if it is taken."""
        if hint not in self._taken:
            self._taken[hint] = 0
            return hint
        while True:
            self._taken[hint] += 1
            name = f"{hint}_{self._taken[hint]}"
            if name not in self._taken:
                self._taken[name] = 0
                return name

    def emit(
        self,
        op: Op,
        inputs: Sequence[Value],
        attrs: Attrs,
        source: str | None = None,
        names: Sequence[str] = (),
    ) -> tuple[Value, ...]:
        """Append one node; its types come from the op's type rule, which raises on bad operands."""
        types = op.infer(*[v.type for v in inputs], **attrs)
        types = (types,) if isinstance(types, TensorType) else types
        if source is None:
            source = user_line() if self.source is None else self.source
        node = Node(op, tuple(inputs), MappingProxyType(dict(attrs)), source)
        hints = names or (op.name,) * len(types)
        node.outputs = tuple(
            [Value(t, node, i, self.unique(hints[i])) for i, t in enumerate(types)]
        )
        self.nodes.append(node)
        return node.outputs

    def finish(self, outputs: Sequence[Value]) -> Graph:
        """The program so far, with these outputs.

        Raises:
            VerifyError: there is no such value here.
        """
        for value in outputs:
            if not isinstance(value, Value):
                raise VerifyError("graph", "outputs must be values", operands={"it": value})
        return Graph(self.name, tuple(self.inputs), tuple(self.nodes), tuple(outputs))

    def __enter__(self) -> GraphBuilder:
        self._tokens.append(_CURRENT.set(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _CURRENT.reset(self._tokens.pop())


_CURRENT: ContextVar[GraphBuilder | None] = ContextVar("pellucid_builder", default=None)
BuilderContext = AbstractContextManager[GraphBuilder]


def current_builder() -> GraphBuilder:
    """The innermost open builder.

    Raises:
        TraceError: none is open; graph ops were called outside tracing.
    """
    builder = _CURRENT.get()
    if builder is None:
        raise TraceError(
            "graph",
            "no graph is being built here",
            fix="call ops on Tensors, or open a GraphBuilder",
        )
    return builder


def emit(op: Op, *inputs: Value, **attrs: Attr) -> Value:
    """Append a one-output op to the current builder."""
    (value,) = current_builder().emit(op, inputs, attrs)
    return value


def emit_all(op: Op, *inputs: Value, **attrs: Attr) -> tuple[Value, ...]:
    """Append an op with any number of outputs to the current builder."""
    return current_builder().emit(op, inputs, attrs)


def inline(graph: Graph, args: Sequence[Value]) -> tuple[Value, ...]:
    """Copy a graph's nodes into the current builder, on `args`; returns its outputs there."""
    builder = current_builder()
    if len(args) != len(graph.inputs):
        raise VerifyError(
            graph.name, f"takes {len(graph.inputs)} inputs", operands={"count": len(args)}
        )
    env: dict[Value, Value] = dict(zip(graph.inputs, args, strict=True))
    for node in graph.nodes:
        hints = [v.name for v in node.outputs]
        made = builder.emit(node.op, [env[v] for v in node.inputs], node.attrs, node.source, hints)
        env.update(zip(node.outputs, made, strict=True))
    return tuple(env[v] for v in graph.outputs)
