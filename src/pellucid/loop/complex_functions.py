"""Scalar functions of complex numbers where NumPy's own are missing or inexact.

Enters and leaves: complex arrays. The rest of the functions on complex numbers are NumPy's, which
follow C99's annex G, as the array API standard does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_NEAR = 0.5  # the distance from 0 up to which there would be cancellation


def pair(real: Array, imag: Array) -> Array:
    """The complex numbers of these parts, each bit of which is kept (`a + 1j * b` loses some)."""
    result = np.empty(np.broadcast_shapes(real.shape, imag.shape), np.result_type(real, 1j))
    result.real, result.imag = real, imag
    return result


def expm1(z: Array) -> Array:
    """`exp(z) - 1` without cancellation near 0; the special values are the standard's.

    With `z = a + bi`, the real part is `expm1(a) cos b - 2 sin²(b / 2)`.
    """
    near = (abs(z.real) < _NEAR) & np.isfinite(z.imag)
    a, b = np.where(near, z.real, 0), np.where(near, z.imag, 0)
    half = np.sin(b / 2)
    real = np.expm1(a) * np.cos(b) - 2 * half * half + 0  # +0 of -0, as the standard has it
    far = np.exp(z)
    return pair(np.where(near, real, far.real - 1), np.where(near, np.exp(a) * np.sin(b), far.imag))


def log1p(z: Array) -> Array:
    """`log(1 + z)` without cancellation near 0: the real part is `log1p(2a + a² + b²) / 2`."""
    a, b = z.real, z.imag
    near = np.maximum(abs(a), abs(b)) < _NEAR
    x, y = np.where(near, a, 0), np.where(near, b, 0)
    real = np.log1p(x * (2 + x) + y * y) / 2
    far = np.log(pair(a + 1, b))  # z + 1 would lose the sign of a zero
    return pair(np.where(near, real, far.real), np.where(near, np.arctan2(b, a + 1), far.imag))


def exp2(z: Array) -> Array:
    """`exp(z log 2)`."""
    factor = z.real.dtype.type(math.log(2.0))
    return np.asarray(np.exp(pair(z.real * factor, z.imag * factor)))


def tanh(z: Array) -> Array:
    """Hyperbolic tangent; at an infinite real part the imaginary part is 0 of its own sign.

    C99 gives it the sign of `sin 2b` there, the array API standard that of `b`.
    """
    made = np.tanh(z)
    far = np.isinf(z.real) & np.isfinite(z.imag)
    return pair(made.real, np.where(far, np.copysign(np.zeros_like(z.imag), z.imag), made.imag))


def tan(z: Array) -> Array:
    """`-i tanh(iz)`, as the array API standard has it."""
    made = tanh(pair(-z.imag, z.real))
    return pair(made.imag, -made.real)
