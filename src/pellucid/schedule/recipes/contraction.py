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
from dataclasses import dataclass, replace

from pellucid.core.target import Target
from pellucid.loop.ir import Alloc, Call, Expr, For, Load, Store
from pellucid.loop.rewrite import Block, index_vars, stores, walk_expr
from pellucid.loop.simplify import simplify
from pellucid.schedule.dependence import update_of
from pellucid.schedule.isolate import isolate
from pellucid.schedule.lanes import lanes
from pellucid.schedule.pack import pack
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.recipes.blocked import PANELS, Blocks, Packing, block_shape, schedule_blocked
from pellucid.schedule.recipes.copies import turn_copy
from pellucid.schedule.recipes.dots import choose_dots, schedule_dots
from pellucid.schedule.recipes.elementwise import parallel_outer
from pellucid.schedule.recipes.plan import PARALLEL_WORK, attempt, attempt_all
from pellucid.schedule.recipes.shape import Nest, extent_of, inner_loops, stride, work
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

GATHER = 1.3  # cycles to read one element that is not beside the one before it
TURN = 0.3  # the same where what follows is wanted too: in blocks, in registers
COPY = 0.2  # cycles to copy one element that is
FAR_BYTES = 1024  # rows this far apart miss the prefetcher and the translation cache
PAGE_BYTES = 4096  # rows a multiple of this apart fight for the same cache lines
LINE_BYTES = 64
ROWS_AT_ONCE = 16  # of an operand being turned: they stay in the first-level cache
FEWEST_USES = 4  # of a copy, for it to pay
LONG = 512  # steps of a reduction, beside which adding up a vector's lanes is little
FEWEST_TURNED = 24  # of a copy that turns its operand round
STEPS = range(1, 5)  # elements between neighbours in one cache line
FEWEST_ROWS = 8  # neighbours that make a tile
FEW_SUMS = 8  # vectors of sums that hide the latency of an addition
FEW_ROWS = 16  # rows that leave room for lines
LEAST_WORK = 1 << 11
BRIEF = 64  # steps of a reduction that take no longer than what stands around it
LIGHT = 8  # operations of an epilogue that need few registers


@dataclass(frozen=True, slots=True)
class Contraction:
    """The sum of a nest: its accumulator's update, its loops, and the two operands."""

    update: Store
    reduced: tuple[For, ...]
    a: Load
    b: Load


@dataclass(frozen=True, slots=True)
class Tiling:
    """Which loop has the lanes, which the rows, how large the tile is, and the loads it shares.

    `wide` is read along the lanes, `narrow` is one element for all of them. `panels` tiles side by
    side share each stretch of `narrow` while it is near. `more` are short loops that, like `row`,
    only `narrow` knows, whole inside the tile. Where rows are few, `lines` iterations of `line`
    (rows of an image) join them, which only one of the operands knows: they share each element of
    the other.
    """

    lane: For
    row: For | None
    width: int
    height: int
    wide: Load
    narrow: Load
    panels: int = 1
    more: tuple[For, ...] = ()
    line: For | None = None
    lines: int = 1


def find_contraction(nest: Nest) -> Contraction | None:
    """The contraction a nest holds: one reduction whose term is a product of two loads."""
    inside = inner_loops(nest.body)
    if len(inside) != 1 or not nest.loops:
        return None
    reduced: list[For] = []
    body: Block = (inside[0],)
    while len(body) == 1 and isinstance(body[0], For):
        reduced.append(body[0])
        body = body[0].body
    if len(body) != 1 or not isinstance(body[0], Store):
        return None
    found = update_of(body[0])
    if found is None or found[0] != "add":
        return None
    operands = operands_of(found[1])
    return None if operands is None else Contraction(body[0], tuple(reduced), *operands)


def operands_of(term: Expr) -> tuple[Load, Load] | None:
    """The two loads whose product a term is, each with whatever is done to it alone."""
    if not isinstance(term, Call) or term.fn != "mul":
        return None
    found = [[e for e in walk_expr(x) if isinstance(e, Load)] for x in term.args]
    if any(len(x) != 1 for x in found):
        return None
    a, b = found[0][0], found[1][0]
    return None if a.buffer == b.buffer else (a, b)


def schedule_contraction(
    schedule: Schedule, nest: Nest, found: Contraction, target: Target
) -> None:
    """Register tile, packing, lanes and threads for a contraction and its epilogue."""
    total = work(schedule.kernel.body)
    tiling = choose_tiling(nest, found, target)
    if tiling is None or total < LEAST_WORK:
        _small(schedule, nest, found)
        return
    if _blocked(schedule, nest, found, tiling, target):
        return
    if _dots(schedule, nest, found, tiling, target):
        return
    inside = (tiling.lane, tiling.row, *tiling.more, tiling.line)
    others = [x for x in nest.loops if x not in inside]
    reduced = [x.var for x in found.reduced]
    outer = _tile(schedule, tiling, others, target)
    _pack_wide(schedule, tiling, reduced, outer, others)
    reduced = _pack_narrow(schedule, tiling, found, others)
    _threads(schedule, others, outer, total, target)
    _registers(schedule, tiling, found, reduced)
    for var in outer:
        attempt(schedule, specialize, var)
    _fill_wide(schedule, tiling, found, target)
    _innermost(schedule, nest, tiling, found)
    attempt(schedule, simplify)


def _blocked(
    schedule: Schedule, nest: Nest, found: Contraction, tiling: Tiling, target: Target
) -> bool:
    """Schedule a matrix product whose operands outgrow the caches in blocks; whether it was one."""
    row, size = tiling.row, tiling.wide.dtype.itemsize
    if row is None or len(nest.loops) != 2 or len(found.reduced) != 1:
        return False
    if tiling.narrow.buffer.nbytes <= target.l2_bytes // 2:
        return False
    tiles = -(-extent_of(tiling.lane) // tiling.width)
    if tiles < PANELS * target.cores or extent_of(row) < 2 * tiling.height:
        return False
    extent = extent_of(found.reduced[0])
    depth, panels = block_shape(extent, tiling.width, size, target)
    blocks = Blocks(
        lane=tiling.lane.var, row=row.var, reduced=found.reduced[0].var,
        width=tiling.width, height=tiling.height, panels=panels, extent=extent, depth=depth,
        wide=tiling.wide, narrow=tiling.narrow, packing=_packing(tiling, found),
        accumulator=found.update.buffer.name, lanes=target.lanes(tiling.wide.dtype),
    )  # fmt: skip
    return attempt_all(schedule, lambda: schedule_blocked(schedule, blocks))


def _packing(tiling: Tiling, found: Contraction) -> Packing:
    """The layout that the rows' operand of a large product gets."""
    row = None if tiling.row is None else stride(tiling.narrow, tiling.row.var)
    if row is None or stride(tiling.narrow, found.reduced[0].var) != 1:
        return "dense"
    return "none" if row * tiling.narrow.dtype.itemsize % PAGE_BYTES else "lines"


def _dots(
    schedule: Schedule, nest: Nest, found: Contraction, tiling: Tiling, target: Target
) -> bool:
    """Schedule a contraction whose results do not fill vectors along its reduction; whether so."""
    last = found.reduced[-1].var
    unit = all(stride(x, last) == 1 for x in (found.a, found.b))
    rows = 1 if tiling.row is None else extent_of(tiling.row)
    long = math.prod(extent_of(x) for x in found.reduced) >= LONG
    turned = stride(tiling.wide, tiling.lane.var) != 1 and (long or rows < FEWEST_USES)
    few = 2 * extent_of(tiling.lane) < target.lanes(found.update.buffer.dtype)
    few |= turned and min(rows, extent_of(tiling.lane)) < FEWEST_TURNED
    if not unit or not few:
        return False
    operands = index_vars(found.a), index_vars(found.b)
    update = Load(found.update.buffer, found.update.indices)
    dots = choose_dots(nest.loops, found.reduced, operands, update, target)
    return dots is not None and attempt_all(schedule, lambda: schedule_dots(schedule, dots, target))


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


def choose_tiling(nest: Nest, found: Contraction, target: Target) -> Tiling | None:
    """The cheapest choice of the lane loop by what packing and scattered stores would cost."""
    options = []
    for lane in nest.loops:
        for wide, narrow in ((found.a, found.b), (found.b, found.a)):
            if lane.var in index_vars(wide) and lane.var not in index_vars(narrow):
                options.append((_cost(nest, found, lane, wide), lane, wide, narrow))
    if not options:
        return None
    _, lane, wide, narrow = min(options, key=lambda o: (o[0], -nest.loops.index(o[1])))
    rows = [x for x in nest.loops if x.var in index_vars(narrow) and x.var not in index_vars(wide)]
    per_vector = target.lanes(found.update.buffer.dtype)
    vectors = _vectors(extent_of(lane), rows, per_vector, target)
    most = (target.vector_registers - 2 - vectors) // vectors
    most = min(most, 12 if vectors == 2 else 25)
    row, more = _rows(rows, most, narrow)
    height = 1 if row is None else tile_height(extent_of(row), most)
    width = min(extent_of(lane), vectors * per_vector)
    panels = (
        _panels(found, lane, width, wide, narrow, target) if row and len(nest.loops) == 2 else 1
    )
    tiling = Tiling(lane, row, width, height, wide, narrow, panels, more)
    return _with_lines(tiling, nest, vectors, target)


def _vectors(extent: int, rows: Sequence[For], per_vector: int, target: Target) -> int:
    """Vectors in a tile's width: two, or more where rows are too few to hide an addition's latency;
    then as many as leave every core the same number of tiles.
    """
    whole, count = -(-extent // per_vector), math.prod(extent_of(x) for x in rows)
    most = min(whole, FEW_SUMS // count, target.vector_registers // 2)
    if most <= 2:
        return min(whole, 2)
    return max(range(2, most + 1), key=lambda v: (_balance(-(-whole // v), target.cores) > 0.9, v))


def _with_lines(tiling: Tiling, nest: Nest, vectors: int, target: Target) -> Tiling:
    """More accumulators where the rows are too few to hide the latency of each sum's additions."""
    rows = tiling.height * math.prod(extent_of(x) for x in tiling.more)
    narrow, wide = tiling.narrow, tiling.wide
    spare = target.vector_registers - 1
    near = _lines(tiling, nest, narrow, wide)
    if rows < FEW_ROWS and near and abs(stride(narrow, near[0].var) or 0) < FAR_BYTES // 8:
        made = _tall(tiling, near[0], (spare - vectors) // (vectors * rows))
        if made is not None:
            return made
    lines = _lines(tiling, nest, wide, narrow)
    if len(lines) < 2 or stride(wide, tiling.lane.var) != 1:
        return tiling
    return _tall(tiling, lines[0], spare // (vectors * (rows + 1))) or tiling


def _lines(tiling: Tiling, nest: Nest, own: Load, other: Load) -> list[For]:
    """Loops outside the tile that only one operand knows, neighbours in memory first."""
    inside = (tiling.lane, tiling.row, *tiling.more)
    alone = index_vars(own) - index_vars(other)
    found = [
        x for x in nest.loops
        if x not in inside and x.var in alone and stride(own, x.var) is not None
    ]  # fmt: skip
    return sorted(found, key=lambda x: abs(stride(own, x.var) or 0))


def _tall(tiling: Tiling, line: For, most: int) -> Tiling | None:
    """The tile with as many of a loop's iterations as divide it evenly, at most `most`."""
    fitting = [n for n in range(2, most + 1) if extent_of(line) % n == 0]
    return replace(tiling, line=line, lines=max(fitting)) if fitting else None


def _rows(rows: Sequence[For], most: int, narrow: Load) -> tuple[For | None, tuple[For, ...]]:
    """The loop to tile, and another one that fits in the tile whole where the first is short."""
    longest = max(rows, key=extent_of, default=None)
    near = [x for x in rows if stride(narrow, x.var) in STEPS and extent_of(x) >= FEWEST_ROWS]
    if len(rows) > 1 and near and longest not in near:
        return max(near, key=extent_of), ()  # a tile of neighbours lies in few cache lines
    if longest is None or extent_of(longest) > most // 2:
        return longest, ()
    pairs = [
        (extent_of(a) * extent_of(b), n, m)
        for n, a in enumerate(rows)
        for m, b in enumerate(rows)
        if n != m and extent_of(a) * extent_of(b) <= most
    ]
    if not pairs:
        return longest, ()
    _, n, m = max(pairs)
    return rows[n], (rows[m],)


def _panels(
    found: Contraction, lane: For, width: int, wide: Load, narrow: Load, target: Target
) -> int:
    """Tiles side by side that fit in half the second-level cache where `narrow` does not."""
    if narrow.buffer.nbytes <= target.l2_bytes // 2:
        return 1
    depth = math.prod(extent_of(x) for x in found.reduced)
    fitting = target.l2_bytes // 2 // max(1, depth * width * wide.dtype.itemsize)
    for panels in (8, 4, 3, 2):
        blocks, rest = divmod(extent_of(lane), panels * width)
        if panels <= fitting and not rest and blocks % target.cores == 0:
            return panels
    return 1


def tile_height(extent: int, most: int) -> int:
    """The rows of a tile: at most `most`, so that the last tile wastes least."""
    if extent <= most:
        return extent
    sizes = range(max(1, most // 2), most + 1)
    return max(sizes, key=lambda n: (extent / (-(-extent // n) * n) + 0.01 * n, n))


def _cost(nest: Nest, found: Contraction, lane: For, wide: Load) -> float:
    """Cycles beside the multiplications when `lane` has the lanes."""
    cost = 0.0
    size = float(wide.buffer.size)
    along = stride(wide, found.reduced[-1].var) == 1
    cost += size * (COPY if stride(wide, lane.var) == 1 else TURN if along else GATHER)
    for store in stores(nest.body):
        if store.buffer.scope == "param" and stride(store, lane.var) != 1:
            cost += GATHER * store.buffer.size
    lanes_used = extent_of(lane) / (-(-extent_of(lane) // 16) * 16)
    steps = 1.0
    for loop in (*nest.loops, *found.reduced):
        steps *= extent_of(loop)
    return cost + steps / 32 / lanes_used


def _tile(schedule: Schedule, tiling: Tiling, others: Sequence[For], target: Target) -> list[str]:
    """`others`, then tiles, then the tile's own loops; the loops over tiles, outermost first."""
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
    outer = _outer_order(tiling, outer, target)
    inner = [*(x.var for x in tiling.more), *inner]
    if tiling.line is not None:
        line = tiling.line.var
        schedule.apply(split, line, tiling.lines, f"{line}o", f"{line}i")
        inner.insert(0, f"{line}i")
        outer.insert(0, f"{line}o")
    attempt(schedule, reorder, *(x.var for x in others), *outer, *inner)
    return outer


def _threads(
    schedule: Schedule, others: Sequence[For], outer: list[str], total: int, target: Target
) -> None:
    """The outermost loop that keeps every core busy."""
    if total < 2 * PARALLEL_WORK or target.cores < 2:
        return
    if not others:
        attempt(schedule, parallelize, outer[0])
        return
    best = max(others, key=lambda x: _balance(extent_of(x), target.cores))
    if best is not others[0] and _balance(extent_of(others[0]), target.cores) < 0.8:
        order = [best.var, *(x.var for x in others if x is not best)]
        if attempt(schedule, reorder, *order):
            attempt(schedule, parallelize, best.var)
            return
    parallel_outer(schedule, others[0], total, target)


def _outer_order(tiling: Tiling, outer: list[str], target: Target) -> list[str]:
    """The tile loop that spreads best over the cores first; the lanes' one where both do."""
    if tiling.row is None:
        return outer
    if tiling.panels > 1:
        return [f"{tiling.lane.var}b", outer[1], outer[0]]
    columns = -(-extent_of(tiling.lane) // tiling.width)
    rows = -(-extent_of(tiling.row) // tiling.height)
    if _balance(columns, target.cores) + 0.05 >= _balance(rows, target.cores):
        return outer
    return [outer[1], outer[0]]


def _balance(tiles: int, cores: int) -> float:
    return tiles / (-(-tiles // cores) * cores)


def _pack_wide(
    schedule: Schedule,
    tiling: Tiling,
    reduced: Sequence[str],
    outer: Sequence[str],
    others: Sequence[For],
) -> None:
    """A copy of the lanes' operand in the order of use, where it is read across memory.

    One panel at a time where its loop is outermost of those that do not index it, else all at once.
    """
    lane, name = tiling.lane.var, tiling.wide.buffer.name
    if name in schedule.constants:
        _pack_constant(schedule, tiling, tiling.wide, reduced, others)
        return
    rows = 1 if tiling.row is None else -(-extent_of(tiling.row) // tiling.height)
    if stride(tiling.wide, lane) == 1 and not (_far(tiling.wide, reduced) and rows >= FEWEST_USES):
        return
    inside = outer[0] != f"{tiling.row.var}o" if tiling.row else True
    shared = [x.var for x in others if x.var in index_vars(tiling.wide)]
    if len(shared) < len(others):
        if attempt(schedule, pack, name, [*shared, f"{lane}o", *reduced, f"{lane}i"]):
            first = next((v for v in (*shared, reduced[0]) if v), "")
            attempt(schedule, parallelize, f"{first}_{name}")
        return
    single = outer[0] == f"{lane}o"
    order = [*reduced, f"{lane}i"] if single else [f"{lane}o", *reduced, f"{lane}i"]
    if attempt(schedule, pack, name, order, outer[0] if inside else None):
        if not inside:
            attempt(schedule, parallelize, f"{lane}o_{name}")


def _fill_wide(schedule: Schedule, tiling: Tiling, found: Contraction, target: Target) -> None:
    """Lanes for the copy of the lanes' operand, in blocks turned round where it lies across."""
    lane, name = tiling.lane.var, tiling.wide.buffer.name
    attempt(schedule, specialize, f"{lane}o_{name}")
    step, inner = f"{found.reduced[-1].var}_{name}", f"{lane}i_{name}"
    along = stride(tiling.wide, found.reduced[-1].var) == 1
    if not along or not turn_copy(schedule, step, inner, target.lanes(tiling.wide.dtype)):
        attempt(schedule, lanes, inner)


def _pack_narrow(
    schedule: Schedule, tiling: Tiling, found: Contraction, others: Sequence[For]
) -> list[str]:
    """A copy of the rows' operand where its rows fight for cache lines; the reduction's loops.

    Where the reduction runs along memory, whole lines of it are copied, row beside row.
    """
    reduced = [x.var for x in found.reduced]
    if tiling.narrow.buffer.name in schedule.constants:
        _pack_constant(schedule, tiling, tiling.narrow, reduced, others)
        return reduced
    columns = -(-extent_of(tiling.lane) // tiling.width)
    if tiling.row is None or tiling.more or others or len(reduced) != 1 or columns < FEWEST_USES:
        return reduced
    row, last, name = tiling.row.var, reduced[-1], tiling.narrow.buffer.name
    apart = abs(stride(tiling.narrow, row) or 0) * tiling.narrow.dtype.itemsize
    block = LINE_BYTES // tiling.narrow.dtype.itemsize
    extent = extent_of(found.reduced[-1])
    if stride(tiling.narrow, last) == 1 and apart and apart % PAGE_BYTES == 0:
        if not attempt(schedule, split, last, block, f"{last}o", f"{last}i"):
            return reduced
        reduced = [f"{last}o", f"{last}i"]
        order, along = [f"{row}o", f"{last}o", f"{row}i", f"{last}i"], f"{last}i"
    elif stride(tiling.narrow, row) == 1 and _far(tiling.narrow, reduced) and extent >= 256:
        order, along = [f"{row}o", last, f"{row}i"], f"{row}i"
    else:
        return reduced
    if attempt(schedule, pack, name, order):
        first = f"{row}o_{name}"
        if along == f"{row}i" and attempt(
            schedule, split, f"{last}_{name}", ROWS_AT_ONCE, "kb", "kr"
        ):
            # a few rows of the source at a time: each line is read once, in the order of memory
            first = "kb" if attempt(schedule, reorder, "kb", first, "kr") else first
        attempt(schedule, lanes, f"{along}_{name}")
        attempt(schedule, parallelize, first)
    return reduced


def _pack_constant(
    schedule: Schedule,
    tiling: Tiling,
    load: Load,
    reduced: Sequence[str],
    others: Sequence[For],
) -> None:
    """A copy of an operand that never changes, in the order of use: made once, so always worth it.

    What does not fill a tile is padded, so that every row of the copy is read as whole vectors.
    """
    known, name = index_vars(load), load.buffer.name
    tiled = [x.var for x in (tiling.line, tiling.row, tiling.lane) if x is not None]
    tiled = [v for v in tiled if v in known]
    outer = [x.var for x in others if x.var in known]
    if tiling.panels > 1 and tiling.lane.var in tiled:
        outer.append(f"{tiling.lane.var}b")
    outer += [f"{v}o" for v in tiled]
    inner = [x.var for x in tiling.more if x.var in known] + [f"{v}i" for v in tiled]
    order = [*outer, *(v for v in reduced if v in known), *inner]
    if attempt(schedule, pack, name, order):
        attempt(schedule, lanes, f"{order[-1]}_{name}")


def _far(load: Load, reduced: Sequence[str]) -> bool:
    """Whether neighbours along a reduced loop lie so far apart that each is a page of its own."""
    steps = [stride(load, v) for v in reduced]
    return any(s is None or abs(s) * load.dtype.itemsize >= FAR_BYTES for s in steps)


def _registers(schedule: Schedule, tiling: Tiling, found: Contraction, reduced: list[str]) -> None:
    """The accumulators in registers over the whole reduction, the epilogue behind it."""
    inside = _inside(tiling)
    for var, register in reversed(inside):
        if not attempt(schedule, isolate, var, reduced[0], register):
            return
    inner = [register for _, register in inside]
    whole = f"{reduced[0]}s"
    attempt(schedule, split, reduced[0], extent_of(found.reduced[0]), "ko", whole)
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
