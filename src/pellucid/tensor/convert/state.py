"""Where the variables of a block live, so that it can be run twice and its effect told.

A variable shared with a block is a closure cell; `global` ones are in a dictionary, attributes on
their owner. A cell may be empty: reading it then raises Python's own NameError, and `REASONS` tells
why.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import CellType, FunctionType
from typing import Any, Protocol

from pellucid.core.errors import TraceError
from pellucid.tensor.box import Box

ABSENT: Any = object()


class Place(Protocol):
    """Something that can hold a value, or none."""

    @property
    def name(self) -> str:
        """What it is called in messages."""

    @property
    def owner(self) -> Any:
        """The object it is in."""

    @property
    def key(self) -> Any:
        """What tells it from other places."""

    def get(self) -> Any:
        """The value, or ABSENT."""

    def set(self, value: Any) -> None:
        """Give it a value, or ABSENT."""


@dataclass(frozen=True, slots=True)
class _Variable:
    name: str
    owner: CellType

    @property
    def key(self) -> Any:
        return id(self.owner)

    def get(self) -> Any:
        try:
            return self.owner.cell_contents
        except ValueError:
            return ABSENT

    def set(self, value: Any) -> None:
        if value is not ABSENT:
            self.owner.cell_contents = value
        elif self.get() is not ABSENT:
            del self.owner.cell_contents


@dataclass(frozen=True, slots=True)
class _Global:
    name: str
    owner: dict[str, Any]

    @property
    def key(self) -> Any:
        return (id(self.owner), self.name)

    def get(self) -> Any:
        return self.owner.get(self.name, ABSENT)

    def set(self, value: Any) -> None:
        if value is ABSENT:
            self.owner.pop(self.name, None)
        else:
            self.owner[self.name] = value


@dataclass(frozen=True, slots=True)
class _Attribute:
    name: str
    owner: Any
    attr: str

    @property
    def key(self) -> Any:
        return (id(self.owner), self.attr)

    def get(self) -> Any:
        return getattr(self.owner, self.attr, ABSENT)

    def set(self, value: Any) -> None:
        if value is self.get():
            return
        if value is ABSENT:
            delattr(self.owner, self.attr)
        else:
            setattr(self.owner, self.attr, value)


@dataclass(frozen=True, slots=True)
class Contents:
    """What is in a list, dictionary, set or deque, whatever names it has."""

    owner: Any

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"what is in a {type(self.owner).__name__}"

    @property
    def key(self) -> Any:
        """What tells it from other places."""
        return id(self.owner)

    def get(self) -> Any:
        """A copy of the contents."""
        return self.owner.copy()

    def set(self, value: Any) -> None:
        """Replace the contents."""
        self.owner.clear()
        (self.owner.update if hasattr(self.owner, "update") else self.owner.extend)(value)


@dataclass(frozen=True, slots=True)
class Variable:
    """One place, and what is done with it.

    Attributes:
        place: where its value is.
        kept: it is needed afterwards; others are only put back.
        changed: the object in it may be changed in place.
        flag: conversion made it: nobody reads it before it has a value.
    """

    place: Place
    kept: bool
    changed: bool
    flag: bool


Cells = Callable[[], Any] | None


@dataclass(frozen=True, slots=True)
class Scope:
    """What converted code tells of a construct's variables; see `statements`."""

    body: FunctionType
    cells: Cells = None
    keep: str = ""
    inplace: str = ""
    flags: str = ""
    attributes: Cells = None
    stops: Cells = None

    def variables(self) -> list[Variable]:
        """The places the construct may change."""
        kept, changed, flags = (set(s.split()) for s in (self.keep, self.inplace, self.flags))
        cells = _cells(self.cells)
        places: list[Place] = list(cell_places(self.cells))
        space = self.body.__globals__
        places += [_Global(name, space) for name in sorted(kept - cells.keys())]
        found = [
            Variable(p, p.name in kept | changed, p.name in changed, p.name in flags)
            for p in places
        ]
        return found + self._attributes()

    def _attributes(self) -> list[Variable]:
        rows = self.attributes() if self.attributes is not None else ()
        return [
            Variable(attribute_place(owner, attr), True, inplace, False)
            for owner, attr, inplace in rows
            if not isinstance(owner, Box)  # what a tensor holds, the trace itself knows
        ]


def _cells(holder: Cells) -> dict[str, CellType]:
    if holder is None:
        return {}
    function: Any = holder
    return dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))


def cell_places(holder: Cells) -> Sequence[Place]:
    """The variables a function names, as places."""
    return [_Variable(name, cell) for name, cell in _cells(holder).items()]


def attribute_place(owner: Any, attr: str) -> Place:
    """An attribute as a place."""
    return _Attribute(f"{type(owner).__name__}.{attr}", owner, attr)


def global_place(name: str, space: dict[str, Any]) -> Place:
    """A global as a place."""
    return _Global(name, space)


def values(variables: Sequence[Variable]) -> list[Any]:
    """What the variables hold now."""
    return [v.place.get() for v in variables]


def put(variables: Sequence[Variable], contents: Sequence[Any]) -> None:
    """Give the variables these values."""
    for v, value in zip(variables, contents, strict=True):
        v.place.set(value)


class _Reasons(threading.local):
    """Why variables have no value, by name, while a converted function runs."""

    def __init__(self) -> None:
        self.why: dict[str, str] = {}


class _Depth(threading.local):
    """How many blocks are being recorded whose running depends on a tensor, one in another."""

    blocks = 0

    @contextmanager
    def deeper(self) -> Iterator[None]:
        """One more."""
        self.blocks += 1
        try:
            yield
        finally:
            self.blocks -= 1


REASONS, DEPTH = _Reasons(), _Depth()
_UNBOUND = re.compile(r"variable '(\w+)'")


def leave_empty(variable: Variable, why: str) -> None:
    """Take a variable's value away, and remember the reason for who reads it."""
    REASONS.why[variable.place.name] = why
    variable.place.set(ABSENT)


def explained(error: NameError) -> Exception:
    """The error for a variable that was read without a value, if we know why it has none."""
    match = _UNBOUND.search(str(error))
    why = REASONS.why.get(match[1]) if match else None
    if why is None or match is None:
        return error
    what = f"the variable {match[1]}"
    if match[1].startswith("result_"):
        what = "what the function returns"
    rule = f"{what} has no value here: {why}"
    return TraceError("convert", rule, source=_innermost(error))


def _innermost(error: BaseException) -> str:
    trace, line = error.__traceback__, ""
    while trace is not None:
        code = trace.tb_frame.f_code
        line = f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return line
