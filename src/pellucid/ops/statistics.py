"""Means, variances, counts and positions: compositions of reductions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pellucid.core.dtype import bool_, int32, int64, uint8
from pellucid.core.shape import normalize_axes, normalize_axis, size_of
from pellucid.core.size import Size
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add, divide, multiply, square, subtract
from pellucid.ops.binary import maximum, minimum
from pellucid.ops.casting import astype
from pellucid.ops.comparison import equal, isnan, logical_or, where
from pellucid.ops.create import iota
from pellucid.ops.identity import barrier
from pellucid.ops.index import gather
from pellucid.ops.join import concatenate
from pellucid.ops.layout import reshape
from pellucid.ops.movement import slice_axis
from pellucid.ops.parts import imag_part, real_part
from pellucid.ops.promotion import Operand, refuse_complex, unify
from pellucid.ops.reduction import Axis, max, min, nothing_to_choose, restore, sum
from pellucid.ops.shared import accumulator
from pellucid.ops.sizes import size_value
from pellucid.ops.unary import sqrt

_INT32_LIMIT = 1 << 31
_BLOCK = 4096  # elements of a long row that are looked at twice while they are in cache


def count_nonzero(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """How many elements are true or not 0, as int64."""
    return sum(astype(unify("count_nonzero", x)[0], bool_), axis, keepdims)


def mean(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """The arithmetic mean over `axis`, NaN over nothing; integers as float32.

    Narrow floats are averaged in float32, so the sum cannot overflow, and rounded once.
    """
    (value,) = unify("mean", x, to_float=True)
    axes = normalize_axes("mean", axis, value.shape)
    wide = astype(value, accumulator(value.dtype))
    return astype(_mean(wide, axes, keepdims), value.dtype)


def var(x: Operand, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Value:
    """The variance over `axis`: squared distances from the mean, over `n - correction`.

    Two passes, so that a large mean does not cancel; narrow floats in float32, integers as float32.
    Of complex numbers it is real. `correction=1` is the unbiased estimate (PyTorch's default, where
    the array API's is 0).
    """
    (value,) = unify("var", x, to_float=True)
    axes = normalize_axes("var", axis, value.shape)
    wide = astype(value, accumulator(value.dtype))
    return astype(_variance(wide, axes, correction, keepdims), value.dtype.real)


def std(x: Operand, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Value:
    """The standard deviation over `axis`, the root of `var`. Gradient: 0 where it is 0.

    Args:
        x: numbers of any kind; integers are taken as float32.
        axis: one axis or several; all by default.
        correction: the divisor is `n - correction`; 1 is PyTorch's default.
        keepdims: whether the axes stay, with size 1.

    Raises:
        AxisError: there is no such axis.
    """
    (value,) = unify("std", x, to_float=True)
    axes = normalize_axes("std", axis, value.shape)
    wide = astype(value, accumulator(value.dtype))
    variance = _variance(wide, axes, correction, keepdims)
    flat = equal(variance, 0)  # there the root's slope is infinite; PyTorch's gradient is 0
    root = sqrt(where(flat, 1, variance))
    return astype(where(flat, 0, root), value.dtype.real)


def argmax(x: Operand, axis: int | None = None, keepdims: bool = False) -> Value:
    """The int64 position of the first greatest element; of the first NaN if there is one.

    `axis=None` counts in row-major order over all elements.

    Raises:
        ShapeError: there is nothing to choose from.
    """
    return _position("argmax", max, unify("argmax", x)[0], axis, keepdims)


def argmin(x: Operand, axis: int | None = None, keepdims: bool = False) -> Value:
    """The int64 position of the first least element; of the first NaN if there is one.

    `axis=None` counts in row-major order over all elements.

    Raises:
        ShapeError: there is nothing to choose from.
    """
    return _position("argmin", min, unify("argmin", x)[0], axis, keepdims)


def _position(
    name: str, extremum: Callable[..., Value], x: Value, axis: int | None, keepdims: bool
) -> Value:
    refuse_complex(name, x)
    flat = reshape(x, (x.type.size,)) if axis is None else x
    at = normalize_axis(name, 0 if axis is None else axis, flat.shape)
    if flat.shape[at] == 0:
        raise nothing_to_choose(name, x.type, normalize_axes(name, axis, x.shape))
    if flat.dtype == bool_:
        flat = astype(flat, uint8)
    first = _long_position(extremum, flat) if _is_long(flat) else _first(extremum, flat, at)
    return restore(first, x, tuple(range(x.rank)) if axis is None else (at,), keepdims)


def _first(extremum: Callable[..., Value], x: Value, at: int) -> Value:
    """Where the extremum along `at` first is, as int64."""
    return astype(_narrow_first(_is_extremum(extremum, x, at), at), int64)


def _narrow_first(hit: Value, at: int) -> Value:
    """The first place along `at` that holds, or the extent; int32 where that can number them."""
    kind = int32 if hit.shape[at] < _INT32_LIMIT else int64
    return min(where(hit, iota(hit.shape, at, kind), hit.shape[at]), at)


def _is_extremum(extremum: Callable[..., Value], x: Value, at: int) -> Value:
    hit = equal(x, extremum(x, at, keepdims=True))
    # the extremum is NaN exactly where there is one, and equals nothing
    return logical_or(hit, isnan(x)) if x.dtype.is_float else hit


def _is_long(x: Value) -> bool:
    return x.rank == 1 and x.shape[0] >= 2 * _BLOCK


def _long_position(extremum: Callable[..., Value], x: Value) -> Value:
    """`_first` of one long row, read once: the first block that holds the extremum is searched."""
    n = x.shape[0]
    count, rest = divmod(n, _BLOCK)
    tops = [extremum(reshape(slice_axis(x, 0, 0, n - rest), (count, _BLOCK)), 1)]
    if rest:
        tops.append(extremum(slice_axis(x, 0, n - rest, n), 0, keepdims=True))
    # without a barrier, the extremum of extrema would be one of the whole row again
    block = _first(extremum, barrier(concatenate(tops)), 0)
    start = minimum(multiply(block, _BLOCK), n - _BLOCK)  # no earlier block holds it
    near = barrier(gather(x, add(iota((_BLOCK,)), start), axis=0))
    return add(_first(extremum, near, 0), start)


def _mean(x: Value, axes: tuple[int, ...], keepdims: bool) -> Value:
    count = size_of([x.shape[a] for a in axes])
    return divide(sum(x, axes, keepdims), _divisor(x, count, 0.0))


def _variance(x: Value, axes: tuple[int, ...], correction: float, keepdims: bool) -> Value:
    centered = subtract(x, _mean(x, axes, True))
    squares = multiply(centered, centered)
    if x.dtype.is_complex:
        squares = add(square(real_part(centered)), square(imag_part(centered)))
    count = size_of([x.shape[a] for a in axes])
    return divide(sum(squares, axes, keepdims), _divisor(squares, count, correction))


def _divisor(x: Value, count: int, correction: float) -> Operand:
    """`count - correction`; as PyTorch: too few elements give 0/0 or c/0, never less."""
    if not isinstance(count, Size):
        return float(np.maximum(count - correction, 0))
    known = size_value(count, x.dtype)
    return maximum(subtract(known, correction), 0) if correction else known
