"""Where within its period a run is cut into equal stretches.

Enters: a numbered program and a run. Leaves: where each stretch begins. Any place in the period
would do for correctness. But no kernel reaches over a cut, so cuts lie where few bytes go from one
stretch to the next, at values that are stored anyway because a product reads them; and the backward
stretch of a layer should begin where it reads from one forward stretch only.
"""

from __future__ import annotations

import numpy as np

from pellucid.passes.find_runs import FEWEST_TIMES, Run
from pellucid.passes.value_numbers import Ints, Numbered

STORING = frozenset({"dot_general", "conv2d", "conv2d_kernel_grad", "attention", "attention_grad"})
"""Ops whose operands are in memory."""

MOST_PLACES = 48  # places whose links are looked at, those with the fewest bytes across first


class Cuts:
    """Cuts a program's runs one after another; later ones look at how earlier ones were cut.

    Attributes:
        stretch_of: per position, the stretch it is in; -1 for none.
        runs: per stretch, the number of its run.
    """

    def __init__(self, numbered: Numbered) -> None:
        self.numbered = numbered
        self.made = numbered.made_at[numbered.reads]
        self.stretch_of = np.full(len(numbered.nodes), -1, np.int64)
        self.spans: list[tuple[int, int]] = []
        self.runs: list[int] = []
        storing = np.array([n.op.name in STORING for n in numbered.nodes], bool)
        readers = np.bincount(numbered.reads, minlength=len(numbered.values))
        self.loose = np.where(readers > 1, 1, 2)  # how surely it would not be in memory otherwise
        self.loose[numbered.reads[storing[numbered.reader]]] = 0

    def cut(self, run: Run, number: int) -> None:
        """Cut a run where that costs least."""
        run = run._replace(period=run.period * self._periods(run))
        start = run.start + self._offset(run)
        while start + run.period <= run.stop:
            self.stretch_of[start : start + run.period] = len(self.spans)
            self.spans.append((start, start + run.period))
            self.runs.append(number)
            start += run.period

    def _periods(self, run: Run) -> int:
        """How many periods make a stretch: as many as fit for each stretch of the run cut before
        that this one reads most of. Updates of equal parameters repeat within a layer too.
        """
        inside = slice(*np.searchsorted(self.numbered.reader, [run.start, run.stop]))
        made, read = self.made[inside], self.numbered.reads[inside]
        partner = np.where(made >= 0, self.stretch_of[made], -1)
        linked = partner >= 0
        if not linked.any():
            return 1
        runs = np.array(self.runs, np.int64)[partner[linked]]
        most = np.bincount(runs, self.numbered.nbytes[read[linked]]).argmax()
        stretches = len(np.unique(partner[linked][runs == most]))
        return max(1, min(round(run.times / stretches), run.times // FEWEST_TIMES))

    def _offset(self, run: Run) -> int:
        """How far from the run's start the first cut is."""
        middle = run.start + (run.times // 2) * run.period
        if middle + 2 * run.period > run.stop:
            middle -= run.period
        crossing, loose = self._crossing(middle, run.period)
        places = np.lexsort((loose, crossing))[:MOST_PLACES]
        lost = [(run.stop - run.start - int(k)) // run.period < run.times for k in places]
        costs = [
            (int(crossing[k]) + self._foreign(middle + int(k), run.period), int(loose[k]), less, k)
            for k, less in zip(places, lost, strict=True)
        ]
        return int(min(costs)[-1])

    def _crossing(self, middle: int, period: int) -> tuple[Ints, Ints]:
        """For each place in a period, the bytes that a cut there lets through, and how many of the
        values would else not be stored.
        """
        crossing, loose = np.zeros((2, period + 1), np.int64)
        near = (self.made >= middle) & (self.made < middle + period)
        near &= self.numbered.reader - self.made < period
        last: dict[int, int] = {}
        for value, reader in zip(
            self.numbered.reads[near], self.numbered.reader[near], strict=True
        ):
            last[value] = max(reader, last.get(value, 0))
        for value, reader in last.items():
            first = self.numbered.made_at[value] + 1 - middle
            for begin, end in _wrapped(first, reader + 1 - middle, period):
                crossing[begin:end] += self.numbered.nbytes[value]
                loose[begin:end] += self.loose[value]
        return crossing[:period], loose[:period]

    def _foreign(self, start: int, period: int) -> int:
        """Bytes that a stretch would read from others than its partners in the runs cut before."""
        reader = self.numbered.reader
        low, high = np.searchsorted(reader, [start, start + period])
        made = self.made[low:high]
        read, at = np.unique(self.numbered.reads[low:high][made >= 0], return_index=True)
        partner = self.stretch_of[made[made >= 0][at]]
        sizes = self.numbered.nbytes[read][partner >= 0]
        partner = partner[partner >= 0]
        if not len(partner):
            return 0
        total = np.bincount(partner, sizes, len(self.runs))
        most: dict[int, int] = {}
        for stretch in np.flatnonzero(total):
            run = self.runs[stretch]
            most[run] = max(most.get(run, 0), int(total[stretch]))
        return int(total.sum()) - sum(most.values())


def _wrapped(first: int, last: int, period: int) -> list[tuple[int, int]]:
    """The range `first..last` of places, taken modulo the period."""
    if last <= period:
        return [(first, last)]
    if first >= period:
        return [(first - period, last - period)]
    return [(first, period), (0, last - period)]
