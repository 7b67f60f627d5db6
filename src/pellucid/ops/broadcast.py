"""Broadcasting and summing: each is the other's transpose, so they share a file.

`reduce.py` wraps `SUM` in the array API's `sum`; everything that broadcasts comes here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import (
    as_dtype,
    bool_,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int32,
    int64,
    uint8,
)
from pellucid.core.errors import DTypeError, ShapeError
from pellucid.core.shape import Shape, check_shape
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.loop.compute import Index, Lowering, Pointwise, Readers, Reduction
from pellucid.loop.ir import Const, Expr
from pellucid.ops.layout import reshape
from pellucid.ops.shared import (
    Array,
    Types,
    accumulator,
    cast_expr,
    insert_axes,
    ints,
    through_cost,
    zero_of,
)


def _broadcast_infer(x: TensorType, *, shape: Shape) -> TensorType:
    tail = shape[len(shape) - x.rank :]
    if x.rank > len(shape) or any(a not in (b, 1) for a, b in zip(x.shape, tail, strict=True)):
        raise ShapeError(
            "broadcast_to", "sizes must be equal or 1", operands={"x": x.shape, "shape": shape}
        )
    return TensorType(shape, x.dtype)


def _broadcast_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    shape, lead = inputs[0].shape, outputs[0].rank - inputs[0].rank

    def body(idx: Index, readers: Readers) -> Expr:
        kept = zip(idx[lead:], shape, strict=True)
        return readers[0](tuple(Const(0) if n == 1 else i for i, n in kept))

    return Pointwise(body=body)


def _broadcast_vjp(site: Site, g: Value) -> list[Value | None]:
    x = site.inputs[0]
    lead = g.rank - x.rank
    stretched = [a for a in range(g.rank) if a < lead or x.shape[a - lead] != g.shape[a]]
    return [reshape(sum_axes(g, stretched), x.shape)]


def _broadcast_batch(site: Site, batched: tuple[bool, ...], size: int) -> list[Value]:
    x, shape = site.inputs[0], ints(site.attrs, "shape")
    lead = len(shape) - (x.rank - 1)
    return [broadcast_to(reshape(x, (size, *(1,) * lead, *x.shape[1:])), (size, *shape))]


BROADCAST_TO: Op = Op(
    name="broadcast_to",
    doc="`x` repeated along new leading axes and along its axes of size 1, as NumPy broadcasts.",
    infer=_broadcast_infer,
    reference=lambda x, *, shape: np.broadcast_to(x, shape),
    vjp=_broadcast_vjp,
    jvp=lambda site, t: [None if t is None else broadcast_to(t, site.outputs[0].shape)],
    batch=_broadcast_batch,
    lower=_broadcast_lower,
    cost=through_cost,
    samples=lambda: [
        Sample((TensorType((3, 1), float32),), {"shape": (2, 3, 5)}),
        Sample((TensorType((), float32),), {"shape": (4,)}),
        Sample((TensorType((1, 1), int32),), {"shape": (1, 7)}),
        Sample((TensorType((1, 3), float32),), {"shape": (0, 3)}),
        Sample((TensorType((2,), bool_),), {"shape": (3, 2)}),
        Sample((TensorType((2, 1), complex64),), {"shape": (3, 2, 4)}),
    ],
)


def broadcast_to(x: Value, shape: Sequence[int]) -> Value:
    """`x` repeated to this shape.

    Raises:
        ShapeError: an axis of `x` is neither 1 nor the size wanted.
    """
    wanted = check_shape("broadcast_to", shape)
    return x if wanted == x.shape else emit(BROADCAST_TO, x, shape=wanted)


def _sum_infer(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
    if x.dtype.kind == "bool":
        raise DTypeError("sum", "bools are not added", operands={"x": x}, fix="cast to an integer")
    if list(axes) != sorted(set(axes) & set(range(x.rank))):
        raise ShapeError(
            "sum",
            "axes must be sorted, distinct and in range",
            operands={"x": x.shape, "axes": axes},
        )
    return TensorType(tuple(n for a, n in enumerate(x.shape) if a not in axes), x.dtype)


def _sum_reference(x: Array, *, axes: tuple[int, ...]) -> Array:
    wide = accumulator(as_dtype(x.dtype)).numpy
    return np.asarray(np.sum(x, axis=axes, dtype=wide)).astype(x.dtype)


def _sum_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    x, axes = inputs[0], ints(attrs, "axes")
    wide = accumulator(x.dtype)

    def body(idx: Index, red: Index, readers: Readers) -> Expr:
        return cast_expr(readers[0](insert_axes(idx, red, axes)), wide)

    return Reduction(
        extents=tuple(x.shape[a] for a in axes),
        combine="add",
        init=zero_of(wide),
        accumulate=wide,
        body=body,
        finish=None if wide == x.dtype else lambda total: cast_expr(total, x.dtype),
    )


def _sum_vjp(site: Site, g: Value) -> list[Value | None]:
    x, axes = site.inputs[0], ints(site.attrs, "axes")
    kept = [1 if a in axes else n for a, n in enumerate(x.shape)]
    return [broadcast_to(reshape(g, kept), x.shape)]


SUM: Op = Op(
    name="sum",
    doc="The sum over some axes, which the result drops; narrow floats are added in float32.",
    infer=_sum_infer,
    reference=_sum_reference,
    vjp=_sum_vjp,
    jvp=lambda site, t: [None if t is None else sum_axes(t, ints(site.attrs, "axes"))],
    batch=lambda site, batched, size: [
        sum_axes(site.inputs[0], [a + 1 for a in ints(site.attrs, "axes")])
    ],
    lower=_sum_lower,
    cost=lambda inputs, outputs, attrs: Cost(
        math.prod(inputs[0].shape), inputs[0].nbytes + outputs[0].nbytes
    ),
    samples=lambda: [
        Sample((TensorType((3, 5), float32),), {"axes": (1,)}),
        Sample((TensorType((4, 3, 2), float32),), {"axes": (0, 2)}),
        Sample((TensorType((2, 3), float64),), {"axes": (0, 1)}),
        Sample((TensorType((5, 9), float16),), {"axes": (0,)}),
        Sample((TensorType((7,), uint8),), {"axes": (0,)}, 0, 200),
        Sample((TensorType((0, 3), float32),), {"axes": (0,)}),
        Sample((TensorType((1, 3), int64),), {"axes": (0,)}),
        Sample((TensorType((4, 3), complex64),), {"axes": (1,)}),
        Sample((TensorType((2, 3), complex128),), {"axes": (0, 1)}),
    ],
)


def sum_axes(x: Value, axes: Sequence[int]) -> Value:
    """The sum over these non-negative axes in `x`'s own dtype, which the result drops."""
    return emit(SUM, x, axes=tuple(sorted(axes))) if len(axes) else x


RECORDS: tuple[Op, ...] = (BROADCAST_TO, SUM)
