"""Few rows by a large matrix: its rows read as they lie, several at a time, sums in the nearest
cache.

```
for i in 0..4:                   parallel for jb in N/1536:       # columns whose sums stay near
  for j in 0..N:                   acc: f32[24, 4, 64] = 0
    acc = 0                        for ko in 0..K/8:
    for k in 0..K:         ->        for jo in 0..24:
      acc += A[i, k] * B[k, j]         for ki in 0..8:
    C[i, j] = f(acc)                     unroll for ir in 0..4: vector for jr in 0..64:
                                           acc[jo, ir, jr] += A[ir, k(ko, ki)] * B[k(ko, ki), j]
                                   for i, j: C[i, j] = f(acc[..])
```
Each element of the matrix is used a few times only, so the time is that of reading it. Eight
streams along memory are what the processor's own prefetcher follows best; down a column, each row
is a page of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.core.target import Target
from pellucid.loop.ir import Load, Var, iadd, imul
from pellucid.loop.rewrite import substitute_expr
from pellucid.loop.simplify import simplify
from pellucid.schedule.isolate import isolate
from pellucid.schedule.lanes import lanes
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.peel import peel
from pellucid.schedule.prefetch import prefetch
from pellucid.schedule.recipes.plan import attempt
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

STEPS = 8  # rows of the matrix at a time
LINE_BYTES = 64
MOST_VECTORS = 4  # of sums at a time
MOST_STEADY = 7  # that have a register each to point to them


@dataclass(frozen=True, slots=True)
class Stream:
    """Loops over columns, rows (if any) and the reduction; columns and rows in all, lanes, the
    accumulator.
    """

    lane: str
    row: str | None
    reduced: str
    columns: int
    rows: int
    lanes: int
    accumulator: str
    wide: Load


def stream_tile(rows: int, target: Target) -> tuple[int, int]:
    """Rows and vectors of a tile of sums: few enough rows for the registers that point to them."""
    vectors = max(2, MOST_VECTORS // rows)
    most = min(MOST_STEADY, (target.vector_registers - 2 * vectors) // vectors)
    return -(-rows // -(-rows // most)), vectors


def schedule_stream(schedule: Schedule, stream: Stream, target: Target) -> None:
    """Threads over blocks of results, the reduction around the tiles of a block.

    Raises:
        ScheduleError: the nest has another form.
    """
    lane, row, apply = stream.lane, stream.row, schedule.apply
    height, vectors = stream_tile(stream.rows, target)
    width = vectors * stream.lanes
    block = _block(stream, width, target)
    apply(split, lane, block, f"{lane}b", f"{lane}p")
    apply(split, f"{lane}p", width, f"{lane}o", f"{lane}i")
    inner, tiles = [f"{lane}i"], [f"{lane}o"]
    if row is not None:
        apply(split, row, height, f"{row}o", f"{row}i")
        inner, tiles = [f"{row}i", f"{lane}i"], [f"{lane}o", f"{row}o"]
        apply(reorder, f"{lane}b", *tiles, *inner)
    for var in (*reversed(inner), *reversed(tiles)):
        apply(isolate, var, stream.reduced, f"{var}r")
    inside, outside = [f"{var}r" for var in inner], [f"{var}r" for var in tiles]
    apply(split, stream.reduced, STEPS, "ko", "ki")
    apply(reorder, "ko", *outside, "ki", *inside)
    apply(stage, stream.accumulator, inside, outside[-1])
    if stream.rows > MOST_STEADY and 4 * stream.wide.buffer.nbytes > target.l3_bytes:
        _fetch(schedule, stream, (block, width), outside[0])
    if target.cores > 1:
        attempt(schedule, parallelize, f"{lane}b")
    attempt(schedule, peel, "ko")
    for var in (f"{lane}b", *tiles, *outside):
        attempt(schedule, specialize, var)
    for var in (inner[-1], inside[-1], f"{inside[-1]}_{stream.accumulator}"):
        attempt(schedule, lanes, var)
    for var in inside[:-1]:
        attempt(schedule, unroll, var)
        attempt(schedule, unroll, f"{var}_{stream.accumulator}")
    attempt(schedule, unroll, "ki")
    attempt(schedule, simplify)


def _fetch(schedule: Schedule, stream: Stream, sizes: tuple[int, int], at: str) -> None:
    """Ask for the next rows of the matrix, a tile's columns in each tile."""
    lane, wide, (block, width) = stream.lane, stream.wide, sizes
    line = LINE_BYTES // wide.dtype.itemsize
    first = iadd(imul(Var(f"{lane}b"), block), imul(Var(at), width))
    values = {
        lane: iadd(first, imul(Var("pl"), line)),
        stream.reduced: iadd(imul(iadd(Var("ko"), 1), STEPS), Var("pk")),
    }
    place = [substitute_expr(i, values) for i in wide.indices]
    lines = [("pk", STEPS), ("pl", -(-width // line))]
    attempt(schedule, prefetch, wide.buffer.name, at, place, lines)


def _block(stream: Stream, width: int, target: Target) -> int:
    """Columns whose sums stay in the first-level cache, the same number for every core."""
    most = max(1, target.l1_bytes // 2 // (4 * width * stream.rows))
    tiles = -(-stream.columns // width)
    blocks = max(-(-tiles // most), min(target.cores, tiles))
    blocks = -(-blocks // target.cores) * target.cores
    return -(-tiles // blocks) * width
