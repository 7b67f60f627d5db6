"""Functions of complex numbers: their parts, their angle, and numbers made of parts."""

from __future__ import annotations

import math

from pellucid.graph.ir import Value
from pellucid.ops import parts
from pellucid.ops.binary import atan2
from pellucid.ops.casting import astype
from pellucid.ops.comparison import isnan, less, where
from pellucid.ops.create import zeros_like
from pellucid.ops.promotion import Operand, refuse_bool, refuse_complex, unify


def real(x: Operand) -> Value:
    """The real part; a real `x` itself.

    Gradient: of a real loss by `a + bi`, here and everywhere, `dL/da + i dL/db`, as PyTorch's.
    """
    return parts.real_part(_number("real", x))


def imag(x: Operand) -> Value:
    """The imaginary part; zeros for a real `x`."""
    return parts.imag_part(_number("imag", x))


def conj(x: Operand) -> Value:
    """The complex conjugate, `a - bi` of `a + bi`; a real `x` itself."""
    return parts.conj(_number("conj", x))


def angle(x: Operand) -> Value:
    """The angle with the positive real axis in radians, in [-pi, pi]; integers as float32.

    Gradient: 0 at 0.
    """
    (value,) = unify("angle", x, to_float=True)
    if value.dtype.is_complex:
        return atan2(parts.imag_part(value), parts.real_part(value))
    turned = where(less(value, 0), math.pi, zeros_like(value))
    return where(isnan(value), value, turned)


def complex(real: Operand, imag: Operand) -> Value:
    """`real + i imag`: complex64 of anything up to float32, complex128 of float64.

    Raises:
        DTypeError: an operand is complex.
    """
    values = unify("complex", real, imag, to_float=True)
    refuse_complex("complex", *values)
    dtype = values[0].dtype.complex.real
    return parts.make_complex(*(astype(v, dtype) for v in values))


def _number(name: str, x: Operand) -> Value:
    (value,) = unify(name, x)
    refuse_bool(name, (value,))
    return value
