"""Shape arithmetic: broadcasting, axes, sizes. Pure functions of tuples of ints."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import SupportsIndex

from pellucid.core.errors import ArgumentError, ShapeError

Shape = tuple[int, ...]


def size_of(shape: Sequence[int]) -> int:
    """The number of elements; 1 for a scalar shape."""
    return math.prod(shape)


def broadcast_shapes(op: str, *shapes: Shape) -> Shape:
    """The common shape after NumPy's broadcasting rule.

    Raises:
        ShapeError: two sizes on one aligned axis differ and neither is 1.
    """
    if len(set(shapes)) == 1:
        return shapes[0]
    rank = max((len(s) for s in shapes), default=0)
    result = []
    for axis in range(-rank, 0):
        sizes = {s[axis] for s in shapes if len(s) >= -axis} - {1}
        if len(sizes) > 1:
            names = dict(zip("abcdefgh", shapes, strict=False))
            raise ShapeError(op, f"shapes do not broadcast at axis {axis}", operands=names)
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def normalize_axis(op: str, axis: int, rank: int) -> int:
    """A non-negative axis.

    Raises:
        ShapeError: `axis` is outside `[-rank, rank)`.
    """
    if not -rank <= axis < rank:
        raise ShapeError(op, f"axis must be in [{-rank}, {rank})", operands={"axis": axis})
    return axis % rank


def normalize_axes(op: str, axes: int | Sequence[int] | None, rank: int) -> tuple[int, ...]:
    """Sorted non-negative axes; `None` means all of them.

    Raises:
        ShapeError: an axis is out of range or named twice.
    """
    if axes is None:
        return tuple(range(rank))
    given = (axes,) if isinstance(axes, int) else tuple(axes)
    result = tuple(sorted(normalize_axis(op, a, rank) for a in given))
    if len(set(result)) != len(result):
        raise ShapeError(op, "an axis is named twice", operands={"axes": given})
    return result


def check_shape(op: str, shape: Sequence[int]) -> Shape:
    """`shape` as a tuple of ints.

    Raises:
        ArgumentError: a size is negative, or no integer that is known now.
    """
    result = as_sizes(op, shape)
    if any(n < 0 for n in result):
        raise ArgumentError(op, "sizes must be >= 0", operands={"shape": result})
    return result


def as_sizes(op: str, sizes: Sequence[SupportsIndex]) -> Shape:
    """Sizes as ints, negative ones included.

    Raises:
        ArgumentError: a size is no integer that is known now.
    """
    try:
        return tuple([operator.index(n) for n in sizes])
    except TypeError:
        raise ArgumentError(
            op,
            "sizes must be integers",
            operands={"shape": tuple(sizes)},
            fix="while recording, make the argument static with static_argnames",
        ) from None
