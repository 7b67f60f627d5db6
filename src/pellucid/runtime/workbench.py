"""A program with its kernels apart: each can be exchanged, run by itself on real data, and timed.

Enters: a lowered program and its inputs. Leaves: a `Workbench`, whose calls run one by one on
arrays of their own; what comes before a kernel gives it its inputs, what comes after shows whether
the program's results are still right. No plan, no arena: programs run through `executable.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.errors import LoweringError
from pellucid.core.target import Target
from pellucid.loop.ir import Kernel
from pellucid.lower.flow import is_straight
from pellucid.lower.program import BufferSlot, KernelCall, LoweredProgram
from pellucid.runtime.buffer import default_allocator
from pellucid.runtime.kernel import load_kernel
from pellucid.schedule.recipes import schedule_kernel
from pellucid.schedule.trace import Step

Array = NDArray[Any]
_SLOT_S = 0.02  # a kernel's turn
_MOST_RUNS = 10_000


class Workbench:
    """The calls of a program on arrays of their own, one per slot.

    Args:
        program: the calls; none may write into an input.
        inputs: one array per input of the program.
        target: the machine to compile for, this one with as many cores as there are threads.

    Raises:
        LoweringError: the program calls functions of the host, or has branches or loops.

    Attributes:
        calls: the program's.
        steps: each call's schedule.
    """

    def __init__(self, program: LoweredProgram, inputs: Sequence[Array], target: Target) -> None:
        for call in program.calls:
            if call.host is not None:
                rule = "a function of the host has no loops to take apart"
                raise LoweringError(call.kernel.name, rule, source=", ".join(call.sources))
        if not is_straight(program.steps):
            rule = "calls in branches and loops cannot be run one by one"
            raise LoweringError(program.name, rule)
        self.calls, self.target = program.calls, target
        self._outputs = program.outputs
        self._arrays = {slot.id: _array(slot) for slot in program.slots}
        for slot, array in zip(program.inputs, inputs, strict=True):
            self._arrays[slot] = np.ascontiguousarray(array)
        self.steps: tuple[tuple[Step, ...], ...] = tuple(
            schedule_kernel(call.kernel, target, recipe=call.recipe) for call in program.calls
        )
        self._runs = [
            self.loaded(k, steps[-1].kernel) for k, steps in enumerate(self.steps)
        ]  # fmt: skip

    def loaded(self, call: int, kernel: Kernel) -> Callable[[], None]:
        """Code for a kernel that does what call number `call` does, bound to that call's arrays."""
        run, arrays = load_kernel(kernel, self.target), self.arguments(self.calls[call])
        return lambda: run(*arrays)

    def run(self, calls: Sequence[int] | None = None) -> None:
        """Run all calls, or these, with the schedules their recipes gave them."""
        for call in range(len(self.calls)) if calls is None else calls:
            self._runs[call]()

    def seconds(self, rounds: int = 5) -> list[float]:
        """Each call's median time, measured in turns."""
        self.run()
        return time_in_turns(self._runs, rounds)

    def poison(self, call: int) -> None:
        """Fill a call's outputs with NaN (whole numbers: the largest), so that gaps show."""
        kernel = self.calls[call].kernel
        for array in self.arguments(self.calls[call])[-kernel.outputs :]:
            array.fill(np.nan if array.dtype.kind == "f" else _most(array.dtype))

    def results(self) -> list[Array]:
        """The program's outputs as they are now."""
        return [self._arrays[slot] for slot in self._outputs]

    def arguments(self, call: KernelCall) -> tuple[Array, ...]:
        """The arrays of a call, each in its parameter's shape."""
        pairs = zip(call.kernel.params, call.args, strict=True)
        return tuple(self._arrays[slot].reshape(buffer.shape) for buffer, slot in pairs)


def time_in_turns(runs: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """Median seconds of each of several functions, which take turns so that noise meets all."""
    times = [[time_slot(run) for run in runs] for _ in range(rounds)]
    return [float(np.median(column)) for column in zip(*times, strict=True)]


def time_slot(run: Callable[[], None], seconds: float = _SLOT_S) -> float:
    """Median seconds of one call, from as many as fit in a short time, at least one."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < _MOST_RUNS:
        start = time.perf_counter()
        run()
        now = time.perf_counter()
        taken.append(now - start)
        if now >= end:
            break
    return float(np.median(taken))


def with_threads(target: Target, threads: int) -> Target:
    """The target as it is for a program that has so many threads."""
    return replace(target, cores=threads)


def _array(slot: BufferSlot) -> Array:
    if slot.value is not None:
        return np.ascontiguousarray(slot.value)
    array = default_allocator().empty(slot.type.shape, slot.type.dtype.numpy)
    array.fill(0)  # touches each page, so that no measurement does
    return array


def _most(dtype: np.dtype[Any]) -> int:
    return 1 if dtype.kind == "b" else int(np.iinfo(dtype).max)
