"""Stretches of a sequence that repeat: where a program of many equal layers says the same again.

Enters: the tokens of a program's nodes in order. Leaves: runs, each a stretch that consists of one
period several times over. The layers' forward parts make one run, their backward parts another, the
updates of their parameters a third.

Candidates for periods are distances between equal windows of tokens; of all stretches that repeat
with one of them, the longest is taken, then the longest of what is left, and so on.
Source: windows of tokens as fingerprints as in Karp and Rabin, "Efficient randomized
pattern-matching algorithms" (1987); what they propose is compared exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from pellucid.passes.value_numbers import Ints

WINDOWS = (8, 32)  # tokens; the longer one sees through shorter repeats within a period
MOST_PERIODS = 24  # candidates tried per window
MOST_RUNS = 64
FEWEST_TIMES = 3
FEWEST_SAVED = 12  # nodes of a run that come again; less is chance
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


class Run(NamedTuple):
    """Positions `start` to `stop`, where each token is the one `period` before it, if that is here
    too.
    """

    start: int
    stop: int
    period: int

    @property
    def times(self) -> int:
        """How often the whole period fits."""
        return (self.stop - self.start) // self.period


def find_runs(tokens: Ints) -> list[Run]:
    """The runs of a sequence in their order; they do not overlap."""
    if len(tokens) < FEWEST_SAVED:
        return []
    left = tokens.copy()
    periods = _periods(tokens)
    runs = []
    for _ in range(MOST_RUNS):
        run = _longest(left, periods)
        if run is None:
            break
        runs.append(run)
        left[run.start : run.stop] = -1 - np.arange(run.start, run.stop)  # equal to nothing
    return sorted(runs)


def _periods(tokens: Ints) -> list[int]:
    """The distances between equal windows, those first that come most often."""
    found: dict[int, None] = {}
    for width in WINDOWS:
        if len(tokens) >= 2 * width:
            found.update(dict.fromkeys(_distances(tokens, width)))
    return list(found)


def _distances(tokens: Ints, width: int) -> list[int]:
    count = len(tokens) - width + 1
    windows = np.zeros(count, np.uint64)
    for k in range(width):
        windows = windows * _FACTOR + tokens[k : k + count].astype(np.uint64)
    order = np.argsort(windows, kind="stable")
    equal = windows[order[1:]] == windows[order[:-1]]
    distances, times = np.unique((order[1:] - order[:-1])[equal], return_counts=True)
    best = np.argsort(-times, kind="stable")[:MOST_PERIODS]
    return [int(d) for d in distances[best]]


def _longest(tokens: Ints, periods: list[int]) -> Run | None:
    """The run that leaves the fewest nodes to look at."""
    runs = [run for period in periods for run in _runs(tokens, period)]
    saved = [(run.stop - run.start - run.period, -run.period) for run in runs]
    if not runs or max(saved)[0] < FEWEST_SAVED:
        return None
    return runs[saved.index(max(saved))]


def _runs(tokens: Ints, period: int) -> Iterator[Run]:
    equal = np.zeros(len(tokens) - period + 2, np.int8)
    equal[1:-1] = tokens[period:] == tokens[:-period]
    edges = np.diff(equal)
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    enough = stops - starts >= (FEWEST_TIMES - 1) * period
    for start, stop in zip(starts[enough], stops[enough], strict=True):
        yield Run(int(start), int(stop) + period, period)
