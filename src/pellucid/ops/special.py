"""Special functions beyond the elementary ones, composed so that values and gradients stay right
in the tails.

Narrow types are computed in float64 where sums cancel, and rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pellucid.core.dtype import complex128, float64
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add, divide, multiply, negative, reciprocal, square, subtract
from pellucid.ops.binary import copysign, maximum, minimum, pow, remainder, signbit, xlogy
from pellucid.ops.casting import astype
from pellucid.ops.comparison import (
    equal,
    greater,
    isfinite,
    isnan,
    less,
    logical_and,
    logical_not,
    logical_or,
    where,
)
from pellucid.ops.identity import stop_gradient
from pellucid.ops.promotion import Operand, floating, refuse_complex, unify
from pellucid.ops.unary import abs, erf, exp, exp2, log, log1p, round, sin, sqrt, tan, trunc

_SQRT_HALF = math.sqrt(0.5)
_TERMS = 40  # of the continued fraction of erfc: enough for float64 from 2 on
_SHIFT = 10  # from here on Stirling's series has float64's precision
# B(2k) / (2k (2k - 1)) and B(2k) / 2k, k = 1..6: of log gamma in 1/s^(2k-1), of digamma in 1/s^2k
_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760)


def cbrt(x: Operand) -> Value:
    """The cube root, of negative numbers too. Gradient: 0 at 0, where it would be infinite."""
    value = floating("cbrt", x)
    refuse_complex("cbrt", value)
    wide = astype(value, float64)
    plain = logical_or(equal(wide, 0), logical_not(isfinite(wide)))
    size = abs(where(plain, 1, wide))
    first = exp(divide(log(size), 3.0))
    # a step of Newton's method takes the error of exp and log away; derivatives do without it
    known = stop_gradient(first)
    step = divide(subtract(known, divide(stop_gradient(size), square(known))), 3.0)
    root = subtract(first, step)
    return astype(where(plain, wide, copysign(root, wide)), value.dtype)


def deg2rad(x: Operand) -> Value:
    """Degrees to radians."""
    return multiply(floating("deg2rad", x), math.pi / 180)


def rad2deg(x: Operand) -> Value:
    """Radians to degrees."""
    return multiply(floating("rad2deg", x), 180 / math.pi)


def sinc(x: Operand) -> Value:
    """`sin(pi x) / (pi x)`, 1 at 0. Gradient: 0 at 0."""
    value = floating("sinc", x)
    zero = equal(value, 0)
    angle = multiply(where(zero, 1, value), math.pi)
    return where(zero, 1, divide(sin(angle), angle))


def logit(x: Operand) -> Value:
    """`log(x / (1 - x))`, the inverse of `sigmoid`; NaN outside [0, 1]."""
    value = floating("logit", x)
    return subtract(log(value), log1p(negative(value)))


def xlog1py(x: Operand, y: Operand) -> Value:
    """`x * log1p(y)`, 0 where `x` is 0 and `y` is no NaN."""
    a, b = unify("xlog1py", x, y, to_float=True)
    zero = logical_and(equal(a, 0), logical_not(isnan(b)))
    return where(zero, 0, multiply(a, log1p(where(zero, 0, b))))


def entr(x: Operand) -> Value:
    """`-x log(x)`: 0 at 0, -inf below."""
    value = floating("entr", x)
    return where(less(value, 0), -math.inf, negative(xlogy(value, value)))


def logaddexp2(x: Operand, y: Operand) -> Value:
    """`log2(2**x + 2**y)`, without overflow."""
    a, b = unify("logaddexp2", x, y, to_float=True)
    same = equal(a, b)  # infinities too, whose difference is NaN
    gap = negative(abs(subtract(where(same, 0, a), where(same, 0, b))))
    return add(maximum(a, b), divide(log1p(exp2(gap)), math.log(2)))


def float_power(x: Operand, y: Operand) -> Value:
    """`x ** y` in float64, or complex128."""
    a, b = unify("float_power", x, y)
    wide = complex128 if a.dtype.is_complex else float64
    return pow(astype(a, wide), astype(b, wide))


def fmod(x: Operand, y: Operand) -> Value:
    """The remainder with the sign of `x`, as C's (`remainder` has that of `y`)."""
    a, b = unify("fmod", x, y)
    if a.dtype.kind in ("uint", "bool"):
        return remainder(a, b)
    refuse_complex("fmod", a)
    # of numbers below zero: the least integer has no positive twin, and -0.0 has a sign
    below = signbit(a) if a.dtype.is_float else less(a, 0)
    low = where(below, a, negative(a))
    rest = remainder(low, where(less(b, 0), b, negative(b)))
    return where(below, rest, negative(rest))


def heaviside(x: Operand, at_zero: Operand) -> Value:
    """0 below 0, 1 above, `at_zero` at 0; NaN stays."""
    a, b = unify("heaviside", x, at_zero, to_float=True)
    return where(isnan(a), a, where(equal(a, 0), b, where(greater(a, 0), 1, 0)))


def erfc(x: Operand) -> Value:
    """`1 - erf(x)`, with full relative precision where that cancels (13 digits in float64).

    Source: the continued fraction of Abramowitz and Stegun, 7.1.14.
    """
    value = floating("erfc", x)
    return astype(_erfc(astype(value, float64)), value.dtype)


def _erfc(x: Value) -> Value:
    size = abs(x)
    near = less(size, 2)
    tail = minimum(where(near, 2, size), 40.0)  # 0 from 27 on
    far = multiply(_gauss(tail), _scaled_tail(tail))
    upper = where(near, subtract(1, erf(where(near, size, 0))), far)
    return where(less(x, 0), subtract(2, upper), upper)


def erfcx(x: Operand) -> Value:
    """`exp(x**2) * erfc(x)`, without underflow."""
    value = floating("erfcx", x)
    wide = astype(value, float64)
    near = less(wide, 2)
    inner = where(near, wide, 0)
    left = multiply(exp(square(inner)), _erfc(inner))
    return astype(where(near, left, _scaled_tail(where(near, 2, wide))), value.dtype)


def _gauss(x: Value) -> Value:
    """`exp(-x**2)` without the rounding error of the square."""
    short = divide(trunc(multiply(stop_gradient(x), 16.0)), 16.0)
    rest = multiply(subtract(x, short), add(x, short))
    return multiply(exp(negative(square(short))), exp(negative(rest)))


def _scaled_tail(x: Value) -> Value:
    """`exp(x**2) * erfc(x)` for `x >= 2`."""
    fraction = x
    for k in range(_TERMS, 0, -1):
        fraction = add(x, divide(k / 2, fraction))
    return divide(1 / math.sqrt(math.pi), fraction)


def erfinv(x: Operand) -> Value:
    """Where `erf` is `x`: ±inf at ±1, NaN outside.

    Source: Winitzki's approximation (2008), two steps of Halley's method.
    """
    value = floating("erfinv", x)
    wide = astype(value, float64)
    inside = less(abs(wide), 1)
    safe = where(inside, wide, 0)
    size = abs(safe)
    root = _winitzki(stop_gradient(size))
    for _ in range(2):
        low = subtract(erf(root), size)
        high = subtract(subtract(1, size), _erfc(root))
        miss = where(less(size, 0.5), low, high)
        step = multiply(miss, multiply(exp(square(root)), math.sqrt(math.pi) / 2))
        root = subtract(root, divide(step, add(1, multiply(step, root))))
    found = where(less(safe, 0), negative(root), root)
    ends = multiply(wide, where(equal(abs(wide), 1), math.inf, math.nan))
    return astype(where(inside, found, stop_gradient(ends)), value.dtype)


def _winitzki(x: Value) -> Value:
    shape = 0.147
    fall = log1p(negative(square(x)))
    middle = add(divide(fall, 2.0), 2 / (math.pi * shape))
    return sqrt(subtract(sqrt(subtract(square(middle), divide(fall, shape))), middle))


def ndtr(x: Operand) -> Value:
    """The standard normal distribution: the probability of less than `x`."""
    value = floating("ndtr", x)
    wide = multiply(astype(value, float64), -_SQRT_HALF)
    return astype(multiply(_erfc(wide), 0.5), value.dtype)


def log_ndtr(x: Operand) -> Value:
    """`log(ndtr(x))`, finite far below 0."""
    value = floating("log_ndtr", x)
    wide = multiply(astype(value, float64), -_SQRT_HALF)
    below = greater(wide, 2)
    tail = where(below, wide, 2)
    far = subtract(log(multiply(_scaled_tail(tail), 0.5)), square(tail))
    inner = where(below, 0, wide)
    # towards 1, the other side's share is what has precision
    near = log1p(multiply(_erfc(negative(inner)), -0.5))
    return astype(where(below, far, near), value.dtype)


def lgamma(x: Operand) -> Value:
    """The logarithm of the gamma function's size; +inf at 0 and at negative integers.

    Source: Stirling's series, Euler's reflection (Abramowitz and Stegun, 6.1.17 and 6.1.41).
    """
    value = floating("lgamma", x)
    wide = astype(value, float64)
    finite = isfinite(wide)
    safe = where(finite, wide, 1)
    mirrored = less(safe, 0.5)
    above = _lgamma_right(where(mirrored, subtract(1, safe), safe))
    wave = abs(sin(multiply(subtract(safe, round(safe)), math.pi)))
    mirror = subtract(math.log(math.pi), log(where(mirrored, wave, 1)))
    found = where(mirrored, subtract(mirror, above), above)
    return astype(where(finite, found, abs(wide)), value.dtype)


def _lgamma_right(x: Value) -> Value:
    """`lgamma` from 0.5 on."""
    low = less(x, _SHIFT)
    start = where(low, x, 1)
    product = start
    for k in range(1, _SHIFT):
        product = multiply(product, add(start, k))
    shifted = where(low, add(start, _SHIFT), x)
    main = subtract(multiply(subtract(shifted, 0.5), log(shifted)), shifted)
    inverse = reciprocal(shifted)
    rest = multiply(_polynomial(_STIRLING, square(inverse)), inverse)
    stirling = add(add(main, 0.5 * math.log(2 * math.pi)), rest)
    return subtract(stirling, where(low, log(product), 0))


def digamma(x: Operand) -> Value:
    """The derivative of `lgamma`; -inf at 0, NaN at negative integers.

    Source: Abramowitz and Stegun, 6.3.6, 6.3.7 and 6.3.18.
    """
    value = floating("digamma", x)
    wide = astype(value, float64)
    mirrored = less(wide, 0.5)
    above = _digamma_right(where(mirrored, subtract(1, wide), wide))
    part = where(mirrored, subtract(wide, round(wide)), 0.25)
    pole = equal(part, 0)
    slope = divide(math.pi, tan(multiply(where(pole, 0.25, part), math.pi)))
    below = where(pole, where(equal(wide, 0), -math.inf, math.nan), subtract(above, slope))
    return astype(where(mirrored, below, above), value.dtype)


def _digamma_right(x: Value) -> Value:
    low = less(x, _SHIFT)
    start = where(low, x, 1)
    total = reciprocal(start)
    for k in range(1, _SHIFT):
        total = add(total, reciprocal(add(start, k)))
    shifted = where(low, add(start, _SHIFT), x)
    inverse = square(reciprocal(shifted))
    series = multiply(_polynomial(_DIGAMMA, inverse), inverse)
    main = subtract(log(shifted), add(divide(0.5, shifted), series))
    return subtract(main, where(low, total, 0))


def _polynomial(coefficients: Sequence[float], x: Value) -> Value:
    """`c0 + c1 x + c2 x**2 + …`, by Horner's rule."""
    result = multiply(x, coefficients[-1])
    for c in coefficients[-2:0:-1]:
        result = multiply(add(result, c), x)
    return add(result, coefficients[0])
