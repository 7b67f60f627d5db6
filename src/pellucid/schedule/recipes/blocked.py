"""Large contractions: blocks that keep one operand in the second-level cache, the other on its way.

```
parallel for jb in N/128:                # columns of one thread
  acc: f32[M, 128] = 0
  for ko in K/1024:                      # a block of the reduction
    Bp = B[ko, jb], packed: stays in the second-level cache
    for io in M/12: for jo in 4: for k:  # register tiles
      prefetch A[io + 1]                 # a quarter of it in each tile
      acc[io, jo] += A[io, ko, k] * Bp[jo, k]
  C[:, jb] = f(acc)
```
A reduction that is one block has no `acc`: its sums stay in registers until `f`. Otherwise they
rest in memory between blocks, and are asked for one tile ahead. Without prefetching, each row tile
would wait for its operand: the processor's own prefetcher starts anew with every tile. Where A does
not lie along the reduction, all threads first copy it in the order of use.
Source: Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pellucid.core.target import Target
from pellucid.loop.ir import Const, Expr, Load, Var, iadd, ifloordiv, imod, imul
from pellucid.loop.rewrite import substitute_expr
from pellucid.loop.simplify import simplify
from pellucid.schedule.isolate import isolate
from pellucid.schedule.lanes import lanes
from pellucid.schedule.pack import pack
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.peel import peel
from pellucid.schedule.prefetch import prefetch
from pellucid.schedule.recipes.copies import turn_copy
from pellucid.schedule.recipes.fetch import Place, fetch_tile
from pellucid.schedule.recipes.plan import attempt
from pellucid.schedule.recipes.shape import stride
from pellucid.schedule.recipes.tiles import part_tiles
from pellucid.schedule.recipes.tiling import spread
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

PANELS = 4  # register tiles side by side that share each stretch of the rows' operand
LINE_BYTES = 64
AHEAD = 8  # rows of an operand being packed that are on their way

Packing = Literal["dense", "none"]


@dataclass(frozen=True, slots=True)
class Blocks:
    """What is blocked: loops over columns, rows and the reduction; tile sizes; the operands.

    `depth` is one block of the reduction, of `extent` steps in all. `packing` says where the rows'
    operand is read: in a copy with the elements of one step side by side (`dense`), or, along
    memory, where it lies (`none`). `lanes` fill a vector. `read` is what the epilogue reads.
    """

    lane: str
    row: str
    reduced: str
    width: int
    height: int
    panels: int
    extent: int
    depth: int
    wide: Load
    narrow: Load
    packing: Packing
    accumulator: str
    lanes: int
    read: tuple[Load, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the reduction is one block."""
        return self.depth >= self.extent

    @property
    def line(self) -> int:
        """Elements of the rows' operand in a cache line."""
        return LINE_BYTES // self.narrow.dtype.itemsize

    @property
    def stretch(self) -> int:
        """Steps of the reduction between two prefetches: a cache line, or an even part if near."""
        even = [n for n in range(self.line // 2, self.line + 1) if self.extent % n == 0]
        return max(even) if even and self.whole and self.packing == "none" else self.line


def block_shape(
    extent: int, columns: int, width: int, itemsize: int, target: Target
) -> tuple[int, int]:
    """Steps of a reduction per block, and register tiles side by side, whose columns fill half the
    second-level cache: the whole reduction where it fits, else even parts in whole cache lines;
    about `PANELS` tiles, so that every core gets the same number of the `columns`.
    """
    line, most = LINE_BYTES // itemsize, target.l2_bytes // (2 * width * itemsize)
    panels = max(
        range(2, PANELS + 2), key=lambda n: spread(columns, n * width, target.cores) - _unlike(n)
    )
    for fewer in (panels, max(2, panels // 2)):
        if extent * fewer <= most:
            return extent, fewer
    blocks = -(-extent // max(line, most // panels))
    return -(-extent // (blocks * line)) * line, panels


def _unlike(panels: int) -> float:
    """What blocks of another width than usual cost, as a share of the time."""
    return 0.01 * abs(panels - PANELS)


def schedule_blocked(schedule: Schedule, blocks: Blocks) -> None:
    """Blocks outside, register tiles inside, packed operands.

    Raises:
        ScheduleError: the nest is not a plain matrix product with its epilogue.
    """
    lane, row, apply = blocks.lane, blocks.row, schedule.apply
    apply(split, lane, blocks.panels * blocks.width, f"{lane}b", f"{lane}p")
    apply(split, f"{lane}p", blocks.width, f"{lane}o", f"{lane}i")
    apply(split, row, blocks.height, f"{row}o", f"{row}i")
    apply(reorder, f"{lane}b", f"{row}o", f"{lane}o", f"{row}i", f"{lane}i")
    tiles = _reduction(schedule, blocks)
    _pack_wide(schedule, blocks, tiles)
    _pack_narrow(schedule, blocks, tiles)
    if blocks.whole and blocks.read:
        columns = iadd(imul(Var(f"{lane}b"), blocks.panels), Var(tiles[1]))
        origin = imul(Var(tiles[0]), blocks.height), imul(columns, blocks.width)
        place = Place((row, lane), origin, (blocks.height, blocks.width))
        fetch_tile(schedule, blocks.read, "kio", blocks.extent // blocks.stretch, place)
    apply(parallelize, f"{lane}b")
    name = blocks.wide.buffer.name
    if blocks.extent % blocks.depth:
        attempt(schedule, specialize, "ko")
    if blocks.extent % blocks.stretch:
        attempt(schedule, peel, "kio")
        attempt(schedule, peel, f"kio_{blocks.narrow.buffer.name}")
    copied = f"{tiles[0]}_{blocks.narrow.buffer.name}"
    for var in (f"{lane}b", f"{row}o", f"{row}q", f"{lane}o", f"{lane}q", copied):
        part_tiles(schedule, var, rows=not var.startswith(f"{lane}"))
    if stride(blocks.wide, lane) != 1 and name not in schedule.constants:
        attempt(schedule, specialize, f"{tiles[1]}_{name}")
        if not turn_copy(schedule, f"ki_{name}", f"{lane}r_{name}", blocks.lanes):
            attempt(schedule, lanes, f"{lane}r_{name}")
    for var in (f"{lane}i", f"{lane}r", f"{lane}r_{blocks.accumulator}"):
        attempt(schedule, lanes, var)
    for var in (f"{row}r", f"{row}r_{blocks.accumulator}"):
        attempt(schedule, unroll, var)
    attempt(schedule, simplify)


def _reduction(schedule: Schedule, blocks: Blocks) -> tuple[str, str]:
    """The sums in registers over a block; what the loops over row and column tiles are called."""
    lane, row, apply = blocks.lane, blocks.row, schedule.apply
    for var, name in ((f"{lane}i", f"{lane}r"), (f"{row}i", f"{row}r")):
        apply(isolate, var, blocks.reduced, name)
    registers = [f"{row}r", f"{lane}r"]
    if blocks.whole:
        apply(split, blocks.reduced, blocks.extent, "ko", "ki")
        apply(reorder, "ko", "ki", *registers)
        apply(stage, blocks.accumulator, registers, "ko")
        return f"{row}o", f"{lane}o"
    tiles = f"{row}q", f"{lane}q"
    for var, name in ((f"{lane}o", tiles[1]), (f"{row}o", tiles[0])):
        apply(isolate, var, blocks.reduced, name)
    apply(split, blocks.reduced, blocks.depth, "ko", "ki")
    apply(reorder, "ko", *tiles, "ki", *registers)
    apply(stage, blocks.accumulator, registers, tiles[1])
    columns = [("pr", blocks.height), ("pc", -(-blocks.width // blocks.line))]
    ahead = iadd(Var(tiles[1]), 1)
    place = [Var(tiles[0]), ahead, Var("pr"), imul(Var("pc"), blocks.line)]
    attempt(schedule, prefetch, blocks.accumulator, tiles[1], place, columns)
    return tiles


def _pack_wide(schedule: Schedule, blocks: Blocks, tiles: tuple[str, str]) -> None:
    """The columns' operand, as much of it as one block of the reduction and one thread need."""
    lane, name = blocks.lane, blocks.wide.buffer.name
    if name in schedule.constants:  # all of it, once
        schedule.apply(pack, name, [f"{lane}b", "ko", tiles[1], "ki", f"{lane}r"], None)
        attempt(schedule, lanes, f"{lane}r_{name}")
        return
    at = f"{lane}b" if blocks.whole else "ko"
    order = [*(["ko"] if blocks.whole else []), tiles[1], "ki", f"{lane}r"]
    schedule.apply(pack, name, order, at)
    if stride(blocks.wide, lane) != 1:
        return
    attempt(schedule, lanes, f"{lane}r_{name}")
    # along the source's rows, which are far apart: each is asked for some rows ahead
    if not attempt(schedule, reorder, f"ki_{name}", f"{tiles[1]}_{name}"):
        return
    step, line = f"ki_{name}", blocks.line
    lines = blocks.panels * -(-blocks.width // line)
    block = Const(0) if blocks.whole else imul(Var("ko"), blocks.depth)
    values = {
        lane: iadd(imul(Var(f"{lane}b"), blocks.panels * blocks.width), imul(Var("pl"), line)),
        blocks.reduced: iadd(block, iadd(Var(step), AHEAD)),
    }  # fmt: skip
    place = [substitute_expr(i, values) for i in blocks.wide.indices]
    attempt(schedule, prefetch, name, step, place, [("pl", lines)])


def _pack_narrow(schedule: Schedule, blocks: Blocks, tiles: tuple[str, str]) -> None:
    """The rows' operand in the order of use; each tile's is asked for during the tile before."""
    row, name, height = blocks.row, blocks.narrow.buffer.name, blocks.height
    schedule.apply(split, "ki", blocks.stretch, "kio", "kii")
    copied = blocks.packing == "dense" and attempt(
        schedule, pack, name, [tiles[0], "ko", "kio", "kii", f"{row}r"]
    )
    if copied:  # a few rows of the source at a time, in the order of memory
        inside = f"ko_{name}", f"kio_{name}"
        in_order = attempt(schedule, reorder, *inside, f"{tiles[0]}_{name}")
        attempt(schedule, lanes, f"{row}r_{name}")
        attempt(schedule, parallelize, inside[1] if in_order else f"{tiles[0]}_{name}")
    each = -(-height // blocks.panels)
    number = iadd(imul(Var(tiles[1]), each), Var("pr"))
    place = _next_tile(blocks, tiles, number, copied=copied)
    target = f"{name}p" if copied else name
    attempt(schedule, prefetch, target, "kio", place, [("pr", each)], False)


def _next_tile(blocks: Blocks, tiles: tuple[str, str], number: Expr, *, copied: bool) -> list[Expr]:
    """Where line `number` of the next row tile lies, for these steps of the reduction."""
    ahead = iadd(Var(tiles[0]), 1)
    if not copied:
        steps = iadd(imul(Var("ko"), blocks.depth), imul(Var("kio"), blocks.stretch))
        values = {blocks.row: iadd(imul(ahead, blocks.height), number), blocks.reduced: steps}
        return [substitute_expr(i, values) for i in blocks.narrow.indices]
    first: list[Expr] = [ahead, Var("ko"), Var("kio")]
    start = imul(number, blocks.line)
    return [*first, ifloordiv(start, blocks.height), imod(start, blocks.height)]
