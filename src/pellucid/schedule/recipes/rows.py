"""Row kernels: reductions and what is done with them, threads over rows, lanes inside a row.

```
for i in 0..4096:                       parallel for i in 0..4096:
  alloc s: f32[] local                    alloc s: f32[] local
  s[] = 0.0                         ->    s[] = 0.0
  for k in 0..1024:                       vector for k in 0..1024:
    s[] = s[] + x[i, k]                     s[] = s[] + x[i, k]
  ...                                     ...
```
Where the reduced axis is not the contiguous one (column sums), `columns.py` gives the lanes to the
kept axis.
"""

from __future__ import annotations

import math

from pellucid.core.target import Target
from pellucid.loop.ir import For, Store
from pellucid.loop.rewrite import Block, constant, loops
from pellucid.schedule.cut import cut
from pellucid.schedule.lanes import lanes
from pellucid.schedule.nest import flatten
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.privatize import privatize, split_update
from pellucid.schedule.recipes.ahead import fetch_ahead
from pellucid.schedule.recipes.columns import SHORT, columns_are_contiguous, schedule_columns
from pellucid.schedule.recipes.elementwise import cut_pieces, parallel_outer, share_loop
from pellucid.schedule.recipes.plan import PARALLEL_WORK, attempt, attempt_all
from pellucid.schedule.recipes.shape import Nest, extent_of, inner_loops, innermost, work
from pellucid.schedule.reorder import reorder
from pellucid.schedule.split import split
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

PARTS = (16, 12, 10, 8, 15, 14, 9, 6, 5, 4, 7, 3, 2)  # of a reduction that threads share
SUMS_AT_ONCE = 4  # vectors of one long reduction, as code generation has them
FEWEST_PARTS = 4  # that even out threads of unequal speed


def schedule_rows(schedule: Schedule, nest: Nest, target: Target) -> None:
    """Lanes over the rows where those are contiguous, else inside each row; threads over rows."""
    _lanes_and_threads(schedule, nest, target)
    _write_out(schedule)
    fetch_ahead(schedule, target)


def _write_out(schedule: Schedule) -> None:
    """Short loops inside the lanes (the taps of a window) unrolled, so that accumulators are
    registers.
    """
    for outer in list(loops(schedule.kernel.body)):
        if outer.kind != "vector":
            continue
        for inner in loops(outer.body):
            path = [x for x in loops(outer.body) if inner in loops((x,))]
            if math.prod(extent_of(x) if constant(x.extent) else SHORT + 1 for x in path) <= SHORT:
                attempt(schedule, unroll, inner.var)


def _lanes_and_threads(schedule: Schedule, nest: Nest, target: Target) -> None:
    if not nest.loops:
        _loops_side_by_side(schedule, nest, target)
        return
    total = work(schedule.kernel.body)
    last = nest.loops[-1]
    if columns_are_contiguous(nest):
        if not _windows(schedule, nest, total, target):
            schedule_columns(schedule, nest, total, target)
        return
    if extent_of(nest.loops[0]) > 1:
        parallel_outer(schedule, nest.loops[0], total, target)
    for var in _without_kind(nest.body):
        attempt(schedule, lanes, var)
    if not inner_loops(nest.body):
        attempt(schedule, lanes, last.var)


def _loops_side_by_side(schedule: Schedule, nest: Nest, target: Target) -> None:
    """A kernel that is no single nest: threads and lanes for each of its loops."""
    for loop in innermost(nest.body):
        _share_reduction(schedule, loop, target)
    for part in nest.body:
        if isinstance(part, For) and part.kind == "serial":
            share_loop(schedule, part, work((part,)), target)
    for var in _without_kind(schedule.kernel.body):
        attempt(schedule, lanes, var)


def _without_kind(body: Block) -> list[str]:
    """The innermost loops for which nothing has been decided yet, by name."""
    return list(dict.fromkeys(x.var for x in innermost(body) if x.kind == "serial"))


def _windows(schedule: Schedule, nest: Nest, total: int, target: Target) -> bool:
    """Windows over an image with padding: the edges apart, so that what is inside needs no
    conditions; whether there were any.
    """
    before, last = len(schedule.steps), nest.loops[-1].var
    for loop in nest.loops[-2:-1]:
        attempt(schedule, cut, loop.var)
    rows = [x.var for x in loops(schedule.kernel.body) if _stores_results(x.body)]
    pieces = [piece for var in rows for piece in cut_pieces(schedule, var)]
    if len(schedule.steps) == before:
        return False
    if len(nest.loops) > 2 or pieces == [last]:
        parallel_outer(schedule, nest.loops[0], total, target)
    for var in pieces:
        attempt(schedule, lanes, var)
    return True


def _stores_results(body: Block) -> bool:
    """Whether a loop's body itself, apart from loops in it, writes results."""
    _, pieces = flatten(body)
    return any(isinstance(s, Store) and s.buffer.scope == "param" for s in pieces)


def _share_reduction(schedule: Schedule, loop: For, target: Target) -> None:
    """A long reduction to one element in parts for threads, added up in order.

    The parts depend on the extent alone, so results are the same for any number of threads.
    """
    extent, var = extent_of(loop), loop.var
    if target.cores < 2 or work(loop.body, extent) < 4 * PARALLEL_WORK:
        return
    _, update = split_update(loop.body)
    even = [n for n in PARTS if extent % n == 0]
    if not even or update is None:
        return
    width = SUMS_AT_ONCE * target.lanes(update.buffer.dtype)
    parts = next((n for n in even if n >= FEWEST_PARTS and extent // n % width == 0), even[0])

    def share(part: str = f"{var}p", inside: str = f"{var}i") -> None:
        schedule.apply(split, var, extent // parts, part, inside)
        schedule.apply(reorder, inside, part)
        schedule.apply(privatize, inside, part)
        schedule.apply(reorder, part, inside)
        schedule.apply(parallelize, part)

    attempt_all(schedule, share)
