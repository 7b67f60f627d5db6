"""Branches and loops of an exported program as C text.

Enters: numbered steps and what each slot is called. Leaves: lines. Views (rows, carries) are
pointers declared at the top of the function; `codegen/llvm_flow.py` does the same with a table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pellucid.codegen.c99_helpers import c_type
from pellucid.lower.flow import Branch, Carry, Loop, Slice, nested
from pellucid.lower.program import LoweredProgram

Lines = list[str]


class FlowText:
    """Steps as C.

    Args:
        program: its slots and steps.
        places: what each slot that is no view is called: a pointer to its first element.

    Attributes:
        places: with the views.
    """

    def __init__(self, program: LoweredProgram, places: Mapping[int, str]) -> None:
        self.program = program
        views = [s.id for s in program.slots if s.role == "view"]
        self.places = {**places, **{slot: f"view{slot}" for slot in views}}
        self.views, self.count = views, 0

    def declarations(self) -> Lines:
        """The views; what is only read may be constant."""
        written = set(_written(self.program.steps))
        used = {slot for call in self.program.calls for slot in call.args}
        made = [
            f"{'' if slot in written else 'const '}{self._type(slot)} *{self.places[slot]} = 0;"
            for slot in self.views
        ]
        return made + [f"(void){self.places[slot]};" for slot in self.views if slot not in used]

    def lines(self, steps: Iterable[Any], call: Callable[[int], Lines]) -> Lines:
        """The steps; `call` gives the lines of one call."""
        made: Lines = []
        for step in steps:
            if isinstance(step, Loop):
                made += self._loop(step, call)
            elif isinstance(step, Branch):
                made += self._branch(step, call)
            else:
                made += call(step)
        return made

    def _type(self, slot: int) -> str:
        return c_type(self.program.slots[slot].type.dtype)

    def _branch(self, step: Branch, call: Callable[[int], Lines]) -> Lines:
        made = [f"switch ({self._first(step.index)}) {{"]
        last = len(step.branches) - 1
        for k, branch in enumerate(step.branches):
            label = "default:" if k == last else f"case {k}:"
            made += [f"  {label}", *_indent(self.lines(branch, call), 2), "    break;"]
        if last > 0:  # what is below the first branch is the first
            made[0] = f"switch ({self._first(step.index)} < 0 ? 0 : {self._first(step.index)}) {{"
        return [*made, "}"]

    def _first(self, slot: int) -> str:
        return f"*({self.places[slot]})"

    def _loop(self, loop: Loop, call: Callable[[int], Lines]) -> Lines:
        self.count += 1
        t, n = f"t{self.count}", f"n{self.count}"
        turns: list[str] = [f"int64_t {n} = {_number(loop, self)};"] if loop.test is None else []
        head = f"for (; {t} < {n}; ++{t}) {{"
        if loop.test is not None:
            head = f"for (;{'' if loop.length is None else f' {t} < {loop.length}'}; ++{t}) {{"
        body = self.lines(loop.cond, call)
        if loop.test is not None:
            body.append(f"if (!{self._first(loop.test)}) break;")
        row = f"({n} - 1 - {t})" if loop.reverse else t
        body += [
            f"{self.places[x.part]} = {self.places[x.whole]} + {row} * {self._elements(x)};"
            for x in loop.slices
        ]
        body += self.lines(loop.body, call)
        for carry in loop.carries:
            body += self._swap(carry)
        inside = [f"int64_t {t} = 0;", *turns]
        for carry in loop.carries:
            inside += self._begin(carry, loop)
        inside += [head, *_indent(body, 1), "}", *self._end(loop, t)]
        return ["{", *_indent(inside, 1), "}"]

    def _elements(self, row: Slice) -> int:
        return row.stride // self.program.slots[row.part].type.dtype.itemsize

    def _begin(self, carry: Carry, loop: Loop) -> Lines:
        first = carry.spare if loop.is_counted and (loop.length or 0) % 2 == 0 else carry.end
        return [
            f"{self.places[carry.read]} = {self.places[carry.start]};",
            f"{self.places[carry.written]} = {self.places[first]};",
        ]

    def _swap(self, carry: Carry) -> Lines:
        end, spare, written = (self.places[s] for s in (carry.end, carry.spare, carry.written))
        return [
            f"{self.places[carry.read]} = {written};",
            f"{written} = {written} == {end} ? {spare} : {end};",
        ]

    def _end(self, loop: Loop, t: str) -> Lines:
        if loop.is_counted:
            return []
        made = []
        for carry in loop.carries:
            end, last = self.places[carry.end], self.places[carry.read]
            made.append(f"if ({last} != {end}) memcpy({end}, {last}, {carry.nbytes});")
        if loop.steps is not None:
            made.append(f"{self._first(loop.steps)} = (int32_t){t};")
        for row in loop.slices:
            if row.written and loop.length is not None:
                rest = f"(size_t)({loop.length} - {t}) * {row.stride}"
                made.append(
                    f"memset({self.places[row.whole]} + {t} * {self._elements(row)}, 0, {rest});"
                )
        return made


def _number(loop: Loop, text: FlowText) -> str:
    """How often a loop without a test runs."""
    if loop.count is None:
        return str(loop.length)
    given = f"*({text.places[loop.count]})"
    return f"{given} < {loop.length} ? {given} : {loop.length}"


def _written(steps: Sequence[Any]) -> Iterable[int]:
    """The views that some step writes through, or that stand for what is written."""
    for step in steps:
        if isinstance(step, Loop):
            yield from (x.part for x in step.slices if x.written)
            yield from (c.written for c in step.carries)
        for inner in nested(step):
            yield from _written(inner)


def _indent(lines: Iterable[str], depth: int) -> Lines:
    return [f"{'  ' * depth}{line}" for line in lines]
