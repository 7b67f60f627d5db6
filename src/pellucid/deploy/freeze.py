"""What a C file can be made of: a frozen function, its names, and checks of what C does not have.

Enters: a function of tensors or a module, and example arguments. Leaves: `Frozen`. Does not record:
that is `tensor/frozen.py`'s. Does not optimise either: constants are there before any pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pellucid.core.errors import ArgumentError, DTypeError
from pellucid.graph.ir import ArrayAttr, Graph, Node, Value
from pellucid.nn.freeze import evaluating, module_of
from pellucid.tensor.frozen import Output, Recording, record_frozen


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
    with evaluating(fn):
        made = record_frozen(fn, args, name, "export_c")
    _check_results(made)
    outputs = made.outputs if len(made.outputs) > 1 else ("y",)
    _check_sizes("argument", made.inputs, made.graph.inputs)
    _check_sizes("result", outputs, made.graph.outputs)
    _check_dtypes(made.graph, made.inputs)
    return Frozen(graph=made.graph, inputs=made.inputs, outputs=outputs, weights=_weights(fn, made))


def _weights(fn: Callable[..., Any], made: Recording) -> dict[str, str]:
    """The names of the captured cells by the digest of their contents."""
    owner = module_of(fn)
    cells = [*owner.named_parameters(), *owner.named_buffers()] if owner else []
    paths = {id(cell): path for path, cell in cells}
    weights: dict[str, str] = {}
    for box, name, array in made.captured:
        _remember(weights, array, paths.get(id(box), name))
    return weights


def _check_results(made: Recording) -> None:
    """Tensors, at least one; None (a loss that was not asked for) is left out."""
    wrong = [type(v).__name__ for v in made.leaves if not isinstance(v, Output) and v is not None]
    if wrong or not made.outputs:
        raise ArgumentError(
            "export_c", "the function must return tensors, at least one",
            operands={"results": ", ".join(wrong) or "none"},
        )  # fmt: skip


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
        for body in node.attrs.values():
            if isinstance(body, Graph):
                yield from _nodes(body)
        yield node
