"""Operations across the examples of a `vmap` that has a name for its axis.

In a program for one example, `axis_sum(x, axis="i")` is the sum of all examples' `x`. Batching over
the axis of that name turns it into a reduction of the new leading axis; batching over another axis
leaves it. The derivative counts what one example's value does to every example's result, so that
`axis_sum` is its own transpose. Primitives, because a program for one example cannot see others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, cast

from pellucid import ops
from pellucid.core.dtype import float32, int64
from pellucid.core.errors import DTypeError, LoweringError, TraceError
from pellucid.graph.ir import Attrs, Graph, Node, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample, Site

Reduction = Callable[..., Value]
Spread = tuple[Value, bool]


def axis_sum(x: Value, axis: str) -> Value:
    """The sum of `x` over the examples of the axis."""
    return emit(AXIS_SUM, x, axis=axis)


def axis_max(x: Value, axis: str) -> Value:
    """The greatest `x` of the examples, element by element."""
    return emit(AXIS_MAX, x, axis=axis)


def axis_min(x: Value, axis: str) -> Value:
    """The least `x` of the examples, element by element."""
    return emit(AXIS_MIN, x, axis=axis)


def axis_gather(x: Value, axis: str, size: int) -> Value:
    """`x` of all examples, along a new first axis of `size`."""
    return emit(AXIS_GATHER, x, axis=axis, size=size)


def axis_index(axis: str) -> Value:
    """The example's number, int64."""
    return emit(AXIS_INDEX, axis=axis)


def mentions(node: Node, axis: str) -> bool:
    """Whether a node, or one in a graph that it holds, works across the axis."""
    if node.op in ELIMINATIONS:
        return node.attrs["axis"] == axis
    bodies = [g for attr in node.attrs.values() for g in _graphs(attr)]
    return any(mentions(inner, axis) for body in bodies for inner in body.nodes)


def _graphs(attr: Any) -> list[Graph]:
    if isinstance(attr, Graph):
        return [attr]
    return [g for part in attr for g in _graphs(part)] if isinstance(attr, tuple) else []


def eliminate(node: Node, inputs: Sequence[Value], batched: bool, size: int) -> Spread:
    """What the node is once its axis is a real one.

    Args:
        node: a node of this file.
        inputs: its operands in the batched program.
        batched: whether the operand has an element per example.
        size: the number of examples.

    Returns:
        The result, and whether it has an element per example.
    """
    return ELIMINATIONS[node.op](inputs, batched, size)


def _sum_of(inputs: Sequence[Value], batched: bool, size: int) -> Spread:
    (x,) = inputs
    total = ops.sum(x, axis=0) if batched else ops.multiply(x, size)
    return (total if total.dtype == x.dtype else ops.astype(total, x.dtype)), False


def _extreme_of(reduction: Reduction) -> Callable[[Sequence[Value], bool, int], Spread]:
    return lambda inputs, batched, size: (
        reduction(inputs[0], axis=0) if batched else inputs[0],
        False,
    )


def _all_of(inputs: Sequence[Value], batched: bool, size: int) -> Spread:
    (x,) = inputs
    return (x if batched else ops.broadcast_to(x, (size, *x.shape))), False


def _numbers_of(inputs: Sequence[Value], batched: bool, size: int) -> Spread:
    return ops.iota((size,)), True


# rules -------------------------------------------------------------------------------------------


def _same(x: TensorType, *, axis: str) -> TensorType:
    if x.dtype.kind == "bool":
        fix = "count with x.astype('int64')"
        raise DTypeError("axis", "takes numbers", operands={"x": x}, fix=fix)
    return x


def _gathered(x: TensorType, *, axis: str, size: int) -> TensorType:
    return TensorType((size, *x.shape), x.dtype)


def _alone(*arrays: Any, axis: str, **attrs: Any) -> NoReturn:
    raise TraceError("axis", f"one example alone does not see the axis {axis!r}")


def _lower(inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs) -> NoReturn:
    raise LoweringError("axis", f"no vmap has bound the axis {attrs['axis']!r}")


def _cost(inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs) -> Cost:
    return Cost(outputs[0].size, 2 * outputs[0].nbytes)


def _axis(site: Site) -> str:
    return cast("str", site.attrs["axis"])


def _chosen(site: Site, moved: Value) -> Value:
    """What moves of those examples that attain the extreme, shared evenly."""
    (x,), (y,) = site.inputs, site.outputs
    mask = ops.astype(ops.equal(x, y), x.dtype)
    return ops.divide(ops.multiply(mask, moved), axis_sum(mask, _axis(site)))


def _extreme_vjp(site: Site, g: Value) -> list[Value]:
    return [_chosen(site, axis_sum(g, _axis(site)))]


def _extreme_jvp(site: Site, t: Value) -> list[Value]:
    return [axis_sum(_chosen(site, t), _axis(site))]


def _gather_vjp(site: Site, g: Value) -> list[Value]:
    return [ops.take(axis_sum(g, _axis(site)), axis_index(_axis(site)), axis=0)]


def _again(op: Op, site: Site) -> list[Value]:
    return [emit(op, site.inputs[0], **site.attrs)]


def _gather_batch(site: Site, batched: tuple[bool, ...], size: int) -> list[Value]:
    return [ops.moveaxis(emit(AXIS_GATHER, site.inputs[0], **site.attrs), 1, 0)]


def _index_batch(site: Site, batched: tuple[bool, ...], size: int) -> list[Value]:
    return [ops.broadcast_to(axis_index(_axis(site)), (size,))]


def _samples(**attrs: Any) -> list[Sample]:
    return [Sample((TensorType((3,), float32),), {"axis": "i", **attrs})]


AXIS_SUM: Op = Op(
    name="axis_sum",
    doc="The sum over all examples of a named axis.",
    infer=_same,
    reference=_alone,
    vjp=lambda site, g: [axis_sum(g, _axis(site))],
    jvp=lambda site, t: [axis_sum(t, _axis(site))],
    batch=lambda site, batched, size: _again(AXIS_SUM, site),
    lower=_lower,
    cost=_cost,
    samples=_samples,
)

AXIS_MAX: Op = Op(
    name="axis_max",
    doc="The greatest over all examples of a named axis.",
    infer=_same,
    reference=_alone,
    vjp=_extreme_vjp,
    jvp=_extreme_jvp,
    batch=lambda site, batched, size: _again(AXIS_MAX, site),
    lower=_lower,
    cost=_cost,
    samples=_samples,
)

AXIS_MIN: Op = Op(
    name="axis_min",
    doc="The least over all examples of a named axis.",
    infer=_same,
    reference=_alone,
    vjp=_extreme_vjp,
    jvp=_extreme_jvp,
    batch=lambda site, batched, size: _again(AXIS_MIN, site),
    lower=_lower,
    cost=_cost,
    samples=_samples,
)

AXIS_GATHER: Op = Op(
    name="axis_gather",
    doc="The values of all examples of a named axis, along a new first axis.",
    infer=_gathered,
    reference=_alone,
    vjp=_gather_vjp,
    jvp=lambda site, t: _again(AXIS_GATHER, Site((t,), site.outputs, site.attrs)),
    batch=_gather_batch,
    lower=_lower,
    cost=_cost,
    samples=lambda: _samples(size=4),
)

AXIS_INDEX: Op = Op(
    name="axis_index",
    doc="The number of the example along a named axis.",
    infer=lambda *, axis: TensorType((), int64),
    reference=_alone,
    vjp=None,
    jvp=None,
    batch=_index_batch,
    lower=_lower,
    cost=_cost,
    samples=lambda: [Sample((), {"axis": "i"})],
)

RECORDS: tuple[Op, ...] = (AXIS_SUM, AXIS_MAX, AXIS_MIN, AXIS_GATHER, AXIS_INDEX)

ELIMINATIONS: dict[Op, Callable[[Sequence[Value], bool, int], Spread]] = {
    AXIS_SUM: _sum_of,
    AXIS_MAX: _extreme_of(ops.max),
    AXIS_MIN: _extreme_of(ops.min),
    AXIS_GATHER: _all_of,
    AXIS_INDEX: _numbers_of,
}
