"""A function with its state as one graph: what is captured becomes constants, arguments inputs.

Enters: a function of tensors or a module, and example arguments. Leaves: `Frozen`. Does not
optimise: constants are there before any pass, so that folding sees them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.errors import ArgumentError, DTypeError, TraceError
from pellucid.graph.ir import ArrayAttr, Graph, GraphBuilder, Node, Value, inline
from pellucid.nn.module import Module
from pellucid.ops.create import CONSTANT
from pellucid.tensor.box import STATE
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.trace import Traced, open_trace
from pellucid.tensor.tree import flatten, leaf_names, unflatten


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frozen:
    """A function without state.

    Attributes:
        graph: its inputs are the arguments that are tensors or arrays, in order.
        inputs: the arguments' names, `x`, `batch['tokens']`.
        outputs: the results' names: `y`, or `y[0]`, `y['loss']`.
        weights: names of captured parameters and buffers, by the digest of their contents.
    """

    graph: Graph
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: dict[str, str]


def freeze(fn: Callable[..., Any], args: Sequence[Any], name: str) -> Frozen:
    """Record `fn` on `args`, modules in evaluation mode, with all it captures as constants.

    Tensors and arrays among the arguments become inputs; anything else (numbers, strings, None) is
    fixed at the value it has here.

    Raises:
        ArgumentError: no argument or no result is a tensor, one is empty, or state is written.
        TraceError: called while another function is traced, or `fn` cannot be recorded.
        DTypeError: a type that C99 does not have.
    """
    if STATE.trace is not None:
        raise TraceError("export_c", "cannot export while a function is traced")
    with _evaluating(fn):
        traced, inputs, outputs = _trace(fn, args, name)
    _check_state(traced)
    frozen, weights = _with_constants(traced, _paths(fn))
    _check_sizes("argument", inputs, frozen.inputs)
    _check_sizes("result", outputs, frozen.outputs)
    _check_dtypes(frozen, inputs)
    return Frozen(graph=frozen, inputs=inputs, outputs=outputs, weights=weights)


def _module_of(fn: Any) -> Module | None:
    """The module `fn` is, or is a method of."""
    owner = fn if isinstance(fn, Module) else getattr(fn, "__self__", None)
    return owner if isinstance(owner, Module) else None


def _paths(fn: Any) -> dict[int, str]:
    """The paths of a module's parameters and buffers, by identity."""
    owner = _module_of(fn)
    cells = [*owner.named_parameters(), *owner.named_buffers()] if owner else []
    return {id(cell): path for path, cell in cells}


@contextmanager
def _evaluating(fn: Any) -> Iterator[None]:
    """Evaluation mode for a module (or the one a method belongs to), each part's mode restored."""
    owner = _module_of(fn)
    modules = list(owner.modules()) if owner else []
    before = [vars(m)["_training"] for m in modules]
    try:
        for module in modules:
            object.__setattr__(module, "_training", False)
        yield
    finally:
        for module, mode in zip(modules, before, strict=True):
            object.__setattr__(module, "_training", mode)


def _trace(
    fn: Callable[..., Any], args: Sequence[Any], name: str
) -> tuple[Traced, tuple[str, ...], tuple[str, ...]]:
    leaves, structure = flatten(tuple(args))
    names = [n for p, a in zip(_parameters(fn, len(args)), args, strict=True)
             for n in leaf_names(a, p)]  # fmt: skip
    inputs = tuple(n for n, leaf in zip(names, leaves, strict=True) if _is_array(leaf))
    if not inputs:
        raise ArgumentError("export_c", "at least one argument must be a tensor or an array")
    with open_trace(name, "jit", Tensor.plain) as trace:
        symbols = [
            trace.wrap(trace.builder.input(Tensor(leaf).type, n)) if _is_array(leaf) else leaf
            for n, leaf in zip(names, leaves, strict=True)
        ]
        result = fn(*unflatten(structure, symbols))
        found = _results(result)
        traced = trace.finish(list(found.values()), len(inputs))
    return traced, inputs, tuple(found) if len(found) > 1 else ("y",)


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, (Tensor, np.ndarray, np.generic))


def _parameters(fn: Callable[..., Any], count: int) -> list[str]:
    """The names of the first `count` parameters, as far as the signature tells."""
    try:
        signature = inspect.signature(fn.forward if isinstance(fn, Module) else fn)
    except (TypeError, ValueError):
        return [f"x{i}" for i in range(count)]
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in signature.parameters.values() if p.kind in kinds][:count]
    return names + [f"x{i}" for i in range(len(names), count)]


def _results(result: Any) -> dict[str, Tensor]:
    """The tensors of a result by name; None (a loss that was not asked for) is left out."""
    leaves, _ = flatten(result)
    found = {n: v for n, v in zip(leaf_names(result, "y"), leaves, strict=True) if v is not None}
    wrong = [type(v).__name__ for v in found.values() if not isinstance(v, Tensor)]
    if wrong or not found:
        raise ArgumentError(
            "export_c", "the function must return tensors, at least one",
            operands={"results": ", ".join(wrong) or "none"},
        )  # fmt: skip
    return found


def _check_state(traced: Traced) -> None:
    boxes = [*(c.box for c in traced.writes), *traced.cleared]
    if boxes:
        names = [getattr(b, "name", "") or str(b.type) for b in boxes]
        raise ArgumentError(
            "export_c", "the function writes state, which a C file of constants cannot",
            operands={"written": ", ".join(dict.fromkeys(names))},
            fix="export a function without it (call .eval() on modules, pass random numbers in)",
        )  # fmt: skip


def _with_constants(traced: Traced, paths: Mapping[int, str]) -> tuple[Graph, dict[str, str]]:
    """The traced graph with its captures as constants, and their names by digest."""
    arguments = traced.graph.inputs[: traced.arguments]
    captured = traced.graph.inputs[traced.arguments :]
    weights: dict[str, str] = {}
    with GraphBuilder(traced.graph.name) as builder:
        values = [builder.input(v.type, v.name) for v in arguments]
        for value, capture in zip(captured, traced.captures, strict=True):
            attr = ArrayAttr(np.asarray(capture.read()._array))
            _remember(weights, attr.array, paths.get(id(capture.box), value.name))
            values += builder.emit(CONSTANT, (), {"value": attr}, source="", names=(value.name,))
        return builder.finish(inline(traced.graph, values)), weights


def _remember(weights: dict[str, str], array: NDArray[Any], name: str) -> None:
    """Know a parameter again, also after passes have reshaped or transposed it."""
    weights.setdefault(contents(array), name)
    if array.ndim > 1:
        weights.setdefault(contents(array.T), f"{name} transposed")


def contents(array: NDArray[Any]) -> str:
    """A digest of an array's dtype and its elements in order, whatever its shape."""
    return ArrayAttr(array.reshape(-1)).digest


def _check_sizes(what: str, names: Sequence[str], values: Sequence[Value]) -> None:
    for name, value in zip(names, values, strict=True):
        if value.type.size == 0:
            raise ArgumentError(
                "export_c", f"{what} {name} has no elements, and C has no empty arrays",
                operands={"it": value.type},
            )  # fmt: skip


def _check_dtypes(graph: Graph, inputs: Sequence[str]) -> None:
    """Refuse what has no C type, naming the first value that has it and the line it comes from."""
    for name, value in zip(inputs, graph.inputs, strict=True):
        _check_dtype(value, f"argument {name}", "")
    for node in _nodes(graph):
        for value in node.outputs:
            _check_dtype(value, f"{value.name}, made by {node.op.name}", node.source)


def _check_dtype(value: Value, what: str, source: str) -> None:
    if value.dtype.is_float and value.dtype.bits < 32:
        raise DTypeError(
            "export_c", f"C99 has no type for {value.dtype.name}", operands={"value": what},
            fix="cast to float32 before it", source=source,
        )  # fmt: skip


def _nodes(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes:
        body = node.attrs.get("body")
        if isinstance(body, Graph):
            yield from _nodes(body)
        yield node
