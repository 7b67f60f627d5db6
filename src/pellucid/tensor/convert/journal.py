"""What a block changes besides its own variables: attributes, items, globals, others' variables.

Converted code says so before each such change. While a block is recorded whose running depends on a
tensor, the old value is kept. At its end everything is put back, and the block is recorded again
with these places among its variables. Objects that the block itself has made do not count.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pellucid.core.errors import TraceError
from pellucid.tensor.box import Box
from pellucid.tensor.convert.growing import Growing
from pellucid.tensor.convert.state import (
    Contents,
    Place,
    Variable,
    attribute_place,
    cell_places,
    global_place,
)

R = TypeVar("R")
_MOST_TRIES = 16


class UndeclaredError(Exception):
    """A block changed places that are not among its variables."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.variables = [Variable(p, kept=True, changed=True, flag=False) for p in places]
        super().__init__(", ".join(p.name for p in places))


@dataclass(slots=True)
class _Journal:
    """First values of what one block changes."""

    declared: set[Any]
    entries: dict[Any, tuple[Place, Any]] = field(default_factory=dict)

    def put_back(self) -> list[Place]:
        """Undo all changes; returns the places, less those in objects that are gone now."""
        for place, before in self.entries.values():
            place.set(before)
        places = [place for place, _ in self.entries.values()]
        self.entries.clear()
        if _held(places):
            gc.collect()
        return _held(places)


def _held(places: Sequence[Place]) -> list[Place]:
    """The places in objects that others hold, and not only these places."""
    own = Counter(id(p.owner) for p in places)
    return [p for p in places if sys.getrefcount(p.owner) > own[id(p.owner)] + 1]


class _Open(threading.local):
    """The journals of blocks that are being recorded, one in another."""

    def __init__(self) -> None:
        self.journals: list[_Journal] = []


_OPEN = _Open()


@contextmanager
def journal(variables: Sequence[Variable]) -> Iterator[_Journal]:
    """Note what is changed in this block besides these variables; all of it is put back."""
    book = _Journal({v.place.key for v in variables})
    _OPEN.journals.append(book)
    try:
        yield book
    finally:
        _OPEN.journals.pop()
        for place, before in book.entries.values():
            place.set(before)


def note(place: Place) -> None:
    """Say that a place is about to change; one without a key is of no concern outside."""
    if _OPEN.journals and place.key is not None:
        book = _OPEN.journals[-1]
        if place.key not in book.declared and place.key not in book.entries:
            book.entries[place.key] = (place, place.get())


def owner(value: Any, attr: str) -> Any:
    """The object itself, one of whose attributes is about to change."""
    if _OPEN.journals and not isinstance(value, Box):
        note(attribute_place(value, attr))
    return value


def items(value: Any) -> Any:
    """The object itself, whose items are about to change."""
    kinds = (list, dict, set, deque)
    if _OPEN.journals and isinstance(value, kinds) and not isinstance(value, Growing):
        note(Contents(value))
    return value


def outside(cells: Callable[[], Any] | None = None, names: str = "") -> None:
    """Say that a function may change variables of functions around it, and globals."""
    if _OPEN.journals:
        for place in cell_places(cells):
            note(place)
        for name in names.split():
            note(global_place(name, sys._getframe(1).f_globals))


def retried(variables: Sequence[Variable], attempt: Callable[[Sequence[Variable]], R]) -> R:
    """Record blocks with these variables, and again with those that they turn out to change."""
    for _ in range(_MOST_TRIES):
        try:
            return attempt(variables)
        except UndeclaredError as error:
            variables = [*variables, *error.variables]
    raise TraceError("convert", "a block changes other objects each time it is recorded")
