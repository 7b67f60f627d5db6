"""Discrete Fourier transforms: the functions of the array API's `fft`, on graph values.

`norm` says where the scale is: "backward" divides by n in the inverse, "forward" in the transform,
"ortho" by the root of n in both. Where a size is given, the axis is cut or filled up with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np

from pellucid.core.dtype import DTypeLike, as_dtype, float32
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.core.shape import normalize_axes, normalize_axis
from pellucid.graph.ir import Value, emit
from pellucid.loop.functions import cast_array
from pellucid.ops.casting import astype
from pellucid.ops.create import constant
from pellucid.ops.fourier import FFT, RFFT, TURNED, irfft_of
from pellucid.ops.join import roll
from pellucid.ops.matrices import check_dtype
from pellucid.ops.movement import pad, slice_axis
from pellucid.ops.parts import conj
from pellucid.ops.promotion import floating

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]

Sizes = Sequence[int] | None
_PLANE = (-2, -1)


def fft(x: Value, n: int | None = None, axis: int = -1, norm: str = "backward") -> Value:
    """The discrete Fourier transform along an axis, `sum(x[j] * exp(-2 pi i j k / n))`.

    Args:
        x: complex; real numbers are taken as complex.
        n: the number of points; the size of the axis by default.
        axis: the axis.
        norm: "backward", "ortho" or "forward".

    Returns:
        Complex, of the precision of `x`, with `n` elements at the axis.

    Raises:
        ArgumentError: `n` is less than 1, or there is no such norm.
        ShapeError: there is no such axis, or it is empty.
    """
    return _complex("fft", x, None if n is None else (n,), (axis,), norm)


def ifft(x: Value, n: int | None = None, axis: int = -1, norm: str = "backward") -> Value:
    """The inverse of `fft`; arguments and errors as there."""
    return _complex("ifft", x, None if n is None else (n,), (axis,), norm)


def fftn(x: Value, s: Sizes = None, axes: Sizes = None, norm: str = "backward") -> Value:
    """`fft` along several axes.

    Args:
        x: complex; real numbers are taken as complex.
        s: the number of points along each of the axes, -1 for the axis's size; needs `axes`.
        axes: all by default.
        norm: as for `fft`.
    """
    return _complex("fftn", x, s, axes, norm)


def ifftn(x: Value, s: Sizes = None, axes: Sizes = None, norm: str = "backward") -> Value:
    """The inverse of `fftn`; arguments as there."""
    return _complex("ifftn", x, s, axes, norm)


def fft2(x: Value, s: Sizes = None, axes: Sequence[int] = _PLANE, norm: str = "backward") -> Value:
    """`fftn` along two axes, the last by default."""
    return _complex("fft2", x, s, axes, norm)


def ifft2(x: Value, s: Sizes = None, axes: Sequence[int] = _PLANE, norm: str = "backward") -> Value:
    """`ifftn` along two axes, the last by default."""
    return _complex("ifft2", x, s, axes, norm)


def rfft2(x: Value, s: Sizes = None, axes: Sequence[int] = _PLANE, norm: str = "backward") -> Value:
    """`rfftn` along two axes, the last by default."""
    return _rfftn("rfft2", x, s, axes, norm)


def irfft2(
    x: Value, s: Sizes = None, axes: Sequence[int] = _PLANE, norm: str = "backward"
) -> Value:
    """`irfftn` along two axes, the last by default."""
    return _irfftn("irfft2", x, s, axes, norm)


def rfft(x: Value, n: int | None = None, axis: int = -1, norm: str = "backward") -> Value:
    """The first `n // 2 + 1` frequencies of real numbers; arguments and errors as for `fft`.

    Raises:
        DTypeError: `x` is complex.
    """
    return _rfftn("rfft", x, None if n is None else (n,), (axis,), norm)


def irfft(x: Value, n: int | None = None, axis: int = -1, norm: str = "backward") -> Value:
    """The inverse of `rfft`: `n` real numbers, by default twice what is there less 2.

    The imaginary parts of the first frequency and, for even `n`, of the last, count for nothing.
    """
    return _irfftn("irfft", x, None if n is None else (n,), (axis,), norm)


def rfftn(x: Value, s: Sizes = None, axes: Sizes = None, norm: str = "backward") -> Value:
    """`rfft` along the last of the axes, `fft` along the others; arguments as for `fftn`.

    Raises:
        DTypeError: `x` is complex.
    """
    return _rfftn("rfftn", x, s, axes, norm)


def irfftn(x: Value, s: Sizes = None, axes: Sizes = None, norm: str = "backward") -> Value:
    """The inverse of `rfftn`: `ifft` along the axes but the last, then `irfft`."""
    return _irfftn("irfftn", x, s, axes, norm)


def hfft(x: Value, n: int | None = None, axis: int = -1, norm: str = "backward") -> Value:
    """The real transform of what is Hermitian, `x[-j] = conj(x[j])`, and given by its first half.

    Arguments and errors as for `irfft`.
    """
    _check_norm("hfft", norm)
    return _irfftn("hfft", conj(x), None if n is None else (n,), (axis,), TURNED[norm])


def ihfft(x: Value, n: int | None = None, axis: int = -1, norm: str = "backward") -> Value:
    """The inverse of `hfft`: the first `n // 2 + 1` elements; otherwise as `rfft`."""
    _check_norm("ihfft", norm)
    return conj(_rfftn("ihfft", x, None if n is None else (n,), (axis,), TURNED[norm]))


def fftfreq(n: int, d: float = 1.0, dtype: DTypeLike | None = None) -> Value:
    """The frequencies that `fft` of `n` points a distance `d` apart gives, in its order.

    Returns:
        `[n]`, float32 by default: 0, 1/(n d), …, then the negative ones.

    Raises:
        ArgumentError: `n` is less than 1, or `d` is 0.
    """
    _check_spacing("fftfreq", n, d)
    return constant(cast_array(np.fft.fftfreq(n, d), as_dtype(dtype or float32)))


def rfftfreq(n: int, d: float = 1.0, dtype: DTypeLike | None = None) -> Value:
    """The frequencies that `rfft` gives, `[n // 2 + 1]`; arguments as for `fftfreq`."""
    _check_spacing("rfftfreq", n, d)
    return constant(cast_array(np.fft.rfftfreq(n, d), as_dtype(dtype or float32)))


def fftshift(x: Value, axes: int | Sequence[int] | None = None) -> Value:
    """`x` with frequency 0 moved to the middle of each of the axes, all by default."""
    chosen = normalize_axes("fftshift", axes, x.shape)
    return roll(x, [x.shape[a] // 2 for a in chosen], chosen)


def ifftshift(x: Value, axes: int | Sequence[int] | None = None) -> Value:
    """The inverse of `fftshift`."""
    chosen = normalize_axes("ifftshift", axes, x.shape)
    return roll(x, [-(x.shape[a] // 2) for a in chosen], chosen)


# what they share --------------------------------------------------------------------------------


def _complex(op: str, x: Value, s: Sizes, axes: Sizes, norm: str) -> Value:
    value = _numbers(op, x)
    value = astype(value, value.dtype.complex)
    places, sizes = _points(op, value, s, axes, norm)
    for axis, size in zip(places, sizes, strict=True):
        value = _resized(value, axis, size)
    return emit(FFT, value, axes=places, inverse=op.startswith("i"), norm=norm)


def _rfftn(op: str, x: Value, s: Sizes, axes: Sizes, norm: str) -> Value:
    value = _numbers(op, x)
    if value.dtype.is_complex:
        fix = "use fft for complex numbers, or real(x)"
        raise DTypeError(op, "takes real numbers", operands={"x": x.type}, fix=fix)
    places, sizes = _points(op, value, s, axes, norm)
    for axis, size in zip(places, sizes, strict=True):
        value = _resized(value, axis, size)
    value = emit(RFFT, value, axis=places[-1], norm=norm)
    if len(places) == 1:
        return value
    return emit(FFT, value, axes=places[:-1], inverse=False, norm=norm)


def _irfftn(op: str, x: Value, s: Sizes, axes: Sizes, norm: str) -> Value:
    value = _numbers(op, x)
    value = astype(value, value.dtype.complex)
    places, sizes = _points(op, value, s, axes, norm, half=True)
    for axis, size in zip(places[:-1], sizes[:-1], strict=True):
        value = _resized(value, axis, size)
    last, n = places[-1], sizes[-1]
    value = _resized(value, last, n // 2 + 1)
    if len(places) > 1:
        value = emit(FFT, value, axes=places[:-1], inverse=True, norm=norm)
    return irfft_of(value, last, n, norm)


def _numbers(op: str, x: Value) -> Value:
    value = floating(op, x)
    check_dtype(op, value.type)
    return value


def _points(
    op: str, x: Value, s: Sizes, axes: Sizes, norm: str, *, half: bool = False
) -> tuple[tuple[int, ...], list[int]]:
    """The axes, and how many points each is to have.

    Args:
        op: the function, for messages.
        x: what is transformed.
        s: sizes as given.
        axes: axes as given.
        norm: as given, to be checked.
        half: the last axis holds half of the frequencies.
    """
    _check_norm(op, norm)
    if s is not None and axes is None:
        fix = "say which axes the sizes are of: axes=(-2, -1)"
        raise ArgumentError(op, "s needs axes", operands={"s": tuple(s)}, fix=fix)
    given = range(x.rank) if axes is None else axes
    places = tuple(normalize_axis(op, a, x.shape) for a in given)
    wanted = [-1] * len(places) if s is None else list(s)
    operands: dict[str, object] = {"x": x.type, "axes": places, "s": tuple(wanted)}
    if not places or len(set(places)) != len(places) or len(places) != len(wanted):
        rule = "needs at least one axis, each named once, and a size for each"
        raise ShapeError(op, rule, operands=operands)
    sizes = [x.shape[a] if n == -1 else n for a, n in zip(places, wanted, strict=True)]
    if half and wanted[-1] == -1:
        sizes[-1] = 2 * (x.shape[places[-1]] - 1)
    if any(not isinstance(n, SupportsIndex) or n < 1 for n in sizes):
        fix = "give n or s" if 0 in sizes or -2 in sizes else ""
        raise ArgumentError(op, "needs at least one point per axis", operands=operands, fix=fix)
    return places, sizes


def _check_norm(op: str, norm: str) -> None:
    if norm not in TURNED:
        fix = f"use one of {', '.join(map(repr, TURNED))}"
        raise ArgumentError(op, "no such norm", operands={"norm": repr(norm)}, fix=fix)


def _check_spacing(op: str, n: int, d: float) -> None:
    if not isinstance(n, int) or n < 1 or d == 0:
        rule = "needs at least one point, and a distance that is not 0"
        raise ArgumentError(op, rule, operands={"n": n, "d": d})


def _resized(x: Value, axis: int, n: int) -> Value:
    """`x` cut or filled up with zeros to `n` elements along an axis."""
    have = x.shape[axis]
    if n <= have:
        return x if n == have else slice_axis(x, axis, 0, n)
    high = [0] * x.rank
    high[axis] = n - have
    return pad(x, [0] * x.rank, high)
