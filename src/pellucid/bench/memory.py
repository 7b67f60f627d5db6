"""Peak resident memory of training, in fresh processes; the arena beside its lower bound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import pellucid as pl
from pellucid.bench.fresh import NOBODY, run_fresh, run_peak_of_numpy
from pellucid.bench.row import OURS, Goal, Row, Samples, Setting
from pellucid.bench.startup import sample_each
from pellucid.bench.works import WORKS, Work, pellucid_step

_RUNS = 3


def _resident(work: Work) -> Callable[[Setting], Samples]:
    """Peaks, imports included. Peers get their weights from Pellucid's model, so what Pellucid
    and that model take beside NumPy is taken off theirs.
    """

    def measure(setting: Setting) -> Samples:
        threads, count = setting.threads, 1 if setting.quick else _RUNS
        bare = run_peak_of_numpy(threads)
        extra = max(0.0, run_fresh("memory", work.name, NOBODY, threads) - bare)

        def peaks(who: str) -> list[float]:
            more = 0.0 if who == OURS else extra
            return [run_fresh("memory", work.name, who, threads) - more for _ in range(count)]

        return sample_each(setting, ("torch", "jax"), peaks)

    return measure


def _arena(work: Work) -> Callable[[Setting], Samples]:
    """The arena's size over the most bytes alive at once."""

    def measure(_: Setting) -> Samples:
        x, y = (pl.Tensor(a) for a in work.batch(np.random.default_rng(0)))
        plan = pellucid_step(work.pellucid()).lower(x, y).memory
        return Samples(seen={OURS: [plan.peak / max(plan.bound, 1)]})

    return measure


ROWS = (
    *(
        Row(
            name=f"memory {work.name}",
            group="memory",
            goal=Goal(peers={"torch": 1 / 0.6, "jax": 1 / 0.8}),
            make=_resident(work),
            unit="B",
        )
        for work in WORKS
    ),
    *(
        Row(
            name=f"arena over bound {work.name}",
            group="memory",
            goal=Goal(most=1.1),
            make=_arena(work),
            unit="",
        )
        for work in WORKS
    ),
)
