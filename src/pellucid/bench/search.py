"""The search for schedules against drawing them blindly: equal trials, on products not seen before.

The model that guides learns from blind trials of other products first. What counts is the time of
the best found over the time by the rules, for each product; the winners are timed again, in turns.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

import pellucid as pl
from pellucid.bench.row import OURS, Goal, Row, Samples, Setting
from pellucid.compile import this_machine
from pellucid.loop.ir import Kernel
from pellucid.runtime.kernel_bench import KernelBench
from pellucid.runtime.tuning import Stopwatch
from pellucid.runtime.workbench import time_in_turns
from pellucid.schedule.choice import RULES
from pellucid.schedule.search.evolve import Trial, search
from pellucid.schedule.search.records import Known
from pellucid.schedule.search.space import Space

_TAUGHT = ((96, 640, 200), (256, 128, 512), (720, 300, 64), (48, 1000, 480))
_UNSEEN = (
    (200, 200, 200), (320, 320, 320), (100, 784, 512), (37, 500, 300), (512, 64, 512),
    (1000, 100, 100), (256, 1024, 48),
)  # fmt: skip
_TRIALS, _SEEDS, _ROUNDS = 16, 2, 15
_BLIND = "blind search"


def _kernel(m: int, k: int, n: int) -> Kernel:
    a, b = pl.Tensor(np.zeros((m, k), np.float32)), pl.Tensor(np.zeros((k, n), np.float32))
    (call,) = pl.jit(pl.matmul).lower(a, b).compiled.lowered.calls
    return call.kernel


class _Contest:
    """Both searches on one product."""

    def __init__(self, kernel: Kernel) -> None:
        self.space, self.bench = Space(kernel, this_machine()), KernelBench(kernel, this_machine())

    def trials(self, count: int, seed: int, guided: Known | None) -> list[Trial]:
        """What a search of so many trials measures; blind without `guided`."""
        watch, rng = Stopwatch(self.bench), np.random.default_rng(seed)
        return list(search(self.space, watch.seconds, rng, count, guided=guided))

    def times(self, found: Sequence[Sequence[Trial]]) -> list[float]:
        """Of each search's best, over the rules'."""
        best = (min(trials, key=lambda t: t.seconds).candidate.choice for trials in found)
        runs = [self.bench.loaded(self.bench.code(choice)) for choice in (RULES, *best)]
        rules, *others = time_in_turns(runs, _ROUNDS)
        return [seconds / rules for seconds in others]


def _known(shapes: Sequence[tuple[int, int, int]], count: int) -> Known:
    runs = [(str(s), t) for s in shapes for t in _Contest(_kernel(*s)).trials(count, 0, None)]
    good = [(name, t) for name, t in runs if np.isfinite(t.seconds)]
    return Known(
        [t.features for _, t in good], [t.seconds for _, t in good], [name for name, _ in good]
    )


def compare_searches(setting: Setting) -> Samples:
    """Times of the best found over the rules, by both searches, for each product and seed."""
    few = 1 if setting.quick else None
    count = 4 if setting.quick else _TRIALS
    known = _known(_TAUGHT[:few], count)
    seen: dict[str, list[float]] = {OURS: [], _BLIND: []}
    for shape, seed in itertools.product(_UNSEEN[:few], range(1, 1 + (few or _SEEDS))):
        contest = _Contest(_kernel(*shape))
        found = [contest.trials(count, seed, guided) for guided in (known, None)]
        for name, time in zip(seen, contest.times(found), strict=True):
            seen[name].append(time)
    return Samples(seen=seen)


ROWS = (
    Row(
        name=f"search of {_TRIALS} trials",
        group="search",
        goal=Goal(ratio=1.0),
        make=compare_searches,
        unit="",
    ),
)
