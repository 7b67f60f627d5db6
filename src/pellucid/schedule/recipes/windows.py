"""Convolutions of single channels: sums so short that memory is what counts.

```
for c, y, z:                              parallel for c:
  for k, l:                                 xh = x[c] with its edges, near
    acc += x[c, y + k - 1, z + l - 1]  ->   for yo, zo:
           * w[c, k, l]                       alloc acc: f32[4, 32]
                                              for k: unroll for l, yi in 4: vector for zi in 32:
                                                acc[yi, zi] += xh[4*yo + yi + k, 32*zo + zi + l]
                                                               * w[c, k, l]
```
Lanes are pixels of a row, several rows make the tile, so that sums do not wait for each other.
Where lanes can be masked off, pixels are read where they lie: what is outside the image is a lane
without a load, and nothing waits for a copy to arrive.
"""

from __future__ import annotations

import math
from dataclasses import replace

from pellucid.core.errors import ScheduleError
from pellucid.core.target import Target
from pellucid.loop.ir import Call, Const, For, Load
from pellucid.loop.rewrite import free_vars, index_vars, loops, stores, walk_expr
from pellucid.loop.simplify import simplify
from pellucid.schedule.halo import halo
from pellucid.schedule.lanes import lanes
from pellucid.schedule.recipes.convolution import Tile, place_registers, share_outer, write_out
from pellucid.schedule.recipes.elementwise import cut_pieces
from pellucid.schedule.recipes.plan import attempt, attempt_all
from pellucid.schedule.recipes.shape import Nest, extent_of, outer_nest, stride, work
from pellucid.schedule.recipes.tiling import STEPS, Contraction, find_contraction, tile_height
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

MOST_TAPS = 64  # of a window
SUMS = 8  # vectors of sums in a tile
MOST_ROWS = 8
VECTORS = 2  # of a row
MASKED_BITS = 512  # of vectors whose lanes are masked off at no cost
STRIPS = 4  # the share of the first-level cache that a copied strip takes is one in so many


def schedule_windows(schedule: Schedule, found: Contraction, target: Target) -> bool:
    """Schedule a contraction that slides a window over single channels; whether it was one."""
    return attempt_all(schedule, lambda: _slide(schedule, found, target))


def _slide(schedule: Schedule, found: Contraction, target: Target) -> None:
    """Part the phases of results first, if pixels lie apart.

    Raises:
        ScheduleError: it is no such contraction.
    """
    phases = _part_phases(schedule, found)
    nest = outer_nest(schedule.kernel)
    inside = find_contraction(nest) if phases else found
    image = None if inside is None else _image(nest, inside, phases)
    if inside is None or image is None:
        raise ScheduleError("windows", "no window slides over single channels")
    _schedule(schedule, nest, inside, image, phases, target)


def _part_phases(schedule: Schedule, found: Contraction) -> list[str]:
    """Split rows and pixels whose number is divided by a step: results of one phase meet the same
    taps. The phases' loops, which become the last ones outside of rows and pixels.
    """
    made: list[str] = []
    places: list[str] = []
    for loop in outer_nest(schedule.kernel).loops[-2:]:
        sizes = {n for load in (found.a, found.b) for n in _steps(load, loop.var)}
        if len(sizes) == 1 and extent_of(loop) % min(sizes) == 0:
            schedule.apply(split, loop.var, min(sizes), f"{loop.var}q", f"{loop.var}a")
            made.append(f"{loop.var}a")
        places.append(f"{loop.var}q" if made and made[-1] == f"{loop.var}a" else loop.var)
    if made:
        schedule.apply(reorder, *made, *places)
        schedule.apply(simplify)
    return made


def _steps(load: Load, var: str) -> set[int]:
    """The constants by which sums with a loop's variable are divided in an operand's index."""
    calls = [e for i in load.indices for e in walk_expr(i) if isinstance(e, Call)]
    return {
        int(e.args[1].value) for e in calls
        if e.fn == "floordiv" and var in free_vars(e.args[0]) and isinstance(e.args[1], Const)
    }  # fmt: skip


def _image(nest: Nest, found: Contraction, phases: list[str]) -> Load | None:
    """The operand that the window slides over, where the last two loops are its rows and pixels."""
    taps = math.prod(extent_of(x) for x in found.reduced)
    if len(nest.loops) < 3 or not 1 < taps <= MOST_TAPS:
        return None
    rows, pixels = (x.var for x in nest.loops[-2:])
    stored = [s for s in stores(nest.body) if s.buffer.scope == "param"]
    steps = STEPS if phases else (1,)
    for image, window in ((found.a, found.b), (found.b, found.a)):
        shared = index_vars(window) & {x.var for x in nest.loops}
        every = all(x.var in index_vars(image) for x in nest.loops if x.var not in phases)
        along = all(stride(s, pixels) in steps for s in stored)
        if every and not shared & {rows, pixels} and along:
            return image
    return None


def _schedule(  # what was found
    schedule: Schedule,
    nest: Nest,
    found: Contraction,
    image: Load,
    phases: list[str],
    target: Target,
) -> None:
    *others, rows, pixels = nest.loops
    total, masked = work(schedule.kernel.body), target.vector_bits >= MASKED_BITS
    copied = False
    if not masked:
        rows, copied = _copy(schedule, image, others[-1:], rows, target)
    tile = _choose_tile(others, rows, pixels, found, target)
    tile = _order_taps(schedule, tile, found, image, pixels, target)
    schedule.apply(split, pixels.var, _width(pixels, found, target), f"{pixels.var}o", tile.lane)
    schedule.apply(split, rows.var, tile.pixels[1], f"{rows.var}o", f"{rows.var}i")
    schedule.apply(reorder, f"{rows.var}o", f"{pixels.var}o", *tile.inside)
    share_outer(schedule, [x.var for x in others if x.var not in phases], total, target)
    place_registers(schedule, tile)
    for var in (f"{rows.var}o", f"{pixels.var}o"):
        attempt(schedule, specialize, var)
    write_out(schedule, tile)
    for var in (f"{tile.reduced[0]}s", *tile.reduced[1:], *phases):
        attempt(schedule, unroll, var)
    if masked:
        cut_pieces(schedule, f"{rows.var}o")
    if copied:
        _fill(schedule, image.buffer.name)
    attempt(schedule, simplify)


def _copy(
    schedule: Schedule, image: Load, around: list[For], rows: For, target: Target
) -> tuple[For, bool]:
    """A copy of a channel with its edges, or of strips of it; the loop over rows that is left, and
    whether there is a copy.
    """
    height = _strip(image, rows, target)
    if not height:
        return rows, bool(around) and attempt(schedule, halo, image.buffer.name, around[0].var)
    strips, inner = f"{rows.var}s", f"{rows.var}t"
    schedule.apply(split, rows.var, height, strips, inner)
    copied = attempt(schedule, halo, image.buffer.name, strips)
    return For(inner, Const(height), rows.body), copied


def _strip(image: Load, rows: For, target: Target) -> int:
    """Rows of results at a time, where a whole channel outgrows the first-level cache; else 0."""
    plane = math.prod(image.buffer.shape[-2:]) * image.dtype.itemsize
    if plane <= target.l1_bytes // 2:
        return 0
    extent = extent_of(rows)
    most = max(1, extent * target.l1_bytes // (STRIPS * plane))
    return max((n for n in range(MOST_ROWS, most + 1) if extent % n == 0), default=0)


def _width(pixels: For, found: Contraction, target: Target) -> int:
    most = VECTORS * target.lanes(found.update.buffer.dtype)
    return min(extent_of(pixels), most)


def _choose_tile(
    others: list[For], rows: For, pixels: For, found: Contraction, target: Target
) -> Tile:
    """As many rows as keep the adders busy."""
    width = _width(pixels, found, target)
    vectors = -(-width // target.lanes(found.update.buffer.dtype))
    height = tile_height(extent_of(rows), min(MOST_ROWS, max(1, SUMS // vectors)))
    reduced = tuple(x.var for x in found.reduced)
    if not reduced or not others:
        raise ScheduleError("windows", "no loop over channels or taps")
    return Tile(
        lane=f"{pixels.var}i", pixels=(rows.var, height), lines=None,
        outer=(f"{rows.var}o", f"{pixels.var}o"), reduced=reduced,
        accumulator=found.update.buffer.name,
    )  # fmt: skip


def _order_taps(
    schedule: Schedule, tile: Tile, found: Contraction, image: Load, pixels: For, target: Target
) -> Tile:
    """The taps along a row outermost where all that a tile reads outgrows the registers.

    Then a row that is read serves every tap of its column before the next column is begun.
    """
    near = {v for i in image.indices if pixels.var in free_vars(i) for v in free_vars(i)}
    order = sorted(found.reduced, key=lambda x: x.var not in near)
    along = math.prod(extent_of(x) for x in order if x.var in near)
    down = math.prod(extent_of(x) for x in order if x.var not in near)
    width = _width(pixels, found, target)
    vectors = -(-width // target.lanes(found.update.buffer.dtype))
    crowded = (tile.pixels[1] + down - 1) * along * vectors > target.vector_registers
    rule = crowded and width == extent_of(pixels)
    if len(order) < 2 or not schedule.decide("by_columns", rule, (True, False)):
        return tile
    schedule.apply(reorder, *(x.var for x in order))
    return replace(tile, reduced=tuple(x.var for x in order))


def _fill(schedule: Schedule, operand: str) -> None:
    """The copy's rows and pixels in pieces without conditions, lanes along the pixels."""
    mine = f"{operand}h"
    copies = [x.var for x in loops(schedule.kernel.body) if x.var.startswith(mine)]
    for var in copies[:-1]:
        cut_pieces(schedule, var)
    inner = [
        x.var for x in loops(schedule.kernel.body)
        if x.var.startswith(mine) and not any(True for _ in loops(x.body))
    ]  # fmt: skip
    for var in inner:
        for piece in cut_pieces(schedule, var):
            attempt(schedule, lanes, piece)
