"""Matrix products of narrow numbers: dot products of words, or operands widened once.

```
for i in 0..M:                           for jb, io, jo:                  # blocks, tiles of results
  for j in 0..N:                           alloc acc: i32[12, 32]
    for k in 0..K:                ->       for kw in 0..K/4:
      acc += i32(A[i, k])                    unroll for ii in 0..12:
           * i32(B[k, j])                      vector for ji in 0..32:
                                                 acc[ii, ji] += dot4u(Bp[jo, kw, ji], A4[i, kw])
                                           C[...] = f(acc - 128 * sum(A[i]))
```
Int8 products are added up four at a time, bfloat16 products two at a time, where the machine has an
instruction for it; sums and their epilogues are those of the contraction recipe. What is read along
the lanes is packed into words, unless the rows are so few that each word is used once or twice.
Where there is no instruction, narrow floats are widened while they are packed, so that the inner
loop is that of float32.
"""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.core.dtype import DType, bfloat16, int32
from pellucid.core.target import Target
from pellucid.loop.ir import Call, Expr, For, Load, Store
from pellucid.loop.rewrite import index_vars
from pellucid.loop.simplify import simplify
from pellucid.schedule.dependence import update_of
from pellucid.schedule.group import group
from pellucid.schedule.isolate import isolate
from pellucid.schedule.lanes import lanes
from pellucid.schedule.pack import pack
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.recipes.plan import PARALLEL_WORK, attempt, attempt_all
from pellucid.schedule.recipes.shape import Nest, extent_of, inner_loops, stride, work
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

LEAST_DEPTH = 16  # steps of a reduction, below which words gain nothing
LEAST_WORK = 1 << 12
PANELS = 8  # tiles side by side that share each stretch of the rows' operand
PAGE_BYTES = 4096  # rows a multiple of this apart fight for the same cache lines
DIRECT_VECTORS = 8  # vectors of results side by side where each word is used once
BRIEF = 64  # words of a reduction that take no longer than what stands around it


@dataclass(frozen=True, slots=True)
class Mixed:
    """A product of narrow numbers: its sum, loops and operands, and how it is added up.

    `wide` is read along the lanes, `narrow` is one element for all of them; `fn` is the dot
    product, empty where operands are widened instead, `moved` the operand it moves by 128.
    """

    update: Store
    lane: For
    row: For
    others: tuple[For, ...]
    reduced: For
    wide: Load
    narrow: Load
    fn: str
    moved: str

    @property
    def step(self) -> str:
        """The loop over the reduction, once grouped."""
        return f"{self.reduced.var}w" if self.fn else self.reduced.var

    @property
    def depth(self) -> int:
        """Its steps."""
        size = {"": 1, "dot2s": 2, "dot2b": 2}.get(self.fn, 4)
        return extent_of(self.reduced) // size


def find_mixed(nest: Nest, target: Target) -> Mixed | None:
    """The product of narrow numbers that a nest holds, if it is one with rows and columns."""
    inside = inner_loops(nest.body)
    if len(inside) != 1 or len(nest.loops) < 2 or len(inside[0].body) != 1:
        return None
    update = inside[0].body[0]
    found = update_of(update) if isinstance(update, Store) else None
    factors = _factors(found[1]) if found and found[0] == "add" else None
    if factors is None or not isinstance(update, Store):
        return None
    if extent_of(inside[0]) < LEAST_DEPTH or work(nest.loops[:1]) < LEAST_WORK:
        return None
    for wide, narrow in (factors, factors[::-1]):
        lane, row = _own_loop(nest, wide, narrow), _own_loop(nest, narrow, wide)
        if lane is None or row is None or lane is not nest.loops[-1]:
            continue
        others = tuple(x for x in nest.loops if x not in (lane, row))
        fn = choose_dot(wide.dtype, narrow.dtype, update.buffer.dtype, target)
        if fn is None:
            return None
        moved = _moved(fn, wide, narrow)
        return Mixed(update, lane, row, others, inside[0], wide, narrow, fn, moved)
    return None


def _factors(term: Expr) -> tuple[Load, Load] | None:
    """The two loads that are cast and multiplied."""
    if not isinstance(term, Call) or term.fn != "mul":
        return None
    a, b = (x.args[0] if isinstance(x, Call) and x.fn == "cast" else x for x in term.args)
    if not (isinstance(a, Load) and isinstance(b, Load)):
        return None
    return None if a.buffer == b.buffer or a.dtype == term.dtype else (a, b)


def _own_loop(nest: Nest, own: Load, other: Load) -> For | None:
    """The longest loop that only one operand knows."""
    alone = index_vars(own) - index_vars(other)
    found = [x for x in nest.loops if x.var in alone and stride(own, x.var) is not None]
    return max(found, key=extent_of, default=None)


def choose_dot(a: DType, b: DType, total: DType, target: Target) -> str | None:
    """The dot product for two dtypes and their sum's: empty: widen; None: no product of narrow
    numbers.
    """
    if total == int32 and all(t.is_integer and t.bits == 8 for t in (a, b)):
        if target.has("avx512vnni") or target.has("avxvnni"):
            return "dot4u"
        return "dot4s" if target.has("dotprod") and "int" in (a.kind, b.kind) else "dot2s"
    if a == b == bfloat16 and target.has("avx512bf16"):
        return "dot2b"
    narrow = all(t.is_float and t.bits == 16 for t in (a, b))
    return "" if narrow and total.bits == 32 else None


def _moved(fn: str, wide: Load, narrow: Load) -> str:
    """The operand whose numbers `fn` moves by 128: the larger one, so that the other is summed."""
    mixed = wide.dtype.kind != narrow.dtype.kind
    if fn == "dot4s" and mixed:
        return (wide if wide.dtype.kind == "uint" else narrow).buffer.name
    return max((wide, narrow), key=lambda x: x.buffer.size).buffer.name


def schedule_mixed(schedule: Schedule, found: Mixed, target: Target) -> bool:
    """Words, register tiles, packing, lanes and threads; whether the nest allowed all of it."""
    return attempt_all(schedule, lambda: _schedule(schedule, found, target))


def _schedule(schedule: Schedule, found: Mixed, target: Target) -> None:
    total = work(schedule.kernel.body)
    shape = _shape(found, target)
    if found.fn:
        var = found.reduced.var
        schedule.apply(group, var, var, found.fn, found.moved)
        attempt(schedule, lanes, f"{var}m")
    outer = _tile(schedule, found, shape)
    _pack_wide(schedule, found, shape)
    _pack_narrow(schedule, found, shape)
    if target.cores > 1 and total >= 2 * PARALLEL_WORK:
        loops = [*(x.var for x in found.others), *outer]
        attempt(schedule, parallelize, loops[0])
    _registers(schedule, found)
    for var in outer:
        attempt(schedule, specialize, var)
    _innermost(schedule, found)
    attempt(schedule, simplify)


@dataclass(frozen=True, slots=True)
class Shape:
    """A tile's columns and rows, tiles per block, whether rows are the outer loop, and what is
    packed.
    """

    width: int
    height: int
    panels: int
    rows_first: bool
    pack: bool


def _shape(found: Mixed, target: Target) -> Shape:
    vector = target.lanes(found.update.buffer.dtype)
    spare = target.vector_registers - 1
    rows, columns = extent_of(found.row), extent_of(found.lane)
    most = (spare - 2) // 2
    height = _height(rows, most)
    if rows <= most // 2 and stride(found.wide, found.lane.var) == 1:
        vectors = max(1, min(DIRECT_VECTORS, (spare - 8) // height, -(-columns // vector)))
        return Shape(vectors * vector, height, 1, False, pack=False)
    width = min(2, -(-columns // vector)) * vector
    panels, rows_first = _blocks(found, width, height, target)
    return Shape(width, height, panels, rows_first, pack=True)


def _height(extent: int, most: int) -> int:
    """The rows of a tile: at most `most`, so that the last tile wastes least."""
    if extent <= most:
        return extent
    sizes = range(max(1, most // 2), most + 1)
    return max(sizes, key=lambda n: (extent / (-(-extent // n) * n) + 0.01 * n, n))


def _blocks(found: Mixed, width: int, height: int, target: Target) -> tuple[int, bool]:
    """How many panels of columns form a block in the second-level cache, and whether rows spread
    better over the cores than blocks.
    """
    tiles = -(-extent_of(found.lane) // width)
    rows = -(-extent_of(found.row) // height)
    fitting = target.l2_bytes // 2 // max(1, found.depth * width * 4)
    sizes = [n for n in range(1, min(PANELS, tiles, max(1, fitting)) + 1) if tiles % n == 0]
    even = [n for n in sizes if tiles // n % target.cores == 0]
    if found.others or target.cores == 1:
        return max(sizes), False
    if even:
        return max(even), False
    return max(sizes), _balance(rows, target.cores) > _balance(tiles, target.cores) + 0.05


def _balance(tiles: int, cores: int) -> float:
    return tiles / (-(-tiles // cores) * cores)


def _tile(schedule: Schedule, found: Mixed, shape: Shape) -> list[str]:
    """Batches, then blocks of tiles, then the tile's own loops; the loops over blocks and tiles."""
    lane, row = found.lane.var, found.row.var
    schedule.apply(split, lane, shape.panels * shape.width, f"{lane}b", f"{lane}p")
    schedule.apply(split, f"{lane}p", shape.width, f"{lane}o", f"{lane}i")
    schedule.apply(split, row, shape.height, f"{row}o", f"{row}i")
    outer = [f"{lane}b", f"{row}o", f"{lane}o"]
    if shape.rows_first:
        outer = [f"{row}o", f"{lane}b", f"{lane}o"]
    others = [x.var for x in found.others]
    schedule.apply(reorder, *others, *outer, f"{row}i", f"{lane}i")
    return outer


def _pack_wide(schedule: Schedule, found: Mixed, shape: Shape) -> None:
    """A copy of the lanes' operand in the order of use, its numbers joined in words or widened."""
    if not shape.pack:
        return
    lane, name = found.lane.var, found.wide.buffer.name
    shared = [x.var for x in found.others if x.var in index_vars(found.wide)]
    at = found.others[-1].var if found.others and found.others[-1].var in shared else None
    order = [f"{lane}b", f"{lane}o", found.step, f"{lane}i"]
    schedule.apply(pack, name, order if at else [*shared, *order], at)
    if stride(found.wide, lane) == 1:
        attempt(schedule, lanes, f"{lane}i_{name}")
    if at is None:
        first = shared[0] if shared else f"{lane}b"
        attempt(schedule, parallelize, f"{first}_{name}")


def _pack_narrow(schedule: Schedule, found: Mixed, shape: Shape) -> None:
    """A copy of the rows' operand where words are not loads, or rows fight for cache lines."""
    row, name = found.row.var, found.narrow.buffer.name
    apart = abs(stride(found.narrow, row) or 0) * found.narrow.dtype.itemsize
    near = stride(found.narrow, found.reduced.var) == 1 and (found.fn or not shape.pack)
    if found.others or (near and not (apart and apart % PAGE_BYTES == 0 and shape.pack)):
        return
    if attempt(schedule, pack, name, [f"{row}o", found.step, f"{row}i"]):
        attempt(schedule, parallelize, f"{row}o_{name}")
        if stride(found.narrow, row) == 1:
            attempt(schedule, lanes, f"{row}i_{name}")


def _registers(schedule: Schedule, found: Mixed) -> None:
    """The accumulators in registers over the whole reduction, the epilogue behind it."""
    lane, row, step = f"{found.lane.var}i", f"{found.row.var}i", found.step
    for var in (lane, row):
        schedule.apply(isolate, var, step, f"{var}r")
    schedule.apply(split, step, found.depth, "ko", "ks")
    schedule.apply(reorder, "ko", "ks", f"{row}r", f"{lane}r")
    schedule.apply(stage, found.update.buffer.name, [f"{row}r", f"{lane}r"], "ko")


def _innermost(schedule: Schedule, found: Mixed) -> None:
    """Lanes for the tile's columns; its rows written out, so that accumulators are registers."""
    lane, row, name = f"{found.lane.var}i", f"{found.row.var}i", found.update.buffer.name
    for var in (lane, f"{lane}r", f"{lane}r_{name}"):
        attempt(schedule, lanes, var)
    for var in (f"{row}r", f"{row}r_{name}"):
        attempt(schedule, unroll, var)
    if found.depth <= BRIEF:
        attempt(schedule, unroll, row)
