"""A vector by a large matrix: rows read as they lie, several at a time, sums in the nearest cache.

```
for j in 0..N:                   acc: f32[N] = 0
  acc = 0                        for ko in 0..K/8:
  for k in 0..K:           ->      for jo in 0..N/64:
    acc += x[k] * B[k, j]            unroll for ki in 0..8:
  y[j] = f(acc)                        vector for ji in 0..64:
                                         acc[jo, ji] += x[k(ko, ki)] * B[k(ko, ki), j(jo, ji)]
                                 for j: y[j] = f(acc[j])
```
Each element of the matrix is used once, so the time is that of reading it. Eight streams along
memory are what the processor's own prefetcher follows best; down a column, each row is a page of
its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.core.target import Target
from pellucid.loop.simplify import simplify
from pellucid.schedule.isolate import isolate
from pellucid.schedule.lanes import lanes
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.peel import peel
from pellucid.schedule.recipes.plan import attempt
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

ROWS = 8  # of the matrix at a time
VECTORS = 4  # of sums at a time


@dataclass(frozen=True, slots=True)
class Stream:
    """Loops over results and over the reduction, results in all, lanes, the accumulator."""

    lane: str
    reduced: str
    extent: int
    lanes: int
    accumulator: str


def schedule_stream(schedule: Schedule, stream: Stream, target: Target) -> None:
    """Threads over blocks of results, the reduction around the tiles of a block.

    Raises:
        ScheduleError: the nest has another form.
    """
    lane, apply, tile = stream.lane, schedule.apply, VECTORS * stream.lanes
    most = max(1, target.l1_bytes // 2 // (4 * tile))  # tiles whose sums stay near
    tiles = -(-stream.extent // tile)
    blocks = max(-(-tiles // most), min(target.cores, tiles))
    blocks = -(-blocks // target.cores) * target.cores
    apply(split, lane, -(-tiles // blocks) * tile, f"{lane}b", f"{lane}p")
    apply(split, f"{lane}p", tile, f"{lane}o", f"{lane}i")
    for var, name in ((f"{lane}i", f"{lane}r"), (f"{lane}o", f"{lane}q")):
        apply(isolate, var, stream.reduced, name)
    apply(split, stream.reduced, ROWS, "ko", "ki")
    apply(reorder, "ko", f"{lane}q", "ki", f"{lane}r")
    apply(stage, stream.accumulator, [f"{lane}r"], f"{lane}q")
    if target.cores > 1:
        attempt(schedule, parallelize, f"{lane}b")
    attempt(schedule, peel, "ko")
    for var in (f"{lane}b", f"{lane}o", f"{lane}q"):
        attempt(schedule, specialize, var)
    for var in (f"{lane}i", f"{lane}r", f"{lane}r_{stream.accumulator}"):
        attempt(schedule, lanes, var)
    attempt(schedule, unroll, "ki")
    attempt(schedule, simplify)
