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
vector of partial sums, added up at the end, always in the same order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.core.target import Target
from pellucid.loop.ir import For, Load
from pellucid.loop.simplify import simplify
from pellucid.schedule.isolate import isolate
from pellucid.schedule.lanes import lanes
from pellucid.schedule.pack import pack
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.privatize import privatize
from pellucid.schedule.recipes.plan import PARALLEL_WORK, attempt
from pellucid.schedule.recipes.shape import extent_of, work
from pellucid.schedule.reorder import reorder
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

FEWEST = 8  # sums side by side that hide the latency of an addition
MOST_SUMS = 1 << 13  # that stay in the first-level cache while the reduction goes on


@dataclass(frozen=True, slots=True)
class Dots:
    """The loops: results, tile sizes of some of them, reduction, lanes of its last loop."""

    results: tuple[For, ...]
    tile: tuple[tuple[str, int], ...]
    reduced: tuple[For, ...]
    width: int
    accumulator: str


def choose_dots(
    results: Sequence[For],
    reduced: Sequence[For],
    operands: tuple[set[str], set[str]],
    update: Load,
    target: Target,
) -> Dots | None:
    """Lanes and tile, or None where no even part of the last reduction loop fills a vector.

    Args:
        results: the loops over results.
        reduced: the loops of the reduction; along the last one both operands lie in memory.
        operands: the variables of each operand's index.
        update: the accumulator.
        target: the machine.
    """
    most = target.lanes(update.buffer.dtype)
    extent = extent_of(reduced[-1])
    width = max((n for n in range(1, most + 1) if extent % n == 0), default=1)
    tile = _tile(results, operands, target)
    if 4 * width < 3 * most or not tile:
        return None
    dots = Dots(tuple(results), tile, tuple(reduced), width, update.buffer.name)
    kept = math.prod(n for n, _ in _ordered(dots, target)[1:]) * math.prod(n for _, n in tile)
    return dots if kept * width <= MOST_SUMS else None


def _tile(
    results: Sequence[For], operands: tuple[set[str], set[str]], target: Target
) -> tuple[tuple[str, int], ...]:
    """An even part of one loop of each operand, so that each vector read is used several times."""
    own = [[x for x in results if x.var in mine and x.var not in other]
           for mine, other in (operands, operands[::-1])]  # fmt: skip
    best: float = 0.0
    found: tuple[tuple[str, int], ...] = ()
    mine, other = ((*x, None) if not x else (*x,) for x in own)
    for a, b in itertools.product(mine, other):
        for n, m in itertools.product(_parts(a), _parts(b)):
            if n * m + min(n, m) + 2 > target.vector_registers:
                continue
            worth = min(n * m / (n + m), 2.0) * min(n * m / FEWEST, 1.0) + 0.01 * n * m
            if worth > best:
                best = worth
                found = tuple((x.var, size) for x, size in ((a, n), (b, m)) if x is not None)
    return found


def _parts(loop: For | None) -> list[int]:
    extent = 1 if loop is None else extent_of(loop)
    return [n for n in range(1, min(extent, 16) + 1) if extent % n == 0]


def schedule_dots(schedule: Schedule, dots: Dots, target: Target) -> None:
    """Threads over tiles, the reduction's outermost loop around the others, lanes inside.

    Raises:
        ScheduleError: the nest has another form.
    """
    apply, sums = schedule.apply, f"{dots.accumulator}_p"
    steps = _steps(schedule, dots)
    lane = f"{dots.reduced[-1].var}i"
    apply(privatize, steps[0], lane)
    outer, inner, threads = _results(schedule, dots, target)
    for var in (*reversed(inner), *reversed(outer[1:])):
        apply(isolate, var, steps[0], f"{var}r")
    around, registers = [f"{v}r" for v in outer[1:]], [f"{v}r" for v in inner]
    apply(reorder, steps[0], *around, *steps[1:], *registers, lane)
    apply(stage, sums, [*registers, lane], around[-1] if around else steps[0])
    if threads:
        attempt(schedule, parallelize, outer[0])
    for var in (lane, f"{lane}z", f"{lane}c", f"{lane}_{sums}"):
        attempt(schedule, lanes, var)
    for var in registers:
        attempt(schedule, unroll, var)
        attempt(schedule, unroll, f"{var}_{sums}")
    attempt(schedule, simplify)


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
    last = dots.reduced[-1].var
    schedule.apply(split, last, dots.width, f"{last}o", f"{last}i")
    steps = [*(x.var for x in dots.reduced[:-1]), f"{last}o"]
    if len(steps) == 1:
        whole = extent_of(dots.reduced[-1]) // dots.width
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
