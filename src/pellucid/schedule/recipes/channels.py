"""Convolutions of single channels that lie side by side: channels as lanes, pixels in registers.

```
for y, z, c:                               parallel for cb in 0..2:            # half the channels
  acc                                        for y: for zo: for cv:            # 16 of them
  for k, l:                                    alloc acc: f32[7, 16]
    acc += x[y + k - 1, z + l - 1, c]   ->     unroll for k, l, zi in 7: vector for ci:
           * w[k, l, c]                          acc[zi, ci] += x[y + k - 1, 7*zo + zi + l - 1, ..]
    out[y, z, c] = f(acc)                                       * w[k, l, ..]
```
A weight is read once for the pixels of a tile, and nothing depends on the image's width, stride or
holes. Rows and tiles at the edges of the image get code of their own, without the taps outside.
"""

from __future__ import annotations

import math

from pellucid.core.errors import ScheduleError
from pellucid.core.target import Target
from pellucid.loop.ir import Const, Load
from pellucid.loop.rewrite import index_vars, loops, stores
from pellucid.loop.simplify import simplify
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.recipes.convolution import Tile, place_registers, write_out
from pellucid.schedule.recipes.elementwise import cut_pieces, parallel_outer
from pellucid.schedule.recipes.plan import PARALLEL_WORK, attempt, attempt_all
from pellucid.schedule.recipes.shape import Nest, extent_of, outer_nest, stride, work
from pellucid.schedule.recipes.tiling import Contraction, balance, tile_height
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

MOST_TAPS = 64  # of a window, written out
MOST_PIXELS = 8  # of a row in a tile, whose sums hide the latency of an addition
LARGE = 256  # multiply-adds written out in one tile
FAIR = 0.9  # of the cores' time in use


def schedule_channels(schedule: Schedule, found: Contraction, target: Target) -> bool:
    """Schedule a window that slides over channels side by side; whether it was one."""
    nest = outer_nest(schedule.kernel)
    if not _fits(nest, found):
        return False
    return attempt_all(schedule, lambda: _schedule(schedule, nest, found, target))


def _fits(nest: Nest, found: Contraction) -> bool:
    """Whether both operands and the result lie along the last loop, the window along no other."""
    taps = math.prod(extent_of(x) for x in found.reduced)
    if len(nest.loops) < 2 or not 1 < taps <= MOST_TAPS:
        return False
    lane = nest.loops[-1].var
    if any(stride(x, lane) != 1 for x in (found.a, found.b)):
        return False
    stored = [s for s in stores(nest.body) if s.buffer.scope == "param"]
    return _image(nest, found) is not None and all(stride(s, lane) == 1 for s in stored)


def _image(nest: Nest, found: Contraction) -> Load | None:
    """The operand that the window slides over."""
    around = {x.var for x in nest.loops[:-1]}
    for image, window in ((found.a, found.b), (found.b, found.a)):
        if around <= index_vars(image) and not around & index_vars(window):
            return image
    return None


def _schedule(schedule: Schedule, nest: Nest, found: Contraction, target: Target) -> None:
    *around, pixels, channels = (x.var for x in nest.loops)
    extents = {x.var: extent_of(x) for x in nest.loops}
    total, width = work(schedule.kernel.body), target.lanes(found.update.buffer.dtype)
    size = _tile_size(extents[pixels], found)
    block = _share(schedule, channels, extents[channels], width, total, target)
    inside = f"{channels}t" if block else channels
    lane = inside
    if extents[channels] > width:
        schedule.apply(split, inside, width, f"{inside}o", f"{inside}i")
        lane = f"{inside}i"
    schedule.apply(split, pixels, size, f"{pixels}o", f"{pixels}i")
    outer = [*around, f"{pixels}o", *([f"{inside}o"] if lane != inside else [])]
    tile = Tile(
        lane=lane, pixels=(pixels, size), lines=None, outer=tuple(outer),
        reduced=tuple(x.var for x in found.reduced), accumulator=found.update.buffer.name,
    )  # fmt: skip
    blocks = [f"{channels}b"] if block else []
    schedule.apply(reorder, *blocks, *outer, *tile.inside)
    if block:
        attempt(schedule, parallelize, f"{channels}b")
    place_registers(schedule, tile)
    attempt(schedule, specialize, f"{inside}o")
    write_out(schedule, tile)
    for var in ("ko", *tile.reduced, f"{tile.reduced[0]}s"):
        attempt(schedule, unroll, var)
    shared = bool(block) or total < 2 * PARALLEL_WORK
    _cut_edges(schedule, f"{pixels}o")
    rows = _cut_edges(schedule, around[-1]) if around else []
    if not shared and around:
        _share_rows(schedule, rows if len(around) == 1 else around[:1], total, target)
    attempt(schedule, simplify)
    written = [x.extent for x in loops(schedule.kernel.body) if x.kind == "unroll"]
    if not all(isinstance(extent, Const) for extent in written):
        raise ScheduleError("channels", "pieces at the edges have tiles of several sizes")


def _tile_size(extent: int, found: Contraction) -> int:
    """Pixels of a row in a tile, the fewer the more taps each has."""
    taps = math.prod(extent_of(x) for x in found.reduced)
    return tile_height(extent, max(2, min(MOST_PIXELS, LARGE // taps)))


def _share(
    schedule: Schedule, var: str, extent: int, width: int, total: int, target: Target
) -> int:
    """Give each thread its share of the channels where they come out even; channels of a share."""
    vectors, rest = divmod(extent, width)
    if target.cores < 2 or total < 2 * PARALLEL_WORK or rest or vectors < 2:
        return 0
    sizes = [n for n in range(1, vectors) if vectors % n == 0]
    even = [n for n in sizes if balance(vectors // n, target.cores) >= FAIR]
    if not even:
        return 0
    size = max(even) * width
    schedule.apply(split, var, size, f"{var}b", f"{var}t")
    return size


def _cut_edges(schedule: Schedule, var: str) -> list[str]:
    """The loop's pieces: at the edges, where taps fall outside, and between them."""
    attempt(schedule, simplify)
    return cut_pieces(schedule, var)


def _share_rows(schedule: Schedule, rows: list[str], total: int, target: Target) -> None:
    found = [x for x in loops(schedule.kernel.body) if x.var in rows]
    if found:
        parallel_outer(schedule, max(found, key=extent_of), total, target)
