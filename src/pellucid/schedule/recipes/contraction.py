"""Matrix products and convolutions: a register tile of the output, operands packed where it pays.

```
for i in 0..M:                     parallel for jo in 0..N/32:
  for j in 0..N:                     for io in 0..M/8:
    alloc acc                          alloc acc: f32[8, 32]
    for k in 0..K:           ->        for k in 0..K:
      acc += A[i, k] * B[k, j]           unroll for ii in 0..8:
    C[i, j] = f(acc)                       vector for ji in 0..32:
                                             acc[ii, ji] += A[8*io + ii, k] * Bp[jo, k, ji]
                                       for ii: vector for ji: C[...] = f(acc[ii, ji])
```
Of the output's loops, one gets the lanes (`lane`), another shares each of its operand's loads
between rows (`row`); all others stay outside. The tile is as large as the registers hold:
`row tile * vectors + vectors + 1` of them are busy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from pellucid.core.target import Target
from pellucid.loop.ir import Alloc, For, Load
from pellucid.loop.rewrite import index_vars, stores
from pellucid.loop.simplify import simplify
from pellucid.schedule.isolate import isolate
from pellucid.schedule.lanes import lanes
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.recipes.blocked import PANELS, Blocks, Packing, block_shape, schedule_blocked
from pellucid.schedule.recipes.dots import (
    choose_dots,
    lies_near,
    schedule_dots,
    schedule_turned_dots,
)
from pellucid.schedule.recipes.elementwise import parallel_outer
from pellucid.schedule.recipes.fetch import epilogue_loads, fetch_epilogue, fetch_panel, fetch_wide
from pellucid.schedule.recipes.operands import fill_wide, pack_narrow, pack_wide
from pellucid.schedule.recipes.plan import PARALLEL_WORK, attempt, attempt_all
from pellucid.schedule.recipes.shape import Nest, extent_of, stride, work
from pellucid.schedule.recipes.stream import MOST_STEADY, Stream, schedule_stream
from pellucid.schedule.recipes.tiles import is_open, part_tiles
from pellucid.schedule.recipes.tiling import (
    PAGE_BYTES,
    Contraction,
    Tiling,
    balance,
    choose_tiling,
)
from pellucid.schedule.reorder import reorder
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

FEWEST_USES = 4  # of a copy, for it to pay
MOST_STREAMED = 16  # rows by a large matrix that is not copied
LONG = 512  # steps of a reduction, beside which adding up a vector's lanes is little
FEWEST_TURNED = 24  # of a copy that turns its operand round
OPEN_STEPS = 4096  # of a reduction whose length is not known: most are done at once
LEAST_WORK = 1 << 11
MOST_TAPS = 16  # of a kernel, one way
BRIEF = 64  # steps of a reduction that take no longer than what stands around it
LIGHT = 8  # operations of an epilogue that need few registers


def schedule_contraction(
    schedule: Schedule, nest: Nest, found: Contraction, target: Target
) -> None:
    """Register tile, packing, lanes and threads for a contraction and its epilogue."""
    total = work(schedule.kernel.body)
    tiling = choose_tiling(schedule, nest, found, target)
    if tiling is None or total < LEAST_WORK:
        _small(schedule, nest, found)
        return
    if _blocked(schedule, nest, found, tiling, target):
        return
    if _dots(schedule, nest, found, tiling, target):
        return
    if _thin(schedule, nest, found, target) or _stream(schedule, nest, found, tiling, target):
        return
    inside = (tiling.lane, tiling.row, *tiling.more, tiling.line)
    others = [x for x in nest.loops if x not in inside]
    reduced = [x.var for x in found.reduced]
    near = _beside_results(nest, tiling, others, target)
    outer = _tile(schedule, tiling, others, near, target)
    pack_wide(schedule, tiling, reduced, outer, others)
    reduced = pack_narrow(schedule, tiling, found, others)
    _threads(schedule, [x for x in others if x not in near], outer, total, target)
    _registers(schedule, tiling, found, reduced)
    fetch_wide(schedule, tiling, found, target)
    fetch_epilogue(schedule, nest, tiling, found, target)
    fetch_panel(schedule, tiling, found, outer, target)
    for var in outer:
        rows = tiling.row is not None and var == f"{tiling.row.var}o"
        part_tiles(schedule, var, rows)
    fill_wide(schedule, tiling, found, target)
    _innermost(schedule, nest, tiling, found)
    attempt(schedule, simplify)


def _blocked(
    schedule: Schedule, nest: Nest, found: Contraction, tiling: Tiling, target: Target
) -> bool:
    """Schedule a matrix product whose operands outgrow the caches in blocks; whether it was one."""
    row, size = tiling.row, tiling.wide.dtype.itemsize
    if row is None or len(nest.loops) != 2 or len(found.reduced) != 1:
        return False
    if is_open(found.reduced[0]):
        return False
    if tiling.narrow.buffer.nbytes <= target.l2_bytes // 2:
        return False
    tiles = -(-extent_of(tiling.lane) // tiling.width)
    pays = tiles >= PANELS * target.cores and extent_of(row) >= 2 * tiling.height
    if not schedule.decide("blocked", pays, (True, False)):
        return False
    extent = extent_of(found.reduced[0])
    depth, panels = block_shape(extent, extent_of(tiling.lane), tiling.width, size, target)
    blocks = Blocks(
        lane=tiling.lane.var, row=row.var, reduced=found.reduced[0].var,
        width=tiling.width, height=tiling.height, panels=panels, extent=extent, depth=depth,
        wide=tiling.wide, narrow=tiling.narrow, packing=_packing(tiling, found),
        accumulator=found.update.buffer.name, lanes=target.lanes(tiling.wide.dtype),
        read=tuple(epilogue_loads(nest, found, row.var, tiling.lane.var)),
    )  # fmt: skip
    return attempt_all(schedule, lambda: schedule_blocked(schedule, blocks))


def _packing(tiling: Tiling, found: Contraction) -> Packing:
    """The layout that the rows' operand of a large product gets."""
    along = stride(tiling.narrow, found.reduced[0].var) == 1
    known = tiling.row is not None and stride(tiling.narrow, tiling.row.var) is not None
    return "none" if along and known else "dense"


def _dots(
    schedule: Schedule, nest: Nest, found: Contraction, tiling: Tiling, target: Target
) -> bool:
    """Schedule a contraction whose results do not fill vectors along its reduction; whether so."""
    near = lies_near(nest.loops, found.reduced[-1], (found.a, found.b))
    rows = 1 if tiling.row is None else extent_of(tiling.row)
    long = math.prod(extent_of(x) for x in found.reduced) >= LONG
    known = tiling.wide.buffer.name in schedule.constants  # a copy of it is free
    turned = stride(tiling.wide, tiling.lane.var) != 1 and (long or rows < FEWEST_USES)
    turned &= not known
    few = 2 * extent_of(tiling.lane) < target.lanes(found.update.buffer.dtype)
    half = 2 * extent_of(tiling.lane) <= target.lanes(found.update.buffer.dtype)
    few |= turned and (rows < FEWEST_TURNED or half)
    if not near or not schedule.decide("dots", few, (True, False)):
        return False
    update = Load(found.update.buffer, found.update.indices)
    dots = choose_dots(nest.loops, found.reduced, (found.a, found.b), update, target)
    return dots is not None and attempt_all(schedule, lambda: schedule_dots(schedule, dots, target))


def _thin(schedule: Schedule, nest: Nest, found: Contraction, target: Target) -> bool:
    """Schedule a product with a narrow matrix along its reduction, that matrix turned round."""
    last = found.reduced[-1].var
    if len(nest.loops) != 2 or len(found.reduced) != 1 or extent_of(found.reduced[0]) < LONG:
        return False
    for thin, other in ((found.a, found.b), (found.b, found.a)):
        own = [x for x in nest.loops if x.var in index_vars(thin) - index_vars(other)]
        few = len(own) == 1 and 2 <= extent_of(own[0]) <= target.lanes(thin.dtype) // 2
        if not few or stride(thin, last) == 1 or stride(other, last) != 1:
            continue
        update = Load(found.update.buffer, found.update.indices)
        dots = choose_dots(nest.loops, found.reduced, (found.a, found.b), update, target)
        copied = thin.buffer.name, own[0].var
        return dots is not None and attempt_all(
            schedule, partial(schedule_turned_dots, schedule, dots, copied, target)
        )
    return False


def _stream(
    schedule: Schedule, nest: Nest, found: Contraction, tiling: Tiling, target: Target
) -> bool:
    """Schedule few rows by a large matrix that is read in the order of memory; whether it was."""
    lane, row, wide = tiling.lane, tiling.row, tiling.wide
    rows = 1 if row is None else extent_of(row)
    few = len(nest.loops) == (1 if row is None else 2) and rows <= MOST_STREAMED
    packed = rows > 1 and wide.buffer.name in schedule.constants
    if not few or packed or len(found.reduced) != 1 or any(map(is_open, (lane, row))):
        return False
    if stride(wide, lane.var) != 1 or wide.buffer.nbytes <= target.l2_bytes:
        return False
    apart = abs(stride(wide, found.reduced[0].var) or 0) * wide.dtype.itemsize
    large = wide.buffer.nbytes > 4 * target.l2_bytes or apart % PAGE_BYTES == 0
    if not schedule.decide("stream", rows <= MOST_STEADY or large, (True, False)):
        return False
    name, width = found.update.buffer.name, target.lanes(found.update.buffer.dtype)
    stream = Stream(
        lane=lane.var, row=None if row is None else row.var, reduced=found.reduced[0].var,
        columns=extent_of(lane), rows=rows, lanes=width, accumulator=name, wide=wide,
    )  # fmt: skip
    return attempt_all(schedule, lambda: schedule_stream(schedule, stream, target))


def _small(schedule: Schedule, nest: Nest, found: Contraction) -> None:
    """No tile: lanes over whatever loop is contiguous."""
    by_unit = [x for x in (*nest.loops, *found.reduced) if _is_unit(found, x)]
    for loop in by_unit:
        if loop in found.reduced and loop is not found.reduced[-1]:
            continue
        if loop in nest.loops and loop is not nest.loops[-1]:
            continue
        if attempt(schedule, lanes, loop.var):
            return


def _is_unit(found: Contraction, loop: For) -> bool:
    return all(stride(x, loop.var) in (0, 1) for x in (found.a, found.b))


def _beside_results(nest: Nest, tiling: Tiling, others: Sequence[For], target: Target) -> list[For]:
    """Short loops along which results lie nearer to each other than along the lanes: the taps of a
    kernel's gradient. One tile goes through all of them, so that lines of results are written
    while they are near; but for one that threads share where there are too few tiles.
    """
    stored = [s for s in stores(nest.body) if s.buffer.scope == "param"]
    apart = min((abs(stride(s, tiling.lane.var) or 0) for s in stored), default=0)
    near = [
        x for x in others
        if extent_of(x) <= MOST_TAPS and x.var not in index_vars(tiling.wide)
        and all(0 < abs(stride(s, x.var) or 0) < apart for s in stored)
    ]  # fmt: skip
    tiles = -(-extent_of(tiling.lane) // tiling.width)
    if near and len(near) == len(others) and balance(tiles, target.cores) < 0.8:
        near.remove(max(near, key=lambda x: balance(extent_of(x), target.cores)))
    return near


def _tile(
    schedule: Schedule, tiling: Tiling, others: Sequence[For], near: Sequence[For], target: Target
) -> list[str]:
    """`others` but those that are `near`, then tiles, `near`, and the tile's own loops; the loops
    over tiles, outermost first.
    """
    lane, row = tiling.lane.var, tiling.row.var if tiling.row else None
    if tiling.panels > 1:
        schedule.apply(split, lane, tiling.panels * tiling.width, f"{lane}b", f"{lane}p")
        schedule.apply(split, f"{lane}p", tiling.width, f"{lane}o", f"{lane}i")
    else:
        schedule.apply(split, lane, tiling.width, f"{lane}o", f"{lane}i")
    inner, outer = [f"{lane}i"], [f"{lane}o"]
    if row is not None:
        schedule.apply(split, row, tiling.height, f"{row}o", f"{row}i")
        inner.insert(0, f"{row}i")
        outer.append(f"{row}o")
    outer = _outer_order(schedule, tiling, outer, target)
    inner = [*(x.var for x in tiling.more), *inner]
    if tiling.line is not None:
        line = tiling.line.var
        schedule.apply(split, line, tiling.lines, f"{line}o", f"{line}i")
        inner.insert(0, f"{line}i")
        outer.insert(0, f"{line}o")
    around = [x.var for x in others if x not in near]
    attempt(schedule, reorder, *around, *outer, *(x.var for x in near), *inner)
    return outer


def _threads(
    schedule: Schedule, others: Sequence[For], outer: list[str], total: int, target: Target
) -> None:
    """The outermost loop that keeps every core busy."""
    if target.cores < 2 or not schedule.decide(
        "threads", total >= 2 * PARALLEL_WORK, (True, False)
    ):
        return
    if not others:
        attempt(schedule, parallelize, outer[0])
        return
    best = max(others, key=lambda x: balance(extent_of(x), target.cores))
    if best is not others[0] and balance(extent_of(others[0]), target.cores) < 0.8:
        order = [best.var, *(x.var for x in others if x is not best)]
        if attempt(schedule, reorder, *order):
            attempt(schedule, parallelize, best.var)
            return
    parallel_outer(schedule, others[0], total, target)


def _outer_order(schedule: Schedule, tiling: Tiling, outer: list[str], target: Target) -> list[str]:
    """The tile loop that spreads best over the cores first; the lanes' one where both do."""
    if tiling.row is None:
        return outer
    if tiling.panels > 1:
        return [f"{tiling.lane.var}b", outer[1], outer[0]]
    columns = -(-extent_of(tiling.lane) // tiling.width)
    results = extent_of(tiling.lane) * extent_of(tiling.row) * tiling.wide.dtype.itemsize
    near = 4 * tiling.wide.buffer.nbytes <= 3 * target.l1_bytes
    rows = -(-extent_of(tiling.row) // tiling.height)
    by_columns = balance(columns, target.cores) + 0.05 >= balance(rows, target.cores)
    if near and results > target.l2_bytes and balance(rows, target.cores) > 0.8:
        by_columns = False  # results are written along memory
    by_columns = schedule.decide("by_columns", by_columns, (True, False))
    return outer if by_columns else [outer[1], outer[0]]


def _registers(schedule: Schedule, tiling: Tiling, found: Contraction, reduced: list[str]) -> None:
    """The accumulators in registers over the whole reduction, the epilogue behind it."""
    inside = _inside(tiling)
    for var, register in reversed(inside):
        if not attempt(schedule, isolate, var, reduced[0], register):
            return
    inner = [register for _, register in inside]
    whole = f"{reduced[0]}s"
    extent = OPEN_STEPS if is_open(found.reduced[0]) else extent_of(found.reduced[0])
    attempt(schedule, split, reduced[0], extent, "ko", whole)
    if not attempt(schedule, reorder, "ko", whole, *reduced[1:], *inner):
        return
    attempt(schedule, stage, found.update.buffer.name, inner, "ko")


def _innermost(schedule: Schedule, nest: Nest, tiling: Tiling, found: Contraction) -> None:
    """Lanes for the tile's columns; its rows written out, so that accumulators are registers."""
    name = found.update.buffer.name
    *rows, last = _inside(tiling)
    for var in (*last, f"{last[1]}_{name}"):
        attempt(schedule, lanes, var)
    steps = math.prod(extent_of(x) for x in found.reduced)
    brief = steps <= (BRIEF if _epilogue(nest) > LIGHT else 4 * BRIEF)
    brief = schedule.decide("epilogue_unrolled", brief, (True, False))
    for var, register in rows:
        attempt(schedule, unroll, register)
        attempt(schedule, unroll, f"{register}_{name}")
        if brief:  # what comes before and after counts too: no way through memory
            attempt(schedule, unroll, var)


def _epilogue(nest: Nest) -> int:
    """About how many operations a nest does per element beside its reduction."""
    body = nest.body
    while len(body) == 1 and isinstance(body[0], Alloc):
        body = body[0].body
    return work(tuple(s for s in body if not isinstance(s, For)))


def _inside(tiling: Tiling) -> list[tuple[str, str]]:
    """The loops of a tile, the lanes last, and what they are called around the accumulators."""
    split_loops = [x.var for x in (tiling.line, tiling.row, tiling.lane) if x is not None]
    whole = [(x.var, f"{x.var}r") for x in tiling.more]
    return [*whole, *((f"{v}i", f"{v}r") for v in split_loops)]
