"""The order in which a program's calls run: one after another, in branches, in loops.

A step is a leaf (a call, or its number), a `Branch` or a `Loop`. Everything a step touches is a
slot of the program. Some slots are views: they have no memory, and the program's entry points them
at a row of an array or at one of a carry's two buffers before a step runs.

    carry:  read -> start, then written -> one buffer, read -> it, written -> the other ...
    slice:  part -> whole + row * stride

The last step writes `end` where the number of steps is known; else what was written last is copied
there if it is in the other buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pellucid.core.size import Size
from pellucid.core.size_input import size_of_row, size_row

Step = Any
"""A leaf (a call, or its number), a `Branch` or a `Loop`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Carry:
    """A value that one step of a loop hands to the next.

    Attributes:
        start: the slot of the first value; never written.
        read: a view, what a step reads.
        written: a view, what a step writes.
        end: the slot that holds the last value when the loop is done.
        spare: a second buffer of the same size.
        nbytes: of each.
    """

    start: int
    read: int
    written: int
    end: int
    spare: int
    nbytes: int

    @property
    def slots(self) -> tuple[int, ...]:
        """All of them."""
        return self.start, self.read, self.written, self.end, self.spare


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """A row of an array, another for each step.

    Attributes:
        whole: the array's slot.
        part: a view of one row.
        stride: bytes of a row.
        written: whether steps write it; rows that no step reaches are then zero.
    """

    whole: int
    part: int
    stride: int
    written: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Loop:
    """Steps that run again and again.

    Attributes:
        body: what runs each time.
        carries: what is handed on.
        slices: rows read and written.
        length: how often it runs at most; None: without end.
        reverse: from the last row to the first.
        count: the slot of an int32 that says how often, at most `length`.
        cond: what runs before each turn,
        test: and the slot of the bool that it leaves: the loop ends where that is false.
        steps: the slot of an int32 for how often it ran.
        ahead: the numbers of copies that are made before it (`ahead.py`).
    """

    body: tuple[Step, ...]
    carries: tuple[Carry, ...]
    slices: tuple[Slice, ...]
    length: int | None
    reverse: bool = False
    count: int | None = None
    cond: tuple[Step, ...] = ()
    test: int | None = None
    steps: int | None = None
    ahead: tuple[int, ...] = ()

    @property
    def is_counted(self) -> bool:
        """Whether the number of turns is known when the program is made."""
        return type(self.length) is int and self.count is None and self.test is None

    @property
    def own_slots(self) -> list[int]:
        """The slots that the loop itself names, those of its steps left out."""
        single = [s for s in (self.count, self.test, self.steps) if s is not None]
        rows = [s for x in self.slices for s in (x.whole, x.part)]
        return [*single, *rows, *(s for c in self.carries for s in c.slots)]

    @property
    def own_written(self) -> list[int]:
        """Those that it writes."""
        rows = [s for x in self.slices if x.written for s in (x.whole, x.part)]
        ends = [s for c in self.carries for s in c.slots[1:]]
        return [*rows, *ends, *(s for s in (self.test, self.steps) if s is not None)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Branch:
    """Steps of which one list runs: that whose position the int32 in slot `index` is, or the
    nearest.
    """

    index: int
    branches: tuple[tuple[Step, ...], ...]


def nested(step: Any) -> tuple[tuple[Any, ...], ...]:
    """The lists of steps inside a step, in the order of their calls."""
    if isinstance(step, Loop):
        return step.cond, step.body
    return step.branches if isinstance(step, Branch) else ()


def leaves(steps: Iterable[Any]) -> Iterator[Any]:
    """All calls, in order."""
    for step in steps:
        if isinstance(step, (Loop, Branch)):
            for inner in nested(step):
                yield from leaves(inner)
        else:
            yield step


def own_slots(steps: Iterable[Any]) -> Iterator[int]:
    """The slots that branches and loops name themselves."""
    for step in steps:
        if isinstance(step, Branch):
            yield step.index
        elif isinstance(step, Loop):
            yield from step.own_slots
        for inner in nested(step):
            yield from own_slots(inner)


def open_numbers(steps: Iterable[Any]) -> Iterator[Size]:
    """The lengths, strides and sizes of carries that are not known yet."""
    for step in steps:
        if isinstance(step, Loop):
            numbers = [step.length, *(c.nbytes for c in step.carries)]
            numbers += [x.stride for x in step.slices]
            yield from (n for n in numbers if isinstance(n, Size))
        for inner in nested(step):
            yield from open_numbers(inner)


def is_straight(steps: Iterable[Any]) -> bool:
    """Whether steps are nothing but calls."""
    return not any(isinstance(s, (Loop, Branch)) for s in steps)


def turns(steps: Iterable[Any], times: int = 1) -> Iterator[int]:
    """For each call how often it runs at most; of loops without end one turn is counted."""
    for step in steps:
        if isinstance(step, (Loop, Branch)):
            more = 1 if isinstance(step, Branch) or step.length is None else step.length
            for inner in nested(step):
                yield from turns(inner, times * more)
        else:
            yield times


def is_endless(steps: Iterable[Any]) -> bool:
    """Whether there is a loop of which nobody knows how often it runs."""
    return any(
        (isinstance(s, Loop) and s.length is None) or any(map(is_endless, nested(s))) for s in steps
    )


def map_steps(steps: Iterable[Any], leaf: Callable[[Any], Any]) -> tuple[Any, ...]:
    """The same steps with every call replaced."""
    return tuple(_map_step(step, leaf) for step in steps)


def _map_step(step: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(step, Loop):
        return replace(step, cond=map_steps(step.cond, leaf), body=map_steps(step.body, leaf))
    if isinstance(step, Branch):
        return replace(step, branches=tuple(map_steps(b, leaf) for b in step.branches))
    return leaf(step)


def numbered(steps: Iterable[Any]) -> tuple[Any, ...]:
    """The same steps with each call's number among all."""
    numbers = iter(range(1 << 62))
    return map_steps(steps, lambda _: next(numbers))


def renamed(step: Any, old: int, new: int, leaf: Callable[[Any], Any]) -> Any:
    """A step that reads slot `new` wherever it read `old`; `leaf` does so for a call."""

    def name(slot: Any) -> Any:
        return new if slot == old else slot

    def inside(steps: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(renamed(s, old, new, leaf) for s in steps)

    if isinstance(step, Branch):
        branches = tuple(inside(b) for b in step.branches)
        return Branch(index=name(step.index), branches=branches)
    if isinstance(step, Loop):
        return replace(
            step,
            cond=inside(step.cond),
            body=inside(step.body),
            carries=tuple(replace(c, start=name(c.start), end=name(c.end)) for c in step.carries),
            slices=tuple(replace(x, whole=name(x.whole)) for x in step.slices),
            count=name(step.count),
            steps=name(step.steps),
        )
    return leaf(step)


def spans(
    steps: Sequence[Any], slots_of: Callable[[Any], Iterable[int]]
) -> dict[int, tuple[int, int]]:
    """For each slot the numbers of the first and the last call between which it holds data.

    What a loop reads from outside it holds until its last call, whatever call reads it: the next
    turn comes to it again. So it does with its carries' buffers and with arrays of rows.

    Args:
        steps: the program's.
        slots_of: the slots of one call.
    """
    walk = _Spans(slots_of)
    walk.visit(steps)
    return {slot: (walk.first[slot], walk.last[slot]) for slot in walk.first}


class _Spans:
    def __init__(self, slots_of: Callable[[Any], Iterable[int]]) -> None:
        self.slots_of, self.position = slots_of, 0
        self.first: dict[int, int] = {}
        self.last: dict[int, int] = {}

    def visit(self, steps: Iterable[Any]) -> None:
        for step in steps:
            if isinstance(step, Loop):
                self._loop(step)
            elif isinstance(step, Branch):
                self._touch([step.index], self.position)
                for branch in step.branches:
                    self.visit(branch)
            else:
                self._touch(self.slots_of(step), self.position)
                self.position += 1

    def _touch(self, slots: Iterable[int], position: int) -> None:
        for slot in slots:
            self.first.setdefault(slot, position)
            self.last[slot] = max(self.last.get(slot, 0), position)

    def _loop(self, loop: Loop) -> None:
        begin = self.position
        before = set(self.first)
        self._touch(loop.own_slots, begin)
        self.visit(loop.cond)
        self.visit(loop.body)
        end = max(begin, self.position - 1)
        inside = {s for s in before if self.last[s] >= begin}
        self._touch([*loop.own_slots, *inside], end)


def to_rows(steps: Iterable[Any]) -> list[Any]:
    """Numbered steps as what JSON can hold."""
    return [_to_row(step) for step in steps]


def _to_row(step: Any) -> Any:
    if isinstance(step, Branch):
        return {"index": step.index, "branches": [to_rows(b) for b in step.branches]}
    if isinstance(step, Loop):
        return {
            "body": to_rows(step.body),
            "carries": [[*c.slots, size_row(c.nbytes)] for c in step.carries],
            "slices": [[x.whole, x.part, size_row(x.stride), x.written] for x in step.slices],
            "length": None if step.length is None else size_row(step.length),
            "reverse": step.reverse,
            "count": step.count,
            "cond": to_rows(step.cond),
            "test": step.test,
            "steps": step.steps,
            "ahead": step.ahead,
        }
    return step


def from_rows(rows: Iterable[Any]) -> tuple[Any, ...]:
    """The steps that `to_rows` wrote."""
    return tuple(_from_row(row) for row in rows)


def _from_row(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    if "branches" in row:
        return Branch(index=row["index"], branches=tuple(map(from_rows, row["branches"])))
    names = ("start", "read", "written", "end", "spare", "nbytes")
    carries = [
        Carry(**dict(zip(names, (*c[:-1], size_of_row(c[-1])), strict=True)))
        for c in row["carries"]
    ]
    slices = [
        Slice(whole=whole, part=part, stride=size_of_row(stride), written=written)
        for whole, part, stride, written in row["slices"]
    ]
    inner = {"body": from_rows(row["body"]), "cond": from_rows(row["cond"])}
    length = None if row["length"] is None else size_of_row(row["length"])
    rows = {"carries": tuple(carries), "slices": tuple(slices), "length": length}
    return Loop(**{**row, **inner, **rows, "ahead": tuple(row["ahead"])})
