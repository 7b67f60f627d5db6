"""Sums of products: `dot_general`, and `matmul`, `tensordot`, `vecdot`, `outer` in its terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from pellucid.core.dtype import (
    DType,
    DTypeLike,
    as_dtype,
    bfloat16,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    promote,
    uint8,
)
from pellucid.core.errors import DTypeError, ShapeError
from pellucid.core.shape import Shape, broadcast_shapes, normalize_axis, size_of
from pellucid.graph.ir import Attr, Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.loop.compute import Index, Lowering, Readers, Reduction
from pellucid.loop.ir import Call, Expr
from pellucid.ops.arithmetic import add, multiply
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.casting import astype
from pellucid.ops.layout import expand_dims, moveaxis, permute_dims, reshape, squeeze
from pellucid.ops.parts import conj, real_part
from pellucid.ops.pointwise import moved_bytes
from pellucid.ops.promotion import as_value, common_dtype, refuse_bool
from pellucid.ops.shared import Array, Types, accumulator, cast_expr

AxisPair = tuple[tuple[int, ...], tuple[int, ...]]


def dot_general(
    a: Value,
    b: Value,
    contract: AxisPair,
    batch: AxisPair = ((), ()),
    dtype: DTypeLike | None = None,
) -> Value:
    """Sums of products over paired axes; dtypes are promoted, narrow floats add in float32.

    Args:
        a: left operand.
        b: right operand.
        contract: the axes summed over, of `a` and of `b`, pairwise of one size.
        batch: the axes kept in both, pairwise of one size.
        dtype: of the result, as in `matmul`.

    Returns:
        Axes: batch, then what is left of `a`, then what is left of `b`, each in order.

    Raises:
        DTypeError: `dtype` cannot hold an operand's values.
    """
    x, y, made = _operands("dot_general", a, b, dtype)
    attrs: dict[str, Attr] = {} if made is None else {"dtype": made}
    return emit(DOT_GENERAL, x, y, contract=contract, batch=batch, **attrs)


def matmul(a: Value, b: Value, dtype: DTypeLike | None = None) -> Value:
    """The matrix product over the last axis of `a` and the last but one of `b`.

    Rank-1 operands are vectors (their axis is summed away); leading axes broadcast.

    Args:
        a: left operand.
        b: right operand.
        dtype: of the result. Products and sums are those of the operands cast to it, but no cast
            copy is made: int8 with uint8 as int32 is exact as far as int32 reaches (it wraps, as
            all integer arithmetic), bfloat16 as float32 is rounded only by the sum. Without it the
            operands' common dtype, narrow floats rounded after a sum in float32.

    Raises:
        ShapeError: an operand is a scalar, inner sizes differ, or leading axes do not broadcast.
        DTypeError: `dtype` cannot hold an operand's values.

    Gradient: for float operands, each in its own dtype.
    Other names: NumPy: `dtype`; JAX: `preferred_element_type`; PyTorch: `_int_mm`.
    """
    x, y, made = _operands("matmul", a, b, dtype)
    if x.rank == 0 or y.rank == 0:
        fix = "use multiply for scalars"
        raise ShapeError(
            "matmul", "operands need an axis", operands={"a": a.type, "b": b.type}, fix=fix
        )
    inner = max(0, y.rank - 2)
    if x.shape[-1] != y.shape[inner]:
        raise _inner_error(x, y)
    if y.rank <= 2:
        return dot_general(x, y, ((x.rank - 1,), (inner,)), dtype=made)
    if x.rank == 1:
        return squeeze(_batched_matmul(expand_dims(x, 0), y, made), -2)
    return _batched_matmul(x, y, made)


def _inner_error(x: Value, y: Value) -> ShapeError:
    fix = ""
    if y.rank >= 2 and x.shape[-1] == y.shape[-1]:
        fix = "transpose b: swapaxes(b, -1, -2)"
    elif x.rank >= 2 and y.rank >= 2 and x.shape[-2] == y.shape[-2]:
        fix = "transpose a: swapaxes(a, -1, -2)"
    operands: dict[str, object] = {"a": x.type, "b": y.type}
    return ShapeError("matmul", "inner dims must match", operands=operands, fix=fix)


def _batched_matmul(x: Value, y: Value, dtype: DType | None) -> Value:
    lead = broadcast_shapes("matmul", x.shape[:-2], y.shape[:-2])
    x = broadcast_to(x, (*lead, *x.shape[-2:]))
    y = broadcast_to(y, (*lead, *y.shape[-2:]))
    axes = tuple(range(len(lead)))
    return dot_general(x, y, ((len(lead) + 1,), (len(lead),)), (axes, axes), dtype)


def tensordot(a: Value, b: Value, axes: int | Sequence[Sequence[int]] = 2) -> Value:
    """Sums of products over the last `axes` axes of `a` with the first of `b`, or over given pairs.

    Raises:
        ShapeError: the paired axes differ in number or size.
    """
    if isinstance(axes, int):
        if not 0 <= axes <= min(a.rank, b.rank):
            operands: dict[str, object] = {"a": a.type, "b": b.type, "axes": axes}
            raise ShapeError("tensordot", "axes must be in [0, smaller rank]", operands=operands)
        left, right = tuple(range(a.rank - axes, a.rank)), tuple(range(axes))
    else:
        left = tuple(normalize_axis("tensordot", i, a.shape) for i in axes[0])
        right = tuple(normalize_axis("tensordot", i, b.shape) for i in axes[1])
    return dot_general(a, b, (left, right))


def vecdot(a: Value, b: Value, axis: int = -1) -> Value:
    """Sums of products over one axis, the others broadcast; complex `a` is conjugated.

    Raises:
        ShapeError: the axis differs in size, or the others do not broadcast.
    """
    x, y = (moveaxis(v, axis, -1) for v in _promoted("vecdot", a, b))
    if x.shape[-1] != y.shape[-1]:
        operands: dict[str, object] = {"a": a.type, "b": b.type}
        raise ShapeError("vecdot", f"sizes must match at axis {axis}", operands=operands)
    lead = broadcast_shapes("vecdot", x.shape[:-1], y.shape[:-1])
    axes, last = tuple(range(len(lead))), len(lead)
    x, y = (broadcast_to(v, (*lead, v.shape[-1])) for v in (x, y))
    return dot_general(conj(x), y, ((last,), (last,)), (axes, axes))


def outer(a: Value, b: Value) -> Value:
    """All products of two vectors, `[len(a), len(b)]`; operands are flattened."""
    # not a contraction: a sum of one product begins at 0, which loses the sign of -0
    return multiply(reshape(a, (a.type.size, 1)), reshape(b, (1, b.type.size)))


def _promoted(name: str, a: Value, b: Value) -> tuple[Value, Value]:
    dtype = common_dtype(name, (a, b))
    x, y = as_value(name, a, dtype), as_value(name, b, dtype)
    refuse_bool(name, (x, y))
    return x, y


def _operands(
    name: str, a: Value, b: Value, dtype: DTypeLike | None
) -> tuple[Value, Value, DType | None]:
    """The operands as a node takes them, and the result's dtype where it is not theirs."""
    if dtype is None:
        return *_promoted(name, a, b), None
    result = as_dtype(dtype)
    refuse_bool(name, (a, b))
    _require_widening(name, a.type, b.type, result)
    return a, b, None if a.dtype == b.dtype == result else result


def _require_widening(name: str, a: TensorType, b: TensorType, dtype: DType) -> None:
    if any(promote(t.dtype, dtype, name) != dtype for t in (a, b)):
        operands: dict[str, object] = {"a": a, "b": b, "dtype": dtype}
        raise DTypeError(
            name, "the result's dtype must hold the operands'", operands=operands,
            fix="leave `dtype` out and cast the result with .astype",
        )  # fmt: skip


def _result_dtype(a: DType, attrs: Attrs) -> DType:
    return cast("DType", attrs.get("dtype", a))


def _pairs(attrs: Attrs) -> tuple[AxisPair, AxisPair]:
    return cast("AxisPair", attrs["contract"]), cast("AxisPair", attrs["batch"])


def _free(rank: int, *used: tuple[int, ...]) -> tuple[int, ...]:
    taken = {axis for group in used for axis in group}
    return tuple(axis for axis in range(rank) if axis not in taken)


def _infer(
    a: TensorType,
    b: TensorType,
    *,
    contract: AxisPair,
    batch: AxisPair,
    dtype: DType | None = None,
) -> TensorType:
    operands: dict[str, object] = {"a": a, "b": b, "contract": contract, "batch": batch}
    if "bool" in (a.dtype.kind, b.dtype.kind) or (dtype is None and a.dtype != b.dtype):
        rule = "operands must be numbers of one dtype"
        raise DTypeError("dot_general", rule, operands=operands)
    if dtype is not None:
        _require_widening("dot_general", a, b, dtype)
    for x, side in ((a, 0), (b, 1)):
        named = (*contract[side], *batch[side])
        if len(set(named)) != len(named) or any(not 0 <= i < x.rank for i in named):
            rule = "axes must be distinct, non-negative and in range"
            raise ShapeError("dot_general", rule, operands=operands)
    for left, right in (contract, batch):
        sizes = [a.shape[i] for i in left], [b.shape[i] for i in right]
        if sizes[0] != sizes[1]:
            raise ShapeError("dot_general", "paired axes must have one size", operands=operands)
    kept = [a.shape[i] for i in batch[0]]
    kept += [a.shape[i] for i in _free(a.rank, contract[0], batch[0])]
    kept += [b.shape[i] for i in _free(b.rank, contract[1], batch[1])]
    return TensorType(tuple(kept), dtype or a.dtype)


def _reference(
    a: Array, b: Array, *, contract: AxisPair, batch: AxisPair, dtype: DType | None = None
) -> Array:
    made = dtype or as_dtype(a.dtype)
    wide = accumulator(made).numpy
    free = [_free(x.ndim, contract[s], batch[s]) for s, x in ((0, a), (1, b))]
    left = a.astype(wide).transpose(*batch[0], *free[0], *contract[0])
    right = b.astype(wide).transpose(*batch[1], *contract[1], *free[1])
    lead = tuple(a.shape[i] for i in batch[0])
    rows = tuple(a.shape[i] for i in free[0])
    columns = tuple(b.shape[i] for i in free[1])
    inner = size_of([a.shape[i] for i in contract[0]])
    with np.errstate(all="ignore"):
        result = np.matmul(
            left.reshape(size_of(lead), size_of(rows), inner),
            right.reshape(size_of(lead), inner, size_of(columns)),
        )
        return np.asarray(result).reshape((*lead, *rows, *columns)).astype(made.numpy, copy=False)


def _vjp(site: Site, g: Value) -> Sequence[Value | None]:
    a, b = site.inputs
    contract, batch = _pairs(site.attrs)
    given = site.wanted or (True, True)
    wanted = [w and v.dtype.is_inexact for w, v in zip(given, (a, b), strict=True)]
    lead = len(batch[0])
    rows = len(_free(a.rank, contract[0], batch[0]))
    of_a = tuple(range(lead, lead + rows))
    of_b = tuple(range(lead + rows, g.rank))
    return (
        _pull(g, conj(b), of_b, (contract, batch), a.type) if wanted[0] else None,
        _pull(g, conj(a), of_a, (contract[::-1], batch[::-1]), b.type) if wanted[1] else None,
    )


def _pull(
    g: Value,
    other: Value,
    g_axes: tuple[int, ...],
    pairs: tuple[AxisPair, AxisPair],
    operand: TensorType,
) -> Value:
    """The cotangent of one operand: `g` contracted with the other over the other's free axes."""
    (contract, batch), rank, own_dtype = pairs, operand.rank, operand.dtype
    free = _free(other.rank, contract[1], batch[1])
    lead = tuple(range(len(batch[0])))
    dtype = None if g.dtype == other.dtype == own_dtype else g.dtype
    made = dot_general(g, other, (g_axes, free), (lead, batch[1]), dtype)
    made = astype(made if own_dtype.is_complex else real_part(made), own_dtype)
    # made's axes: batch, own free axes, then the other's contracted axes in ascending order
    partner = dict(zip(contract[1], contract[0], strict=True))
    own = _free(rank, contract[0], batch[0])
    order = (*batch[0], *own, *(partner[i] for i in sorted(contract[1])))
    return permute_dims(made, tuple(int(i) for i in np.argsort(order)))


def _jvp(site: Site, ta: Value | None, tb: Value | None) -> Sequence[Value | None]:
    a, b = site.inputs
    left = None if ta is None else emit(DOT_GENERAL, ta, b, **site.attrs)
    right = None if tb is None else emit(DOT_GENERAL, a, tb, **site.attrs)
    if left is None or right is None:
        return (right if left is None else left,)
    return (add(left, right),)


def _batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    contract, batch = _pairs(site.attrs)
    a, b = site.inputs
    moved = [
        tuple(tuple(i + on for i in p[s]) for p in (contract, batch))
        for s, on in enumerate(batched)
    ]
    contracted = (moved[0][0], moved[1][0])
    kept = (moved[0][1], moved[1][1])
    if all(batched):
        kept = ((0, *kept[0]), (0, *kept[1]))
        return (emit(DOT_GENERAL, a, b, **{**site.attrs, "contract": contracted, "batch": kept}),)
    result = emit(DOT_GENERAL, a, b, **{**site.attrs, "contract": contracted, "batch": kept})
    rows = a.rank - len(contract[0]) - len(batch[0])
    return (moveaxis(result, len(batch[0]) + (0 if batched[0] else rows), 0),)


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    (a, b), (contract, batch) = inputs, _pairs(attrs)
    made = _result_dtype(a.dtype, attrs)
    wide = accumulator(made)
    lead = len(batch[0])
    free = [_free(t.rank, contract[s], batch[s]) for s, t in ((0, a), (1, b))]
    starts = (lead, lead + len(free[0]))

    def body(idx: Index, red: Index, readers: Readers) -> Expr:
        factors = []
        for side, operand in ((0, a), (1, b)):
            place = dict(zip(contract[side], red, strict=True))
            place |= dict(zip(batch[side], idx[:lead], strict=True))
            own = idx[starts[side] : starts[side] + len(free[side])]
            place |= dict(zip(free[side], own, strict=True))
            element = readers[side](tuple(place[i] for i in range(operand.rank)))
            factors.append(cast_expr(element, wide))
        return Call("mul", tuple(factors), wide)

    return Reduction(
        extents=tuple(a.shape[i] for i in contract[0]),
        combine="add",
        init=0.0 if wide.is_float else 0,
        accumulate=wide,
        body=body,
        finish=None if wide == made else lambda total: cast_expr(total, made),
    )


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    contract, _ = _pairs(attrs)
    inner = size_of([inputs[0].shape[i] for i in contract[0]])
    return Cost(2 * inner * outputs[0].size, moved_bytes(inputs, outputs))


def _samples() -> Sequence[Sample]:
    plain: AxisPair = ((1,), (0,))
    none: AxisPair = ((), ())
    cases: list[tuple[Shape, Shape, AxisPair, AxisPair]] = [
        ((3, 4), (4, 5), plain, none), ((3, 4), (5, 4), ((1,), (1,)), none),
        ((4, 3), (4, 5), ((0,), (0,)), none), ((2, 3, 4), (2, 4, 5), ((2,), (1,)), ((0,), (0,))),
        ((3, 2, 4), (4, 5, 2), ((2,), (0,)), ((1,), (2,))), ((3,), (3,), ((0,), (0,)), none),
        ((2, 3, 4), (4, 3, 5), ((1, 2), (1, 0)), none), ((2, 3), (4,), none, none),
        ((3, 0), (0, 2), plain, none), ((0, 3), (3, 2), plain, none), ((1, 1), (1, 1), plain, none),
        ((2, 3), (3, 2), none, ((0, 1), (1, 0))),
    ]  # fmt: skip
    made = [
        Sample((TensorType(a, float64), TensorType(b, float64)), {"contract": c, "batch": k})
        for a, b, c, k in cases
    ]
    for dtype in (float32, float16, bfloat16, int8, int32, int64):
        types = (TensorType((3, 7), dtype), TensorType((7, 5), dtype))
        made.append(Sample(types, {"contract": plain, "batch": none}))
    for a, b, result in (
        (int8, int8, int32), (uint8, int8, int32), (uint8, uint8, int64),
        (bfloat16, bfloat16, float32), (float16, bfloat16, float32),
        (float32, int8, float32), (float32, float64, float64),
    ):  # fmt: skip
        types = (TensorType((3, 7), a), TensorType((7, 5), b))
        made.append(Sample(types, {"contract": plain, "batch": none, "dtype": result}))
    return made


DOT_GENERAL: Op = Op(
    name="dot_general",
    doc=(
        "Sums of products over paired axes, batched over others. Primitive: products and then a sum"
        " would hide from schedules the one loop nest that most of the time goes into."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=_batch,
    lower=_lower,
    cost=_cost,
    samples=_samples,
)

RECORDS: tuple[Op, ...] = (DOT_GENERAL,)
