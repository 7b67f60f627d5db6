"""Reductions over axes: `prod`, `reduce_max`, `reduce_min`, `any`, `all`, with their functions.

`SUM` itself lives with `broadcast_to`, each other's transpose. A record drops the axes it reduces;
the functions take `axis=None | int | tuple` and `keepdims`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pellucid.core.dtype import (
    DType,
    DTypeLike,
    Real,
    as_dtype,
    bfloat16,
    bool_,
    complex64,
    complex128,
    float16,
    float32,
    float64,
    int32,
    int64,
    uint8,
    uint64,
)
from pellucid.core.errors import DTypeError, ShapeError
from pellucid.core.shape import Shape, normalize_axes, size_of
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import Combine, Index, Lowering, Readers, Reduction
from pellucid.loop.ir import Expr
from pellucid.ops.arithmetic import divide, multiply
from pellucid.ops.broadcast import broadcast_to, sum_axes
from pellucid.ops.casting import astype
from pellucid.ops.comparison import equal
from pellucid.ops.layout import moveaxis, reshape
from pellucid.ops.parts import conj
from pellucid.ops.pointwise import input_cost
from pellucid.ops.promotion import Operand, refuse_complex, unify
from pellucid.ops.scan import products_of_others
from pellucid.ops.shared import Array, Types, accumulator, cast_expr, insert_axes, ints, lowest

Axis = int | Sequence[int] | None


def sum(
    x: Operand, axis: Axis = None, keepdims: bool = False, dtype: DTypeLike | None = None
) -> Value:
    """The sum over `axis`; 0 over nothing.

    Integers and bools are added as int64 or uint64 unless `dtype` says otherwise; narrow floats
    are added in float32 and rounded once.

    Gradient: the cotangent, broadcast.
    """
    value = _widened("sum", x, dtype)
    axes = normalize_axes("sum", axis, value.shape)
    return restore(sum_axes(value, axes), value, axes, keepdims)


def prod(
    x: Operand, axis: Axis = None, keepdims: bool = False, dtype: DTypeLike | None = None
) -> Value:
    """The product over `axis`; 1 over nothing. Dtypes as for `sum`.

    Gradient: the product of the other factors, exact where some are 0.
    """
    return _reduce(PROD, "prod", _widened("prod", x, dtype), axis, keepdims)


def max(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """The greatest element over `axis`; NaN if one is.

    Gradient: shared evenly by the elements that attain it.

    Raises:
        ShapeError: there is nothing to choose from.
    """
    return _reduce(REDUCE_MAX, "max", _ordered("max", x), axis, keepdims)


def min(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """The least element over `axis`; NaN if one is.

    Gradient: shared evenly by the elements that attain it.

    Raises:
        ShapeError: there is nothing to choose from.
    """
    return _reduce(REDUCE_MIN, "min", _ordered("min", x), axis, keepdims)


def any(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """Whether one element is true (or not 0, NaN included); False over nothing."""
    return _reduce(ANY, "any", astype(unify("any", x)[0], bool_), axis, keepdims)


def all(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """Whether every element is true (or not 0, NaN included); True over nothing."""
    return _reduce(ALL, "all", astype(unify("all", x)[0], bool_), axis, keepdims)


def _widened(name: str, x: Operand, dtype: DTypeLike | None) -> Value:
    (value,) = unify(name, x)
    if dtype is not None:
        return astype(value, dtype)
    wide = {"bool": int64, "int": int64, "uint": uint64}
    return astype(value, wide.get(value.dtype.kind, value.dtype))


def _ordered(name: str, x: Operand) -> Value:
    (value,) = unify(name, x)
    refuse_complex(name, value)
    return value


def _reduce(op: Op, name: str, x: Value, axis: Axis, keepdims: bool) -> Value:
    axes = normalize_axes(name, axis, x.shape)
    result = emit(op, x, axes=axes) if axes else x
    return restore(result, x, axes, keepdims)


def restore(result: Value, x: Value, axes: Sequence[int], keepdims: bool) -> Value:
    """`result` with the axes it dropped from `x` back at size 1, if `keepdims`."""
    return reshape(result, _kept(x.shape, axes)) if keepdims else result


def _kept(shape: Shape, axes: Sequence[int]) -> Shape:
    return tuple(1 if a in axes else n for a, n in enumerate(shape))


def nothing_to_choose(name: str, x: TensorType, axes: tuple[int, ...]) -> ShapeError:
    """The error for the extremum of no elements."""
    return ShapeError(
        name,
        "there is no element to choose along a zero-size axis",
        operands={"x": x, "axes": axes},
        fix="give it at least one element, or concatenate a starting value",
    )


def _axes_rule(name: str, refused: str, *, empty: bool) -> Callable[..., TensorType]:
    def infer(x: TensorType, *, axes: tuple[int, ...]) -> TensorType:
        if x.dtype.kind in refused.split():
            raise DTypeError(name, f"does not take {x.dtype.kind}", operands={"x": x})
        if list(axes) != sorted(set(axes) & set(range(x.rank))):
            rule = "axes must be sorted, distinct and in range"
            raise ShapeError(name, rule, operands={"x": x, "axes": axes})
        result = TensorType(tuple(n for a, n in enumerate(x.shape) if a not in axes), x.dtype)
        if not empty and x.size == 0 and result.size > 0:
            raise nothing_to_choose(name.removeprefix("reduce_"), x, axes)
        return result

    return infer


def _in_numpy(fn: Callable[..., Any]) -> Callable[..., Array]:
    def reference(x: Array, *, axes: tuple[int, ...]) -> Array:
        wide = x.astype(accumulator(as_dtype(x.dtype)).numpy, copy=False)
        if wide.size == 0 and fn in (np.maximum.reduce, np.minimum.reduce):
            return np.empty([n for a, n in enumerate(x.shape) if a not in axes], x.dtype)
        with np.errstate(all="ignore"):
            return np.asarray(fn(wide, axis=axes)).astype(x.dtype)

    return reference


def _prod(x: Array, axis: tuple[int, ...]) -> Array:
    return np.asarray(np.prod(x, axis=axis, dtype=x.dtype))


def _highest(dtype: DType) -> Real:
    if dtype.is_float:
        return -float(lowest(dtype))
    return True if dtype.kind == "bool" else int(np.iinfo(dtype.name).max)


def _lowering(
    combine: Combine, start: Callable[[DType], Real]
) -> Callable[[Types, Types, Attrs], Lowering]:
    def lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
        x, axes = inputs[0], ints(attrs, "axes")
        wide = accumulator(x.dtype)

        def body(idx: Index, red: Index, readers: Readers) -> Expr:
            return cast_expr(readers[0](insert_axes(idx, red, axes)), wide)

        return Reduction(
            extents=tuple(x.shape[a] for a in axes),
            combine=combine,
            init=start(wide),
            accumulate=wide,
            body=body,
            finish=None if wide == x.dtype else lambda total: cast_expr(total, x.dtype),
        )

    return lower


def _batch_rule(op: Callable[[], Op]) -> Callable[..., Sequence[Value]]:
    def batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
        axes = tuple(a + 1 for a in ints(site.attrs, "axes"))
        return (emit(op(), site.inputs[0], axes=axes),)

    return batch


def _spread(g: Value, x: Value, axes: Sequence[int]) -> Value:
    return broadcast_to(reshape(g, _kept(x.shape, axes)), x.shape)


def _winners(site: Site) -> Value:
    """Per element, its share of the extremum: 1 over the number of elements that attain it."""
    x, axes = site.inputs[0], ints(site.attrs, "axes")
    wide = accumulator(x.dtype)
    hit = astype(equal(x, _spread(site.outputs[0], x, axes)), wide)
    return astype(divide(hit, _spread(sum_axes(hit, axes), x, axes)), x.dtype)


def _extremum_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    x = site.inputs[0]
    if not x.dtype.is_float:
        return (None,)
    return (multiply(_spread(g, x, ints(site.attrs, "axes")), _winners(site)),)


def _extremum_jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    return (t and sum_axes(multiply(t, _winners(site)), ints(site.attrs, "axes")),)


def _others(site: Site) -> Value:
    """Per element, the product of the others that are multiplied with it."""
    x, axes = site.inputs[0], ints(site.attrs, "axes")
    last = tuple(range(x.rank - len(axes), x.rank))
    front = moveaxis(x, axes, last)
    flat = reshape(front, (*front.shape[: x.rank - len(axes)], size_of([x.shape[a] for a in axes])))
    return moveaxis(reshape(products_of_others(flat, flat.rank - 1), front.shape), last, axes)


def _prod_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    x = site.inputs[0]
    if not x.dtype.is_inexact:
        return (None,)
    return (multiply(_spread(g, x, ints(site.attrs, "axes")), conj(_others(site))),)


def _prod_jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    return (t and sum_axes(multiply(t, _others(site)), ints(site.attrs, "axes")),)


def _samples(dtypes: Sequence[DType], *, empty: bool) -> Callable[[], Sequence[Sample]]:
    cases: list[tuple[Shape, tuple[int, ...]]] = [
        ((3, 5), (1,)), ((3, 5), (0,)), ((2, 3, 4), (0, 2)), ((7,), (0,)), ((1, 3), (0,)),
        ((0, 3), (1,)),
    ]  # fmt: skip
    if empty:
        cases.append(((0, 3), (0,)))

    def samples() -> Sequence[Sample]:
        return [Sample((TensorType(s, d),), {"axes": a}) for s, a in cases for d in dtypes]

    return samples


def _zero_samples() -> Sequence[Sample]:
    zeros = np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 1.0], [1.0, 2.0, 3.0]])
    return [*_samples(_FIELDS, empty=True)(), *[Sample((zeros,), {"axes": a}) for a in ((1,),)]]


def _extremum_samples() -> Sequence[Sample]:
    special = np.array([[1.0, np.nan, 2.0], [np.inf, 0.0, -np.inf], [-np.inf] * 3], np.float32)
    return [*_samples(_NUMBERS, empty=False)(), Sample((special,), {"axes": (1,)})]


_FIELDS = (float64, float32, complex64, complex128, bfloat16, int32)
_NUMBERS = (float64, float32, float16, bfloat16, int32, uint8)

PROD: Op = Op(
    name="prod",
    doc="The product over some axes, which the result drops; narrow floats multiply in float32.",
    infer=_axes_rule("prod", "bool", empty=True),
    reference=_in_numpy(_prod),
    vjp=_prod_vjp,
    jvp=_prod_jvp,
    batch=_batch_rule(lambda: PROD),
    lower=_lowering("mul", lambda dtype: 1.0 if dtype.is_float else 1),
    cost=input_cost(1),
    samples=_zero_samples,
)
REDUCE_MAX: Op = Op(
    name="reduce_max",
    doc="The greatest element over some axes, which the result drops; NaN if one is.",
    infer=_axes_rule("reduce_max", "complex", empty=False),
    reference=_in_numpy(np.maximum.reduce),
    vjp=_extremum_vjp,
    jvp=_extremum_jvp,
    batch=_batch_rule(lambda: REDUCE_MAX),
    lower=_lowering("max", lowest),
    cost=input_cost(1),
    samples=_extremum_samples,
)
REDUCE_MIN: Op = Op(
    name="reduce_min",
    doc="The least element over some axes, which the result drops; NaN if one is.",
    infer=_axes_rule("reduce_min", "complex", empty=False),
    reference=_in_numpy(np.minimum.reduce),
    vjp=_extremum_vjp,
    jvp=_extremum_jvp,
    batch=_batch_rule(lambda: REDUCE_MIN),
    lower=_lowering("min", _highest),
    cost=input_cost(1),
    samples=_extremum_samples,
)
ANY: Op = Op(
    name="any",
    doc="Whether one bool over some axes is true; the result drops them.",
    infer=_axes_rule("any", "int uint float complex", empty=True),
    reference=_in_numpy(np.any),
    vjp=None,
    jvp=None,
    batch=_batch_rule(lambda: ANY),
    lower=_lowering("or", lambda dtype: False),
    cost=input_cost(1),
    samples=_samples((bool_,), empty=True),
)
ALL: Op = Op(
    name="all",
    doc="Whether every bool over some axes is true; the result drops them.",
    infer=_axes_rule("all", "int uint float complex", empty=True),
    reference=_in_numpy(np.all),
    vjp=None,
    jvp=None,
    batch=_batch_rule(lambda: ALL),
    lower=_lowering("and", lambda dtype: True),
    cost=input_cost(1),
    samples=_samples((bool_,), empty=True),
)

RECORDS: tuple[Op, ...] = (PROD, REDUCE_MAX, REDUCE_MIN, ANY, ALL)
