"""Running totals along an axis: `cumulative` (sums, products) and `linear_recurrence`.

A product's derivative cannot be had by dividing where factors are 0. The recurrence
`s[i] = a[i] * s[i-1] + b[i]` gives it exactly in one sweep, and its own derivatives are recurrences
again, so all orders exist.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import (
    DTypeLike,
    as_dtype,
    bfloat16,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int32,
    int64,
    uint64,
)
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.core.shape import normalize_axis
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import Index, Loops, Lowering
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Expr,
    For,
    Load,
    Stmt,
    Store,
    Var,
    as_expr,
    const,
    isub,
)
from pellucid.ops.arithmetic import add, multiply
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.casting import astype
from pellucid.ops.create import full, full_like, zeros_like
from pellucid.ops.join import concatenate
from pellucid.ops.layout import reshape
from pellucid.ops.movement import pad, slice_axis
from pellucid.ops.parts import conj
from pellucid.ops.pointwise import check_equal_shapes, input_cost
from pellucid.ops.promotion import Operand, unify
from pellucid.ops.shared import Array, Types, accumulator, cast_expr, integer, nest


def cumulative_sum(
    x: Operand,
    axis: int | None = None,
    dtype: DTypeLike | None = None,
    include_initial: bool = False,
) -> Value:
    """Running sums along `axis`; `None` needs rank 1 or flattens. Integers as int64 or uint64.

    With `include_initial` the result is one longer and begins with 0.

    Gradient: running sums from the other end.
    """
    return _running("cumulative_sum", "add", x, axis, dtype, include_initial=include_initial)


def cumulative_prod(
    x: Operand,
    axis: int | None = None,
    dtype: DTypeLike | None = None,
    include_initial: bool = False,
) -> Value:
    """Running products along `axis`; `None` flattens. Integers as int64 or uint64.

    With `include_initial` the result is one longer and begins with 1.

    Gradient: exact where factors are 0.
    """
    return _running("cumulative_prod", "mul", x, axis, dtype, include_initial=include_initial)


def cumsum(x: Operand, axis: int | None = None, dtype: DTypeLike | None = None) -> Value:
    """NumPy's name of `cumulative_sum`."""
    return cumulative_sum(x, axis, dtype)


def cumprod(x: Operand, axis: int | None = None, dtype: DTypeLike | None = None) -> Value:
    """NumPy's name of `cumulative_prod`."""
    return cumulative_prod(x, axis, dtype)


def linear_recurrence(a: Operand, b: Operand, axis: int = -1, reverse: bool = False) -> Value:
    """`s[i] = a[i] * s[i-1] + b[i]` along `axis`, from `s[-1] = 0`; `reverse` starts at the end.

    Discounted returns, exponential averages and linear state spaces are this.

    Raises:
        DTypeError: the operands are bools.
    """
    x, y = unify("linear_recurrence", a, b)
    at = normalize_axis("linear_recurrence", axis, x.shape)
    return emit(LINEAR_RECURRENCE, x, y, axis=at, reverse=reverse)


def products_of_others(x: Value, axis: int) -> Value:
    """Along `axis`, each element's product of all the other elements, without dividing."""
    before = _shifted(emit(CUMULATIVE, x, axis=axis, combine="mul", reverse=False), axis, False, 1)
    after = _shifted(emit(CUMULATIVE, x, axis=axis, combine="mul", reverse=True), axis, True, 1)
    return multiply(before, after)


def _running(
    name: str,
    combine: str,
    x: Operand,
    axis: int | None,
    dtype: DTypeLike | None,
    *,
    include_initial: bool,
) -> Value:
    (value,) = unify(name, x)
    wide = {"bool": int64, "int": int64, "uint": uint64}.get(value.dtype.kind, value.dtype)
    value = astype(value, wide if dtype is None else dtype)
    if axis is None:
        value, axis = reshape(value, (value.type.size,)), 0
    at = normalize_axis(name, axis, value.shape)
    if include_initial:
        one = (*value.shape[:at], 1, *value.shape[at + 1 :])
        value = concatenate([full(one, 0 if combine == "add" else 1, value.dtype), value], at)
    return emit(CUMULATIVE, value, axis=at, combine=combine, reverse=False)


def _shifted(x: Value, axis: int, reverse: bool, fill: int) -> Value:
    """`x` moved one place along `axis`, away from where a scan starts; `fill` comes in."""
    n = x.shape[axis]
    if n <= 0:
        return x
    if n <= 1:  # asked, for sizes left open
        return full_like(x, fill)
    kept = slice_axis(x, axis, 1, n) if reverse else slice_axis(x, axis, 0, n - 1)
    low = tuple(int(a == axis and not reverse) for a in range(x.rank))
    high = tuple(int(a == axis and reverse) for a in range(x.rank))
    return pad(kept, low, high, fill)


def _check(name: str, types: Types, axis: int) -> None:
    check_equal_shapes(name, types)
    if any(t.dtype != types[0].dtype or t.dtype.kind == "bool" for t in types):
        operands: dict[str, object] = dict(zip("ab", types, strict=False))
        raise DTypeError(name, "takes numbers of one dtype", operands=operands)
    if not 0 <= axis < types[0].rank:
        operands = {"x": types[0], "axis": axis}
        raise ShapeError(name, "axis must be non-negative and in range", operands=operands)


def _infer_cumulative(x: TensorType, *, axis: int, combine: str, reverse: bool) -> TensorType:
    _check("cumulative", (x,), axis)
    if combine not in ("add", "mul"):
        operands = {"combine": combine}
        raise ArgumentError("cumulative", "combine must be add or mul", operands=operands)
    return x


def _infer_recurrence(a: TensorType, b: TensorType, *, axis: int, reverse: bool) -> TensorType:
    _check("linear_recurrence", (a, b), axis)
    return b


def _cumulative_reference(x: Array, *, axis: int, combine: str, reverse: bool) -> Array:
    ufunc = np.add if combine == "add" else np.multiply
    wide = accumulator(as_dtype(x.dtype)).numpy
    ordered = np.flip(x, axis) if reverse else x
    with np.errstate(all="ignore"):
        result = ufunc.accumulate(ordered.astype(wide), axis=axis, dtype=wide).astype(x.dtype)
    return np.ascontiguousarray(np.flip(result, axis) if reverse else result)


def _recurrence_reference(a: Array, b: Array, *, axis: int, reverse: bool) -> Array:
    wide = accumulator(as_dtype(b.dtype)).numpy
    factors, terms = (np.moveaxis(v, axis, 0).astype(wide) for v in (a, b))
    result = np.empty_like(terms)
    state = np.zeros(terms.shape[1:], wide)
    steps = range(len(terms))
    with np.errstate(all="ignore"):
        for i in reversed(steps) if reverse else steps:
            state = factors[i] * state + terms[i]
            result[i] = state
        return np.ascontiguousarray(np.moveaxis(result, 0, axis).astype(b.dtype))


def _scan(site: Site) -> tuple[int, bool]:
    return integer(site.attrs, "axis"), bool(site.attrs["reverse"])


def _cumulative_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    (x,), (axis, reverse) = site.inputs, _scan(site)
    if not x.dtype.is_inexact:
        return (None,)
    if site.attrs["combine"] == "add":
        return (emit(CUMULATIVE, g, axis=axis, combine="add", reverse=not reverse),)
    # dx[i] = (product before i) * sum over k >= i of g[k] * (product of x between i and k)
    following = _shifted(conj(x), axis, not reverse, 0)
    suffix = emit(LINEAR_RECURRENCE, following, g, axis=axis, reverse=not reverse)
    return (multiply(_shifted(conj(site.outputs[0]), axis, reverse, 1), suffix),)


def _cumulative_jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    if t is None:
        return (None,)
    (x,), (axis, reverse) = site.inputs, _scan(site)
    if site.attrs["combine"] == "add":
        return (emit(CUMULATIVE, t, **site.attrs),)
    step = multiply(_shifted(site.outputs[0], axis, reverse, 1), t)
    return (emit(LINEAR_RECURRENCE, x, step, axis=axis, reverse=reverse),)


def _recurrence_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    (a, b), (axis, reverse) = site.inputs, _scan(site)
    if not b.dtype.is_inexact:
        return (None, None)
    following = _shifted(conj(a), axis, not reverse, 0)
    back = emit(LINEAR_RECURRENCE, following, g, axis=axis, reverse=not reverse)
    return (multiply(back, _shifted(conj(site.outputs[0]), axis, reverse, 0)), back)


def _recurrence_jvp(site: Site, ta: Value | None, tb: Value | None) -> Sequence[Value | None]:
    (a, b), (axis, reverse) = site.inputs, _scan(site)
    if ta is None and tb is None:
        return (None,)
    drive = zeros_like(b) if tb is None else tb
    if ta is not None:
        drive = add(drive, multiply(ta, _shifted(site.outputs[0], axis, reverse, 0)))
    return (emit(LINEAR_RECURRENCE, a, drive, axis=axis, reverse=reverse),)


def _cumulative_batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    attrs = {**site.attrs, "axis": integer(site.attrs, "axis") + 1}
    return (emit(CUMULATIVE, site.inputs[0], **attrs),)


def _recurrence_batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    pairs = zip(site.inputs, batched, strict=True)
    a, b = (v if is_batched else broadcast_to(v, (size, *v.shape)) for v, is_batched in pairs)
    attrs = {**site.attrs, "axis": integer(site.attrs, "axis") + 1}
    return (emit(LINEAR_RECURRENCE, a, b, **attrs),)


def _sweep(
    name: str, sources: tuple[Buffer, ...], out: Buffer, attrs: Attrs, init: int
) -> tuple[Stmt, ...]:
    """For each line along the axis: one running value, updated and stored at every position."""
    axis, wide = integer(attrs, "axis"), accumulator(out.dtype)
    state = Buffer("state", (), wide, "local")
    n = out.shape[axis]
    step = Var("s0")
    position = isub(n - 1, step) if attrs["reverse"] else step

    def line(idx: Index) -> tuple[Stmt, ...]:
        at = (*idx[:axis], position, *idx[axis:])
        update = _update(name, [cast_expr(Load(s, at), wide) for s in sources], Load(state, ()))
        body = (Store(state, (), update), Store(out, at, cast_expr(Load(state, ()), out.dtype)))
        start = Store(state, (), const(init, wide))
        return (Alloc(state, (start, For("s0", as_expr(n), body))),)

    return nest("i", [m for a, m in enumerate(out.shape) if a != axis], line)


def _update(name: str, read: list[Expr], state: Expr) -> Expr:
    if name != "linear_recurrence":
        return Call(name, (state, read[0]), state.dtype)
    product = Call("mul", (read[0], state), state.dtype)
    return Call("add", (product, read[1]), state.dtype)


def _lower_cumulative(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    combine = str(attrs["combine"])
    init = 0 if combine == "add" else 1
    return Loops(build=lambda sources, outs: _sweep(combine, sources, outs[0], attrs, init))


def _lower_recurrence(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    name = "linear_recurrence"
    return Loops(build=lambda sources, outs: _sweep(name, sources, outs[0], attrs, 0))


def _cumulative_samples() -> Sequence[Sample]:
    shapes = (
        ((3, 5), 1, float64), ((4, 3), 0, float32), ((7,), 0, float16), ((5,), 0, bfloat16),
        ((0,), 0, float32), ((2, 0), 0, float32), ((1,), 0, int64), ((3, 2), 0, int32),
        ((4,), 0, complex64), ((2, 3), 1, complex128),
    )  # fmt: skip
    cases = [(c, r) for c in ("add", "mul") for r in (False, True)]
    made = [
        Sample((TensorType(s, d),), {"axis": a, "combine": c, "reverse": r})
        for c, r in cases
        for s, a, d in shapes
    ]
    zeros = np.array([2.0, 0.0, 3.0, 0.0, 4.0])
    hard = [Sample((zeros,), {"axis": 0, "combine": c, "reverse": r}) for c, r in cases]
    return [*made, *hard]


def _recurrence_samples() -> Sequence[Sample]:
    shapes = (((3, 5), 1, float64), ((4, 3), 0, float32), ((7,), 0, float16), ((0,), 0, float32),
              ((1,), 0, float64), ((5,), 0, int32), ((4, 2), 0, complex64))  # fmt: skip
    return [
        Sample((TensorType(s, d),) * 2, {"axis": a, "reverse": r})
        for s, a, d in shapes
        for r in (False, True)
    ]


CUMULATIVE: Op = Op(
    name="cumulative",
    doc="Running sums or products along an axis. Primitive: composition would be quadratic.",
    infer=_infer_cumulative,
    reference=_cumulative_reference,
    vjp=_cumulative_vjp,
    jvp=_cumulative_jvp,
    batch=_cumulative_batch,
    lower=_lower_cumulative,
    cost=input_cost(1),
    samples=_cumulative_samples,
)
LINEAR_RECURRENCE: Op = Op(
    name="linear_recurrence",
    doc=(
        "s[i] = a[i] * s[i-1] + b[i] along an axis. Primitive: composition would be quadratic,"
        " or divide by running products."
    ),
    infer=_infer_recurrence,
    reference=_recurrence_reference,
    vjp=_recurrence_vjp,
    jvp=_recurrence_jvp,
    batch=_recurrence_batch,
    lower=_lower_recurrence,
    cost=input_cost(2),
    samples=_recurrence_samples,
)

RECORDS: tuple[Op, ...] = (CUMULATIVE, LINEAR_RECURRENCE)
