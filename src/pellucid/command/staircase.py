"""Staircases: a kernel after each schedule step, from the definition to what is compiled, measured.

Enters: a kind of work (product, convolution, softmax, attention), a size, threads. Leaves: a
`Staircase`, one `Rung` per step with its speed, its share of what this machine can do, and its
error. Each rung is compiled as it stands and run inside the program: the program's results with it
are compared with NumPy in float64. Other books' ladders: OpenMLSys's GEMM in seven steps, Boehm's
worklog.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pellucid as pl
from pellucid.command.staircase_work import WORKS, Work
from pellucid.compile import this_machine
from pellucid.core.errors import CompileError
from pellucid.loop.ir import Kernel
from pellucid.runtime.machine import MachineLimits, arithmetic_call, cpu_name, machine_limits
from pellucid.runtime.shorten import shorten
from pellucid.runtime.workbench import Workbench, time_slot, with_threads
from pellucid.schedule.explain import explain
from pellucid.schedule.recipes.shape import work as operations
from pellucid.schedule.trace import Step

MOST_ERROR = 1e-4  # of the largest element of the reference
_STEP_S = 0.4  # about how long one step may run in each round
_ROUNDS = 5
_SLOW_OPERATIONS = 1 << 27  # that a kernel without vectors does not do at once
_PROBE = 1 / 64  # of a slow kernel, to see how slow

Array = NDArray[Any]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rung:
    """One step of a staircase.

    Attributes:
        name: the step's, with its arguments.
        why: one sentence.
        seconds: time of the whole kernel in the best round; scaled up where only `part` was run.
        rate: GFLOP/s or GB/s.
        of_limit: `rate` over the machine's limit.
        error: the largest difference of the program's results from the reference, over its largest
            element.
        part: the share of the kernel's work that was run.
        loops: the kernel as text.
    """

    name: str
    why: str
    seconds: float
    rate: float
    of_limit: float
    error: float
    part: float
    loops: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Staircase:
    """All steps of the costliest kernel of a program, and what they are held against.

    Attributes:
        work: what is computed.
        size: its extents.
        threads: threads of the pool.
        cpu: the machine.
        unit: `GFLOP/s` or `GB/s`.
        limit: the most this machine does, in that unit.
        limit_name: what limit that is.
        kernel: the kernel's name.
        shares: each kernel of the program and its share of the time, in the order they run.
        rungs: the steps.
    """

    work: str
    size: tuple[int, ...]
    threads: int
    cpu: str
    unit: str
    limit: float
    limit_name: str
    kernel: str
    shares: tuple[tuple[str, float], ...]
    rungs: tuple[Rung, ...]


@dataclass(slots=True)
class _Tried:
    """A step that was compiled and checked: how to run it, and what share of the kernel that is."""

    step: Step
    run: Callable[[], None]
    part: float
    error: float
    seconds: list[float]


def climb(
    name: str, size: Sequence[int] | None, threads: int, progress: Progress = lambda *_: None
) -> Staircase:
    """Measure the staircase of a kind of work.

    Args:
        name: one of `WORKS`.
        size: its extents; the work's own by default.
        threads: threads to schedule for and to run with.
        progress: is told what is done, how many steps of it are over, and of how many.

    Raises:
        ArgumentError: the size does not fit the work.
        CompileError: a step's results are wrong.
    """
    work = WORKS[name]
    extents = work.extents(size)
    before = pl.get_num_threads()
    pl.set_num_threads(threads)
    try:
        return _climb(work, extents, threads, progress)
    finally:
        pl.set_num_threads(before)


def _climb(work: Work, size: tuple[int, ...], threads: int, progress: Progress) -> Staircase:
    inputs = work.inputs(np.random.default_rng(0), size)
    lowered = pl.jit(work.function).lower(*map(pl.Tensor, inputs))
    bench = Workbench(
        lowered.compiled.lowered, lowered.inputs, with_threads(this_machine(), threads)
    )
    seconds = bench.seconds()
    costliest = int(np.argmax(seconds))
    call = bench.calls[costliest]
    limits = None if work.unit == "GFLOP/s" else machine_limits()
    ladder = _Ladder(bench, costliest, work.reference(*inputs), threads)
    tried = ladder.try_all(progress)
    peak = ladder.measure(tried, progress)
    amount = call.cost.flops if work.unit == "GFLOP/s" else call.cost.bytes
    limit, limit_name = (
        (peak, "fused multiply-adds")
        if limits is None
        else _bandwidth(limits, call.cost.bytes, threads)
    )
    return Staircase(
        work=work.name, size=size, threads=threads, unit=work.unit,
        cpu=f"{cpu_name()} ({this_machine().name})",
        limit=limit, limit_name=limit_name, kernel=call.kernel.name,
        shares=tuple(
            (c.kernel.name, s / sum(seconds)) for c, s in zip(bench.calls, seconds, strict=True)
        ),
        rungs=tuple(_rung(t, amount / 1e9, limit) for t in tried),
    )  # fmt: skip


def _rung(tried: _Tried, amount: float, limit: float) -> Rung:
    seconds = min(tried.seconds) / tried.part  # others' work only makes rounds slower
    rate = amount / max(seconds, 1e-9)
    args = " ".join(_plain(a) for a in tried.step.args)
    return Rung(
        name=f"{tried.step.name} {args}".strip(), why=explain(tried.step), seconds=seconds,
        rate=rate, of_limit=rate / limit, error=tried.error, part=tried.part,
        loops=str(tried.step.kernel),
    )  # fmt: skip


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"({', '.join(map(str, value))})"
    return str(value)


def _bandwidth(limits: MachineLimits, nbytes: int, threads: int) -> tuple[float, str]:
    """GB/s of a copy at the level that holds the kernel's data, for so many threads."""
    level = limits.level(nbytes)
    speeds = limits.copy[level]
    most = speeds.get(threads) or min(threads * speeds[1], speeds[limits.threads])
    return most / 1e9, f"copy through {level}"


class _Ladder:
    """The steps of one call, tried and measured on a workbench."""

    def __init__(self, bench: Workbench, call: int, reference: Array, threads: int) -> None:
        self.bench, self.call, self.reference = bench, call, reference
        self.threads = threads
        self.after = range(call + 1, len(bench.calls))

    def try_all(self, progress: Progress) -> list[_Tried]:
        """Compile and check each step's kernel."""
        steps = self.bench.steps[self.call]
        tried = []
        for k, step in enumerate(steps):
            progress("checking", k, len(steps))
            tried.append(self._tried(step))
        progress("checking", len(steps), len(steps))
        return tried

    def measure(self, tried: Sequence[_Tried], progress: Progress) -> float:
        """Rounds in which all steps take turns; returns the peak in GFLOP/s, measured between."""
        peak_call, peak_operations = arithmetic_call(self.bench.target, self.threads)
        peak = 0.0
        for n in range(_ROUNDS):
            for k, t in enumerate(tried):
                progress("measuring", n * len(tried) + k, _ROUNDS * len(tried))
                if not t.seconds or t.seconds[0] < _STEP_S / 2:
                    t.seconds.append(time_slot(t.run))
            peak = max(peak, *(peak_operations / peak_call() for _ in range(3)))
        progress("measuring", 1, 1)
        return peak / 1e9

    def _tried(self, step: Step) -> _Tried:
        kernel, part = step.kernel, 1.0
        if operations(kernel.body) > _SLOW_OPERATIONS:
            kernel, part = self._affordable(step)
        run = self.bench.loaded(self.call, kernel)
        self.bench.poison(self.call)
        seconds = _seconds(run)
        error = self._error(step)
        return _Tried(step, run, part, error, [seconds] if seconds > _STEP_S / 2 else [])

    def _affordable(self, step: Step) -> tuple[Kernel, float]:
        """The step's kernel, or as much of it as runs in the time for one step."""
        kernel, part = shorten(step.kernel, _PROBE, self.threads)
        run = self.bench.loaded(self.call, kernel)
        whole = _seconds(run) / part
        if whole <= _STEP_S:
            return step.kernel, 1.0
        return shorten(step.kernel, _STEP_S / whole, self.threads)

    def _error(self, step: Step) -> float:
        """How far the program's results are off with what a step's kernel wrote.

        Raises:
            CompileError: too far; or the kernel left all results undefined.
        """
        self.bench.run(self.after)
        result = self.bench.results()[0].astype(np.float64)
        known = ~np.isnan(result)  # a kernel run in part leaves the rest poisoned
        if not known.any():
            raise CompileError(f"step {step.name}", "no result was computed")
        worst = np.abs(result - self.reference)[known].max() / np.abs(self.reference).max()
        if worst > MOST_ERROR:
            rule = f"results are off by {worst:.1e} of the largest"
            raise CompileError(f"step {step.name}", rule, operands={"args": step.args})
        return float(worst)


def _seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
