"""Functions of one number, and the derivatives that are theirs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import complex64, complex128
from pellucid.graph.ir import TensorType, Value, emit
from pellucid.graph.op import Op, Site
from pellucid.loop.compute import host_lowering
from pellucid.ops.arithmetic import add, apply_numeric, divide, multiply, negative, square, subtract
from pellucid.ops.comparison import equal, where
from pellucid.ops.parts import (
    check_complex,
    complex_of,
    conj,
    real_part,
    samples_of,
)
from pellucid.ops.pointwise import elementwise_op, output_cost
from pellucid.ops.promotion import Operand, floating, refuse_complex, unify

_LN2, _LN10 = math.log(2.0), math.log(10.0)
_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)


def abs(x: Operand) -> Value:
    """`|x|`, real for complex numbers; the least integer stays itself. Gradient: `sign(x)`, 0 at
    0.
    """
    (value,) = unify("abs", x)
    return emit(MAGNITUDE, value) if value.dtype.is_complex else apply_numeric(ABS, "abs", value)


def sign(x: Operand) -> Value:
    """-1, 0 or 1 after the sign of `x`; NaN for NaN; `x / |x|` for complex numbers, 0 at 0.

    Gradient: none (0) of a real `x`.
    """
    (value,) = unify("sign", x)
    if not value.dtype.is_complex:
        return apply_numeric(SIGN, "sign", value)
    length = abs(value)
    nowhere = equal(length, 0)
    # divided by 1 at 0, so that no infinity reaches the gradient
    return where(nowhere, 0, divide(value, where(nowhere, 1, length)))


def exp(x: Operand) -> Value:
    """E to the power `x`; integers as float32."""
    return emit(EXP, floating("exp", x))


def expm1(x: Operand) -> Value:
    """`exp(x) - 1` without cancellation near 0; integers as float32."""
    return emit(EXPM1, floating("expm1", x))


def exp2(x: Operand) -> Value:
    """2 to the power `x`; integers as float32."""
    return emit(EXP2, floating("exp2", x))


def log(x: Operand) -> Value:
    """Natural logarithm: -inf at 0, NaN below; integers as float32."""
    return emit(LOG, floating("log", x))


def log1p(x: Operand) -> Value:
    """`log(1 + x)` without cancellation near 0; integers as float32."""
    return emit(LOG1P, floating("log1p", x))


def log2(x: Operand) -> Value:
    """Logarithm to base 2; integers as float32."""
    return emit(LOG2, floating("log2", x))


def log10(x: Operand) -> Value:
    """Logarithm to base 10; integers as float32."""
    return emit(LOG10, floating("log10", x))


def sqrt(x: Operand) -> Value:
    """Square root, NaN below 0; integers as float32. Gradient: inf at 0."""
    return emit(SQRT, floating("sqrt", x))


def rsqrt(x: Operand) -> Value:
    """`1 / sqrt(x)`; integers as float32."""
    return emit(RSQRT, floating("rsqrt", x))


def sin(x: Operand) -> Value:
    """Sine of `x` in radians; integers as float32."""
    return emit(SIN, floating("sin", x))


def cos(x: Operand) -> Value:
    """Cosine of `x` in radians; integers as float32."""
    return emit(COS, floating("cos", x))


def tan(x: Operand) -> Value:
    """Tangent of `x` in radians; integers as float32."""
    return emit(TAN, floating("tan", x))


def asin(x: Operand) -> Value:
    """Inverse sine in radians, NaN outside [-1, 1]; integers as float32."""
    return emit(ASIN, floating("asin", x))


def acos(x: Operand) -> Value:
    """Inverse cosine in radians, NaN outside [-1, 1]; integers as float32."""
    return emit(ACOS, floating("acos", x))


def atan(x: Operand) -> Value:
    """Inverse tangent in radians; integers as float32."""
    return emit(ATAN, floating("atan", x))


def sinh(x: Operand) -> Value:
    """Hyperbolic sine; integers as float32."""
    return emit(SINH, floating("sinh", x))


def cosh(x: Operand) -> Value:
    """Hyperbolic cosine; integers as float32."""
    return emit(COSH, floating("cosh", x))


def tanh(x: Operand) -> Value:
    """Hyperbolic tangent; integers as float32."""
    return emit(TANH, floating("tanh", x))


def asinh(x: Operand) -> Value:
    """Inverse hyperbolic sine; integers as float32."""
    return emit(ASINH, floating("asinh", x))


def acosh(x: Operand) -> Value:
    """Inverse hyperbolic cosine, NaN below 1; integers as float32."""
    return emit(ACOSH, floating("acosh", x))


def atanh(x: Operand) -> Value:
    """Inverse hyperbolic tangent, NaN outside [-1, 1]; integers as float32."""
    return emit(ATANH, floating("atanh", x))


def erf(x: Operand) -> Value:
    """The error function; integers as float32."""
    return emit(ERF, floating("erf", x))


def floor(x: Operand) -> Value:
    """The largest integer not above `x`; integers unchanged. Gradient: none (0)."""
    return _rounded(FLOOR, "floor", x)


def ceil(x: Operand) -> Value:
    """The smallest integer not below `x`; integers unchanged. Gradient: none (0)."""
    return _rounded(CEIL, "ceil", x)


def round(x: Operand) -> Value:
    """The nearest integer, halves to even; integers unchanged. Gradient: none (0).

    Complex numbers: each part on its own.
    """
    return _rounded(ROUND, "round", x)


def trunc(x: Operand) -> Value:
    """`x` without its fraction; integers unchanged. Gradient: none (0)."""
    return _rounded(TRUNC, "trunc", x)


def _rounded(op: Op, name: str, x: Operand) -> Value:
    (value,) = unify(name, x)
    if op is not ROUND:
        refuse_complex(name, value)
    return emit(op, value) if value.dtype.is_inexact else value


def _by_output(site: Site, g: Value) -> Value:
    return multiply(g, site.outputs[0])


def _expm1(site: Site, g: Value) -> Value:
    return multiply(g, add(site.outputs[0], 1))


def _exp2(site: Site, g: Value) -> Value:
    return multiply(multiply(g, site.outputs[0]), _LN2)


def _log(site: Site, g: Value) -> Value:
    return divide(g, site.inputs[0])


def _log1p(site: Site, g: Value) -> Value:
    return divide(g, add(site.inputs[0], 1))


def _log2(site: Site, g: Value) -> Value:
    return divide(g, multiply(site.inputs[0], _LN2))


def _log10(site: Site, g: Value) -> Value:
    return divide(g, multiply(site.inputs[0], _LN10))


def _sqrt(site: Site, g: Value) -> Value:
    return divide(multiply(g, 0.5), site.outputs[0])


def _rsqrt(site: Site, g: Value) -> Value:
    y = site.outputs[0]
    return multiply(multiply(g, -0.5), multiply(y, square(y)))


def _sin(site: Site, g: Value) -> Value:
    return multiply(g, cos(site.inputs[0]))


def _cos(site: Site, g: Value) -> Value:
    return negative(multiply(g, sin(site.inputs[0])))


def _tan(site: Site, g: Value) -> Value:
    return multiply(g, add(square(site.outputs[0]), 1))


def _asin(site: Site, g: Value) -> Value:
    return multiply(g, rsqrt(subtract(1, square(site.inputs[0]))))


def _acos(site: Site, g: Value) -> Value:
    return negative(_asin(site, g))


def _atan(site: Site, g: Value) -> Value:
    return divide(g, add(square(site.inputs[0]), 1))


def _sinh(site: Site, g: Value) -> Value:
    return multiply(g, cosh(site.inputs[0]))


def _cosh(site: Site, g: Value) -> Value:
    return multiply(g, sinh(site.inputs[0]))


def _tanh(site: Site, g: Value) -> Value:
    return multiply(g, subtract(1, square(site.outputs[0])))


def _asinh(site: Site, g: Value) -> Value:
    return multiply(g, rsqrt(add(square(site.inputs[0]), 1)))


def _acosh(site: Site, g: Value) -> Value:
    x = site.inputs[0]
    if x.dtype.is_complex:  # one root of the product would lie on the other side left of 0
        return multiply(g, multiply(rsqrt(subtract(x, 1)), rsqrt(add(x, 1))))
    return multiply(g, rsqrt(subtract(square(x), 1)))


def _atanh(site: Site, g: Value) -> Value:
    return divide(g, subtract(1, square(site.inputs[0])))


def _erf(site: Site, g: Value) -> Value:
    return multiply(multiply(g, _TWO_OVER_SQRT_PI), exp(negative(square(site.inputs[0]))))


def _abs(site: Site, g: Value) -> Value:
    return multiply(g, sign(site.inputs[0]))


def _magnitude_type(x: TensorType) -> TensorType:
    check_complex("magnitude", x)
    return TensorType(x.shape, x.dtype.real)


def _magnitude_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    return (multiply(complex_of(g), sign(site.inputs[0])),)


def _magnitude_jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    return (None if t is None else real_part(multiply(conj(sign(site.inputs[0])), t)),)


MAGNITUDE: Op = Op(
    name="magnitude",
    doc="The length of complex numbers, as real ones. Primitive: no square in it overflows.",
    infer=_magnitude_type,
    reference=np.absolute,
    vjp=_magnitude_vjp,
    jvp=_magnitude_jvp,
    batch=lambda site, batched, size: (emit(MAGNITUDE, site.inputs[0]),),
    lower=host_lowering(np.absolute),
    cost=output_cost(1),
    samples=samples_of((complex64, complex128)),
)
ABS: Op = elementwise_op("abs", (_abs,))
SIGN: Op = elementwise_op("sign", (None,))
EXP: Op = elementwise_op("exp", (_by_output,))
EXPM1: Op = elementwise_op("expm1", (_expm1,))
EXP2: Op = elementwise_op("exp2", (_exp2,))
LOG: Op = elementwise_op("log", (_log,), low=0.25, high=4)
LOG1P: Op = elementwise_op("log1p", (_log1p,), low=-0.5, high=4)
LOG2: Op = elementwise_op("log2", (_log2,), low=0.25, high=4)
LOG10: Op = elementwise_op("log10", (_log10,), low=0.25, high=4)
SQRT: Op = elementwise_op("sqrt", (_sqrt,), low=0.25, high=4)
RSQRT: Op = elementwise_op("rsqrt", (_rsqrt,), low=0.25, high=4)
SIN: Op = elementwise_op("sin", (_sin,))
COS: Op = elementwise_op("cos", (_cos,))
TAN: Op = elementwise_op("tan", (_tan,), low=-1, high=1)
ASIN: Op = elementwise_op("asin", (_asin,), low=-0.75, high=0.75)
ACOS: Op = elementwise_op("acos", (_acos,), low=-0.75, high=0.75)
ATAN: Op = elementwise_op("atan", (_atan,))
SINH: Op = elementwise_op("sinh", (_sinh,))
COSH: Op = elementwise_op("cosh", (_cosh,))
TANH: Op = elementwise_op("tanh", (_tanh,))
ASINH: Op = elementwise_op("asinh", (_asinh,))
ACOSH: Op = elementwise_op("acosh", (_acosh,), low=1.25, high=4)
ATANH: Op = elementwise_op("atanh", (_atanh,), low=-0.75, high=0.75)
ERF: Op = elementwise_op("erf", (_erf,))
FLOOR: Op = elementwise_op("floor", (None,))
CEIL: Op = elementwise_op("ceil", (None,))
ROUND: Op = elementwise_op("round", (None,))
TRUNC: Op = elementwise_op("trunc", (None,))

RECORDS: tuple[Op, ...] = (
    ABS, MAGNITUDE, SIGN, EXP, EXPM1, EXP2, LOG, LOG1P, LOG2, LOG10, SQRT, RSQRT, SIN, COS, TAN,
    ASIN, ACOS, ATAN, SINH, COSH, TANH, ASINH, ACOSH, ATANH, ERF, FLOOR, CEIL, ROUND, TRUNC,
)  # fmt: skip
