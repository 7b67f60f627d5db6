"""What calls in a loop read that the loop leaves as it is: copies of it can be made before.

Enters: a lowered program. Leaves: for each call the loops around it, and for each loop the slots it
changes. A matrix product in a loop copies its weights into the order in which it reads them; where
no step changes the weights, once before the first step is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pellucid.core.size import is_static
from pellucid.lower.flow import Branch, Loop, Step, leaves, nested
from pellucid.lower.program import KernelCall, LoweredProgram

FEWEST_TURNS = 4
"""A shorter loop gains little by copies made ahead."""
REUSE = 2
"""Operations per byte from which a kernel may copy its operands at all."""


@dataclass(frozen=True, slots=True)
class Around:
    """A loop of a program.

    Attributes:
        number: its place among the program's loops, each before those inside it.
        begin: the number of the first call in it.
        end: that of the last.
        changed: slots that are not the same in all steps.
        is_long: whether it may run often.
    """

    number: int
    begin: int
    end: int
    changed: frozenset[int]
    is_long: bool


def loops_around(program: LoweredProgram) -> list[tuple[Around, ...]]:
    """For each call, the loops that it is in, the outermost first."""
    walk = _Walk()
    return list(walk.visit(program.steps, ()))


class _Walk:
    def __init__(self) -> None:
        self.loops, self.calls = 0, 0

    def visit(
        self, steps: Iterable[Step], around: tuple[Around, ...]
    ) -> Iterator[tuple[Around, ...]]:
        for step in steps:
            inside = around
            if isinstance(step, Loop):
                count = sum(1 for _ in leaves([step]))
                end = self.calls + max(count, 1) - 1
                turns = step.length
                is_long = turns is None or not is_static(turns) or turns >= FEWEST_TURNS
                changed = frozenset(_changed(step))
                inside = (*around, Around(self.loops, self.calls, end, changed, is_long))
                self.loops += 1
            if isinstance(step, (Loop, Branch)):
                for inner in nested(step):
                    yield from self.visit(inner, inside)
            else:
                self.calls += 1
                yield around


def _changed(step: Step) -> Iterator[int]:
    """Slots that a step writes, or points elsewhere from turn to turn."""
    if isinstance(step, KernelCall):
        yield from step.args[len(step.args) - step.kernel.outputs :]
        return
    if isinstance(step, Loop):
        yield from step.own_written
        yield from (x.part for x in step.slices)
        yield from (c.read for c in step.carries)
    for steps in nested(step):
        for inner in steps:
            yield from _changed(inner)


def loop_before(around: Sequence[Around], slots: Iterable[int]) -> Around | None:
    """The outermost of these loops that changes none of the slots."""
    wanted = set(slots)
    return next((a for a in around if wanted.isdisjoint(a.changed)), None)


def ready_slots(call: KernelCall, around: Sequence[Around]) -> frozenset[int]:
    """Slots that a call reads and that a long loop around it leaves as they are."""
    if call.host is not None or not any(a.is_long for a in around):
        return frozenset()
    if not all(is_static(p.shape) for p in call.kernel.params):
        return frozenset()
    if call.cost.flops < REUSE * call.cost.bytes:
        return frozenset()
    read = call.args[: len(call.args) - call.kernel.outputs]
    found = [(slot, loop_before(around, [slot])) for slot in read]
    return frozenset(slot for slot, loop in found if loop is not None and loop.is_long)


def with_ahead(steps: Iterable[Any], ahead: Mapping[int, tuple[int, ...]]) -> tuple[Any, ...]:
    """The steps with each loop's list of what runs before it, by the loop's number."""
    count = 0

    def visit(step: Any) -> Any:
        nonlocal count
        if isinstance(step, Branch):
            return replace(step, branches=tuple(tuple(map(visit, b)) for b in step.branches))
        if isinstance(step, Loop):
            mine = ahead.get(count, ())
            count += 1
            cond, body = tuple(map(visit, step.cond)), tuple(map(visit, step.body))
            return replace(step, cond=cond, body=body, ahead=mine)
        return step

    return tuple(map(visit, steps))
