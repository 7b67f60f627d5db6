"""A program's entry as LLVM IR: one function that calls every kernel with pointers from a table.

Enters: the calls in order. Leaves: text. Short programs are written as they run, call after call.
In long ones the same kernels come again and again, so the entry walks over a list of numbers (which
kernel, which slots), and its code grows with the number of distinct kernels only.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from pellucid.codegen.llvm_emitter import Function, Module
from pellucid.codegen.llvm_flow import FlowWriter

LONG_PROGRAM = 64  # calls; reading a call from the list costs a few nanoseconds
REPEATS = 2  # calls per distinct kernel from which the list is worth it


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelArguments:
    """One call of a program: its symbol and the pointer table entries it gets.

    `host` is the entry of the record of a function of the host (`llvm_host.py`); such a call
    returns a status, and ends the program where it is not 0. `zeroed` says how many bytes of the
    last slot a loop clears before a call that it makes ahead.
    """

    symbol: str
    slots: tuple[int, ...]
    scratch: int | None = None
    host: int | None = None
    zeroed: int = 0

    @property
    def pointers(self) -> tuple[int, ...]:
        """The table entries that are passed: a host's record first, scratch memory last."""
        slots = self.slots if self.host is None else (self.host, *self.slots)
        return slots if self.scratch is None else (*slots, self.scratch)

    @property
    def result(self) -> str:
        """What the call returns, as an LLVM type."""
        return "void" if self.host is None else "i32"


def render_entry(
    calls: Sequence[KernelArguments],
    symbol: str,
    profiled: bool = False,
    steps: Sequence[Any] = (),
    numbers: Mapping[int, int] = MappingProxyType({}),
    ahead: Sequence[KernelArguments] = (),
) -> str:
    """`void symbol(ptr table)` that runs `calls` in order with the pointers `table[slot]`.

    With `profiled`, `void symbol(ptr table, ptr times)` also writes each call's start and end in
    nanoseconds of the monotonic clock to `times[2 * i]` and `times[2 * i + 1]` (int64). A call that
    runs again and again gets its first start, and that plus all its time as its end.

    Args:
        calls: all calls.
        symbol: the entry's name.
        profiled: whether times are taken.
        steps: the calls' numbers in branches and loops; by default one after another.
        numbers: the table entries of what loops count with that is not known yet (int64).
        ahead: calls that loops make before their first step, by the numbers that they name.
    """
    module = Module()
    params = "ptr %table, ptr %times" if profiled else "ptr %table"
    entry = Function(module, symbol, params, "nounwind")
    clock = _Clock(entry) if profiled else None
    for call in (*calls, *ahead):
        module.declare(f"{call.result} @{call.symbol}({', '.join('ptr' for _ in call.pointers)})")
    if any(not isinstance(step, int) for step in steps):
        _write_flow(entry, calls, (steps, numbers, ahead), clock)
    elif len(calls) > max(LONG_PROGRAM, REPEATS * len({c.symbol for c in calls})):
        _write_list(entry, calls, clock)
    else:
        _write_calls(entry, calls, clock)
    entry.finish()
    return module.text()


def _write_calls(entry: Function, calls: Sequence[KernelArguments], clock: _Clock | None) -> None:
    """The calls one after another, their slots in the code."""
    for position, call in enumerate(calls):
        pointers = [_table_entry(entry, slot) for slot in call.pointers]
        if clock:
            clock.store(str(2 * position))
        _call(entry, call, pointers)
        if clock:
            clock.store(str(2 * position + 1))


def _write_flow(
    entry: Function,
    calls: Sequence[KernelArguments],
    flow: tuple[Sequence[Any], Mapping[int, int], Sequence[KernelArguments]],
    clock: _Clock | None,
) -> None:
    """The calls in their branches and loops."""

    def write(number: int, pointer: Callable[[int], str], again: bool) -> None:
        pointers = [pointer(slot) for slot in calls[number].pointers]
        if clock is None:
            _call(entry, calls[number], pointers)
        elif again:
            begun = clock.now()
            _call(entry, calls[number], pointers)
            clock.add(number, begun)
        else:
            clock.store(str(2 * number))
            _call(entry, calls[number], pointers)
            clock.store(str(2 * number + 1))

    steps, numbers, ahead = flow

    def prepare(number: int, pointer: Callable[[int], str]) -> None:
        call = ahead[number]
        pointers = [pointer(slot) for slot in call.pointers]
        entry.module.declare("void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        cleared = f"ptr {pointer(call.slots[-1])}, i8 0, i64 {call.zeroed}, i1 0"
        entry.effect(f"call void @llvm.memset.p0.i64({cleared})")
        _call(entry, call, pointers)

    FlowWriter(entry, steps, numbers, (write, prepare)).write(steps)


def _write_list(entry: Function, calls: Sequence[KernelArguments], clock: _Clock | None) -> None:
    """A loop over the calls' numbers: the kernel's own, then its slots."""
    distinct = {c.symbol: c for c in calls}
    kernels = {symbol: k for k, symbol in enumerate(distinct)}
    numbers: list[int] = []
    starts = []
    for call in calls:
        starts.append(len(numbers))
        numbers += [kernels[call.symbol], *call.pointers]
    _define_numbers(entry.module, "starts", starts)
    _define_numbers(entry.module, "numbers", numbers)
    with entry.loop(str(len(calls)), sure=True) as position:
        start = _number(entry, "@starts", position)
        first = entry.emit(f"getelementptr i32, ptr @numbers, i64 {start}")
        kernel = entry.emit(f"load i32, ptr {first}, align 4")
        if clock:
            begin = entry.emit(f"shl i64 {position}, 1")
            clock.store(begin)
        cases = [partial(_listed_call, entry, call, first) for call in distinct.values()]
        entry.switch(kernel, cases)
        if clock:
            clock.store(entry.emit(f"add i64 {begin}, 1"))


def _listed_call(entry: Function, call: KernelArguments, first: str) -> None:
    slots = [_number(entry, first, str(k + 1)) for k in range(len(call.pointers))]
    places = [entry.emit(f"getelementptr ptr, ptr %table, i64 {slot}") for slot in slots]
    _call(entry, call, [entry.emit(f"load ptr, ptr {place}, align 8") for place in places])


def _call(entry: Function, call: KernelArguments, pointers: Sequence[str]) -> None:
    text = f"call {call.result} @{call.symbol}({', '.join(f'ptr {p}' for p in pointers)})"
    if call.host is None:
        entry.effect(text)
    else:
        entry.leave(entry.emit(f"icmp ne i32 {entry.emit(text)}, 0"))


def _define_numbers(module: Module, name: str, numbers: Sequence[int]) -> None:
    items = ", ".join(f"i32 {n}" for n in numbers)
    kind = f"[{len(numbers)} x i32]"
    module.define(name, f"@{name} = private unnamed_addr constant {kind} [{items}]")


def _number(entry: Function, array: str, index: str) -> str:
    place = entry.emit(f"getelementptr i32, ptr {array}, i64 {index}")
    return entry.emit(f"zext i32 {entry.emit(f'load i32, ptr {place}, align 4')} to i64")


def _table_entry(entry: Function, slot: int) -> str:
    place = entry.pure(f"getelementptr ptr, ptr %table, i64 {slot}")
    return entry.pure(f"load ptr, ptr {place}, align 8")


class _Clock:
    """Stores the monotonic clock's nanoseconds into `%times`."""

    # CLOCK_MONOTONIC, as the C library of each system numbers it.
    _MONOTONIC = 6 if platform.system() == "Darwin" else 1

    def __init__(self, entry: Function) -> None:
        self.entry = entry
        self.time = entry.alloca("[2 x i64]", 8)
        entry.module.declare("i32 @clock_gettime(i32, ptr)")

    def store(self, position: str) -> None:
        """Write the time now to `times[position]`, an i64."""
        entry, total = self.entry, self.now()
        place = entry.pure(f"getelementptr i64, ptr %times, i64 {position}")
        entry.effect(f"store i64 {total}, ptr {place}")

    def add(self, number: int, begun: str) -> None:
        """Add the time since `begun` to what call `number` has taken so far."""
        entry, now = self.entry, self.now()
        took = entry.emit(f"sub i64 {now}, {begun}")
        first, last = (
            entry.pure(f"getelementptr i64, ptr %times, i64 {2 * number + k}") for k in (0, 1)
        )
        start, end = entry.emit(f"load i64, ptr {first}"), entry.emit(f"load i64, ptr {last}")
        new = entry.emit(f"icmp eq i64 {start}, 0")
        start = entry.emit(f"select i1 {new}, i64 {begun}, i64 {start}")
        end = entry.emit(f"select i1 {new}, i64 {begun}, i64 {end}")
        entry.effect(f"store i64 {start}, ptr {first}")
        entry.effect(f"store i64 {entry.emit(f'add i64 {end}, {took}')}, ptr {last}")

    def now(self) -> str:
        """The time, an i64."""
        entry = self.entry
        entry.emit(f"call i32 @clock_gettime(i32 {self._MONOTONIC}, ptr {self.time})")
        seconds = entry.emit(f"load i64, ptr {self.time}")
        rest = entry.emit(
            f"load i64, ptr {entry.pure(f'getelementptr i64, ptr {self.time}, i64 1')}"
        )
        scaled = entry.emit(f"mul i64 {seconds}, 1000000000")
        return entry.emit(f"add i64 {scaled}, {rest}")
