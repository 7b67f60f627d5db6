"""Recording a Python function as a graph: arguments and state in, results and changed state out.

A `Trace` is open while the function runs on symbolic tensors. Tensors from outside are captured: as
inputs where they are state (cells, leaves that want gradients, values of an enclosing trace), as
constants where they are plain data.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from pellucid.autodiff.reverse import backward
from pellucid.core.dtype import DType
from pellucid.core.errors import DTypeError, ShapeError, TraceError, TraceWarning
from pellucid.core.source import user_line, user_place
from pellucid.graph.ir import ArrayAttr, Graph, GraphBuilder, Node, TensorType, Value, emit
from pellucid.ops.create import CONSTANT
from pellucid.ops.identity import stop_gradient
from pellucid.tensor.box import STATE, Array, Box, leaked, open_traces
from pellucid.tensor.guards import Guard

Kind = Literal["jit", "transform"]


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """A tensor the function read from outside: its own value, or the gradient it holds.

    Two captures are equal if they are of the same object; `==` on tensors would compare elements.
    """

    box: Box
    slot: Literal["value", "grad"]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Capture) and self.box is other.box and self.slot == other.slot

    def __hash__(self) -> int:
        return hash((id(self.box), self.slot))

    def read(self) -> Box:
        """The tensor as it is now, in whatever trace is open now."""
        box = self.box if self.slot == "value" else read_grad(self.box)
        if box is None:
            raise TraceError("capture", "a gradient that was there while tracing is gone")
        return box


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A plain tensor the function read from outside, whose contents became part of the program."""

    box: Box
    array: Array
    source: str

    def holds(self) -> bool:
        """Whether the tensor still has the contents seen while tracing."""
        return self.box._array is self.array

    def __str__(self) -> str:
        return f"{self.box.type} read at {self.source}"


@dataclass(frozen=True, slots=True)
class Traced:
    """What tracing left: the graph `(arguments, captures) -> (results, writes)` and how to read
    both ends.
    """

    graph: Graph
    arguments: int
    captures: tuple[Capture, ...]
    results: int
    writes: tuple[Capture, ...]
    cleared: tuple[Box, ...]
    reads: tuple[Guard, ...]
    constants: tuple[Constant, ...]
    aux: Any = None


@dataclass(slots=True)
class Trace:
    """The state of one open recording.

    Attributes:
        perhaps_shared: tensors of which only the program knows whether they are others: results of
            branches and loops.
        rows: of tensors that are rows of one that a loop gave: that one, and which row.
        is_block: it is a part of the function that is recorded around it, so it may change tensors
            of that function in place.
    """

    builder: GraphBuilder
    kind: Kind
    parent: Trace | None
    plain: Callable[[Any], Box]
    inputs: dict[Capture, Value] = field(default_factory=dict)
    current: dict[Box, Value] = field(default_factory=dict)
    constants: dict[Box, Value] = field(default_factory=dict)
    constants_read: list[Constant] = field(default_factory=list)
    grads: dict[Box, Box | None] = field(default_factory=dict)
    grads_read: dict[Box, bool] = field(default_factory=dict)
    leaves: dict[Value, Box] = field(default_factory=dict)
    frozen: set[Node] = field(default_factory=set)
    arguments: set[Box] = field(default_factory=set)
    reads: dict[tuple[int, str], Guard] = field(default_factory=dict)
    modules: dict[type, None] = field(default_factory=dict)
    narrowed: list[tuple[Box, DType]] = field(default_factory=list)
    perhaps_shared: set[Box] = field(default_factory=set)
    rows: dict[Box, tuple[Box, int]] = field(default_factory=dict)
    closed: bool = False
    is_block: bool = False

    def wrap(self, value: Value) -> Box:
        """A symbolic tensor for a value of this trace's graph."""
        box = self.plain(None)
        box._value, box._trace = value, self
        return box

    def argument(self, type: TensorType, name: str) -> Box:
        """A symbolic tensor for a new input of the function itself."""
        box = self.wrap(self.builder.input(type, name))
        self.arguments.add(box)
        return box

    def change(self, box: Box, value: Value) -> None:
        """Give a tensor made in this trace a new value, in place.

        Raises:
            TraceError: it is an argument of the function, whose owner would not see the change, or
                only the program will know which tensor it is.
        """
        if box in self.perhaps_shared:
            raise TraceError(
                "in-place",
                "a branch or loop that depends on a tensor may have made this one anew, or left it "
                "as it was, so it is not known which other names see the change",
                operands={"tensor": box.type},
                fix="write x = x + y instead of x += y, or x = x.clone() before",
                source=user_line(),
            )
        if box in self.arguments:
            raise TraceError(
                "in-place",
                "a recorded function cannot change its argument for the caller",
                operands={"tensor": box.type},
                fix="start with x = x.clone(), or make it a pellucid.Buffer",
                source=user_line(),
            )
        self.rows.pop(box, None)
        box._value = value

    def value_of(self, box: Box) -> Value:
        """The graph value a tensor stands for here, captured if it comes from outside."""
        if box._trace is self:
            return box._require_value()
        if box in self.current:
            return self.current[box]
        if box._trace is not None and not self._encloses(box._trace):
            raise leaked()
        plain_data = not (box.is_cell or box.requires_grad or box._trace is not None)
        if self.kind == "jit" and plain_data:
            return self._constant(box)
        value = self._capture(Capture(box, "value"), box.type)
        self.current[box] = value
        if box.requires_grad:
            self.leaves[value] = box
        return value

    def _encloses(self, other: Trace) -> bool:
        trace = self.parent
        while trace is not None and trace is not other:
            trace = trace.parent
        return trace is other

    def _capture(self, capture: Capture, type: TensorType) -> Value:
        value = self.builder.input(type, getattr(capture.box, "name", "") or "state")
        self.inputs[capture] = value
        return value

    def _constant(self, box: Box) -> Value:
        value = self.constants.get(box)
        if value is None:
            array = box.shared()
            value = emit(CONSTANT, value=ArrayAttr(array))
            self.constants[box] = value
            self.constants_read.append(Constant(box, array, user_line()))
        return value

    def record(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        """Call an ops function on the values behind tensors; its nodes land in this graph."""
        before = len(self.builder.nodes)
        values = [self._lower(a) for a in args]
        result = fn(*values, **{k: self._lower(v) for k, v in kwargs.items()})
        if not STATE.grad:
            result = self._freeze(result, before)
        if isinstance(result, Value):
            return self.wrap(result)
        return type(result)(self.wrap(v) for v in result)

    def _freeze(self, result: Any, before: int) -> Any:
        self.frozen.update(self.builder.nodes[before:])
        if self.kind == "jit":
            return result
        if isinstance(result, Value):
            return stop_gradient(result)
        return type(result)(stop_gradient(v) for v in result)

    def _lower(self, arg: Any) -> Any:
        if isinstance(arg, Box):
            return self.value_of(arg)
        if isinstance(arg, (np.ndarray, np.generic)):
            return self.value_of(self.plain(np.asarray(arg)))
        if isinstance(arg, (list, tuple)) and any(isinstance(a, (Box, list, tuple)) for a in arg):
            return type(arg)(self._lower(a) for a in arg)
        return arg

    def write(self, box: Box, value: Value) -> None:
        """Give a tensor from outside a new value, visible from here on and after the function
        returns.
        """
        if box.type != value.type:
            error = ShapeError if box.shape != value.shape else DTypeError
            raise error(
                "assign_",
                "a cell keeps its shape and dtype",
                operands={"cell": box.type, "value": value.type},
            )
        if not (box.is_cell or self.is_block):
            raise TraceError(
                "assign_",
                "an in-place write to a tensor captured as a constant",
                operands={"tensor": box.type},
                fix="pass it as an argument and return the new value, or make it a pellucid.Buffer",
                source=user_line(),
            )
        self.rows.pop(box, None)
        self.value_of(box)  # captured, so that the write is known as a change of state
        self.current[box] = value
        if box.requires_grad:
            self.leaves[value] = box

    def grad_of(self, box: Box) -> Box | None:
        """The gradient a tensor holds at this point of the trace."""
        if box not in self.grads:
            outside = box._grad if self.parent is None else self.parent.grad_of(box)
            self.grads_read[box] = outside is not None
            if outside is not None:
                capture = Capture(box, "grad")
                outside = self.wrap(self._capture(capture, outside.type))
            self.grads[box] = outside
        return self.grads[box]

    def backward(self, outputs: Sequence[Box], cotangents: Sequence[Box]) -> dict[Box, Box]:
        """Gradients for every leaf read so far, recorded into this graph."""
        nodes = [n for n in self.builder.nodes if n not in self.frozen]
        wrt = list(self.leaves)
        found = backward(
            nodes,
            [self.value_of(o) for o in outputs],
            [self.value_of(c) for c in cotangents],
            wrt,
        )
        result: dict[Box, Box] = {}
        for value, grad in zip(wrt, found, strict=True):
            if grad is not None:
                result[self.leaves[value]] = self.wrap(grad)
        return result

    def finish(self, results: Sequence[Box], arguments: int, aux: Any = None) -> Traced:
        """Close the trace over these results and whatever state the function changed."""
        outputs = [self.value_of(r) for r in results]
        writes = [
            (Capture(b, "value"), v)
            for b, v in self.current.items()
            if self.inputs[Capture(b, "value")] is not v
        ]
        for box, grad in self.grads.items():
            if grad is not None and self.value_of(grad) is not self.inputs.get(
                Capture(box, "grad")
            ):
                if box._trace is not self:
                    writes.append((Capture(box, "grad"), self.value_of(grad)))
        cleared = [b for b, g in self.grads.items() if g is None]
        self.closed = True
        return Traced(
            graph=self.builder.finish([*outputs, *(v for _, v in writes)]),
            arguments=arguments,
            captures=tuple(self.inputs),
            results=len(results),
            writes=tuple(c for c, _ in writes),
            cleared=tuple(cleared),
            reads=tuple(g for g in self.reads.values() if not g.changed()),
            constants=tuple(self.constants_read),
            aux=aux,
        )


@contextmanager
def open_trace(name: str, kind: Kind, plain: Callable[[Any], Box]) -> Iterator[Trace]:
    """Record everything that happens to tensors in this block."""
    parent = STATE.trace
    builder = GraphBuilder(name)
    with builder:
        trace = Trace(builder, kind, parent, plain)
        STATE.trace = trace
        try:
            yield trace
        finally:
            STATE.trace = parent


def read_grad(box: Box) -> Box | None:
    """The gradient a tensor holds now: the trace's view of it while tracing, else the real one."""
    if STATE.trace is None:
        return box._grad
    return STATE.trace.grad_of(box)


def write_grad(box: Box, grad: Box | None) -> None:
    """Set the gradient a tensor holds, in the open trace or for real."""
    if STATE.trace is None:
        box._grad = grad
    else:
        STATE.trace.grads[box] = grad


def is_written(cell: Box) -> bool:
    """Whether a function being recorded has given the cell a new value, which its array lacks."""
    return any(
        trace.current.get(cell) is not trace.inputs.get(Capture(cell, "value"))
        for trace in open_traces()
    )


def note_decision(box: Box, what: str) -> None:
    """Tie what `jit` is recording to the contents of a tensor from outside that Python looks at,
    and warn: they may decide what is recorded.
    """
    traces = [t for t in open_traces() if t.kind == "jit"]
    for trace in traces:
        if not any(c.box is box for c in trace.constants_read):
            trace.constants_read.append(Constant(box, box.shared(), user_line()))
    if traces:
        path, line = user_place()
        warnings.warn_explicit(
            f"{what}: the value of {box.type}, a tensor from outside, becomes part of the compiled "
            "program, which is compiled again whenever it changes. Fix: compute with the tensor "
            "(where, cond, or an `if` under jit(convert=True)), or pass it as an argument.",
            TraceWarning, path or "pellucid", line,
        )  # fmt: skip


def tie_to_contents(cell: Box) -> None:
    """Let what is being recorded hold only while the cell has the contents it has now."""
    for trace in open_traces():
        trace.constants_read.append(Constant(cell, cell.shared(), user_line()))
