"""Register tiles for products of narrow numbers, packed or read in the order of memory.

Packed: the lanes' operand is copied panel by panel, and a block of panels stays in the second-level
cache while all rows go by. Direct, for few rows: no copy; a few words of the reduction at a time
for all columns of a thread, so that the operand is read once, in long stretches, and the sums rest
in the first-level cache.

```
parallel for jb in 0..2:
  acc: i32[M, N/2] = 0
  for ko in K/32: for jo in N/128: for ks in 0..8:                       # direct
    acc[:, jo] += dot4u(pack4(B[4*kw, …], B[4*kw + 1, …], …), A4[:, kw])
  C[:, jb] = f(acc)
```
"""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.core.target import Target
from pellucid.loop.ir import Buffer, For, Load
from pellucid.loop.rewrite import index_vars
from pellucid.schedule.isolate import isolate
from pellucid.schedule.lanes import lanes
from pellucid.schedule.pack import pack
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.recipes.plan import PARALLEL_WORK, attempt
from pellucid.schedule.recipes.shape import extent_of, stride
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

PANELS = 8  # tiles side by side that share each stretch of the rows' operand
PAGE_BYTES = 4096  # rows a multiple of this apart fight for the same cache lines
DIRECT_ROWS = 16  # that are fewer than pay for a copy
DIRECT_STEPS = 4  # of the reduction at a time where nothing is copied, half for a few rows
DIRECT_VECTORS = 4  # of results side by side there
STEPS_AT_ONCE = 2  # of an operand being packed
BRIEF = 64  # steps of a reduction that take no longer than what stands around it


@dataclass(frozen=True, slots=True)
class Product:
    """The nest of a product: accumulator, the loops of columns, rows, batches and the reduction,
    the operands, whether the rows' one can be read as words where it lies (`along`), and whether a
    copy of the lanes' one is made only once, when the program is (`constant`).
    """

    total: Buffer
    lane: For
    row: For | None
    others: tuple[str, ...]
    step: For
    wide: Load
    narrow: Load
    along: bool
    constant: bool

    @property
    def rows(self) -> list[str]:
        """The loop of rows, if there is one."""
        return [] if self.row is None else [self.row.var]


@dataclass(frozen=True, slots=True)
class Shape:
    """A tile's columns and rows, tiles per block, steps of the reduction at a time (0: all),
    whether rows are the outer loop, and whether the lanes' operand is packed.
    """

    width: int
    height: int
    panels: int
    steps: int
    rows_first: bool
    pack: bool


def schedule_tiles(schedule: Schedule, product: Product, total: int, target: Target) -> None:
    """Tiles in registers, packing, threads and lanes.

    Args:
        schedule: of a kernel whose reduction is grouped already.
        product: what is in its nest.
        total: operations of the kernel.
        target: the machine.

    Raises:
        ScheduleError: the nest has another form.
    """
    shape = choose_shape(product, target)
    outer = _tile(schedule, product, shape)
    if shape.pack:
        _pack_wide(schedule, product)
        _pack_narrow(schedule, product)
    if target.cores > 1 and total >= 2 * PARALLEL_WORK:
        attempt(schedule, parallelize, (*product.others, *outer)[0])
    inner = [f"{v}i" for v in (*product.rows, product.lane.var)]
    tiles = _registers(schedule, product, shape, inner)
    for var in (*outer, *tiles):
        attempt(schedule, specialize, var)
    *rows, lane = inner
    for var in (lane, f"{lane}r", f"{lane}r_{product.total.name}"):
        attempt(schedule, lanes, var)
    for var in rows:
        attempt(schedule, unroll, f"{var}r")
        attempt(schedule, unroll, f"{var}r_{product.total.name}")
        if extent_of(product.step) <= BRIEF and not shape.steps:
            attempt(schedule, unroll, var)


def choose_shape(product: Product, target: Target) -> Shape:
    """Tile and block sizes by the target's registers and caches."""
    vector = target.lanes(product.total.dtype)
    most = (target.vector_registers - 3) // 2
    rows = 1 if product.row is None else extent_of(product.row)
    columns = extent_of(product.lane)
    height = _height(rows, most)
    vectors = DIRECT_VECTORS if DIRECT_VECTORS * height <= 2 * most - 4 else 2
    in_order = stride(product.wide, product.lane.var) == 1
    if rows <= DIRECT_ROWS and in_order and not product.others and not product.constant:
        width = min(vectors, -(-columns // vector)) * vector
        panels = -(-columns // width // target.cores)
        steps = DIRECT_STEPS if height > DIRECT_VECTORS else DIRECT_STEPS // 2
        return Shape(width, height, panels, steps, rows_first=False, pack=False)
    width = min(vectors, -(-columns // vector)) * vector
    panels, rows_first = _blocks(product, width, -(-rows // height), target)
    return Shape(width, height, panels, 0, rows_first, pack=True)


def _height(extent: int, most: int) -> int:
    """The rows of a tile: at most `most`, so that the last tile wastes least."""
    if extent <= most:
        return extent
    sizes = range(max(1, most // 2), most + 1)
    return max(sizes, key=lambda n: (extent / (-(-extent // n) * n) + 0.01 * n, n))


def _blocks(product: Product, width: int, rows: int, target: Target) -> tuple[int, bool]:
    """How many panels of columns form a block in the second-level cache, and whether rows spread
    better over the cores than blocks.
    """
    tiles = -(-extent_of(product.lane) // width)
    fitting = target.l2_bytes // 2 // max(1, extent_of(product.step) * width * 4)
    sizes = [n for n in range(1, min(PANELS, tiles, max(1, fitting)) + 1) if tiles % n == 0]
    even = [n for n in sizes if tiles // n % target.cores == 0]
    if product.others or target.cores == 1:
        return max(sizes), False
    if even:
        return max(even), False
    return max(sizes), _balance(rows, target.cores) > _balance(tiles, target.cores) + 0.05


def _balance(tiles: int, cores: int) -> float:
    return tiles / (-(-tiles // cores) * cores)


def _tile(schedule: Schedule, product: Product, shape: Shape) -> list[str]:
    """Batches, then blocks of tiles, then the tile's own loops; the loops over blocks and tiles."""
    lane = product.lane.var
    schedule.apply(split, lane, shape.panels * shape.width, f"{lane}b", f"{lane}p")
    schedule.apply(split, f"{lane}p", shape.width, f"{lane}o", f"{lane}i")
    for row in product.rows:
        schedule.apply(split, row, shape.height, f"{row}o", f"{row}i")
    rows = [f"{row}o" for row in product.rows]
    outer = [f"{lane}b", *rows, f"{lane}o"]
    if shape.rows_first:
        outer = [*rows, f"{lane}b", f"{lane}o"]
    schedule.apply(
        reorder, *product.others, *outer, *(f"{row}i" for row in product.rows), f"{lane}i"
    )
    return outer


def _pack_wide(schedule: Schedule, product: Product) -> None:
    """A copy of the lanes' operand in the order of use, its numbers joined in words or widened."""
    lane, name = product.lane.var, product.wide.buffer.name
    shared = [v for v in product.others if v in index_vars(product.wide)]
    last = product.others[-1] if product.others else ""
    at = last if last in shared else None
    order = [f"{lane}b", f"{lane}o", product.step.var, f"{lane}i"]
    schedule.apply(pack, name, order if at else [*shared, *order], at)
    if stride(product.wide, lane) == 1:
        attempt(schedule, lanes, f"{lane}i_{name}")
    if at is None:
        first = f"{shared[0]}_{name}" if shared else f"{lane}b_{name}"
        if not shared and stride(product.wide, lane) == 1:
            # a few rows at a time, from end to end: each line is read once, in the order of memory
            attempt(schedule, split, f"{product.step.var}_{name}", STEPS_AT_ONCE, "kb", "kr")
            first = "kb" if attempt(schedule, reorder, "kb", first, f"{lane}o_{name}") else first
        attempt(schedule, parallelize, first)


def _pack_narrow(schedule: Schedule, product: Product) -> None:
    """A copy of the rows' operand where words are not loads, or rows fight for cache lines."""
    if product.row is None or product.others:
        return
    row, name = product.row.var, product.narrow.buffer.name
    apart = abs(stride(product.narrow, row) or 0) * product.narrow.dtype.itemsize
    if product.along and (not apart or apart % PAGE_BYTES):
        return
    if attempt(schedule, pack, name, [f"{row}o", product.step.var, f"{row}i"]):
        attempt(schedule, parallelize, f"{row}o_{name}")
        if stride(product.narrow, row) == 1:
            attempt(schedule, lanes, f"{row}i_{name}")


def _registers(schedule: Schedule, product: Product, shape: Shape, inner: list[str]) -> list[str]:
    """The accumulators in registers while the reduction, or a block of it, goes on; the loops over
    tiles where they stand inside that of the blocks.
    """
    step, registers = product.step.var, [f"{v}r" for v in inner]
    for var in reversed(inner):
        schedule.apply(isolate, var, step, f"{var}r")
    outside: list[str] = []
    if shape.steps:
        outside = [f"{v}o" for v in (*product.rows, product.lane.var)]
        for var in reversed(outside):
            schedule.apply(isolate, var, step, f"{var}q")
    tiles = [f"{v}q" for v in outside]
    schedule.apply(split, step, shape.steps or extent_of(product.step), "ko", "ks")
    schedule.apply(reorder, "ko", *tiles, "ks", *registers)
    schedule.apply(stage, product.total.name, registers, tiles[-1] if tiles else "ko")
    return tiles
