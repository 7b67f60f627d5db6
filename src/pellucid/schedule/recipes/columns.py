"""Reductions across memory: column sums, where the kept axis has the lanes.

```
for j in 0..4096:                       parallel for jo in 0..4:
  alloc s: f32[] local                    alloc s: f32[1024] local
  s[] = 0.0                               vector for ji: s[ji] = 0.0
  for k in 0..4096:               ->      for ko in 0..512:
    s[] = s[] + x[k, j]                     vector for jr in 0..1024:
  y[j] = s[]                                  unroll for ki in 0..8: s[jr] = s[jr] + x[8*ko+ki, ..]
                                          vector for ji: y[1024*jo + ji] = s[ji]
```
One column of vectors at a time would touch a new page with every row. A strip of columns is walked
some rows at a time instead, so that memory is read in long runs, and the sums stay in the first
cache. Few rows (pooling windows) need no strip: they stay in registers.
"""

from __future__ import annotations

import math

from pellucid.core.target import Target
from pellucid.loop.ir import For
from pellucid.loop.rewrite import stores
from pellucid.schedule.isolate import isolate
from pellucid.schedule.lanes import lanes
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.recipes.elementwise import parallel_outer
from pellucid.schedule.recipes.plan import attempt, attempt_all, chunk_extent
from pellucid.schedule.recipes.shape import (
    Nest,
    extent_of,
    far_accesses,
    inner_loops,
    innermost,
    path_to,
    stride,
)
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

SHORT = 16  # iterations inside a row (a pooling window) too few for lanes of their own
LANES_AT_ONCE = 2  # vectors of columns per step: independent sums that hide the adder's latency
STRIP_BYTES = 4096  # of a row that are read in one run
FEWEST_STRIPS = 4  # that even out threads of unequal speed
LEAST_REACH = 0.5  # of the first cache that a column spans, for strips to pay
ROWS_AT_ONCE = 8  # added up in registers before the sums go back to the cache


def columns_are_contiguous(nest: Nest) -> bool:
    """Whether memory is walked by the row loop, not by the loops inside."""
    inside = innermost(nest.body)
    accesses = [a for x in inside for a in far_accesses(x.body)]
    along = sum(stride(a, nest.loops[-1].var) == 1 for a in accesses)
    across = sum(stride(a, x.var) == 1 for x in inside for a in far_accesses(x.body))
    short = all(math.prod(extent_of(x) for x in path_to(nest, y)) < SHORT for y in inside)
    return (along > across or short) and extent_of(nest.loops[-1]) >= 4


def schedule_columns(schedule: Schedule, nest: Nest, total: int, target: Target) -> None:
    """Long columns in strips that are read along memory; short ones each in a lane."""
    long = schedule.decide("strips", _are_long(nest, target), (True, False))
    if long and attempt_all(schedule, lambda: _strips(schedule, nest, total, target)):
        return
    _short_columns(schedule, nest, total, target)


def _are_long(nest: Nest, target: Target) -> bool:
    """Whether walking the columns one vector at a time would leave the first cache."""
    last = nest.loops[-1]
    reach = 0
    for inner in innermost(nest.body):
        for access in far_accesses(inner.body):
            step = stride(access, inner.var) or 0
            far = extent_of(inner) * abs(step) * access.buffer.dtype.itemsize
            reach = max(reach, far if stride(access, last.var) == 1 else 0)
    return reach > LEAST_REACH * target.l1_bytes


def _strips(schedule: Schedule, nest: Nest, total: int, target: Target) -> None:
    """A strip of columns in cache, its rows in the order of memory.

    Raises:
        ScheduleError: the loops inside a row cannot be taken apart.
    """
    last, apply = nest.loops[-1], schedule.apply
    inside, inner = inner_loops(nest.body), _own_strip(schedule, nest, total, target)
    paths = [path_to(nest, y) for y in innermost(nest.body)]
    for number, loop in enumerate(inside):
        apply(isolate, inner, loop.var, f"{last.var}r{number}")
    for number, loop in enumerate(inside):
        path = next(p for p in paths if p[0] is loop)
        _rows_of(schedule, path, f"{last.var}r{number}")
    apply(lanes, inner)


def _own_strip(schedule: Schedule, nest: Nest, total: int, target: Target) -> str:
    """Split the columns into strips and give threads their share; the loop inside a strip."""
    last = nest.loops[-1]
    extent, step = extent_of(last), lanes_of(nest, target)
    share = -(-extent // FEWEST_STRIPS) if len(nest.loops) == 1 and target.cores > 1 else extent
    rule = min(STRIP_BYTES // nest_bytes(nest), -(-share // step) * step)
    sizes = (n * step for n in (4, 16, 32, 64, 128, 256))
    size = schedule.decide("strip", rule, [n for n in sizes if n < extent])
    outer, inner = f"{last.var}o", f"{last.var}i"
    if size >= extent:
        if len(nest.loops) > 1:
            parallel_outer(schedule, nest.loops[0], total, target)
        return last.var
    schedule.apply(split, last.var, size, outer, inner)
    first = outer if len(nest.loops) == 1 else nest.loops[0].var
    if chunk_extent(extent, total, target) < extent:
        attempt(schedule, parallelize, first)
    return inner


def _rows_of(schedule: Schedule, path: list[For], lane: str) -> None:
    """The loops of one reduction outside, the lanes inside, a few rows per visit."""
    apply, names = schedule.apply, [x.var for x in path]
    sums = {s.buffer.name for s in stores(path[-1].body) if s.buffer.scope == "local"}
    if sums and extent_of(path[-1]) > ROWS_AT_ONCE:
        step, rest = f"{names[-1]}o", f"{names[-1]}i"
        apply(split, names[-1], ROWS_AT_ONCE, step, rest)
        apply(reorder, *names[:-1], step, lane, rest)
        for name in sorted(sums):
            attempt(schedule, stage, name, (), lane)
        attempt(schedule, specialize, step)
        apply(lanes, lane)
        apply(unroll, rest)
    else:
        apply(reorder, *names, lane)
        apply(lanes, lane)


def _short_columns(schedule: Schedule, nest: Nest, total: int, target: Target) -> None:
    """A few columns at a time, each lane one column."""
    last = nest.loops[-1]
    vectors = schedule.decide("vectors", LANES_AT_ONCE, (1, 2, 4, 8))
    strip = vectors * lanes_of(nest, target)
    outer, inner = f"{last.var}o", f"{last.var}i"
    if extent_of(last) > strip and attempt(schedule, split, last.var, strip, outer, inner):
        first = outer if len(nest.loops) == 1 else nest.loops[0].var
        pays = chunk_extent(extent_of(last), total, target) < extent_of(last)
        if target.cores > 1 and schedule.decide("threads", pays, (True, False)):
            attempt(schedule, parallelize, first)
    else:
        inner = last.var
        if len(nest.loops) > 1:
            parallel_outer(schedule, nest.loops[0], total, target)
    attempt(schedule, lanes, inner)


def lanes_of(nest: Nest, target: Target) -> int:
    """Lanes of a vector of a nest's widest elements."""
    return max(1, target.vector_bits // (8 * nest_bytes(nest)))


def nest_bytes(nest: Nest) -> int:
    """Bytes of the widest element a nest loads or stores."""
    return max((a.buffer.dtype.itemsize for a in far_accesses(nest.body)), default=4)
