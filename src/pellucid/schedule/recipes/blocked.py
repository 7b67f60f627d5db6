"""Large contractions: blocks of the reduction that keep the operands in the second-level cache.

```
parallel for jb in N/256:                # columns of one thread
  acc: f32[M, 256] = 0
  for ko in K/1024:                      # a block of the reduction
    Bp = B[ko, jb], packed: stays in the second-level cache
    for io in M/12: for jo in 8: acc[io, jo] += A[io, ko] * Bp[jo]    # register tiles
  C[:, jb] = f(acc)
```
The accumulators rest in memory between blocks, which costs `2 / (2 * block)` transfers a product.
Source: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008); here one
level of blocking, since the first-level cache is served well by the prefetcher.
"""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.core.target import Target
from pellucid.loop.ir import Load
from pellucid.loop.simplify import simplify
from pellucid.schedule.isolate import isolate
from pellucid.schedule.lanes import lanes
from pellucid.schedule.pack import pack
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.recipes.plan import attempt
from pellucid.schedule.recipes.shape import stride
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

PANELS = 8  # register tiles side by side that share each stretch of the rows' operand
LINE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Blocks:
    """What is blocked: loops over columns, rows and the reduction; tile sizes; the operands."""

    lane: str
    row: str
    reduced: str
    width: int
    height: int
    depth: int
    wide: Load
    narrow: Load
    accumulator: str


def block_depth(extent: int, width: int, itemsize: int, target: Target) -> int:
    """The longest even part of a reduction of which `PANELS` tiles' columns fill a second-level
    cache; 0 where the whole fits half of it, or no part does.
    """
    most = target.l2_bytes // (PANELS * width * itemsize)
    if 2 * extent * width * itemsize * 4 <= target.l2_bytes:
        return 0
    parts = [n for n in range(LINE_BYTES, most + 1) if extent % n == 0]
    return max(parts, default=0) if 4 * max(parts, default=0) >= most else 0


def schedule_blocked(schedule: Schedule, blocks: Blocks) -> None:
    """Blocks of the reduction outside, register tiles inside, packed operands.

    Raises:
        ScheduleError: the nest is not a plain matrix product with its epilogue.
    """
    lane, row, apply = blocks.lane, blocks.row, schedule.apply
    apply(split, lane, PANELS * blocks.width, f"{lane}b", f"{lane}p")
    apply(split, f"{lane}p", blocks.width, f"{lane}o", f"{lane}i")
    apply(split, row, blocks.height, f"{row}o", f"{row}i")
    apply(reorder, f"{lane}b", f"{row}o", f"{lane}o", f"{row}i", f"{lane}i")
    for var, name in ((f"{lane}i", f"{lane}r"), (f"{row}i", f"{row}r")):
        apply(isolate, var, blocks.reduced, name)
    for var, name in ((f"{lane}o", f"{lane}q"), (f"{row}o", f"{row}q")):
        apply(isolate, var, blocks.reduced, name)
    apply(split, blocks.reduced, blocks.depth, "ko", "ki")
    apply(reorder, "ko", f"{row}q", f"{lane}q", "ki", f"{row}r", f"{lane}r")
    _pack(schedule, blocks)
    apply(stage, blocks.accumulator, [f"{row}r", f"{lane}r"], f"{lane}q")
    apply(parallelize, f"{lane}b")
    for var in (f"{lane}b", f"{row}o", f"{row}q", f"{lane}o"):
        attempt(schedule, specialize, var)
    for var in (f"{lane}i", f"{lane}r", f"{lane}r_{blocks.accumulator}"):
        attempt(schedule, lanes, var)
    for var in (f"{row}r", f"{row}r_{blocks.accumulator}"):
        attempt(schedule, unroll, var)
    attempt(schedule, simplify)


def _pack(schedule: Schedule, blocks: Blocks) -> None:
    """The columns' operand block by block, the rows' one whole, in lines along memory."""
    lane, row = blocks.lane, blocks.row
    schedule.apply(pack, blocks.wide.buffer.name, [f"{lane}q", "ki", f"{lane}r"], "ko")
    attempt(schedule, lanes, f"{lane}r_{blocks.wide.buffer.name}")
    name, line = blocks.narrow.buffer.name, LINE_BYTES // blocks.narrow.dtype.itemsize
    order, along = [f"{row}q", "ko", "ki", f"{row}r"], f"{row}r"
    if stride(blocks.narrow, blocks.reduced) == 1 and blocks.depth % line == 0:
        schedule.apply(split, "ki", line, "kio", "kii")
        order, along = [f"{row}q", "ko", "kio", f"{row}r", "kii"], "kii"
    if attempt(schedule, pack, name, order):
        attempt(schedule, lanes, f"{along}_{name}")
        attempt(schedule, parallelize, f"{row}q_{name}")
