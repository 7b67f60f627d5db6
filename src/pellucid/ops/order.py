"""Order statistics: medians, quantiles, ranges, by sorting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from pellucid.core.dtype import float64, int64
from pellucid.core.errors import ArgumentError
from pellucid.core.shape import normalize_axes, size_of
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add, multiply, subtract
from pellucid.ops.binary import clip
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.casting import astype
from pellucid.ops.comparison import equal, isnan, logical_not, where
from pellucid.ops.create import constant
from pellucid.ops.layout import expand_dims, moveaxis, reshape
from pellucid.ops.promotion import Operand, floating
from pellucid.ops.reduction import Axis, any, max, min, nothing_to_choose, sum
from pellucid.ops.sort_values import sort
from pellucid.ops.take import take_along_axis
from pellucid.ops.unary import ceil, floor, round

Method = Literal["linear", "lower", "higher", "nearest", "midpoint"]
Fractions = float | Sequence[float] | Value
_METHODS = ("linear", "lower", "higher", "nearest", "midpoint")


def quantile(
    x: Operand,
    q: Fractions,
    axis: Axis = None,
    keepdims: bool = False,
    method: Method = "linear",
) -> Value:
    """Values below which the fractions `q` of the elements along `axis` lie.

    Args:
        x: numbers; integers as float32.
        q: one fraction in [0, 1] or an array of them, whose axes come first in the result.
        axis: one or several axes; all by default.
        keepdims: keep these with length 1.
        method: what lies between two elements: a straight line, the lower, the higher, the nearer
            one (the even position at a tie) or their mean.

    NaN where there is one among the elements. Gradient: to the elements that were chosen.

    Raises:
        ArgumentError: a fraction is outside [0, 1], or the method is unknown.
        ShapeError: there is nothing to choose from.
    """
    return _quantile("quantile", x, q, axis, keepdims, method)


def nanquantile(
    x: Operand,
    q: Fractions,
    axis: Axis = None,
    keepdims: bool = False,
    method: Method = "linear",
) -> Value:
    """`quantile` of what is no NaN; NaN where all is."""
    return _quantile("nanquantile", x, q, axis, keepdims, method)


def percentile(
    x: Operand,
    q: Fractions,
    axis: Axis = None,
    keepdims: bool = False,
    method: Method = "linear",
) -> Value:
    """`quantile` with hundredths for fractions."""
    return _quantile("percentile", x, _hundredths(q), axis, keepdims, method)


def nanpercentile(
    x: Operand,
    q: Fractions,
    axis: Axis = None,
    keepdims: bool = False,
    method: Method = "linear",
) -> Value:
    """`nanquantile` with hundredths for fractions."""
    return _quantile("nanpercentile", x, _hundredths(q), axis, keepdims, method)


def median(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """The middle element, or the mean of both in the middle (PyTorch's is the lower one)."""
    return _quantile("median", x, 0.5, axis, keepdims, "linear")


def nanmedian(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """`median` of what is no NaN; NaN where all is."""
    return _quantile("nanmedian", x, 0.5, axis, keepdims, "linear")


def ptp(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """Greatest less least element ("peak to peak")."""
    return subtract(max(x, axis, keepdims), min(x, axis, keepdims))


def _hundredths(q: Fractions) -> Fractions:
    if isinstance(q, Value):
        return multiply(astype(q, float64), 0.01)
    return np.divide(q, 100.0).tolist()  # type: ignore[no-any-return]  # a float or nested lists


def _quantile(
    name: str, x: Operand, q: Fractions, axis: Axis, keepdims: bool, method: Method
) -> Value:
    value = floating(name, x)
    axes = normalize_axes(name, axis, value.shape)
    if not size_of([value.shape[a] for a in axes]):
        raise nothing_to_choose(name, value.type, axes)
    fractions = _fractions(name, q, method)
    rows = _rows(value, axes)
    ordered = sort(rows, axis=-1)  # NaN last
    missing = isnan(rows)
    count = sum(astype(logical_not(missing), int64), -1, keepdims=True)
    positions = multiply(astype(subtract(count, 1), float64), reshape(fractions, (-1,)))
    found = _between(ordered, positions, method)  # [kept axes, fractions]
    if not name.startswith("nan"):
        found = where(any(missing, -1, keepdims=True), math.nan, found)
    return _placed(found, fractions, value, axes, keepdims)


def _fractions(name: str, q: Fractions, method: str) -> Value:
    if method not in _METHODS:
        raise ArgumentError(name, f"method must be one of {_METHODS}", operands={"it": method})
    if isinstance(q, Value):
        return astype(q, float64)
    given = np.asarray(q, np.float64)
    if not np.all((given >= 0) & (given <= 1)):
        raise ArgumentError(name, "fractions must be in [0, 1]", operands={"q": q})
    return constant(given)


def _rows(x: Value, axes: Sequence[int]) -> Value:
    """The axes as one, at the end."""
    kept = [n for a, n in enumerate(x.shape) if a not in axes]
    last = moveaxis(x, axes, range(len(kept), x.rank)) if axes else expand_dims(x, -1)
    return reshape(last, (*kept, size_of([x.shape[a] for a in axes])))


def _between(ordered: Value, positions: Value, method: Method) -> Value:
    """What stands at positions that are no whole numbers."""
    if method == "nearest":
        return _at(ordered, round(positions))
    if method in ("lower", "higher"):
        return _at(ordered, floor(positions) if method == "lower" else ceil(positions))
    below = floor(positions)
    low, high = _at(ordered, below), _at(ordered, ceil(positions))
    share = subtract(positions, below)
    if method == "midpoint":
        share = multiply(ceil(share), 0.5)
    weight = astype(share, ordered.dtype)
    step = multiply(subtract(high, low), weight)
    # beside an infinity, an element itself is still itself
    return where(equal(weight, 0), low, add(low, step))


def _at(ordered: Value, positions: Value) -> Value:
    last = ordered.shape[-1] - 1
    shape = (*ordered.shape[:-1], positions.shape[-1])
    places = broadcast_to(astype(clip(positions, 0, last), int64), shape)
    return take_along_axis(ordered, places, -1)


def _placed(found: Value, fractions: Value, x: Value, axes: Sequence[int], keepdims: bool) -> Value:
    """The fractions' axes in front, the reduced ones kept with length 1 or not."""
    first = moveaxis(found, -1, 0)
    rest = [1 if a in axes else n for a, n in enumerate(x.shape)]
    kept = rest if keepdims else [n for a, n in enumerate(x.shape) if a not in axes]
    return reshape(first, (*fractions.shape, *kept))
