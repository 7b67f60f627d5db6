"""Where within its period a run is cut into equal stretches.

Enters: a numbered program and a run. Leaves: where each stretch begins. Any place in the period
would do for correctness. But no kernel reaches over a cut, so cuts lie where they break the fewest
kernels, and few bytes go from one stretch to the next; and the backward stretch of a layer should
begin where it reads from one forward stretch only.

What would be one kernel is only estimated here, before fusion: products and statements begin one,
and so does a reduction of what a product makes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pellucid.passes.find_runs import FEWEST_TIMES, Run
from pellucid.passes.value_numbers import Ints, Numbered

PRODUCTS = frozenset({
    "argsort", "attention", "attention_grad", "barrier", "conv2d", "conv2d_kernel_grad",
    "dot_general", "first_k", "linear_recurrence", "scatter", "scatter_add",
})  # fmt: skip
"""Ops whose operands are in memory."""

REDUCTIONS = frozenset({"all", "any", "prod", "reduce_max", "reduce_min", "sum"})
FOREIGN = 4  # bytes read from another layer's forward part are in memory, mostly: so much cheaper
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
        slices = np.array([n.op.name == "slice" for n in numbered.nodes], bool)
        self.sliced = set(self.made[slices[numbered.reader]].tolist())
        self.spans: list[tuple[int, int]] = []
        self.runs: list[int] = []

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
        broken, crossing = self._costs(middle, run.period)
        places = np.lexsort((crossing, broken))[:MOST_PLACES]
        lost = [(run.stop - run.start - int(k)) // run.period < run.times for k in places]
        costs = [
            (
                FOREIGN * int(broken[k]) + self._foreign(middle + int(k), run.period),
                int(crossing[k]), less, k,
            )
            for k, less in zip(places, lost, strict=True)
        ]  # fmt: skip
        return int(min(costs)[-1])

    def _costs(self, middle: int, period: int) -> tuple[Ints, Ints]:
        """For each place in a period, the bytes that kernels broken by a cut there write and read
        again, and the bytes that cross it.

        A kernel that is broken reads again what it works on, even if only a sum goes over the cut.
        """
        broken, crossing = np.zeros((2, period), np.int64)
        kernels = self._kernels(middle - period, middle + 2 * period)
        inside: dict[int, NDArray[np.bool_]] = {}
        largest: dict[int, int] = {}
        for value, readers in self._near_readers(middle, period).items():
            made, size = int(self.numbered.made_at[value]), int(self.numbered.nbytes[value])
            kernel, first = kernels[made], made + 1 - middle
            last = max(r for r in readers if r < made + period) + 1 - middle
            inner = [r + 1 - middle for r in readers if kernels.get(r) == kernel]
            if self.numbered.nodes[made].op.name == "pad" and not self.sliced.isdisjoint(readers):
                inner = [last]  # `narrow_windows` wants to see `slice(conv2d(pad(x)))`
            _add(crossing, first, last, size)
            largest[kernel] = max(size, largest.get(kernel, 0))
            if inner:
                inside.setdefault(kernel, np.zeros(2 * period, bool))[first : max(inner)] = True
            if len(inner) == len(readers):
                _add(broken, first, last, size)
        for kernel, places in inside.items():
            broken += largest[kernel] * (places[:period] | places[period:])
        return broken, crossing

    def _near_readers(self, middle: int, period: int) -> dict[int, list[int]]:
        """The readers of each value that is made in a period and read within one."""
        near = (self.made >= middle) & (self.made < middle + period)
        found: dict[int, list[int]] = {}
        reads, readers = self.numbered.reads[near].tolist(), self.numbered.reader[near].tolist()
        for value, reader in zip(reads, readers, strict=True):
            found.setdefault(value, []).append(reader)
        made = self.numbered.made_at
        return {v: rs for v, rs in found.items() if min(rs) - int(made[v]) < period}

    def _kernels(self, start: int, stop: int) -> dict[int, int]:
        """A guess at the kernels of some positions: a number that grows from one to the next."""
        numbered = self.numbered
        found: dict[int, int] = {}
        heavy: dict[int, bool] = {}
        low, high = np.searchsorted(numbered.reader, [start, stop])
        operands: dict[int, list[int]] = {}
        pairs = zip(numbered.reader[low:high].tolist(), self.made[low:high].tolist(), strict=True)
        for reader, made in pairs:
            if made in found or made >= start:
                operands.setdefault(reader, []).append(made)
        for position in range(start, min(stop, len(numbered.nodes))):
            name = numbered.nodes[position].op.name
            makers = operands.get(position, [])
            kernel = max((found[m] for m in makers), default=0)
            product = any(heavy[m] for m in makers if found[m] == kernel)
            begins = name in PRODUCTS or (name in REDUCTIONS and product)
            found[position] = kernel + begins
            heavy[position] = name in PRODUCTS or (product and not begins)
        return found

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


def _add(costs: Ints, first: int, last: int, size: int) -> None:
    """Add to the places `first..last`, taken modulo their number."""
    period = len(costs)
    costs[first:last] += size
    if last > period:
        costs[max(first - period, 0) : last - period] += size
