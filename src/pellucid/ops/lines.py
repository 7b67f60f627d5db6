"""Functions of sampled lines: slopes, areas, phases, convolutions, polynomials."""

from __future__ import annotations

import builtins
import math
from collections.abc import Sequence
from typing import Literal

from pellucid.core.dtype import float64
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import normalize_axes, normalize_axis
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add, divide, multiply, subtract
from pellucid.ops.binary import clip, minimum, remainder
from pellucid.ops.casting import astype
from pellucid.ops.comparison import equal, greater, less, logical_and, where
from pellucid.ops.convolution import conv1d
from pellucid.ops.create import zeros
from pellucid.ops.join import concatenate
from pellucid.ops.layout import reshape
from pellucid.ops.movement import flip, slice_axis
from pellucid.ops.parts import conj, imag_part, make_complex, real_part
from pellucid.ops.promotion import Operand, common_dtype, floating, unify
from pellucid.ops.reduction import sum
from pellucid.ops.scan import cumsum
from pellucid.ops.search import searchsorted
from pellucid.ops.stacking import ravel
from pellucid.ops.take import take
from pellucid.ops.unary import abs, round

Mode = Literal["full", "same", "valid"]


def _steps(x: Value, axis: int) -> Value:
    """Each element less the one before."""
    n = x.shape[axis]
    return subtract(slice_axis(x, axis, 1, n), slice_axis(x, axis, 0, n - 1))


def trapezoid(y: Value, x: Value | None = None, dx: float = 1.0, axis: int = -1) -> Value:
    """The area below samples `y` along `axis`, by straight lines between them.

    Args:
        y: samples.
        x: where they are: of `y`'s shape, or a vector along the axis; `dx` apart by default.
        dx: the distance of neighbours.
        axis: along which.
    """
    line = floating("trapezoid", y)
    at = normalize_axis("trapezoid", axis, line.shape)
    n = line.shape[at]
    if n < 2:
        return sum(multiply(line, 0.0), at)
    middle = multiply(add(slice_axis(line, at, 1, n), slice_axis(line, at, 0, n - 1)), 0.5)
    if x is None:
        return sum(multiply(middle, dx), at)
    places = x
    if x.rank == 1:
        places = reshape(x, [n if a == at else 1 for a in range(line.rank)])
    return sum(multiply(middle, _steps(places, at)), at)


def gradient(
    x: Value, spacing: float = 1.0, axis: int | Sequence[int] | None = None
) -> Value | tuple[Value, ...]:
    """Slopes of samples: central differences inside, one-sided ones at both ends.

    Args:
        x: samples; integers as float32.
        spacing: the distance of neighbours.
        axis: one axis (one result) or several (a tuple); all by default.

    Raises:
        ShapeError: an axis has fewer than two samples.
    """
    value = floating("gradient", x)
    axes = normalize_axes("gradient", axis, value.shape)
    found = tuple(_slope(value, at, spacing) for at in axes)
    single = isinstance(axis, int) or value.rank == 1
    return found[0] if single else found


def _slope(x: Value, axis: int, spacing: float) -> Value:
    n = x.shape[axis]
    if n < 2:
        raise ShapeError("gradient", "needs two samples at least", operands={"x": x.type})
    steps = divide(_steps(x, axis), spacing)
    first, last = slice_axis(steps, axis, 0, 1), slice_axis(steps, axis, n - 2, n - 1)
    inner = add(slice_axis(steps, axis, 0, n - 2), slice_axis(steps, axis, 1, n - 1))
    return concatenate([first, multiply(inner, 0.5), last], axis)


def ediff1d(x: Value) -> Value:
    """Differences of neighbours among all elements in row-major order."""
    return _steps(ravel(x), 0)


def unwrap(x: Value, period: float = 2 * math.pi, axis: int = -1) -> Value:
    """Phases without jumps: multiples of `period` are added so that no step exceeds its half."""
    phases = floating("unwrap", x)
    at = normalize_axis("unwrap", axis, phases.shape)
    if phases.shape[at] < 2:
        return phases
    steps = _steps(phases, at)
    half = period / 2
    wrapped = subtract(remainder(add(steps, half), period), half)
    # a step of exactly half a period keeps its direction
    edge = logical_and(equal(wrapped, -half), greater(steps, 0))
    turns = subtract(where(edge, half, wrapped), steps)
    kept = where(less(abs(steps), half), 0, turns)
    head = slice_axis(phases, at, 0, 1)
    tail = slice_axis(phases, at, 1, phases.shape[at])
    return concatenate([head, add(tail, cumsum(kept, at))], at)


def convolve(x: Value, kernel: Value, mode: Mode = "full") -> Value:
    """The discrete convolution of two vectors: `full` overlap and less, as long as the longer
    (`same`), or full overlap only (`valid`).

    Raises:
        ShapeError: an operand is no vector, or empty.
        ArgumentError: the mode is unknown.
    """
    return _slide("convolve", x, kernel, mode, turned=True)


def correlate(x: Value, kernel: Value, mode: Mode = "valid") -> Value:
    """The cross-correlation of two vectors, NumPy's; modes as of `convolve`."""
    return _slide("correlate", x, kernel, mode, turned=False)


def _slide(op: str, x: Value, kernel: Value, mode: Mode, turned: bool) -> Value:
    if x.rank != 1 or kernel.rank != 1 or not (x.type.size and kernel.type.size):
        operands: dict[str, object] = {"x": x.type, "kernel": kernel.type}
        raise ShapeError(op, "takes two vectors of at least one element", operands=operands)
    if mode not in ("full", "same", "valid"):
        raise ArgumentError(op, "mode must be full, same or valid", operands={"mode": mode})
    dtype = common_dtype(op, [x, kernel])
    if dtype.is_complex:
        return _slide_parts(op, astype(x, dtype), astype(kernel, dtype), mode, turned)
    work = dtype if dtype.is_float else float64  # exact for integers below 2**53
    swapped = kernel.shape[0] > x.shape[0]
    long, short = (kernel, x) if swapped else (x, kernel)
    taps = flip(short) if turned else short
    n, k = long.shape[0], short.shape[0]
    low, high = _margins(k, mode)
    padded = concatenate([zeros((low,), work), astype(long, work), zeros((high,), work)])
    found = conv1d(reshape(padded, (1, 1, n + low + high)), reshape(astype(taps, work), (1, 1, k)))
    line = reshape(found, (-1,))
    if not turned and swapped:
        line = flip(line)  # the shorter slid over the longer runs the other way
    return astype(line if work is dtype else round(line), dtype)


def _slide_parts(op: str, x: Value, kernel: Value, mode: Mode, turned: bool) -> Value:
    """Complex vectors as four real convolutions; `correlate` conjugates its kernel, as NumPy's."""
    a, b = real_part(x), imag_part(x)
    c, d = real_part(kernel), imag_part(kernel if turned else conj(kernel))
    ac, bd, ad, bc = (_slide(op, u, v, mode, turned) for u, v in ((a, c), (b, d), (a, d), (b, c)))
    return make_complex(subtract(ac, bd), add(ad, bc))


def _margins(k: int, mode: Mode) -> tuple[int, int]:
    """Zeros before and after the longer vector, for a shorter one of `k` elements."""
    if mode == "valid":
        return 0, 0
    if mode == "full":
        return k - 1, k - 1
    return k // 2, k - 1 - k // 2


def polyval(coefficients: Value, x: Value) -> Value:
    """A polynomial at `x`, from its coefficients `[n]`, the highest power first (Horner's rule)."""
    if coefficients.rank != 1:
        operands: dict[str, object] = {"coefficients": coefficients.type}
        raise ShapeError("polyval", "coefficients must be a vector", operands=operands)
    result: Operand = 0
    for k in range(coefficients.shape[0]):
        one = reshape(slice_axis(coefficients, 0, k, k + 1), ())
        result = add(multiply(x, result), one)
    return add(multiply(x, 0), result) if coefficients.shape[0] < 1 else result  # type: ignore[return-value]


def interp(
    x: Operand,
    xp: Value,
    fp: Value,
    left: Operand | None = None,
    right: Operand | None = None,
) -> Value:
    """The line through the points `(xp, fp)` at `x`; beyond its ends, the first and last value.

    Args:
        x: where, of any shape.
        xp: `[n]`, rising.
        fp: `[n]`, the values there.
        left: below the first point, in place of `fp[0]`.
        right: above the last point, in place of `fp[-1]`.

    Gradient: the line's slope for `x`; what each point counts for `fp` and `xp`.

    Raises:
        ShapeError: the points are no two vectors of one length, or none.
    """
    if xp.rank != 1 or xp.shape != fp.shape or not xp.shape[0]:
        operands: dict[str, object] = {"xp": xp.type, "fp": fp.type}
        raise ShapeError("interp", "takes two vectors of one length, not empty", operands=operands)
    at, *_ = unify("interp", x, _first(xp), _first(fp), to_float=True)
    knots, values = astype(xp, at.dtype), astype(fp, at.dtype)
    n = xp.shape[0]
    low = clip(subtract(searchsorted(knots, at, "right"), 1), 0, builtins.max(n - 2, 0))
    high = minimum(add(low, 1), n - 1)
    start, end = take(knots, low, 0), take(knots, high, 0)
    below, above = take(values, low, 0), take(values, high, 0)
    gap = subtract(end, start)
    flat = equal(gap, 0)
    share = where(flat, 0, divide(subtract(at, start), where(flat, 1, gap)))
    line = add(below, multiply(share, subtract(above, below)))
    first, last = _first(knots), _first(flip(knots))
    line = where(equal(at, last), _first(flip(values)), line)
    line = where(less(at, first), _first(values) if left is None else left, line)
    return where(greater(at, last), _first(flip(values)) if right is None else right, line)


def _first(x: Value) -> Value:
    return reshape(slice_axis(x, 0, 0, 1), ())
