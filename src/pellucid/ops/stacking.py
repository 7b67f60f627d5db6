"""NumPy's ways to put arrays together and take them apart, as compositions of movement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import normalize_axis
from pellucid.graph.ir import Value
from pellucid.ops.join import concatenate, stack
from pellucid.ops.layout import expand_dims, reshape, swapaxes
from pellucid.ops.movement import flip, slice_axis
from pellucid.ops.promotion import Operand, as_value, common_dtype
from pellucid.ops.take import take


def ravel(x: Value) -> Value:
    """All elements in row-major order, `[size]`."""
    return reshape(x, (-1,))


def atleast_1d(x: Value) -> Value:
    """`x`, a scalar as `[1]`."""
    return reshape(x, (1,)) if x.rank == 0 else x


def atleast_2d(x: Value) -> Value:
    """`x`, with axes of length 1 in front up to rank 2."""
    return reshape(x, (1,) * (2 - x.rank) + x.shape) if x.rank < 2 else x


def atleast_3d(x: Value) -> Value:
    """`x` with three axes at least: `[n]` becomes `[1, n, 1]`, `[m, n]` becomes `[m, n, 1]`."""
    if x.rank >= 3:
        return x
    return expand_dims(atleast_2d(x), 2)


def vstack(xs: Sequence[Value]) -> Value:
    """Rows on top of each other: joined along axis 0, vectors as rows."""
    return concatenate([atleast_2d(x) for x in xs], 0)


def hstack(xs: Sequence[Value]) -> Value:
    """Side by side: joined along axis 1, vectors along their only axis."""
    flat = [atleast_1d(x) for x in xs]
    return concatenate(flat, 0 if flat and flat[0].rank == 1 else 1)


def dstack(xs: Sequence[Value]) -> Value:
    """Behind each other: joined along axis 2."""
    return concatenate([atleast_3d(x) for x in xs], 2)


def column_stack(xs: Sequence[Value]) -> Value:
    """Vectors as the columns of a matrix; matrices side by side."""
    return concatenate([stack([atleast_1d(x)], 1) if x.rank < 2 else x for x in xs], 1)


def array_split(x: Value, sections: int | Sequence[int], axis: int = 0) -> tuple[Value, ...]:
    """Parts of `x` along `axis`: so many, whose lengths differ by at most 1, or cut before the
    positions given (NumPy's rules for both).

    Raises:
        ArgumentError: the number of sections is not positive.
    """
    at = normalize_axis("array_split", axis, x.shape)
    n = x.shape[at]
    if isinstance(sections, int):
        if sections < 1:
            operands: dict[str, object] = {"sections": sections}
            raise ArgumentError("array_split", "needs at least 1 section", operands=operands)
        long, short = n % sections, n // sections
        sizes = [short + 1] * long + [short] * (sections - long)
        stops = np.cumsum(sizes).tolist()
    else:
        stops = [range(n)[:s].stop for s in sections] + [n]
    starts = [0, *stops[:-1]]
    return tuple(
        slice_axis(x, at, start, max(start, stop))
        for start, stop in zip(starts, stops, strict=True)
    )


def vsplit(x: Value, sections: int | Sequence[int]) -> tuple[Value, ...]:
    """`array_split` along axis 0."""
    return array_split(x, sections, 0)


def hsplit(x: Value, sections: int | Sequence[int]) -> tuple[Value, ...]:
    """`array_split` along axis 1, of a vector along its only axis."""
    return array_split(x, sections, 1 if x.rank > 1 else 0)


def dsplit(x: Value, sections: int | Sequence[int]) -> tuple[Value, ...]:
    """`array_split` along axis 2."""
    return array_split(x, sections, 2)


def fliplr(x: Value) -> Value:
    """Columns in reverse order."""
    return flip(x, 1)


def flipud(x: Value) -> Value:
    """Rows in reverse order."""
    return flip(x, 0)


def rot90(x: Value, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Value:
    """`x` turned by `k` right angles, from the first of `axes` towards the second.

    Raises:
        ShapeError: the two axes are one.
    """
    first, second = (normalize_axis("rot90", a, x.shape) for a in axes)
    if first == second:
        raise ShapeError("rot90", "needs two different axes", operands={"axes": axes})
    turns = k % 4
    if turns == 2:
        return flip(x, (first, second))
    if turns == 1:
        return swapaxes(flip(x, second), first, second)
    return flip(swapaxes(x, first, second), second) if turns == 3 else x


def append(x: Value, values: Operand, axis: int | None = None) -> Value:
    """`values` after `x` along `axis`; both as vectors where it is `None`."""
    dtype = common_dtype("append", (x, values))
    return concatenate([x, as_value("append", values, dtype)], axis)


def delete(x: Value, indices: int | Sequence[int], axis: int | None = None) -> Value:
    """`x` without the elements at positions known now, along `axis` or of the flat array."""
    flat = ravel(x) if axis is None else x
    at = normalize_axis("delete", 0 if axis is None else axis, flat.shape)
    kept = np.delete(np.arange(flat.shape[at]), indices)
    return take(flat, kept, at)
