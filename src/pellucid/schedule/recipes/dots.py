"""Contractions with few results: lanes along the reduction, a tile of dot products in registers.

```
for i in 0..3:                           for k in 0..64:                     # images
  for j in 0..5:                           for io, jo:                       # tiles of results
    for k, y: for x in 0..28:      ->        for y: for xo in 0..2:
      acc += A[k, i, y, x]                     unroll for ii, ji: vector for xi in 0..14:
           * B[k, y, x + j]                      acc[ii, ji, xi] += A[...] * B[...]
```
Where the results are too few to fill vectors (the gradient of a small kernel, a product with a
narrow matrix turned the wrong way) but both operands lie along the reduction. Each result has a
vector of partial sums, added up at the end, always in the same order. Where all results read one
operand at the same place (the taps of a single channel), all of them make the tile, and several
rows of the reduction are written out, so that rows that overlap are read once.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pellucid.core.target import Target
from pellucid.loop.ir import For, Load
from pellucid.loop.rewrite import free_vars, index_vars
from pellucid.loop.simplify import simplify
from pellucid.schedule.isolate import isolate
from pellucid.schedule.lanes import lanes
from pellucid.schedule.pack import pack
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.peel import peel
from pellucid.schedule.privatize import privatize
from pellucid.schedule.recipes.elementwise import cut_pieces
from pellucid.schedule.recipes.plan import PARALLEL_WORK, attempt
from pellucid.schedule.recipes.shape import extent_of, pace, work
from pellucid.schedule.recipes.tiling import STEPS, WAYS, share_sets
from pellucid.schedule.reorder import reorder
from pellucid.schedule.round_up import round_up
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

FEWEST_LANES = 4  # of vectors of a single channel
FEWEST = 8  # sums side by side that hide the latency of an addition
MASKED_BITS = 512  # of vectors whose lanes are masked off at no cost
MOST_ROWS = 8
MOST_WRITTEN = 288  # multiply-adds without a loop
MOST_SIDE_BY_SIDE = 16  # of the iterations of a loop over results
MOST_SUMS = 1 << 13  # that stay in the first-level cache while the reduction goes on


@dataclass(frozen=True, slots=True)
class Dots:
    """The loops: results, tile sizes of some of them, reduction, lanes of its last loop.

    `rows` iterations of the loop before that are written out inside the tile's first `across`
    loops.
    """

    results: tuple[For, ...]
    tile: tuple[tuple[str, int], ...]
    reduced: tuple[For, ...]
    width: int
    accumulator: str
    rows: int = 0
    across: int = 0


def choose_dots(  # loops, operands and the machine
    results: Sequence[For],
    reduced: Sequence[For],
    operands: tuple[Load, Load],
    update: Load,
    target: Target,
    *,
    fill: bool = True,
) -> Dots | None:
    """Lanes and tile, or None where too little of the last reduction loop fills vectors.

    Args:
        results: the loops over results.
        reduced: the loops of the reduction; along the last one both operands lie in memory.
        operands: what is multiplied.
        update: the accumulator.
        target: the machine.
        fill: whether the last vector of a single channel may be filled up with zeros.
    """
    most, last = target.lanes(update.buffer.dtype), extent_of(reduced[-1])
    own = _own_loops(results, operands)
    even = max((n for n in range(1, most + 1) if last % n == 0), default=1)
    single = not all(own)
    width = _masked_lanes(last, even, most, target) if single and fill else even
    if 4 * width < 3 * most and len(reduced) == 1 and last >= FEWEST * most:
        width = most  # what is left over comes after
    before = reduced[-2].var if single and len(reduced) > 1 else ""
    down = {v for x in operands for i in x.indices if before in free_vars(i) for v in free_vars(i)}
    meet = any(share_sets(x, y, reduced[-1]) for x in operands for y in results)
    tile = _tile(own, down, target, WAYS if meet else MOST_SIDE_BY_SIDE)
    if not tile or (width < FEWEST_LANES if single else 4 * width < 3 * most):
        return None
    dots = Dots(tuple(results), tile, tuple(reduced), width, update.buffer.name)
    if before:
        dots = _with_rows(dots, down, target)
    kept = math.prod(n for n, _ in _ordered(dots, target)[1:]) * math.prod(n for _, n in tile)
    return dots if kept * width <= MOST_SUMS else None


def lies_near(results: Sequence[For], last: For, operands: tuple[Load, Load]) -> bool:
    """Whether both operands lie along a loop; where all results share one of them, the other one
    may skip elements, since each vector of it is used by one result alone.
    """
    steps = [pace(x, last.var) for x in operands]
    single = not all(_own_loops(results, operands))
    return all(s == 1 for s in steps) or (single and 1 in steps and all(s in STEPS for s in steps))


def _own_loops(results: Sequence[For], operands: tuple[Load, Load]) -> tuple[list[For], list[For]]:
    """The loops over results that only one operand knows, for each of them."""
    known = [index_vars(x) for x in operands]
    mine, other = (
        [x for x in results if x.var in one and x.var not in two]
        for one, two in (known, known[::-1])
    )
    return mine, other


def _masked_lanes(extent: int, even: int, most: int, target: Target) -> int:
    """Full vectors, where the missing lanes of the last can be masked off and that takes fewer."""
    fewer = extent // even > -(-extent // most)
    return most if target.vector_bits >= MASKED_BITS and fewer else even


def _with_rows(dots: Dots, near: set[str], target: Target) -> Dots:
    """Rows written out inside the tile, so that those that overlap are read once: the taps along
    a row around them, then the rows, then the taps from row to row, whose vectors stay registers.
    """
    down = [t for t in dots.tile if t[0] in near]
    across = [t for t in dots.tile if t[0] not in near]
    sums = math.prod(n for _, n in dots.tile)
    spare = target.vector_registers - sums - math.prod(n for _, n in down)
    extent = extent_of(dots.reduced[-2])
    rows = max((n for n in range(1, min(spare, MOST_ROWS) + 1) if extent % n == 0), default=1)
    return replace(dots, rows=rows, tile=(*across, *down), across=len(across))


def _tile(
    own: tuple[list[For], list[For]], down: set[str], target: Target, most: int
) -> tuple[tuple[str, int], ...]:
    """An even part of one loop of each operand, so that each vector read is used several times; of
    two loops of one operand where the other has none of its own, more of a loop in `down`.
    """
    best: float = 0.0
    found: tuple[tuple[str, int], ...] = ()
    for a, b in _pairs(*own, down):
        for n, m in itertools.product(_parts(a, most), _parts(b, most)):
            if n * m + (min(n, m) if all(own) else 1) + 2 > target.vector_registers:
                continue
            reads = n + m if all(own) else n * m + 1
            worth = min(n * m / reads, 2.0) * min(n * m / FEWEST, 1.0) + 0.01 * n * m
            if worth > best:
                best = worth
                found = tuple((x.var, size) for x, size in ((a, n), (b, m)) if x is not None)
    return found


def _pairs(
    mine: list[For], other: list[For], last: set[str]
) -> Iterator[tuple[For | None, For | None]]:
    if mine and other:
        yield from itertools.product(mine, other)
        return
    both = sorted((*mine, *other), key=lambda x: x.var in last)
    yield from itertools.combinations(both, 2) if len(both) > 1 else ((x, None) for x in both)


def _parts(loop: For | None, most: int) -> list[int]:
    extent = 1 if loop is None else extent_of(loop)
    return [n for n in range(1, min(extent, most) + 1) if extent % n == 0]


def schedule_dots(schedule: Schedule, dots: Dots, target: Target) -> None:
    """Threads over tiles, the reduction's outermost loop around the others, lanes inside.

    Raises:
        ScheduleError: the nest has another form.
    """
    apply, sums = schedule.apply, f"{dots.accumulator}_p"
    steps, lane = _steps(schedule, dots), f"{dots.reduced[-1].var}i"
    apply(privatize, steps[0], lane)
    outer, inner, threads = _results(schedule, dots, target)
    for var in (*reversed(inner), *reversed(outer[1:])):
        apply(isolate, var, steps[0], f"{var}r")
    around, registers = [f"{v}r" for v in outer[1:]], [f"{v}r" for v in inner]
    written = steps[-1:] if dots.rows else []
    apply(
        reorder, steps[0], *around, *steps[1 : len(steps) - len(written)],
        *registers[: dots.across], *written, *registers[dots.across :], lane,
    )  # fmt: skip
    apply(stage, sums, [*registers, lane], around[-1] if around else steps[0])
    if threads:
        attempt(schedule, parallelize, outer[0])
    for var in (lane, f"{lane}z", f"{lane}c", f"{lane}_{sums}"):
        attempt(schedule, lanes, var)
    for var in registers:
        attempt(schedule, unroll, var)
        attempt(schedule, unroll, f"{var}_{sums}")
    for var in inner if dots.across else ():
        attempt(schedule, unroll, var)
    if dots.rows:
        _write_out_rows(schedule, dots)
    attempt(schedule, simplify)


def _write_out_rows(schedule: Schedule, dots: Dots) -> None:
    """Rows, and vectors of a row where they are few; rows at the edges apart from the others."""
    *_, before, last = dots.reduced
    attempt(schedule, unroll, f"{before.var}i")
    vectors = -(-extent_of(last) // dots.width)
    if vectors * dots.rows * math.prod(n for _, n in dots.tile) <= MOST_WRITTEN:
        attempt(schedule, unroll, f"{last.var}o")
    attempt(schedule, simplify)
    cut_pieces(schedule, f"{before.var}o")


def schedule_turned_dots(
    schedule: Schedule, dots: Dots, copied: tuple[str, str], target: Target
) -> None:
    """`schedule_dots` on a copy of one operand that lies along the reduction.

    Args:
        schedule: what to change.
        dots: the loops.
        copied: the operand's name and its own loop over results.
        target: the machine.

    Raises:
        ScheduleError: the nest has another form.
    """
    name, own = copied
    last = dots.reduced[-1].var
    schedule.apply(pack, name, [own, last])
    attempt(schedule, reorder, f"{last}_{name}", f"{own}_{name}")
    attempt(schedule, lanes, f"{own}_{name}")
    schedule_dots(schedule, dots, target)


def _steps(schedule: Schedule, dots: Dots) -> list[str]:
    """Split the lanes off the reduction; its other loops, at least two, the outermost first."""
    last, extent = dots.reduced[-1].var, extent_of(dots.reduced[-1])
    after = len(dots.reduced) == 1 and extent >= FEWEST * dots.width
    if extent % dots.width and not after:
        schedule.apply(round_up, last, dots.width)
    schedule.apply(split, last, dots.width, f"{last}o", f"{last}i")
    if extent % dots.width and after:
        schedule.apply(peel, f"{last}o")
    steps = [*(x.var for x in dots.reduced[:-1]), f"{last}o"]
    if dots.rows:
        before = steps[-2]
        schedule.apply(split, before, dots.rows, f"{before}o", f"{before}i")
        steps[-2:] = [f"{before}o", f"{last}o", f"{before}i"]
    if len(steps) == 1:
        whole = extent // dots.width if after else -(-extent // dots.width)
        schedule.apply(split, steps[0], whole, "ko", f"{last}s")
        steps = ["ko", f"{last}s"]
    return steps


def _results(schedule: Schedule, dots: Dots, target: Target) -> tuple[list[str], list[str], bool]:
    """Tile the results: loops over tiles, the most even one outermost; loops of a tile; whether
    threads pay.
    """
    for var, size in dots.tile:
        schedule.apply(split, var, size, f"{var}o", f"{var}i")
    ordered = _ordered(dots, target)
    outer = [f"{v}o" if v in dict(dots.tile) else v for _, v in ordered]
    inner = [f"{var}i" for var, _ in dots.tile]
    total = work(schedule.kernel.body)
    schedule.apply(reorder, *outer, *inner)
    pays = target.cores > 1 and total >= 2 * PARALLEL_WORK
    return outer, inner, pays and ordered[0][0] > 1


def _ordered(dots: Dots, target: Target) -> list[tuple[int, str]]:
    """How many tiles each loop over results has, and its variable; the most even one first."""
    tiled = dict(dots.tile)
    sizes = [(extent_of(x) // tiled.get(x.var, 1), x.var) for x in dots.results]
    most = max(sizes, key=lambda s: (_balance(s[0], target.cores), s[0] >= target.cores, s[0]))
    return [most, *(s for s in sizes if s is not most)]


def _balance(tiles: int, cores: int) -> float:
    return tiles / (-(-tiles // cores) * cores)
