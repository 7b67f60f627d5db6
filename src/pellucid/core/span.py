"""Ranges along an axis whose ends may be sizes that are not known yet.

Builtin ranges serve where all three numbers are ints; they take no sizes, and `len` gives no size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from pellucid.core.size import Size, is_static, prove


@dataclass(frozen=True, slots=True)
class OpenRange:
    """`range(start, stop, step)`, with sizes."""

    start: int
    stop: int
    step: int

    @property
    def length(self) -> int:
        """How many numbers there are."""
        gap, pace = self.stop - self.start, self.step
        if pace < 0:
            gap, pace = -gap, -pace
        some = prove(gap, ">=", 0) is True or gap > 0
        return (gap + (pace - 1)) // pace if some else 0

    def __getitem__(self, index: int) -> int:
        """The first (0) or last (-1) number."""
        return self.start + self.step * (index if index >= 0 else self.length + index)


Span: TypeAlias = range | OpenRange


def span(start: int, stop: int, step: int = 1) -> Span:
    """The numbers from `start` up to, not including, `stop`."""
    return (
        range(start, stop, step) if is_static(start, stop, step) else OpenRange(start, stop, step)
    )


def length(numbers: Span) -> int:
    """How many there are."""
    return len(numbers) if isinstance(numbers, range) else numbers.length


def ends_of(numbers: Span) -> tuple[int, int]:
    """The least and the greatest of numbers, of which there are some."""
    first, last = numbers[0], numbers[-1]
    return (first, last) if numbers.step > 0 else (last, first)


def sliced(entry: slice, size: int) -> Span:
    """The places of an axis of `size` that a slice reads."""
    if not isinstance(size, Size) and is_static(entry.start, entry.stop, entry.step):
        return range(*entry.indices(size))
    step = 1 if entry.step is None else entry.step
    least, most = (0, size) if step > 0 else (-1, size - 1)
    first, last = (least, most) if step > 0 else (most, least)
    return span(
        first if entry.start is None else _kept(entry.start, size, least, most),
        last if entry.stop is None else _kept(entry.stop, size, least, most),
        step,
    )


def _kept(place: int, size: int, least: int, most: int) -> int:
    """A place counted from the front, and kept within the axis."""
    if place < 0:
        place = place + size
        return place if place >= least else least
    return place if place <= most else most
