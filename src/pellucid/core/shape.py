"""Shape arithmetic: broadcasting, axes, sizes. Pure functions of tuples of ints."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import SupportsIndex

from pellucid.core.errors import ArgumentError, AxisError, ShapeError
from pellucid.core.size import Size, is_static

Shape = tuple[int, ...]
MOST_ELEMENTS = 2**48  # an address has so many bits


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
            rule = f"shapes do not broadcast at axis {axis}"
            raise ShapeError(op, rule, operands=names, fix=_one_more_axis(names))
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def _one_more_axis(shapes: Mapping[str, Shape]) -> str:
    """The mend where two shapes agree from the front, while broadcasting aligns them at the end."""
    if len(shapes) != 2:
        return ""
    (name, short), (_, long) = sorted(shapes.items(), key=lambda item: len(item[1]))
    missing = len(long) - len(short)
    if not short or not missing or long[: len(short)] != short:
        return ""
    return f"give {name} an axis of one at its end: {name}[..., {', '.join(['None'] * missing)}]"


def normalize_axis(op: str, axis: int, shape: Sequence[int], new: int = 0) -> int:
    """A non-negative axis of `shape`, which is to have `new` axes more.

    Raises:
        AxisError: `axis` is no integer, or there is no such axis.
    """
    rank = len(shape) + new
    if not isinstance(axis, SupportsIndex):
        raise AxisError(op, "axis must be an integer", operands={"axis": repr(axis)})
    at = operator.index(axis)
    if not -rank <= at < rank:
        legal = f"must be in [{-rank}, {rank})" if rank else "must not be given: there is none"
        raise AxisError(op, f"axis {legal}", operands={"axis": axis, "shape": tuple(shape)})
    return at % rank


def normalize_axes(
    op: str, axes: int | Sequence[int] | None, shape: Sequence[int], new: int = 0
) -> tuple[int, ...]:
    """Sorted non-negative axes of `shape`, which is to have `new` axes more; `None` means all.

    Raises:
        AxisError: an axis is no integer or out of range.
        ShapeError: an axis is named twice.
    """
    if axes is None:
        return tuple(range(len(shape) + new))
    given = tuple(axes) if isinstance(axes, Sequence) else (axes,)
    result = tuple(sorted(normalize_axis(op, a, shape, new) for a in given))
    if len(set(result)) != len(result):
        raise ShapeError(op, "an axis is named twice", operands={"axes": given})
    return result


def check_shape(op: str, shape: SupportsIndex | Sequence[int]) -> Shape:
    """`shape` as a tuple of ints.

    Raises:
        ArgumentError: a size is negative, or no integer that is known now.
    """
    result = as_sizes(op, shape if isinstance(shape, Iterable) else (shape,))
    if any(n < 0 for n in result):
        raise ArgumentError(op, "sizes must be >= 0", operands={"shape": result})
    if is_static(result) and size_of(result) > MOST_ELEMENTS:
        rule = f"no memory holds more than {MOST_ELEMENTS} elements"
        raise ArgumentError(op, rule, operands={"shape": result})
    return result


def as_sizes(op: str, sizes: Sequence[SupportsIndex]) -> Shape:
    """Sizes as ints, negative ones included.

    Raises:
        ArgumentError: a size is no integer that is known now.
    """
    try:
        return tuple([n if isinstance(n, Size) else operator.index(n) for n in sizes])
    except TypeError:
        raise ArgumentError(
            op,
            "sizes must be integers",
            operands={"shape": sizes},
            fix="while recording, make the argument static with static_argnames",
        ) from None
