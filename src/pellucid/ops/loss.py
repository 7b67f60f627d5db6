"""Losses: how far predictions are from targets, as scalars or element by element."""

from __future__ import annotations

import math
from typing import Literal

from pellucid.core.dtype import int32, int64
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.core.shape import normalize_axis
from pellucid.graph.ir import Value
from pellucid.ops.activation import softplus
from pellucid.ops.arithmetic import add, divide, multiply, negative, square, subtract
from pellucid.ops.binary import clip, xlogy
from pellucid.ops.casting import astype
from pellucid.ops.comparison import (
    equal,
    greater_equal,
    less,
    logical_and,
    logical_not,
    not_equal,
    where,
)
from pellucid.ops.create import full_like, iota
from pellucid.ops.layout import expand_dims
from pellucid.ops.normalization import logsumexp
from pellucid.ops.promotion import floating
from pellucid.ops.reduction import sum
from pellucid.ops.shared import accumulator
from pellucid.ops.statistics import mean
from pellucid.ops.unary import abs

How = Literal["mean", "sum", "none"]


def cross_entropy(
    logits: Value,
    labels: Value,
    axis: int = -1,
    *,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: How = "mean",
) -> Value:
    """`-log(softmax(logits)[label])`, the softmax over `axis`.

    Args:
        logits: float, any shape.
        labels: integer class numbers, the shape of `logits` without `axis`; or float class
            probabilities, the shape of `logits`.
        axis: the classes' axis (PyTorch's is 1).
        label_smoothing: share of the target spread evenly over all classes.
        ignore_index: label of rows that do not count; any other label that is no class gives NaN,
            and the gradient of its row is NaN too.
        reduction: `mean` over the rows that count, `sum`, or `none`.

    Raises:
        ShapeError: the shapes do not fit.
        DTypeError: the labels are bools, or floats without the classes' axis.
        ArgumentError: `label_smoothing` is outside `[0, 1]`.
    """
    if not 0 <= label_smoothing <= 1:
        operands: dict[str, object] = {"label_smoothing": label_smoothing}
        raise ArgumentError("cross_entropy", "label_smoothing must be in [0, 1]", operands=operands)
    value = floating("cross_entropy", logits)
    wide = astype(value, accumulator(value.dtype))
    at = normalize_axis("cross_entropy", axis, wide.shape)
    normalizer = logsumexp(wide, at)
    if labels.dtype.is_float:
        if labels.rank < value.rank:
            operands = {"logits": logits.type, "labels": labels.type}
            rule, fix = "class labels must be integers", "cast them with .astype('int64')"
            raise DTypeError("cross_entropy", rule, operands=operands, fix=fix)
        return _soft_cross_entropy(value, wide, labels, at, label_smoothing, reduction)
    chosen, counts, sound = _pick(wide, labels, at, ignore_index, "cross_entropy")
    if label_smoothing:
        even = multiply(mean(wide, at), label_smoothing)
        chosen = add(multiply(chosen, 1.0 - label_smoothing), even)
    losses = where(counts, multiply(subtract(normalizer, chosen), sound), 0)
    return astype(_reduced(losses, reduction, counts), value.dtype)


def nll_loss(
    log_probs: Value,
    labels: Value,
    axis: int = -1,
    *,
    ignore_index: int = -100,
    reduction: How = "mean",
) -> Value:
    """`-log_probs[label]` along `axis`; as `cross_entropy` after a `log_softmax`.

    Raises:
        ShapeError: the shapes do not fit.
        DTypeError: the labels are not integers.
    """
    value = floating("nll_loss", log_probs)
    at = normalize_axis("nll_loss", axis, value.shape)
    chosen, counts, sound = _pick(value, labels, at, ignore_index, "nll_loss")
    losses = where(counts, multiply(negative(chosen), sound), 0)
    return _reduced(losses, reduction, counts)


def mse_loss(prediction: Value, target: Value, *, reduction: How = "mean") -> Value:
    """`(prediction - target)²`."""
    return _reduced(square(_difference("mse_loss", prediction, target)), reduction)


def mae_loss(prediction: Value, target: Value, *, reduction: How = "mean") -> Value:
    """`|prediction - target|`, also called L1 loss. Gradient: 0 where they are equal."""
    return _reduced(abs(_difference("mae_loss", prediction, target)), reduction)


def huber_loss(
    prediction: Value, target: Value, delta: float = 1.0, *, reduction: How = "mean"
) -> Value:
    """`d²/2` for distances `d` up to `delta`, `delta * (d - delta/2)` beyond (Huber 1964).

    Raises:
        ArgumentError: `delta` is not positive.
    """
    if delta <= 0:
        raise ArgumentError("huber_loss", "delta must be positive", operands={"delta": delta})
    away = _difference("huber_loss", prediction, target)
    # no `where` between two branches: a square that overflows gives NaN gradients, chosen or not
    near = clip(away, -delta, delta)
    far = subtract(abs(away), abs(near))
    return _reduced(add(multiply(square(near), 0.5), multiply(far, delta)), reduction)


def bce_with_logits(
    logits: Value,
    target: Value,
    pos_weight: Value | float | None = None,
    *,
    reduction: How = "mean",
) -> Value:
    """`-(t log s + (1 - t) log(1 - s))` with `s = sigmoid(logits)`, without overflow.

    Args:
        logits: float.
        target: probabilities, the shape of `logits`.
        pos_weight: factor of the first term, for unbalanced classes.
        reduction: `mean`, `sum` or `none`.
    """
    value = floating("bce_with_logits", logits)
    _check_same_shape("bce_with_logits", value, target)
    rest = multiply(subtract(1, target), value)
    tail = softplus(negative(value))
    if pos_weight is not None:
        tail = multiply(tail, add(multiply(target, subtract(pos_weight, 1)), 1))
    return _reduced(add(rest, tail), reduction)


def kl_div(log_probs: Value, target: Value, *, reduction: How = "mean") -> Value:
    """`target * (log(target) - log_probs)`, 0 where the target is 0.

    The target is probabilities; only `log_probs` is meant to be differentiated.
    """
    value = floating("kl_div", log_probs)
    _check_same_shape("kl_div", value, target)
    return _reduced(subtract(xlogy(target, target), multiply(target, value)), reduction)


def _difference(name: str, prediction: Value, target: Value) -> Value:
    _check_same_shape(name, prediction, target)
    return subtract(floating(name, prediction), target)


def _check_same_shape(name: str, prediction: Value, target: Value) -> None:
    # broadcasting here hides mistakes: [n] against [n, 1] would compare all pairs
    if prediction.shape != target.shape:
        operands: dict[str, object] = {"prediction": prediction.type, "target": target.type}
        fix = "reshape one to the other's shape"
        raise ShapeError(
            name, "prediction and target must have one shape", operands=operands, fix=fix
        )


def _pick(
    x: Value, labels: Value, axis: int, ignore_index: int, name: str
) -> tuple[Value, Value, Value]:
    """Per row: the entry its label names, whether it counts, and a factor for what it gives: 1, or
    NaN if it counts and its label is no class, so that values and gradients tell.

    A comparison and a sum instead of a gather: both fuse with the softmax around them.
    """
    operands: dict[str, object] = {"logits": x.type, "labels": labels.type}
    if not labels.dtype.is_integer:
        fix = "cast the labels to int64"
        raise DTypeError(name, "labels must be integers", operands=operands, fix=fix)
    if labels.shape != x.shape[:axis] + x.shape[axis + 1 :]:
        rule = f"labels must have the logits' shape without axis {axis}"
        raise ShapeError(name, rule, operands=operands)
    number = astype(labels, int64)
    real = logical_and(greater_equal(number, 0), less(number, x.shape[axis]))
    counts = not_equal(number, ignore_index)
    # a label that is no class stands for 0, so that there is an entry whose gradient can be NaN;
    # 32-bit positions keep pace with float32 lanes
    near = expand_dims(astype(where(real, number, 0), int32), axis)
    chosen = sum(where(equal(iota(x.shape, axis, int32), near), x, 0), axis)
    wrong = logical_and(counts, logical_not(real))
    return chosen, counts, where(wrong, full_like(chosen, math.nan), 1)


def _soft_cross_entropy(  # one caller, which has them at hand
    value: Value, wide: Value, target: Value, axis: int, smoothing: float, reduction: How
) -> Value:
    _check_same_shape("cross_entropy", value, target)
    goal = astype(target, wide.dtype)
    if smoothing:
        goal = add(multiply(goal, 1.0 - smoothing), smoothing / wide.shape[axis])
    log_probs = subtract(wide, logsumexp(wide, axis, keepdims=True))
    losses = negative(sum(multiply(goal, log_probs), axis))
    return astype(_reduced(losses, reduction), value.dtype)


def _reduced(losses: Value, how: How, counts: Value | None = None) -> Value:
    if how == "none":
        return losses
    if how == "sum":
        return sum(losses)
    if how != "mean":
        rule = "reduction must be 'mean', 'sum' or 'none'"
        raise ArgumentError("loss", rule, operands={"reduction": repr(how)})
    if counts is None:
        return mean(losses)
    return divide(sum(losses), sum(astype(counts, losses.dtype)))
