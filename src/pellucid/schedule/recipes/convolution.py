"""Convolutions whose kernel lies in panels of output channels: channels as lanes, pixels as rows.

```
for o in 0..64:                            for ob in 0..2:                    # panels of channels
  for y, z:                                  for y: for zo in 0..4:           # tiles of pixels
    alloc acc                                  alloc acc: f32[14, 32]
    for c, k, l:                     ->        for c, k, l:
      acc += x[c, y + k, z + l]                  unroll for zi in 0..14:
             * w[o//32, c, k, l, o%32]             vector for oi in 0..32:
    out[o, y, z] = f(acc)                            acc[zi, oi] += x[c, y + k, 14*zo + zi + l]
                                                                    * w[ob, c, k, l, oi]
                                               for zi: vector for oi: out[...] = f(acc[zi, oi])
```
Every element of the image is read as it lies, one for all lanes, so strides and holes cost nothing
and nothing is copied. The tile is turned round in registers where it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.core.dtype import DType
from pellucid.core.errors import ScheduleError
from pellucid.core.target import Target
from pellucid.loop.ir import Call, Const, Expr, For, Load, Var
from pellucid.loop.rewrite import constant, index_vars, loops, walk_expr
from pellucid.loop.simplify import simplify
from pellucid.schedule.isolate import isolate
from pellucid.schedule.lanes import lanes
from pellucid.schedule.recipes.elementwise import parallel_outer
from pellucid.schedule.recipes.plan import PARALLEL_WORK, attempt, attempt_all
from pellucid.schedule.recipes.shape import Nest, extent_of, outer_nest, stride, work
from pellucid.schedule.recipes.tiling import Contraction, find_contraction, tile_height
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

VECTORS = 2  # of channels in a tile: each pixel is read once for both
FEWEST_SUMS = 8  # that hide the latency of an addition
FAIR = 0.9  # of the cores' time in use, beyond which the outermost loop is best


@dataclass(frozen=True, slots=True)
class Tile:
    """The loops of a tile and what goes around it."""

    lane: str
    pixels: tuple[str, int]
    lines: tuple[str, int] | None
    outer: tuple[str, ...]
    reduced: tuple[str, ...]
    accumulator: str

    @property
    def inside(self) -> tuple[str, ...]:
        """The tile's own loops, the lanes last."""
        lines = () if self.lines is None else (f"{self.lines[0]}i",)
        return (*lines, f"{self.pixels[0]}i", self.lane)


def panel_of(wide: Load) -> tuple[str, int] | None:
    """The loop over channels, and how many lie side by side, where an operand lies in panels."""
    if len(wide.indices) < 2:
        return None
    first, last = wide.indices[0], wide.indices[-1]
    if not (isinstance(last, Call) and last.fn == "mod" and isinstance(last.args[0], Var)):
        return None
    divisor = last.args[1]
    if not isinstance(divisor, Const) or divisor.value != wide.buffer.shape[-1]:
        return None
    return (last.args[0].name, int(divisor.value)) if _divides(first, last.args) else None


def _divides(index: Expr, parts: tuple[Expr, ...]) -> bool:
    return index == Const(0) or (
        isinstance(index, Call) and index.fn == "floordiv" and index.args == parts
    )


def schedule_panels(schedule: Schedule, found: Contraction, target: Target) -> bool:
    """Schedule a contraction of which one operand lies in panels; whether it was one."""
    dtype = found.update.buffer.dtype
    for wide, narrow in ((found.a, found.b), (found.b, found.a)):
        panel = panel_of(wide)
        if panel is None or panel[0] in index_vars(narrow) - _groups(narrow, panel):
            continue

        def steps(panel: tuple[str, int] = panel) -> None:
            _schedule(schedule, panel, dtype, target)

        return attempt_all(schedule, steps)
    return False


def _groups(narrow: Load, panel: tuple[str, int]) -> set[str]:
    """The channel's loop where the other operand knows it by whole panels only."""
    var, size = panel
    found = [
        e for i in narrow.indices for e in walk_expr(i)
        if isinstance(e, Call) and e.fn == "floordiv" and e.args[0] == Var(var)
    ]  # fmt: skip
    whole = all(isinstance(e.args[1], Const) and int(e.args[1].value) % size == 0 for e in found)
    return {var} if whole else set()


def _schedule(schedule: Schedule, panel: tuple[str, int], dtype: DType, target: Target) -> None:
    total = work(schedule.kernel.body)
    lane = _split_channels(schedule, panel, dtype, target)
    tile = _choose_tile(schedule, lane, target)
    for part in (tile.pixels, tile.lines):
        if part is not None:
            schedule.apply(split, part[0], part[1], f"{part[0]}o", f"{part[0]}i")
    schedule.apply(reorder, *tile.outer, *tile.inside)
    share_outer(schedule, tile.outer, total, target)
    place_registers(schedule, tile)
    for var in tile.outer:
        attempt(schedule, specialize, var)
    write_out(schedule, tile)
    attempt(schedule, simplify)


def _split_channels(
    schedule: Schedule, panel: tuple[str, int], dtype: DType, target: Target
) -> str:
    """Loops over panels and inside of one; the loop that has the lanes."""
    var, size = panel
    nest = outer_nest(schedule.kernel)
    loop = next(x for x in nest.loops if x.var == var)
    if extent_of(loop) > size:
        schedule.apply(split, var, size, f"{var}b", f"{var}p")
        var = f"{var}p"
    schedule.apply(simplify)
    widest = VECTORS * target.lanes(dtype)
    if size > widest and size % widest == 0:
        schedule.apply(split, var, widest, f"{var}q", f"{var}v")
        var = f"{var}v"
    return var


def _choose_tile(schedule: Schedule, lane: str, target: Target) -> Tile:
    """As many pixels of a row as the registers hold, and more rows where one is short.

    Raises:
        ScheduleError: no loop over pixels is left.
    """
    nest = outer_nest(schedule.kernel)
    found = find_contraction(nest)
    if found is None:
        raise ScheduleError("panels", "the nest is not a sum of products any more")
    wide, narrow = (found.a, found.b) if lane in index_vars(found.a) else (found.b, found.a)
    width = next(extent_of(x) for x in nest.loops if x.var == lane)
    vectors = -(-width // target.lanes(found.update.buffer.dtype))
    most = max(1, (target.vector_registers - 1 - vectors) // vectors)
    pixels = _pixel_loops(nest, wide, narrow)
    if not pixels:
        raise ScheduleError("panels", "no loop over pixels")
    first = pixels[0]
    size = tile_height(extent_of(first), most)
    lines = None
    if len(pixels) > 1 and size * vectors < FEWEST_SUMS:
        fitting = [n for n in range(2, most // size + 1) if extent_of(pixels[1]) % n == 0]
        lines = (pixels[1].var, max(fitting)) if fitting else None
    outer = _outer(nest, lane, first.var, lines, wide, target)
    return Tile(
        lane=lane, pixels=(first.var, size), lines=lines, outer=outer,
        reduced=tuple(x.var for x in found.reduced), accumulator=found.update.buffer.name,
    )  # fmt: skip


def _pixel_loops(nest: Nest, wide: Load, narrow: Load) -> list[For]:
    """The loops that only the image knows, neighbours in memory first."""
    steps = {
        x.var: abs(stride(narrow, x.var) or 0)
        for x in nest.loops
        if x.var in index_vars(narrow) - index_vars(wide)
    }
    return sorted((x for x in nest.loops if steps.get(x.var)), key=lambda x: steps[x.var])


def _outer(
    nest: Nest,
    lane: str,
    pixels: str,
    lines: tuple[str, int] | None,
    wide: Load,
    target: Target,
) -> tuple[str, ...]:
    """The loops around the tile: panels outermost where all of them outgrow the cache."""
    tiled = {pixels: f"{pixels}o"} | ({lines[0]: f"{lines[0]}o"} if lines else {})
    rest = [x.var for x in nest.loops if x.var != lane]
    if wide.buffer.nbytes > target.l2_bytes // 2:
        rest.sort(key=lambda v: v not in index_vars(wide))
    return tuple(tiled.get(v, v) for v in rest)


def share_outer(schedule: Schedule, variables: Sequence[str], total: int, target: Target) -> None:
    """Threads over the outermost of some loops that keeps all cores busy, or the most even one."""
    if target.cores < 2 or total < 2 * PARALLEL_WORK:
        return
    around = [x for x in outer_nest(schedule.kernel).loops if x.var in variables]
    best = max(around, key=lambda x: min(_balance(extent_of(x), target.cores), FAIR))
    if best is not around[0]:
        order = [best.var, *(x.var for x in around if x is not best)]
        if not attempt(schedule, reorder, *order):
            best = around[0]
    parallel_outer(schedule, best, total, target)


def _balance(parts: int, cores: int) -> float:
    return parts / (-(-parts // cores) * cores)


def place_registers(schedule: Schedule, tile: Tile) -> None:
    """The accumulators in registers over the whole reduction, what is done with them behind it."""
    first, *others = tile.reduced
    for var in reversed(tile.inside):
        schedule.apply(isolate, var, first, f"{var}r")
    registers = [f"{var}r" for var in tile.inside]
    extent = next(x for x in loops(schedule.kernel.body) if x.var == first).extent
    schedule.apply(split, first, constant(extent) or 1, "ko", f"{first}s")
    schedule.apply(reorder, "ko", f"{first}s", *others, *registers)
    schedule.apply(stage, tile.accumulator, registers, "ko")


def write_out(schedule: Schedule, tile: Tile) -> None:
    """Lanes for channels; everything else of the tile written out."""
    name = tile.accumulator
    for var in (tile.lane, f"{tile.lane}r", f"{tile.lane}r_{name}"):
        attempt(schedule, lanes, var)
    for var in tile.inside[:-1]:
        for copy in (var, f"{var}r", f"{var}r_{name}"):
            attempt(schedule, unroll, copy)
