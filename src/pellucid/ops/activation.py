"""Activations, as compositions whose values and gradients are finite wherever the function is.

At corners the derivatives are PyTorch's.
"""

from __future__ import annotations

import math
from typing import Literal

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import normalize_axis
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add, divide, multiply, negative
from pellucid.ops.comparison import greater, greater_equal, less_equal, where
from pellucid.ops.movement import split
from pellucid.ops.promotion import floating
from pellucid.ops.unary import abs, erf, exp, expm1, log1p, tanh

_SQRT_HALF = math.sqrt(0.5)
_SQRT_TWO_OVER_PI = math.sqrt(2.0 / math.pi)


def relu(x: Value) -> Value:
    """`max(x, 0)`; NaN stays NaN. Gradient: 0 at 0."""
    return where(less_equal(x, 0), 0, x)


def relu6(x: Value) -> Value:
    """`min(max(x, 0), 6)`. Gradient: 0 at both bounds."""
    return hardtanh(x, 0, 6)


def leaky_relu(x: Value, negative_slope: float = 0.01) -> Value:
    """`x` above 0, `negative_slope * x` elsewhere. Gradient: `negative_slope` at 0."""
    value = floating("leaky_relu", x)
    return where(greater(value, 0), value, multiply(value, negative_slope))


def elu(x: Value, alpha: float = 1.0) -> Value:
    """`x` above 0, `alpha * (exp(x) - 1)` elsewhere."""
    value = floating("elu", x)
    positive = greater(value, 0)
    # exp sees only x <= 0, so that no infinity reaches the gradient
    return where(positive, value, multiply(expm1(where(positive, 0, value)), alpha))


def selu(x: Value) -> Value:
    """The scaled `elu` that keeps mean 0 and variance 1 (Klambauer et al. 2017)."""
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    return multiply(elu(x, alpha), scale)


def sigmoid(x: Value) -> Value:
    """`1 / (1 + exp(-x))`, to full relative precision in both tails."""
    value = floating("sigmoid", x)
    positive = greater(value, 0)
    decay = exp(where(positive, negative(value), value))  # exp(-|x|) never overflows
    return divide(where(positive, 1, decay), add(decay, 1))


def log_sigmoid(x: Value) -> Value:
    """`log(sigmoid(x))` without underflow."""
    return negative(softplus(negative(floating("log_sigmoid", x))))


def softplus(x: Value) -> Value:
    """`log(1 + exp(x))` without overflow."""
    value = floating("softplus", x)
    positive = greater(value, 0)
    # where, not abs: its slope at 0 is 1, so that first and second derivatives are right there
    decay = exp(where(positive, negative(value), value))
    return add(where(positive, value, 0), log1p(decay))


def silu(x: Value) -> Value:
    """`x * sigmoid(x)`, also called swish."""
    value = floating("silu", x)
    return multiply(value, sigmoid(value))


def mish(x: Value) -> Value:
    """`x * tanh(softplus(x))`."""
    value = floating("mish", x)
    return multiply(value, tanh(softplus(value)))


def gelu(x: Value, approximate: Literal["none", "tanh"] = "none") -> Value:
    """`x` times the normal distribution function of `x` (Hendrycks and Gimpel 2016).

    Args:
        x: any float.
        approximate: `none` uses erf, `tanh` the paper's approximation.

    Raises:
        ArgumentError: another `approximate`.
    """
    value = floating("gelu", x)
    half = multiply(value, 0.5)
    if approximate == "none":
        return multiply(half, add(erf(multiply(value, _SQRT_HALF)), 1))
    if approximate != "tanh":
        operands = {"approximate": repr(approximate)}
        raise ArgumentError("gelu", "approximate must be 'none' or 'tanh'", operands=operands)
    cube = multiply(multiply(value, value), value)
    inner = multiply(add(value, multiply(cube, 0.044715)), _SQRT_TWO_OVER_PI)
    return multiply(half, add(tanh(inner), 1))


def hardtanh(x: Value, low: float = -1.0, high: float = 1.0) -> Value:
    """`x` held between `low` and `high`. Gradient: 0 at both bounds, unlike `clip`."""
    value = floating("hardtanh", x)
    return where(less_equal(value, low), low, where(greater_equal(value, high), high, value))


def hardsigmoid(x: Value) -> Value:
    """`min(max(x + 3, 0), 6) / 6`."""
    return divide(relu6(add(floating("hardsigmoid", x), 3)), 6)


def hardswish(x: Value) -> Value:
    """`x * hardsigmoid(x)`."""
    value = floating("hardswish", x)
    return multiply(value, hardsigmoid(value))


def softsign(x: Value) -> Value:
    """`x / (1 + |x|)`."""
    value = floating("softsign", x)
    return divide(value, add(abs(value), 1))


def glu(x: Value, axis: int = -1) -> Value:
    """The first half along `axis` times the sigmoid of the second (Dauphin et al. 2017).

    Raises:
        ShapeError: the axis has an odd size.
    """
    at = normalize_axis("glu", axis, x.shape)
    if x.shape[at] % 2:
        raise ShapeError(
            "glu", "the axis must have an even size", operands={"x": x.type, "axis": axis}
        )
    first, second = split(x, 2, at)
    return multiply(first, sigmoid(second))
