"""Weighted means, covariances and counts: what describes samples."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.dtype import int64
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import normalize_axes
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add, divide, multiply, subtract
from pellucid.ops.binary import clip, minimum
from pellucid.ops.casting import astype
from pellucid.ops.comparison import equal, greater_equal, less_equal, logical_and, where
from pellucid.ops.contraction import matmul, outer
from pellucid.ops.create import iota, ones_like, zeros
from pellucid.ops.einsum import diagonal
from pellucid.ops.index import scatter_add
from pellucid.ops.join import concatenate
from pellucid.ops.layout import matrix_transpose, reshape
from pellucid.ops.movement import flip, slice_axis
from pellucid.ops.parts import conj, imag_part, make_complex, real_part
from pellucid.ops.promotion import Operand, floating, unify
from pellucid.ops.reduction import Axis, max, min, sum
from pellucid.ops.search import searchsorted
from pellucid.ops.stacking import atleast_2d, ravel
from pellucid.ops.statistics import mean
from pellucid.ops.unary import sqrt


def average(
    x: Operand, axis: Axis = None, weights: Value | None = None, keepdims: bool = False
) -> Value:
    """The mean over `axis`, where elements count as much as `weights` say.

    Args:
        x: numbers; integers as float32.
        axis: one or several axes; all by default.
        weights: of `x`'s shape, or one per position of a single axis.
        keepdims: keep the axes with length 1.

    Raises:
        ShapeError: the weights do not fit.
    """
    if weights is None:
        return mean(x, axis, keepdims)
    (value,) = unify("average", x, to_float=True)
    axes = normalize_axes("average", axis, value.shape)
    shares = _spread_weights(value, weights, axes)
    scaled, counts = unify("average", multiply(value, shares), shares)
    return divide(sum(scaled, axes, keepdims=keepdims), sum(counts, axes, keepdims=keepdims))


def _spread_weights(x: Value, weights: Value, axes: Sequence[int]) -> Value:
    if weights.shape == x.shape:
        return weights
    if weights.rank != 1 or len(axes) != 1 or weights.shape[0] != x.shape[axes[0]]:
        operands: dict[str, object] = {"x": x.type, "weights": weights.type}
        rule = "weights must have x's shape, or be one per position of the axis"
        raise ShapeError("average", rule, operands=operands)
    return reshape(weights, [n if a == axes[0] else 1 for a, n in enumerate(x.shape)])


def cov(x: Value, rowvar: bool = True, correction: float = 1.0) -> Value:
    """The covariance matrix of variables, `[n, n]`; the second of each two is conjugated.

    Args:
        x: one variable per row, `[n, samples]`, or a vector, which is one variable.
        rowvar: whether rows are variables; else columns are.
        correction: what is taken off the number of samples (1: unbiased).

    Raises:
        ArgumentError: `rowvar` is no bool (NumPy's second argument is more variables).
        ShapeError: `x` has more than two axes.
    """
    if not isinstance(rowvar, bool):
        fix = "put the variables together: vstack((x, y))"
        raise ArgumentError("cov", "rowvar must be True or False", fix=fix)
    if x.rank > 2:
        raise ShapeError("cov", "takes a vector or a matrix", operands={"x": x.type})
    rows = atleast_2d(floating("cov", x))
    rows = rows if rowvar or x.rank < 2 else matrix_transpose(rows)
    centred = subtract(rows, mean(rows, 1, keepdims=True))
    free = rows.shape[1] - correction
    product = divide(matmul(centred, matrix_transpose(conj(centred))), float(free))
    return sum(product) if 0 < rows.shape[0] <= 1 else product


def corrcoef(x: Value, rowvar: bool = True) -> Value:
    """The correlation coefficients of variables, in [-1, 1]; arguments as of `cov`."""
    joint = cov(x, rowvar)
    if joint.rank == 0:
        return divide(joint, joint)
    spread = sqrt(real_part(diagonal(joint)))
    made = divide(joint, outer(spread, spread))
    if not made.dtype.is_complex:
        return clip(made, -1, 1)
    return make_complex(*(clip(part, -1, 1) for part in (real_part(made), imag_part(made))))


def bincount(x: Value, weights: Value | None = None, length: int = 0) -> Value:
    """How often each integer from 0 to `length - 1` comes in `x`, or the sum of its weights.

    Integers outside are not counted. (NumPy's `minlength` grows with the data; a program's shapes
    must be known, so `pellucid.bincount` looks at the data first where no length is given.)

    Raises:
        ArgumentError: the length is not positive.
    """
    if length < 1:
        raise ArgumentError("bincount", "length must be at least 1", operands={"length": length})
    flat = ravel(x)
    counted = ones_like(flat, int64) if weights is None else ravel(weights)
    inside = logical_and(greater_equal(flat, 0), less_equal(flat, length - 1))
    start = zeros((length,), counted.dtype)
    places = where(inside, flat, 0)
    return scatter_add(start, places, where(inside, counted, 0), axis=0)


def histogram(
    x: Value,
    bins: int | Value = 10,
    range: tuple[float, float] | None = None,
    weights: Value | None = None,
    density: bool = False,
) -> tuple[Value, Value]:
    """Counts of elements in intervals, and the intervals' edges.

    Args:
        x: numbers, of any shape.
        bins: how many of equal width, or their edges, a rising vector.
        range: where the first begins and the last ends; the extrema of `x` by default.
        weights: what each element counts.
        density: divide so that the integral is 1.

    Returns:
        `(counts [bins], edges [bins + 1])`. Each interval has its left edge, the last also its
        right one.

    Raises:
        ArgumentError: there is no interval.
    """
    flat = ravel(floating("histogram", x))
    edges = bins if isinstance(bins, Value) else _edges(flat, bins, range)
    count = edges.shape[0] - 1
    if count < 1:
        raise ArgumentError("histogram", "needs at least one interval", operands={"bins": count})
    low, high = slice_axis(edges, 0, 0, 1), slice_axis(edges, 0, count, count + 1)
    place = subtract(searchsorted(edges, flat, "right"), 1)
    inside = logical_and(greater_equal(flat, low), less_equal(flat, high))
    counts = bincount(where(inside, minimum(place, count - 1), -1), weights, count)
    if not density:
        return counts, edges
    widths = subtract(slice_axis(edges, 0, 1, count + 1), slice_axis(edges, 0, 0, count))
    heights = divide(astype(counts, widths.dtype), widths)
    return divide(heights, sum(astype(counts, widths.dtype))), edges


def _edges(x: Value, bins: int, span: tuple[float, float] | None) -> Value:
    if bins < 1:
        raise ArgumentError("histogram", "needs at least one interval", operands={"bins": bins})
    if span is None:
        low, high = (min(x), max(x)) if x.type.size else unify("histogram", 0.0, 1.0)
    else:
        low, high = unify("histogram", *map(float, span))
    low, high = astype(low, x.dtype), astype(high, x.dtype)
    flat = equal(low, high)  # one value only: an interval of width 1 around it
    low, high = where(flat, subtract(low, 0.5), low), where(flat, add(high, 0.5), high)
    steps = divide(astype(iota((bins + 1,)), x.dtype), float(bins))
    line = add(multiply(subtract(high, low), steps), low)
    return concatenate([slice_axis(line, 0, 0, bins), reshape(high, (1,))], 0)


def digitize(x: Operand, bins: Value, right: bool = False) -> Value:
    """For each element how many edges of `bins` are not above it (with `right`: are below it).

    Args:
        x: any shape.
        bins: `[n]`, rising or falling.
        right: whether an interval has its right edge rather than its left one.

    Raises:
        ShapeError: `bins` is no vector.
    """
    if bins.rank != 1:
        raise ShapeError("digitize", "bins must be a vector", operands={"bins": bins.type})
    side = "left" if right else "right"
    rising = searchsorted(bins, x, side)
    if bins.shape[0] < 2:
        return rising
    n = bins.shape[0]
    falling = subtract(n, searchsorted(flip(bins), x, side))
    first, last = slice_axis(bins, 0, 0, 1), slice_axis(bins, 0, n - 1, n)
    return where(reshape(less_equal(first, last), ()), rising, falling)
