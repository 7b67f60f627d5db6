"""What every function transform does: record the user's function, run what was made of its graph.

`record_function` traces a function on symbolic tensors; `run_graph` runs a graph at once, or
inlines it into the graph that is being recorded outside; `commit` carries changes of state out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.core.errors import ArgumentError, GradientError
from pellucid.graph.ir import Graph, TensorType
from pellucid.tensor.box import STATE, Box
from pellucid.tensor.dispatch import run_program, settled
from pellucid.tensor.program import program_for
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.trace import Traced, open_trace, write_grad
from pellucid.tensor.tree import TreeDef, flatten, unflatten

Fn = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A function recorded on tensors: what tracing left, and the structure of its result."""

    traced: Traced
    result: TreeDef
    leaves: tuple[Any, ...]
    boxes: tuple[Tensor, ...]

    def build(self, values: Sequence[Any]) -> Any:
        """The function's result, with these at the place of its tensors; the rest as returned."""
        rest = iter(values)
        return unflatten(self.result, [next(rest) if v is TENSOR else v for v in self.leaves])

    @property
    def inputs(self) -> list[Box]:
        """Arguments, then captured state, as they are now."""
        return [*self.boxes, *(c.read() for c in self.traced.captures)]


TENSOR = object()  # stands in a result where a tensor was


def check_function(op: str, fn: Any) -> None:
    """Raises ArgumentError where a transform is given something else than a function."""
    if not callable(fn):
        raise ArgumentError(
            op, "takes a function", operands={"it": type(fn).__name__},
            fix="give the function itself, not what it returned",
        )  # fmt: skip


def is_array(leaf: Any) -> bool:
    """Whether a leaf is data: a tensor, an array or a number."""
    return isinstance(leaf, (Tensor, np.ndarray, np.generic, bool, int, float, complex))


def as_tensor(value: Any) -> Tensor:
    """A tensor as it is; anything else converted.

    Raises:
        ArgumentError: there is nothing (`None`).
    """
    if value is None:
        raise ArgumentError("tensor", "expected a tensor, got None", fix="return or pass a tensor")
    return settled(value) if isinstance(value, Tensor) else Tensor(value)


def record_function(
    fn: Fn,
    boxes: Sequence[Tensor],
    call: Callable[[list[Tensor]], Any],
    types: Sequence[TensorType],
) -> Recorded:
    """Record `call` on symbolic tensors of these types."""
    name = getattr(fn, "__name__", "function")
    with open_trace(
        name if name.isidentifier() else "function", "transform", Tensor.plain
    ) as trace:
        args = [trace.argument(t, "x") for t in types]
        leaves, treedef = flatten(call(args))  # type: ignore[arg-type]  # plain makes Tensors
        results = [as_tensor(leaf) for leaf in leaves if is_array(leaf)]
        traced = trace.finish(results, len(args))
    kept = tuple(TENSOR if is_array(leaf) else leaf for leaf in leaves)
    return Recorded(traced, treedef, kept, tuple(boxes))


def commit(traced: Traced, outputs: Sequence[Box]) -> None:
    """Carry the state changes of a recorded function out to where it is run."""
    for capture, value in zip(traced.writes, outputs, strict=True):
        if capture.slot == "grad":
            write_grad(capture.box, value)
        else:
            capture.box.assign_(value)  # type: ignore[attr-defined]  # only cells are written
    for box in traced.cleared:
        write_grad(box, None)


def run_graph(graph: Graph, inputs: Sequence[Box]) -> list[Tensor]:
    """The graph's outputs for these inputs, now or in the open trace."""
    if not inputs and STATE.trace is None:
        return [Tensor.plain(a) for a in program_for(graph).run([])]
    return list(run_program(program_for(graph), inputs))  # type: ignore[arg-type]  # tensors by construction


def positions(op: str, argnums: int | Sequence[int], count: int) -> tuple[int, ...]:
    """`argnums` as places among `count` positional arguments.

    Raises:
        ArgumentError: one names none of them, or one is named twice.
    """
    numbers = (argnums,) if isinstance(argnums, int) else tuple(argnums)
    for n in numbers:
        if not isinstance(n, int) or not -count <= n < count:
            raise ArgumentError(
                op,
                f"argnums must name positional arguments, and there are {count}",
                operands={"argnums": repr(argnums)},
            )
    positions = tuple(n % count for n in numbers)
    if len(set(positions)) < len(positions):
        rule = "argnums must name each argument once"
        raise ArgumentError(op, rule, operands={"argnums": repr(argnums)})
    return positions


def differentiable(op: str, name: str, leaf: Any) -> Tensor:
    """The argument as a tensor that has a derivative.

    Raises:
        GradientError: it has none.
    """
    tensor = as_tensor(leaf) if is_array(leaf) else None
    if tensor is None or not tensor.dtype.is_inexact:
        fix = "convert it with .astype('float32'), or leave it out of argnums"
        if hasattr(leaf, "__dict__") and tensor is None:
            fix = "register its class with register_dataclass or register_pytree_node"
        raise GradientError(
            op,
            "only floating-point arguments have derivatives",
            operands={name: type(leaf).__name__ if tensor is None else tensor.type},
            fix=fix,
        )
    return tensor


def is_tracing() -> bool:
    """Whether a function is being recorded right now."""
    return STATE.trace is not None
