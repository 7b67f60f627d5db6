"""Transcendental functions of complex numbers by real ones of their parts, `a` and `b`.

A formula holds for finite parts; where it multiplies 0 by infinity, and where a factor overflows
though the product does not, the value is chosen after C99's annex G, as the array API standard
wants and the NumPy references give.

Source: Kahan, Branch cuts for complex elementary functions, 1987; C99, annex G.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from pellucid import ops
from pellucid.graph.ir import Value


class Parts(NamedTuple):
    """A complex value as its real and its imaginary part, two real values of one type."""

    real: Value
    imag: Value


_NEAR = 0.5  # the distance from 0 up to which there would be cancellation
_LARGE = 20.0  # where e^-2a is nothing beside 1 in float64, and e^a still far from overflowing


def exp(z: Parts) -> Parts:
    """`e^a (cos b + i sin b)`, as two factors, since `e^a` may overflow where the product does
    not.
    """
    a, b = z
    half = ops.exp(ops.multiply(a, 0.5))
    real, imag = (ops.multiply(ops.multiply(half, turn), half) for turn in (ops.cos(b), ops.sin(b)))
    lost = ops.logical_not(ops.isfinite(b))
    low = ops.logical_and(lost, ops.equal(a, -math.inf))
    high = ops.logical_and(lost, ops.equal(a, math.inf))
    real = ops.where(low, 0, ops.where(high, math.inf, real))
    end = ops.where(ops.less(b, 0), -0.0, 0.0)
    return Parts(real, ops.where(low, end, ops.where(ops.equal(b, 0), b, imag)))


def sinh(z: Parts) -> Parts:
    """`sinh a cos b + i cosh a sin b`."""
    a, b = z
    lost = ops.logical_not(ops.isfinite(b))
    real = _odd_times(a, ops.cos(b))
    real = ops.where(ops.logical_and(lost, ops.equal(a, 0)), a, real)
    real = ops.where(ops.logical_and(lost, ops.isinf(a)), math.inf, real)
    imag = _even_times(a, ops.sin(b))
    return Parts(real, ops.where(ops.equal(b, 0), b, imag))


def cosh(z: Parts) -> Parts:
    """`cosh a cos b + i sinh a sin b`."""
    a, b = z
    lost = ops.logical_not(ops.isfinite(b))
    real = ops.where(ops.logical_and(lost, ops.isinf(a)), math.inf, _even_times(a, ops.cos(b)))
    imag = ops.where(ops.logical_and(lost, ops.equal(a, 0)), 0, _odd_times(a, ops.sin(b)))
    flat = ops.where(ops.signbit(a), ops.negative(b), b)
    return Parts(real, ops.where(ops.equal(b, 0), flat, imag))


def _odd_times(a: Value, turn: Value) -> Value:
    """`sinh a` times a sine or cosine; in two factors where it is large."""
    half = ops.exp(ops.multiply(ops.abs(a), 0.5))
    far = ops.multiply(ops.multiply(ops.multiply(half, 0.5), turn), half)
    far = ops.where(ops.less(a, 0), ops.negative(far), far)
    return ops.where(ops.greater(ops.abs(a), _LARGE), far, ops.multiply(ops.sinh(a), turn))


def _even_times(a: Value, turn: Value) -> Value:
    """`cosh a` times a sine or cosine; in two factors where it is large."""
    half = ops.exp(ops.multiply(ops.abs(a), 0.5))
    far = ops.multiply(ops.multiply(ops.multiply(half, 0.5), turn), half)
    return ops.where(ops.greater(ops.abs(a), _LARGE), far, ops.multiply(ops.cosh(a), turn))


def sin(z: Parts) -> Parts:
    """`-i sinh(iz)`."""
    turned = sinh(_times_i(z))
    return Parts(turned.imag, ops.negative(turned.real))


def cos(z: Parts) -> Parts:
    """`cosh(iz)`."""
    return cosh(_times_i(z))


def tan(z: Parts) -> Parts:
    """`-i tanh(iz)`."""
    turned = tanh(_times_i(z))
    return Parts(turned.imag, ops.negative(turned.real))


def _times_i(z: Parts) -> Parts:
    return Parts(ops.negative(z.imag), z.real)


def tanh(z: Parts) -> Parts:
    """With `t = tan b` and `s = sinh a`: `(sqrt(1 + s²) s (1 + t²) + i t) / (1 + s² (1 + t²))`."""
    a, b = z
    far = ops.greater(ops.abs(a), _LARGE)
    near = ops.where(far, 0, a)  # so that no square overflows
    slope, wave = ops.tan(b), ops.sinh(near)
    steep = ops.add(ops.square(slope), 1)
    square = ops.square(wave)
    length = ops.add(ops.multiply(steep, square), 1)
    grown = ops.multiply(ops.multiply(steep, wave), ops.sqrt(ops.add(square, 1)))
    sign = ops.copysign(ops.where(ops.logical_or(ops.isfinite(b), ops.isinf(a)), 1.0, math.nan), a)
    # the imaginary part dies away as 4 sin b cos b e^-2a, 0 of its own sign at infinity
    tail = ops.multiply(ops.multiply(ops.sin(b), ops.cos(b)), 4)
    tail = ops.multiply(tail, ops.exp(ops.multiply(ops.abs(a), -2)))
    ended = ops.where(ops.isfinite(b), ops.copysign(0, b), 0)
    tail = ops.where(ops.isinf(a), ended, tail)
    still = ops.equal(a, 0)
    real = ops.where(still, a, ops.where(far, sign, ops.divide(grown, length)))
    imag = ops.where(far, tail, ops.divide(slope, length))
    return Parts(real, ops.where(ops.equal(b, 0), b, imag))


def log(z: Parts) -> Parts:
    """`log |z| + i atan2(b, a)`; near `|z| = 1` by `log1p`, since `log` there keeps few digits."""
    a, b = z
    x, y = ops.abs(a), ops.abs(b)
    big, small = ops.maximum(x, y), ops.minimum(x, y)
    near = ops.logical_and(ops.greater(big, 0.5), ops.less(big, 2))
    m, n = ops.where(near, big, 1), ops.where(near, small, 0)
    excess = ops.add(ops.multiply(ops.subtract(m, 1), ops.add(m, 1)), ops.square(n))
    close = ops.multiply(ops.log1p(excess), 0.5)
    return Parts(ops.where(near, close, ops.log(ops.hypot(a, b))), ops.atan2(b, a))


def _log_to(base: float) -> Callable[[Parts], Parts]:
    factor = 1 / math.log(base)
    return lambda z: Parts(*(ops.multiply(part, factor) for part in log(z)))


def sqrt(z: Parts) -> Parts:
    """`t + i b / 2t` for the `t` with `2 t² = |a| + |z|`; turned by a quarter for `a < 0`."""
    a, b = z
    x, y = ops.multiply(ops.abs(a), 0.125), ops.multiply(b, 0.125)
    # of an eighth, so that no sum overflows
    t = ops.multiply(ops.sqrt(ops.add(x, ops.hypot(x, y))), 2)
    nothing = ops.equal(t, 0)
    other = ops.divide(ops.multiply(ops.abs(b), 0.5), ops.where(nothing, 1, t))
    left = ops.less(a, 0)
    real, imag = ops.where(left, other, t), ops.where(left, t, other)
    endless = ops.isinf(b)
    level = ops.logical_and(ops.isinf(a), ops.isfinite(b))  # along the real axis
    real = ops.where(endless, math.inf, ops.where(ops.logical_and(level, left), 0, real))
    imag = ops.where(ops.logical_and(level, ops.logical_not(left)), 0, imag)
    imag = ops.where(endless, math.inf, imag)
    return Parts(real, ops.copysign(imag, b))


def expm1(z: Parts) -> Parts:
    """`exp(z) - 1`; near 0 by `expm1(a) cos b - 2 sin²(b / 2) + i exp(a) sin b`."""
    near = ops.logical_and(ops.less(ops.abs(z.real), _NEAR), ops.isfinite(z.imag))
    a, b = ops.where(near, z.real, 0), ops.where(near, z.imag, 0)
    half = ops.sin(ops.multiply(b, 0.5))
    grown = ops.add(ops.multiply(ops.expm1(a), ops.cos(b)), 0.0)  # +0 of -0, as the standard has it
    real = ops.subtract(grown, ops.multiply(ops.square(half), 2))
    imag = ops.multiply(ops.exp(a), ops.sin(b))
    far = exp(z)
    real = ops.where(near, real, ops.subtract(far.real, 1))
    return Parts(real, ops.where(near, ops.where(ops.equal(b, 0), b, imag), far.imag))


def log1p(z: Parts) -> Parts:
    """`log(1 + z)`; near 0 with the real part `log1p(2a + a² + b²) / 2`."""
    a, b = z
    near = ops.less(ops.maximum(ops.abs(a), ops.abs(b)), _NEAR)
    x, y = ops.where(near, a, 0), ops.where(near, b, 0)
    excess = ops.add(ops.multiply(x, ops.add(x, 2)), ops.square(y))
    far = log(Parts(ops.add(a, 1), b))
    return Parts(ops.where(near, ops.multiply(ops.log1p(excess), 0.5), far.real), far.imag)


def exp2(z: Parts) -> Parts:
    """`exp(z log 2)`."""
    return exp(Parts(*(ops.multiply(part, math.log(2)) for part in z)))


FUNCTIONS: Mapping[str, Callable[[Parts], Parts]] = MappingProxyType({
    "exp": exp, "log": log, "log2": _log_to(2), "log10": _log_to(10), "sqrt": sqrt,
    "sin": sin, "cos": cos, "tan": tan, "sinh": sinh, "cosh": cosh, "tanh": tanh,
    "expm1": expm1, "log1p": log1p, "exp2": exp2,
})  # fmt: skip
"""The functions by the name of the record."""
