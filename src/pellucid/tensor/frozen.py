"""A function frozen for inference: its state as constants, compiled once, called cheaply.

Enters: a function of tensors and example arguments. Leaves: `Recording`, a graph without state, and
`FrozenFunction`, that graph compiled. Does not know modules: `nn/freeze.py` puts them into
evaluation mode. Constants are in the graph before the first pass, so that folding sees them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pellucid.compile import compile_graph
from pellucid.core.errors import ArgumentError, TraceError
from pellucid.graph.ir import ArrayAttr, Graph, GraphBuilder, TensorType, Value, inline
from pellucid.ops.create import CONSTANT
from pellucid.runtime.executable import Executable
from pellucid.tensor.box import STATE, Array, Box
from pellucid.tensor.lowered import Lowered
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.trace import Traced, open_trace
from pellucid.tensor.tree import TreeDef, flatten, leaf_names, unflatten


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recording:
    """A function without state.

    Attributes:
        graph: its inputs are the arguments that are tensors or arrays, in order.
        inputs: their names, `x`, `batch['tokens']`.
        outputs: the results' names: `y`, or `y[0]`, `y['loss']`.
        arguments: the structure of the arguments.
        fixed: what stands in it where no tensor does; None marks a tensor's place.
        result: the structure of the result.
        leaves: what stands in it; `Output` where a tensor does.
        captured: the cells that became constants, the names of their values, their contents.
    """

    graph: Graph
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: TreeDef
    fixed: tuple[Any, ...]
    result: TreeDef
    leaves: tuple[Any, ...]
    captured: tuple[tuple[Box, str, Array], ...]


@dataclass(frozen=True, slots=True)
class Output:
    """The place of a tensor in a result: which output of the graph it is."""

    index: int


def record_frozen(fn: Callable[..., Any], args: Sequence[Any], name: str, op: str) -> Recording:
    """Record `fn` on `args` with all state it reads as constants.

    Tensors and arrays among the arguments become inputs; anything else (numbers, strings, None) is
    fixed at the value it has here.

    Args:
        fn: any function of tensors that `jit` could compile.
        args: what to call it with; only shapes and dtypes of tensors count.
        name: the graph's.
        op: who asks, for errors.

    Raises:
        ArgumentError: no argument is a tensor, or state is written.
        TraceError: called while another function is traced, or `fn` cannot be recorded.
    """
    if STATE.trace is not None:
        raise TraceError(op, "cannot be called while a function is traced")
    leaves, structure = flatten(tuple(args))
    names = [n for p, a in zip(_parameters(fn, len(args)), args, strict=True)
             for n in leaf_names(a, p)]  # fmt: skip
    inputs = tuple(n for n, leaf in zip(names, leaves, strict=True) if _is_array(leaf))
    if not inputs:
        raise ArgumentError(op, "at least one argument must be a tensor or an array")
    with open_trace(name, "jit", Tensor.plain) as trace:
        symbols = [
            trace.wrap(trace.builder.input(_type(leaf), n)) if _is_array(leaf) else leaf
            for n, leaf in zip(names, leaves, strict=True)
        ]
        returned = fn(*unflatten(structure, symbols))
        results, result = flatten(returned)
        traced = trace.finish([r for r in results if isinstance(r, Tensor)], len(inputs))
    _check_state(traced, op)
    graph, captured = _with_constants(traced)
    made = [isinstance(r, Tensor) for r in results]
    return Recording(
        graph=graph,
        inputs=inputs,
        outputs=tuple(n for n, t in zip(leaf_names(returned, "y"), made, strict=True) if t),
        arguments=structure,
        fixed=tuple(None if _is_array(leaf) else leaf for leaf in leaves),
        result=result,
        leaves=tuple(_numbered(results)),
        captured=captured,
    )


def _numbered(results: Sequence[Any]) -> Iterator[Any]:
    count = 0
    for leaf in results:
        yield Output(count) if isinstance(leaf, Tensor) else leaf
        count += isinstance(leaf, Tensor)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (Tensor, np.ndarray, np.generic))


def _type(leaf: Any) -> TensorType:
    return leaf.type if isinstance(leaf, Tensor) else Tensor(leaf).type


def _parameters(fn: Callable[..., Any], count: int) -> list[str]:
    """The names of the first `count` parameters, as far as the signature tells."""
    try:
        signature = inspect.signature(getattr(fn, "forward", fn))
    except (TypeError, ValueError):
        return [f"x{i}" for i in range(count)]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in signature.parameters.values() if p.kind in kinds][:count]
    return names + [f"x{i}" for i in range(len(names), count)]


def _check_state(traced: Traced, op: str) -> None:
    boxes = [*(c.box for c in traced.writes), *traced.cleared]
    if boxes:
        names = [getattr(b, "name", "") or str(b.type) for b in boxes]
        raise ArgumentError(
            op, "the function writes state, which a program of constants cannot",
            operands={"written": ", ".join(dict.fromkeys(names))},
            fix="give it a function without (call .eval() on modules, pass random numbers in)",
        )  # fmt: skip


def _with_constants(traced: Traced) -> tuple[Graph, tuple[tuple[Box, str, Array], ...]]:
    """The traced graph with its captures as constants, copies of what they hold now."""
    arguments = traced.graph.inputs[: traced.arguments]
    captured = traced.graph.inputs[traced.arguments :]
    held: list[tuple[Box, str, Array]] = []
    with GraphBuilder(traced.graph.name) as builder:
        values = [builder.input(v.type, v.name) for v in arguments]
        for value, capture in zip(captured, traced.captures, strict=True):
            attr = ArrayAttr(np.asarray(capture.read()._array))
            values += builder.emit(CONSTANT, (), {"value": attr}, source="", names=(value.name,))
            held.append((capture.box, value.name, attr.array))
        return builder.finish(inline(traced.graph, values)), tuple(held)


class FrozenFunction:
    """A function with its state as it was when frozen, compiled for one signature.

    Call it like the function it was made of, positionally, with tensors or arrays of the example's
    shapes and dtypes. Results hold no gradients. It is a snapshot: later changes of parameters do
    not reach it. Made by `freeze`.

    Attributes:
        recording: the graph and the structures at both ends.
        executable: the native program.
    """

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.executable = Executable(compile_graph(recording.graph))
        self.__name__ = recording.graph.name
        self._run = self.executable.run
        single = recording.leaves == (Output(0),) and recording.result.kind is None
        # the common case, one tensor out and nothing but tensors in, needs no structures
        plain = not any(c.kind for c in recording.arguments.children)
        self._count = len(recording.inputs) if single and plain else -1
        if any(f is not None for f in recording.fixed):
            self._count = -1

    def __call__(self, *args: Any) -> Any:
        """The function's result.

        Raises:
            ShapeError, DTypeError: an argument is not of the example's type.
            ArgumentError: the arguments differ in structure, or in what was fixed.
        """
        if len(args) != self._count or STATE.trace is not None:
            return self._structured(args)
        arrays = [a._array if type(a) is Tensor else _array(a) for a in args]
        return Tensor.plain(self._run(arrays)[0])  # type: ignore[arg-type]  # concrete: no trace

    def lower(self) -> Lowered:
        """Every form of the program on its way to machine code, with zeros as example inputs."""
        graph = self.recording.graph
        zeros = [np.zeros(v.shape, v.dtype.numpy) for v in graph.inputs]
        return Lowered(compile_graph(graph, keep_dumps=True), zeros)

    def __repr__(self) -> str:
        signature = ", ".join(
            f"{n}: {v.type}"
            for n, v in zip(self.recording.inputs, self.recording.graph.inputs, strict=True)
        )
        return f"FrozenFunction({self.__name__}({signature}))"

    def _structured(self, args: tuple[Any, ...]) -> Any:
        data = self._data(args)
        if STATE.trace is not None:
            outputs = self._inlined(data)
        else:
            outputs = [Tensor.plain(a) for a in self._run([_array(d) for d in data])]
        made = self.recording
        leaves = [outputs[v.index] if isinstance(v, Output) else v for v in made.leaves]
        return unflatten(made.result, leaves)

    def _data(self, args: tuple[Any, ...]) -> list[Any]:
        """The tensors among the arguments, which must be where they were."""
        leaves, structure = flatten(args)
        if structure != self.recording.arguments:
            raise ArgumentError(
                self.__name__, "takes arguments of the structure it was frozen with",
                operands={"tensors": ", ".join(self.recording.inputs), "got": len(args)},
            )  # fmt: skip
        data = []
        for leaf, fixed in zip(leaves, self.recording.fixed, strict=True):
            if _is_array(leaf) and fixed is None:
                data.append(leaf)
            elif type(leaf) is not type(fixed) or leaf != fixed:
                raise ArgumentError(
                    self.__name__, "an argument that is no tensor is fixed at the example's value",
                    operands={"fixed": fixed, "got": leaf}, fix="freeze once per value",
                )  # fmt: skip
        return data

    def _inlined(self, data: Sequence[Any]) -> list[Any]:
        """The program as part of what is being traced."""
        trace = STATE.trace
        if trace is None:
            raise TraceError(self.__name__, "nothing is traced")
        return list(trace.record(partial(_inline, self.recording.graph), data, {}))


def _inline(graph: Graph, *values: Value) -> tuple[Value, ...]:
    return inline(graph, values)


def _array(data: Any) -> Array:
    if type(data) is np.ndarray:
        return data  # only read; the program checks its type
    box = data if isinstance(data, Tensor) else Tensor(data)
    if box._array is None:
        raise TraceError("freeze", "a tensor of a trace has no contents", fix="return it first")
    return box._array


def freeze_function(fn: Callable[..., Any], args: Sequence[Any]) -> FrozenFunction:
    """`fn` recorded on `args` and compiled; see `freeze`."""
    name = getattr(fn, "__name__", type(fn).__name__)
    return FrozenFunction(
        record_frozen(fn, args, name if name.isidentifier() else "function", "freeze")
    )
