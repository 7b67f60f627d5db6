"""Row kernels: reductions and what is done with them, threads over rows, lanes inside a row.

```
for i in 0..4096:                       parallel for i in 0..4096:
  alloc s: f32[] local                    alloc s: f32[] local
  s[] = 0.0                         ->    s[] = 0.0
  for k in 0..1024:                       vector for k in 0..1024:
    s[] = s[] + x[i, k]                     s[] = s[] + x[i, k]
  ...                                     ...
```
Where the reduced axis is not the contiguous one (column sums), the kept axis has the lanes instead:
each lane reduces a column of its own.
"""

from __future__ import annotations

import math

from pellucid.core.target import Target
from pellucid.loop.ir import For, Store
from pellucid.loop.rewrite import Block, constant, index_vars, loops
from pellucid.schedule.dependence import update_of
from pellucid.schedule.lanes import lanes
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.privatize import privatize
from pellucid.schedule.recipes.elementwise import parallel_outer
from pellucid.schedule.recipes.plan import PARALLEL_WORK, attempt, attempt_all, chunk_extent
from pellucid.schedule.recipes.shape import Nest, extent_of, far_accesses, inner_loops, stride, work
from pellucid.schedule.reorder import reorder
from pellucid.schedule.split import split
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

SHORT = 16  # iterations inside a row (a pooling window) too few for lanes of their own
PARTS = (16, 12, 10, 8, 15, 14, 9, 6, 5, 4, 7, 3, 2)  # of a reduction that threads share
SUMS_AT_ONCE = 4  # vectors of one long reduction
LONG_ROW = 4  # steps of so many vectors, beside which adding them up is little
FEWEST_PARTS = 4  # that even out threads of unequal speed
LANES_AT_ONCE = 2  # vectors of columns per step: independent sums that hide the adder's latency


def schedule_rows(schedule: Schedule, nest: Nest, target: Target) -> None:
    """Lanes over the rows where those are contiguous, else inside each row; threads over rows."""
    _lanes_and_threads(schedule, nest, target)
    _write_out(schedule)


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
    total = work(schedule.kernel.body)
    if not nest.loops:
        for loop in innermost(nest.body):
            _share_reduction(schedule, loop, target)
        for loop in innermost(schedule.kernel.body):
            _lanes_inside(schedule, loop, target)
        return
    last = nest.loops[-1]
    if _columns_are_contiguous(nest):
        _columns(schedule, nest, total, target)
        return
    if extent_of(nest.loops[0]) > 1:
        parallel_outer(schedule, nest.loops[0], total, target)
    for loop in innermost(nest.body):
        _lanes_inside(schedule, loop, target)
    if not inner_loops(nest.body):
        attempt(schedule, lanes, last.var)


def _lanes_inside(schedule: Schedule, loop: For, target: Target) -> None:
    """Lanes for a loop of a row; a long reduction gets several vectors of sums, which do not wait
    for each other.
    """
    var, update = loop.var, loop.body[0]
    if len(loop.body) == 1 and isinstance(update, Store) and update_of(update) is not None:
        width = SUMS_AT_ONCE * target.lanes(update.buffer.dtype)
        fits = var not in index_vars(update) and extent_of(loop) % width == 0
        if fits and extent_of(loop) >= LONG_ROW * width:

            def several_sums(step: str = f"{var}s", inside: str = f"{var}v") -> None:
                schedule.apply(split, var, width, step, inside)
                schedule.apply(privatize, step, inside)
                for name in (inside, f"{inside}z", f"{inside}c"):
                    schedule.apply(lanes, name)

            if attempt_all(schedule, several_sums):
                return
    attempt(schedule, lanes, var)


def _share_reduction(schedule: Schedule, loop: For, target: Target) -> None:
    """A long reduction to one element in parts for threads, added up in order.

    The parts depend on the extent alone, so results are the same for any number of threads.
    """
    extent, var = extent_of(loop), loop.var
    if target.cores < 2 or work(loop.body, extent) < 4 * PARALLEL_WORK:
        return
    update = loop.body[0]
    even = [n for n in PARTS if extent % n == 0]
    if not even or len(loop.body) != 1 or not isinstance(update, Store):
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


def innermost(block: Block) -> list[For]:
    """The loops of a block that hold no loop."""
    return [x for x in loops(block) if not any(True for _ in loops(x.body))]


def _columns_are_contiguous(nest: Nest) -> bool:
    """Whether memory is walked by the row loop, not by the loops inside."""
    inside = innermost(nest.body)
    accesses = [a for x in inside for a in far_accesses(x.body)]
    along = sum(stride(a, nest.loops[-1].var) == 1 for a in accesses)
    across = sum(stride(a, x.var) == 1 for x in inside for a in far_accesses(x.body))
    short = all(math.prod(extent_of(x) for x in _path(nest, y)) < SHORT for y in inside)
    return (along > across or short) and extent_of(nest.loops[-1]) >= 4


def _path(nest: Nest, innermost_loop: For) -> list[For]:
    """The loops inside a row down to one of the innermost."""
    return [
        x
        for x in loops(nest.body)
        if x is innermost_loop or any(y is innermost_loop for y in loops(x.body))
    ]


def _columns(schedule: Schedule, nest: Nest, total: int, target: Target) -> None:
    """A strip of columns at a time, each lane one column."""
    last = nest.loops[-1]
    dtype = nest_dtype(nest)
    strip = LANES_AT_ONCE * max(1, target.vector_bits // (8 * dtype))
    outer, inner = f"{last.var}o", f"{last.var}i"
    if extent_of(last) > strip and attempt(schedule, split, last.var, strip, outer, inner):
        first = outer if len(nest.loops) == 1 else nest.loops[0].var
        if chunk_extent(extent_of(last), total, target) < extent_of(last):
            attempt(schedule, parallelize, first)
    else:
        inner = last.var
        if len(nest.loops) > 1:
            parallel_outer(schedule, nest.loops[0], total, target)
    attempt(schedule, lanes, inner)


def nest_dtype(nest: Nest) -> int:
    """Bytes of the widest element a nest loads or stores."""
    return max((a.buffer.dtype.itemsize for a in far_accesses(nest.body)), default=4)
