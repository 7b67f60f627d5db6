"""Fair timing on a noisy machine: candidates take turns in short slots; medians and spreads over
rounds.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured quantity over rounds: `low` and `high` are the 10th and 90th percentile."""

    median: float
    best: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Pace:
    """How candidates take turns.

    Attributes:
        rounds: slots per candidate.
        slot: seconds per slot, at least one call.
        rest: seconds before each slot at most, in which the others' spinning threads go to sleep:
            OpenBLAS's spin for some 100 ms.
    """

    rounds: int = 15
    slot: float = 0.03
    rest: float = 0.5


_LONG_S = 0.2
_GLANCE_S = 0.005
_QUIET = 0.2  # of one core
QUICK = Pace(rounds=3, slot=0.002, rest=0.0)


def time_slot(step: Step, seconds: float) -> float:
    """Seconds per call, over calls one after the other for so many seconds."""
    calls, start = 0, time.perf_counter()
    while True:
        step()
        calls += 1
        spent = time.perf_counter() - start
        if spent >= seconds:
            return spent / calls


def rest(seconds: float) -> None:
    """Sleep until no thread of this process is busy, but no longer than so many seconds."""
    end = time.perf_counter() + seconds
    while (start := time.perf_counter()) < end:
        used = time.process_time()
        time.sleep(_GLANCE_S)
        if time.process_time() - used < _QUIET * (time.perf_counter() - start):
            return


def race(steps: Mapping[str, Step], pace: Pace) -> dict[str, Figure]:
    """Seconds per call of each candidate. Each is called twice before, and once before each slot:
    the first call after a pause finds caches cold and threads asleep. Calls that take longer than
    that could matter to are made once.
    """
    last = {name: _warm(step) for name, step in steps.items()}
    seen: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(pace.rounds):
        for name, step in steps.items():
            rest(pace.rest)
            if last[name] < _LONG_S:
                step()
            last[name] = time_slot(step, pace.slot)
            seen[name].append(last[name])
    return {name: summary(times) for name, times in seen.items()}


def _warm(step: Step) -> float:
    """Call until nothing is done for the first time; seconds of the last call."""
    seconds = time_slot(step, 0.0)
    return seconds if seconds > _LONG_S else time_slot(step, 0.0)


def summary(values: Sequence[float]) -> Figure:
    """Median, least, and the 10th and 90th percentile."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return Figure(
        statistics.median(ordered),
        ordered[0],
        ordered[round(0.1 * last)],
        ordered[round(0.9 * last)],
        len(ordered),
    )
