"""Functions of two numbers beyond `+ - * /`: remainders, powers, extrema, angles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pellucid.graph.ir import Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.ops.arithmetic import (
    add,
    apply_numeric,
    divide,
    multiply,
    negative,
    reciprocal,
    square,
    subtract,
)
from pellucid.ops.casting import bitcast
from pellucid.ops.comparison import (
    equal,
    greater,
    greater_equal,
    isinf,
    isnan,
    less,
    logical_and,
    logical_not,
    logical_or,
    where,
)
from pellucid.ops.create import zeros_like
from pellucid.ops.identity import stop_gradient
from pellucid.ops.parts import real_part
from pellucid.ops.pointwise import elementwise_op
from pellucid.ops.promotion import Operand, as_value, refuse_bool, refuse_complex, unify
from pellucid.ops.unary import abs, exp, floor, log, log1p, rsqrt, sqrt


def _ordered(name: str, *operands: Operand, to_float: bool = False) -> tuple[Value, ...]:
    """`unify` for functions that complex numbers, having no order, do not have."""
    values = unify(name, *operands, to_float=to_float)
    refuse_complex(name, *values)
    return values


def _real_numbers(name: str, *operands: Operand) -> tuple[Value, ...]:
    values = _ordered(name, *operands)
    refuse_bool(name, values)
    return values


def floor_divide(x: Operand, y: Operand) -> Value:
    """`floor(x / y)`; an integer divided by 0 gives 0. Gradient: none (0).

    With an infinity the quotient's floor is taken: `inf // 2` is inf and `1 // -inf` is -0, as the
    array API has it (NumPy: NaN and -1).
    """
    a, b = _real_numbers("floor_divide", x, y)
    quotient = emit(FLOORDIV, a, b)
    if not quotient.dtype.is_float:
        return quotient
    return where(logical_or(isinf(a), isinf(b)), floor(divide(a, b)), quotient)


def remainder(x: Operand, y: Operand) -> Value:
    """`x - y * floor(x / y)`, of the sign of `y`, as Python's `%`; an integer modulo 0 gives 0."""
    return emit(MOD, *_real_numbers("remainder", x, y))


def pow(x: Operand, y: Operand) -> Value:
    """`x` to the power `y`.

    On integers a negative exponent truncates the true value (0, 1 or -1). A Python exponent of
    1, 2, 3, 4, 0.5, -0.5 or -1 becomes the cheaper op it means.

    Gradient: 0 for `x` where `y` is 0, and 0 for `y` where `x` is 0 and `y >= 0`, as PyTorch's.
    """
    if isinstance(x, Value) and x.dtype.is_inexact and isinstance(y, bool | int | float):
        if y == 1.0:
            return x
        if y in _POWERS:
            return _POWERS[y](x)
    if isinstance(x, Value) and x.dtype.is_integer and type(y) is int and y == 2:
        return square(x)
    return apply_numeric(POW, "pow", x, y)


def maximum(x: Operand, y: Operand) -> Value:
    """The larger; NaN if either is. Gradient: half to each side where they are equal."""
    return emit(MAX, *_ordered("maximum", x, y))


def minimum(x: Operand, y: Operand) -> Value:
    """The smaller; NaN if either is. Gradient: half to each side where they are equal."""
    return emit(MIN, *_ordered("minimum", x, y))


def clip(x: Operand, min: Operand | None = None, max: Operand | None = None) -> Value:
    """`x` held between `min` and `max`; the upper bound wins where they cross. NaN where `x` or a
    bound is.

    Bounds are cast to the dtype of `x`, and broadcast with it.

    Gradient: to `x` where `min <= x <= max` (bounds included, as PyTorch's), else to the bound.
    """
    (value,) = _real_numbers("clip", x)
    result = value
    if min is not None:
        bound = as_value("clip", min, value.dtype)
        result = where(_or_nan(less(result, bound), min, bound), bound, result)
    if max is not None:
        bound = as_value("clip", max, value.dtype)
        result = where(_or_nan(greater(result, bound), max, bound), bound, result)
    return result


def _or_nan(beyond: Value, given: Operand, bound: Value) -> Value:
    """`beyond`, or the bound is NaN; a Python number is looked at now."""
    sure = isinstance(given, bool | int | float) and not math.isnan(given)
    if sure or not bound.dtype.is_float:
        return beyond
    return logical_or(beyond, isnan(bound))


def atan2(y: Operand, x: Operand) -> Value:
    """The angle of the point (x, y) in radians, in [-pi, pi]; integers as float32."""
    return emit(ATAN2, *_ordered("atan2", y, x, to_float=True))


def hypot(x: Operand, y: Operand) -> Value:
    """`sqrt(x² + y²)` scaled so that no square overflows; integers as float32.

    Gradient: NaN at the origin, where it has none.
    """
    a, b = (abs(v) for v in _ordered("hypot", x, y, to_float=True))
    big, small = maximum(a, b), minimum(a, b)
    ratio = divide(small, where(equal(big, 0), 1, big))
    scaled = multiply(big, sqrt(add(square(ratio), 1)))
    return where(logical_or(isinf(a), isinf(b)), math.inf, scaled)


def logaddexp(x: Operand, y: Operand) -> Value:
    """`log(exp(x) + exp(y))` without overflow; integers as float32."""
    a, b = _ordered("logaddexp", x, y, to_float=True)
    ordered = greater(a, b)
    big, small = where(ordered, a, b), where(ordered, b, a)
    endless = logical_and(equal(a, b), isinf(big))  # inf - inf would be NaN
    gap = where(endless, 0, subtract(small, big))
    return add(big, log1p(exp(gap)))


def xlogy(x: Operand, y: Operand) -> Value:
    """`x * log(y)`, 0 where `x` is 0 (NaN stays NaN); integers as float32."""
    a, b = unify("xlogy", x, y, to_float=True)
    empty = logical_and(equal(a, 0), logical_not(isnan(b)))
    # log sees 1 there, so that no infinity reaches the gradient
    return where(empty, 0, multiply(a, log(where(empty, 1, b))))


def copysign(x: Operand, y: Operand) -> Value:
    """The magnitude of `x` with the sign bit of `y`, zeros included; integers as float32."""
    a, b = _ordered("copysign", x, y, to_float=True)
    return where(signbit(b), negative(abs(a)), abs(a))


def signbit(x: Operand) -> Value:
    """Whether the sign is negative; true for -0.0, and for a NaN with its sign bit set."""
    (value,) = _ordered("signbit", x)
    if not value.dtype.is_float:
        return less(value, 0) if value.dtype.is_integer else zeros_like(value)
    return less(bitcast(value, f"int{value.dtype.bits}"), 0)


def _cube(x: Value) -> Value:
    return multiply(square(x), x)


def _fourth(x: Value) -> Value:
    return square(square(x))


_POWERS = {2.0: square, 3.0: _cube, 4.0: _fourth, 0.5: sqrt, -0.5: rsqrt, -1.0: reciprocal}


def _max_left(site: Site, g: Value) -> Value:
    a, b = site.inputs
    return where(equal(a, b), multiply(g, 0.5), where(less(a, b), zeros_like(g), g))


def _max_right(site: Site, g: Value) -> Value:
    a, b = site.inputs
    return where(equal(a, b), multiply(g, 0.5), where(less(b, a), zeros_like(g), g))


def _mod_divisor(site: Site, g: Value) -> Value:
    return negative(multiply(g, floor_divide(*site.inputs)))


def _pow_base(site: Site, g: Value) -> Value:
    a, b = site.inputs
    slope = multiply(b, pow(a, subtract(b, 1)))
    return where(equal(b, 0), zeros_like(g), multiply(g, slope))


def _pow_exponent(site: Site, g: Value) -> Value:
    a, b = site.inputs
    flat = logical_and(equal(a, 0), greater_equal(real_part(b), 0))
    return where(flat, zeros_like(g), multiply(multiply(g, site.outputs[0]), log(a)))


def _atan2_y(site: Site, g: Value) -> Value:
    _, x, length = _direction(*site.inputs)
    return divide(multiply(g, x), length)


def _atan2_x(site: Site, g: Value) -> Value:
    y, _, length = _direction(*site.inputs)
    return negative(divide(multiply(g, y), length))


def _direction(y: Value, x: Value) -> tuple[Value, Value, Value]:
    """`y`, `x` and `(x² + y²) / m` in units of `m`, the larger of both, so that no square overflows
    or vanishes; 0, 0 and 1 at the origin, where the gradient is 0 as PyTorch's.
    """
    m = maximum(abs(x), abs(y))
    nowhere = equal(m, 0)
    m = stop_gradient(where(nowhere, 1, m))  # what follows is the same in any unit
    y, x = divide(y, m), divide(x, m)
    return y, x, where(nowhere, 1, multiply(add(square(x), square(y)), m))


def _identity(site: Site, g: Value) -> Value:
    return g


def _signed_samples() -> Sequence[Sample]:
    a, b = np.array([7, -7, 7, -7, 5, -128, 0]), np.array([3, 3, -3, -3, 0, -1, 0])
    return [Sample((a.astype(d), b.astype(d))) for d in (np.int8, np.int32, np.int64)]


def _special_samples() -> Sequence[Sample]:
    a, b = np.array([np.nan, 1.0, np.inf, -np.inf, 2.0]), np.array([1.0, np.nan, 3.0, 4.0, 2.0])
    return [Sample((a, b)), Sample((a.astype(np.float32), b.astype(np.float32)))]


FLOORDIV: Op = elementwise_op("floordiv", (None, None), low=1, high=4, samples=_signed_samples)
MOD: Op = elementwise_op("mod", (_identity, _mod_divisor), low=1, high=4, samples=_signed_samples)
POW: Op = elementwise_op("pow", (_pow_base, _pow_exponent), low=0.5, high=3)
MAX: Op = elementwise_op("max", (_max_left, _max_right), samples=_special_samples)
MIN: Op = elementwise_op("min", (_max_right, _max_left), samples=_special_samples)
ATAN2: Op = elementwise_op("atan2", (_atan2_y, _atan2_x))

RECORDS: tuple[Op, ...] = (FLOORDIV, MOD, POW, MAX, MIN, ATAN2)
