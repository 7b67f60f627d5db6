"""A program's branches and loops as LLVM IR, around its calls.

Enters: numbered steps (`lower/flow.py`) and the calls they stand for. Leaves: instructions in the
entry. A loop keeps no counters in memory; what changes from turn to turn are pointers in the table:
rows move by their stride, carries change places with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pellucid.codegen.llvm_emitter import Function
from pellucid.lower.flow import Branch, Carry, Loop, Slice, nested

Call = Callable[[int, Callable[[int], str], bool], None]
Prepare = Callable[[int, Callable[[int], str]], None]


class FlowWriter:
    """Writes steps into an entry whose table is `%table`.

    Args:
        entry: the function.
        steps: the program's.
        numbers: the table entries of numbers that are not known yet.
        calls: writes a call, given its number, where to find a slot's pointer, and whether the call
            may run more than once; and one that a loop makes before its first step.
    """

    def __init__(
        self,
        entry: Function,
        steps: Sequence[Any],
        numbers: Mapping[int, int],
        calls: tuple[Call, Prepare],
    ) -> None:
        self.entry, self.numbers = entry, numbers
        self.call, self.prepare = calls
        self.views = set(_views(steps))

    def write(self, steps: Iterable[Any], again: bool = False) -> None:
        """The steps one after another."""
        for step in steps:
            if isinstance(step, Loop):
                self._loop(step)
            elif isinstance(step, Branch):
                self._branch(step, again)
            else:
                self.call(step, self.pointer, again)

    def pointer(self, slot: int) -> str:
        """A slot's address: of a view, as it is now."""
        place = self._place(slot)
        load = f"load ptr, ptr {place}, align 8"
        return self.entry.emit(load) if slot in self.views else self.entry.pure(load)

    def _place(self, slot: int) -> str:
        return self.entry.pure(f"getelementptr ptr, ptr %table, i64 {slot}")

    def _point(self, slot: int, pointer: str) -> None:
        self.entry.effect(f"store ptr {pointer}, ptr {self._place(slot)}, align 8")

    def _number(self, number: int) -> str:
        """A length or size, an i64."""
        if type(number) is int:
            return str(number)
        return self.entry.pure(f"load i64, ptr {self._place(self.numbers[number])}, align 8")

    def _int32(self, slot: int) -> str:
        return self.entry.emit(f"load i32, ptr {self.pointer(slot)}, align 4")

    def _branch(self, step: Branch, again: bool) -> None:
        last = len(step.branches) - 1
        raised = self._of_two("smax", "i32", self._int32(step.index), "0")
        index = self._of_two("smin", "i32", raised, str(last))
        cases = [lambda b=b: self.write(b, again) for b in step.branches]
        self.entry.switch(index, cases)

    def _of_two(self, name: str, kind: str, x: str, y: str) -> str:
        symbol = f"llvm.{name}.{kind}"
        self.entry.module.declare(f"{kind} @{symbol}({kind}, {kind})")
        return self.entry.emit(f"call {kind} @{symbol}({kind} {x}, {kind} {y})")

    def _loop(self, loop: Loop) -> None:
        for number in loop.ahead:
            self.prepare(number, self.pointer)
        buffers = [self._begin(carry, loop) for carry in loop.carries]
        if loop.test is not None:
            turns = self._while(loop, loop.test, buffers)
        else:
            turns = self._turns(loop)
            sure = loop.is_counted
            with self.entry.loop(turns, sure=sure) as counter:
                self._turn(loop, counter, turns, buffers)
        if loop.is_counted:
            return
        for carry, (end, _) in zip(loop.carries, buffers, strict=True):
            self._settle(carry, end)
        if loop.steps is not None:
            narrow = self.entry.emit(f"trunc i64 {turns} to i32")
            self.entry.effect(f"store i32 {narrow}, ptr {self.pointer(loop.steps)}, align 4")
        if loop.length is not None and not (loop.count is None and loop.test is None):
            for row in loop.slices:
                if row.written:
                    self._clear(row, turns, loop.length)

    def _turns(self, loop: Loop) -> str:
        most = self._number(loop.length or 0)
        if loop.count is None:
            return most
        wide = self.entry.emit(f"sext i32 {self._int32(loop.count)} to i64")
        return self._of_two("smin", "i64", wide, most)

    def _begin(self, carry: Carry, loop: Loop) -> tuple[str, str]:
        """Point a carry's views at its start and its first buffer; its two buffers' addresses."""
        end, spare = self.pointer(carry.end), self.pointer(carry.spare)
        even = loop.is_counted and loop.length is not None and loop.length % 2 == 0
        first = spare if even else end
        self._point(carry.read, self.pointer(carry.start))
        self._point(carry.written, first)
        return end, spare

    def _turn(
        self, loop: Loop, counter: str, turns: str, buffers: Sequence[tuple[str, str]]
    ) -> None:
        """One run of the body: rows, then its steps, then the carries change places."""
        entry = self.entry
        row = counter
        if loop.reverse:
            row = entry.emit(f"sub i64 {entry.pure(f'sub i64 {turns}, 1')}, {counter}")
        for slice in loop.slices:
            offset = entry.emit(f"mul i64 {row}, {self._number(slice.stride)}")
            whole = self.pointer(slice.whole)
            self._point(slice.part, entry.emit(f"getelementptr i8, ptr {whole}, i64 {offset}"))
        self.write(loop.body, again=True)
        for carry, (end, spare) in zip(loop.carries, buffers, strict=True):
            made = self.pointer(carry.written)
            at_end = entry.emit(f"icmp eq ptr {made}, {end}")
            self._point(carry.read, made)
            self._point(carry.written, entry.emit(f"select i1 {at_end}, ptr {spare}, ptr {end}"))

    def _while(self, loop: Loop, test: int, buffers: Sequence[tuple[str, str]]) -> str:
        """A loop that ends when its test says so; how often it ran."""
        entry = self.entry
        counter = entry.alloca("i64", 8)
        entry.effect(f"store i64 0, ptr {counter}, align 8")

        def holds() -> str:
            self.write(loop.cond, again=True)
            byte = entry.emit(f"load i8, ptr {self.pointer(test)}, align 1")
            more = entry.emit(f"icmp ne i8 {byte}, 0")
            if loop.length is None:
                return more
            done = entry.emit(f"load i64, ptr {counter}, align 8")
            below = entry.emit(f"icmp slt i64 {done}, {loop.length}")
            return entry.emit(f"and i1 {more}, {below}")

        def turn() -> None:
            now = entry.emit(f"load i64, ptr {counter}, align 8")
            self._turn(loop, now, now, buffers)
            following = entry.emit(f"add i64 {now}, 1")
            entry.effect(f"store i64 {following}, ptr {counter}, align 8")

        entry.repeat(holds, turn)
        return entry.emit(f"load i64, ptr {counter}, align 8")

    def _settle(self, carry: Carry, end: str) -> None:
        """The last value, which may be in the other buffer or the start, copied to the end."""
        entry = self.entry
        last = self.pointer(carry.read)
        elsewhere = entry.emit(f"icmp ne ptr {last}, {end}")
        entry.module.declare("void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
        size = self._number(carry.nbytes)
        copy = f"call void @llvm.memcpy.p0.p0.i64(ptr {end}, ptr {last}, i64 {size}, i1 0)"
        entry.branch(elsewhere, lambda: entry.effect(copy))

    def _clear(self, row: Slice, turns: str, length: int) -> None:
        """Zeros in the rows that no turn came to."""
        entry = self.entry
        entry.module.declare("void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        used = self._of_two("smax", "i64", turns, "0")
        stride = self._number(row.stride)
        start = entry.emit(f"mul i64 {used}, {stride}")
        whole = entry.emit(f"mul i64 {self._number(length)}, {stride}")
        rest = entry.emit(f"sub i64 {whole}, {start}")
        place = entry.emit(f"getelementptr i8, ptr {self.pointer(row.whole)}, i64 {start}")
        entry.effect(f"call void @llvm.memset.p0.i64(ptr {place}, i8 0, i64 {rest}, i1 0)")


def _views(steps: Iterable[Any]) -> Iterable[int]:
    """The slots whose pointers change."""
    for step in steps:
        if isinstance(step, Loop):
            yield from (x.part for x in step.slices)
            yield from (s for c in step.carries for s in (c.read, c.written))
        for inner in nested(step):
            yield from _views(inner)
