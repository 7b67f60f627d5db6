"""Softmax and its kin, and the normalisation layers' arithmetic.

All compute in float32 for narrower floats and round once. Statistics are taken in two passes, mean
and then centred squares, which a row kernel does while the row is in cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pellucid.core.errors import ShapeError
from pellucid.core.shape import Shape, normalize_axis
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add, divide, multiply, subtract
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.casting import astype
from pellucid.ops.comparison import equal, isinf, where
from pellucid.ops.identity import stop_gradient
from pellucid.ops.layout import reshape, squeeze
from pellucid.ops.promotion import floating
from pellucid.ops.reduction import Axis, max, sum
from pellucid.ops.shared import accumulator
from pellucid.ops.statistics import mean
from pellucid.ops.unary import exp, log, rsqrt


def softmax(x: Value, axis: int | Sequence[int] = -1) -> Value:
    """`exp(x) / sum(exp(x))` over `axis`; entries of -inf get 0, a row of only -inf is NaN.

    Args:
        x: of any shape; narrow floats are computed in float32, integers as float32.
        axis: one axis or several, over which the result adds up to 1.

    Returns:
        A value of the shape of `x`.

    Raises:
        AxisError: there is no such axis.
    """
    value = floating("softmax", x)
    if value.type.size == 0:
        return value
    wide = astype(value, accumulator(value.dtype))
    raised = exp(subtract(wide, stop_gradient(max(wide, axis, keepdims=True))))
    share = divide(1.0, sum(raised, axis, keepdims=True))  # one division a row, none an element
    return astype(multiply(raised, share), value.dtype)


def masked_softmax(x: Value, axis: int | Sequence[int] = -1) -> Value:
    """`softmax` where -inf means "takes no part": a row of only -inf is 0, as is its gradient."""
    value = floating("softmax", x)
    if value.type.size == 0:
        return value
    wide = astype(value, accumulator(value.dtype))
    top = stop_gradient(max(wide, axis, keepdims=True))
    raised = exp(subtract(wide, where(equal(top, -math.inf), 0, top)))
    total = sum(raised, axis, keepdims=True)  # 0 only for such rows: else the largest counts as 1
    share = divide(1.0, where(equal(total, 0), 1, total))
    return astype(multiply(raised, share), value.dtype)


def log_softmax(x: Value, axis: int | Sequence[int] = -1) -> Value:
    """`log(softmax(x))` without underflow; a row of only -inf is NaN."""
    value = floating("log_softmax", x)
    if value.type.size == 0:
        return value
    wide = astype(value, accumulator(value.dtype))
    shifted = subtract(wide, stop_gradient(max(wide, axis, keepdims=True)))
    return astype(subtract(shifted, log(sum(exp(shifted), axis, keepdims=True))), value.dtype)


def logsumexp(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """`log(sum(exp(x)))` without overflow; -inf for a row of only -inf or of nothing."""
    value = floating("logsumexp", x)
    if value.type.size == 0:
        return log(sum(value, axis, keepdims))
    wide = astype(value, accumulator(value.dtype))
    top = stop_gradient(max(wide, axis, keepdims=True))
    top = where(isinf(top), 0, top)  # inf - inf would be NaN
    total = add(log(sum(exp(subtract(wide, top)), axis, keepdims=True)), top)
    if not keepdims:
        total = reshape(total, sum(wide, axis).shape)
    return astype(total, value.dtype)


def layer_norm(
    x: Value,
    weight: Value | None = None,
    bias: Value | None = None,
    axis: int | Sequence[int] = -1,
    eps: float = 1e-5,
) -> Value:
    """`(x - mean) / sqrt(var + eps) * weight + bias`, statistics over `axis` (Ba et al. 2016).

    Args:
        x: any float.
        weight: scale of the normalised axes' shape (or one that broadcasts to `x`).
        bias: shift, likewise.
        axis: the normalised axes.
        eps: added to the variance, which is the biased one.
    """
    value = floating("layer_norm", x)
    wide = astype(value, accumulator(value.dtype))
    return astype(_affine(_standardized(wide, axis, eps), weight, bias), value.dtype)


def rms_norm(
    x: Value, weight: Value | None = None, axis: int | Sequence[int] = -1, eps: float = 1e-6
) -> Value:
    """`x / sqrt(mean(x²) + eps) * weight` over `axis` (Zhang and Sennrich 2019)."""
    value = floating("rms_norm", x)
    wide = astype(value, accumulator(value.dtype))
    power = mean(multiply(wide, wide), axis, keepdims=True)
    return astype(_affine(multiply(wide, rsqrt(add(power, eps))), weight, None), value.dtype)


def group_norm(
    x: Value,
    groups: int,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
) -> Value:
    """`layer_norm` over each group of channels, `x [N, C, ...]` (Wu and He 2018).

    One group per channel is instance normalisation.

    Raises:
        ShapeError: the channels do not divide into `groups`.
    """
    value = floating("group_norm", x)
    if value.rank < 2 or groups < 1 or value.shape[1] % groups:
        operands: dict[str, object] = {"x": x.type, "groups": groups}
        raise ShapeError("group_norm", "groups must divide the channels, axis 1", operands=operands)
    count, channels, *rest = value.shape
    wide = astype(value, accumulator(value.dtype))
    split = reshape(wide, (count, groups, channels // groups, *rest))
    normal = reshape(_standardized(split, tuple(range(2, split.rank)), eps), value.shape)
    scale, shift = (_per_channel(v, value, 1) for v in (weight, bias))
    return astype(_affine(normal, scale, shift), value.dtype)


def batch_norm(  # noqa: PLR0913  # the statistics, the affine part, and how
    x: Value,
    mean: Value,
    var: Value,
    weight: Value | None = None,
    bias: Value | None = None,
    *,
    axis: int = 1,
    eps: float = 1e-5,
) -> Value:
    """`(x - mean) / sqrt(var + eps) * weight + bias` with given statistics, one per channel.

    Args:
        x: any float.
        mean: `[C]`.
        var: `[C]`.
        weight: `[C]`.
        bias: `[C]`.
        axis: the channels' axis.
        eps: added to the variance.
    """
    value = floating("batch_norm", x)
    at = normalize_axis("batch_norm", axis, value.shape)
    wide = astype(value, accumulator(value.dtype))
    parts = (mean, add(var, eps), weight, bias)
    center, spread, scale, shift = (_per_channel(v, value, at) for v in parts)
    if center is None or spread is None:
        raise ShapeError("batch_norm", "needs statistics", operands={"x": x.type})
    normal = multiply(subtract(wide, center), rsqrt(spread))
    return astype(_affine(normal, scale, shift), value.dtype)


def batch_moments(x: Value, axis: int = 1) -> tuple[Value, Value]:
    """The mean and biased variance of each channel over all other axes, `[C]` each."""
    value = floating("batch_moments", x)
    at = normalize_axis("batch_moments", axis, value.shape)
    others = tuple(a for a in range(value.rank) if a != at)
    wide = astype(value, accumulator(value.dtype))
    center = mean(wide, others, keepdims=True)
    away = subtract(wide, center)
    return squeeze(center, others), mean(multiply(away, away), others)


def _standardized(x: Value, axis: Axis, eps: float) -> Value:
    away = subtract(x, mean(x, axis, keepdims=True))
    return multiply(away, rsqrt(add(mean(multiply(away, away), axis, keepdims=True), eps)))


def _affine(x: Value, weight: Value | None, bias: Value | None) -> Value:
    scaled = x if weight is None else multiply(x, weight)
    return scaled if bias is None else add(scaled, bias)


def _per_channel(v: Value | None, x: Value, axis: int) -> Value | None:
    if v is None:
        return None
    shape: Shape = tuple(x.shape[axis] if a == axis else 1 for a in range(x.rank))
    return reshape(broadcast_to(v, (x.shape[axis],)), shape)
