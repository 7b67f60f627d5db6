"""Tuning: the costly kernels of programs that were run, searched by measurement, and kept.

Enters: programs that were watched, records to keep what is found in. Leaves: `Result`s, one per
kernel. Kernels are measured by themselves; in the end whole programs are measured with and without
what was found, in turns, and a kernel that did not get faster there goes back to its rules.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pellucid.compile import Compiled
from pellucid.core.errors import CompileError
from pellucid.core.log import get_logger
from pellucid.core.target import Target
from pellucid.loop.ir import Kernel
from pellucid.lower.program import KernelCall
from pellucid.runtime.executable import Executable
from pellucid.runtime.kernel_bench import KernelBench
from pellucid.runtime.program import Port, Program
from pellucid.runtime.watch import Watched
from pellucid.runtime.workbench import time_in_turns, time_slot
from pellucid.schedule.choice import RULES, Choice
from pellucid.schedule.search.evolve import Trial, search
from pellucid.schedule.search.records import Found, Records
from pellucid.schedule.search.space import Candidate, Space

LOG = get_logger("runtime.tuning")
MOST_TRIALS = 96  # of a kernel
LEAST_SHARE = 0.01  # of the time, for a kernel to be searched
LEAST_GAIN = 0.02  # of its time, for a choice to be kept
_FINALISTS, _ROUNDS = 3, 9
_SLOT_S = 0.006
_HOPELESS = 3.0  # times the best so far: one run is enough to see it
_LEAST_S = 1.0  # of searching, for a kernel

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A distinct kernel of the programs.

    Attributes:
        key: what its choice is kept under.
        kernel: as lowered.
        constants: names of the parameters whose contents are known.
        shared: outputs made in an input's memory, both by position among the parameters.
        calls: calls of it in all programs' runs.
        share: of all programs' time.
    """

    key: str
    kernel: Kernel
    constants: frozenset[str]
    shared: Mapping[int, int]
    calls: int
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What a search found: the seconds by the rules and by the best choice, alone and in turns."""

    job: Job
    found: Found
    trials: int
    interrupted: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A program's seconds by the rules and with what was found, and how often it ran."""

    name: str
    runs: int
    before: float
    after: float


def find_jobs(programs: Sequence[Watched]) -> list[Job]:
    """The distinct kernels of programs, the costliest first."""
    found: dict[str, Job] = {}
    spent: dict[str, float] = {}
    for watched in programs:
        compiled = watched.compiled
        seconds = _profiled([Executable(compiled)], 5)[0]
        rows = zip(
            compiled.kernel_keys, compiled.lowered.calls, compiled.constants, seconds, strict=True
        )
        for key, call, constants, each in rows:
            if call.host is not None or call.recipe is not None:
                continue
            count = watched.runs + (found[key].calls if key in found else 0)
            spent[key] = spent.get(key, 0.0) + each * watched.runs
            found[key] = Job(
                key=key, kernel=call.kernel, constants=constants, shared=_shared(call),
                calls=count, share=0.0,
            )  # fmt: skip
    total = max(sum(spent.values()), 1e-12)
    jobs = [replace(job, share=spent[key] / total) for key, job in found.items()]
    return sorted(jobs, key=lambda j: -j.share)


def tune_kernels(
    jobs: Sequence[Job], records: Records, target: Target, budget_s: float, progress: Progress
) -> Iterator[Result]:
    """Search the kernels that take a share worth it, each for its share of the budget.

    An interrupt (Ctrl-C) ends the search of the kernel that is on; what was measured counts, and no
    further kernel is searched.

    Args:
        jobs: the costliest first.
        records: what was found before, and where results and measurements are kept.
        target: this machine.
        budget_s: seconds for all of it, about.
        progress: is told the kernel, the trials made and the most there may be.

    Raises:
        OSError: the records cannot be written.
    """
    worth = [job for job in jobs if job.share >= LEAST_SHARE]
    left, rest = budget_s, sum(job.share for job in worth)
    for job in worth:
        start = time.perf_counter()
        seconds = max(_LEAST_S, left * job.share / rest)
        result = _Search(job, records, target, start + seconds).run(progress)
        left, rest = max(0.0, left - (time.perf_counter() - start)), rest - job.share
        records.keep(result.found)
        yield result
        if result.interrupted:
            return


class Stopwatch:
    """Times candidates of one kernel; one that is far behind the best so far, only once."""

    def __init__(self, bench: KernelBench) -> None:
        self.bench, self.best = bench, math.inf

    def seconds(self, candidate: Candidate) -> float:
        """Seconds of a candidate; infinite where its code is refused or wrong."""
        name = self.bench.kernel.name
        try:
            code = self.bench.code(candidate.choice)
        except CompileError as error:
            LOG.info("%s, %s: %s", name, candidate.choice, error)
            return math.inf
        if not self.bench.right(code):
            LOG.warning(
                "%s with %s gives other results than by its rules: please report this",
                name, candidate.choice,
            )  # fmt: skip
            return math.inf
        run = self.bench.loaded(code)
        seconds = time_slot(run, 0.0)
        if seconds < _HOPELESS * self.best:
            seconds = min(time_slot(run, _SLOT_S) for _ in range(3))
        self.best = min(self.best, seconds)
        return seconds


class _Search:
    """One kernel's search: candidates compiled, checked and timed until the time is over."""

    def __init__(self, job: Job, records: Records, target: Target, until: float) -> None:
        self.job, self.records, self.until = job, records, until
        self.space = Space(job.kernel, target, job.constants)
        self.bench = KernelBench(job.kernel, target, job.constants, job.shared)
        self.stopwatch = Stopwatch(self.bench)

    def run(self, progress: Progress) -> Result:
        """Search, then race the best against the rules."""
        trials: list[Trial] = []
        interrupted = False
        before = self.records.chosen().get(self.job.key)
        try:
            for trial in search(
                self.space,
                self.stopwatch.seconds,
                np.random.default_rng(0),
                MOST_TRIALS,
                seeds=[] if before is None else [before],
                guided=self.records.known(but=self.job.key),
            ):
                trials.append(trial)
                self.records.add(
                    self.job.key, trial.candidate.choice, trial.features, trial.seconds
                )
                progress(self.job.kernel.name, len(trials), MOST_TRIALS)
                if time.perf_counter() > self.until:
                    break
        except KeyboardInterrupt:
            interrupted = True
        found = self._race(trials)
        return Result(job=self.job, found=found, trials=len(trials), interrupted=interrupted)

    def _race(self, trials: Sequence[Trial]) -> Found:
        """The fastest of the rules and the best trials, all measured in turns."""
        key, name = self.job.key, self.job.kernel.name
        fast = sorted((t for t in trials if math.isfinite(t.seconds)), key=lambda t: t.seconds)
        choices = [RULES, *(t.candidate.choice for t in fast[:_FINALISTS])]
        choices = list(dict.fromkeys(choices))
        runs = [self.bench.loaded(self.bench.code(c)) for c in choices]
        seconds = time_in_turns(runs, _ROUNDS)
        winner = int(np.argmin(seconds))
        if seconds[winner] > (1 - LEAST_GAIN) * seconds[0]:
            winner = 0
        return Found(key, name, choices[winner], seconds[winner], seconds[0])


def compare_programs(
    programs: Sequence[Watched], results: Sequence[Result], records: Records
) -> list[Comparison]:
    """Whole programs by the rules and with what was found, in turns.

    Kernels whose choice does not pay inside the programs go back to their rules, in the records
    too; the times that are returned are of what is kept.

    Raises:
        OSError: the records cannot be written.
    """
    chosen = {r.found.kernel: r.found for r in results if r.found.choice != RULES}
    by_rules: dict[str, float] = {}
    by_choice: dict[str, float] = {}
    times: list[tuple[Watched, Sequence[float], Sequence[float]]] = []
    for watched in programs:
        choices = {key: found.choice for key, found in chosen.items()}
        pair = [_with_choices(watched.compiled, c) for c in ({}, choices)]
        before, after = _profiled([Executable(c) for c in pair], _ROUNDS)
        times.append((watched, before, after))
        for key, b, a in zip(watched.compiled.kernel_keys, before, after, strict=True):
            by_rules[key] = by_rules.get(key, 0.0) + b * watched.runs
            by_choice[key] = by_choice.get(key, 0.0) + a * watched.runs
    kept = {k for k in chosen if k in by_rules and by_choice[k] < by_rules[k]}
    for key in chosen.keys() - kept:
        records.keep(replace(chosen[key], choice=RULES))
    return [_comparison(watched, before, after, kept) for watched, before, after in times]


def _comparison(
    watched: Watched, before: Sequence[float], after: Sequence[float], kept: set[str]
) -> Comparison:
    pairs = zip(watched.compiled.kernel_keys, before, after, strict=True)
    return Comparison(
        name=watched.compiled.graph.name,
        runs=watched.runs,
        before=sum(before),
        after=sum(a if key in kept else b for key, b, a in pairs),
    )


def _with_choices(compiled: Compiled, choices: Mapping[str, Choice]) -> Compiled:
    return replace(compiled, choices=dict(choices), seconds={})


def _profiled(programs: Sequence[Executable], rounds: int) -> list[list[float]]:
    """Median seconds of each call of programs that take turns, on made-up inputs."""
    inputs = [_inputs(p.program) for p in programs]
    taken: list[list[NDArray[np.int64]]] = [[] for _ in programs]
    for round_ in range(rounds + 1):
        for program, arrays, rows in zip(programs, inputs, taken, strict=True):
            times = program.run_profiled(arrays)[1]
            if round_:  # the first run warms up
                rows.append(times[:, 1] - times[:, 0])
    return [[float(s) * 1e-9 for s in np.median(np.array(rows), axis=0)] for rows in taken]


def _inputs(program: Program) -> list[NDArray[np.generic]]:
    """Arrays that a program can be run on."""
    return [_made_up(port) for port in program.inputs]


def _made_up(port: Port) -> NDArray[np.generic]:
    """Small positive random numbers; zeros for whole numbers, which may be indices."""
    array = np.zeros(port.shape, port.numpy)
    if array.dtype.kind in "fV":
        array[...] = 0.1 * (np.random.default_rng(0).random(port.shape) + 0.1)
    return array


def _shared(call: KernelCall) -> dict[int, int]:
    """Outputs of a call whose slot is an input's."""
    first = len(call.args) - call.kernel.outputs
    inputs = {slot: position for position, slot in enumerate(call.args[:first])}
    return {first + k: inputs[slot] for k, slot in enumerate(call.args[first:]) if slot in inputs}
