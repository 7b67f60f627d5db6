"""The loops of a contraction, which of them has the lanes, and how large a register tile is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from pellucid.core.target import Target
from pellucid.loop.ir import Call, Expr, For, Load, Store
from pellucid.loop.rewrite import Block, constant, index_vars, stores, walk_expr
from pellucid.schedule.dependence import update_of
from pellucid.schedule.recipes.shape import Nest, extent_of, inner_loops, stride
from pellucid.schedule.trace import Schedule

GATHER = 1.3  # cycles to read one element that is not beside the one before it
OPEN_HEIGHT = 8  # rows of a tile where nothing is known of their number: few are wasted
BLOCK = 16  # steps along memory that make a block
TURN = 0.3  # the same where what follows is wanted too: in blocks, in registers
COPY = 0.2  # cycles to copy one element that is
FAR_BYTES = 1024  # rows this far apart miss the prefetcher and the translation cache
STEPS = range(1, 5)  # elements between neighbours in one cache line
PAGE_BYTES = 4096  # rows a multiple of this apart share sets of the first-level cache
WAYS = 8  # of the first-level cache, at least
FEWEST_ROWS = 8  # neighbours that make a tile
FEW_SUMS = 8  # vectors of sums that hide the latency of an addition
FEW_ROWS = 16  # rows that leave room for lines
LINE_BYTES = 64
CACHE_SETS = 64  # of the first level: bytes of a page over those of a line
MOST_VECTORS = 4  # side by side in a tile, to be chosen


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


def choose_tiling(
    schedule: Schedule, nest: Nest, found: Contraction, target: Target
) -> Tiling | None:
    """The cheapest choice of the lane loop by what packing and scattered stores would cost."""
    options = []
    for lane in nest.loops:
        for wide, narrow in ((found.a, found.b), (found.b, found.a)):
            if lane.var in index_vars(wide) and lane.var not in index_vars(narrow):
                options.append((_cost(nest, found, lane, wide, narrow), lane, wide, narrow))
    if not options:
        return None
    options.sort(key=lambda o: (o[0], -nest.loops.index(o[1])))
    _, lane, wide, narrow = options[schedule.decide("lanes", 0, range(len(options)))]
    rows = [x for x in nest.loops if x.var in index_vars(narrow) and x.var not in index_vars(wide)]
    per_vector = target.lanes(found.update.buffer.dtype)
    rule = _vectors(extent_of(lane), rows, per_vector, target)
    rule = 1 if _fights(nest, lane, rule * per_vector, target) else rule
    full = min(-(-extent_of(lane) // per_vector), MOST_VECTORS)
    vectors = schedule.decide("vectors", rule, range(1, full + 1))
    most = (target.vector_registers - 2 - vectors) // vectors
    most = max(1, min(most, 12 if vectors == 2 else 25))
    if vectors == 1 and any(share_sets(narrow, x, found.reduced[-1]) for x in rows):
        most = min(most, WAYS)
    row, more = _rows(rows, most, narrow)
    height, panels, width = 1, 1, vectors * per_vector
    if constant(lane.extent) is not None:
        width = min(extent_of(lane), width)
    if row is not None:
        even = tile_height(extent_of(row), most)
        if constant(row.extent) is None:
            even = min(most, OPEN_HEIGHT, extent_of(row))
        height = schedule.decide("height", even, range(1, min(extent_of(row), most) + 1))
    if row is not None and len(nest.loops) == 2:
        panels = _panels(found, lane, width, wide, narrow, target)
        panels = schedule.decide("panels", panels, (1, 2, 4, 8))
    tiling = Tiling(lane, row, width, height, wide, narrow, panels, more)
    return _with_lines(tiling, nest, vectors, target)


def share_sets(load: Load, row: For, last: For) -> bool:
    """Whether the rows that are read side by side, along memory, meet in one set of the cache."""
    apart = abs(stride(load, row.var) or 0) * load.dtype.itemsize
    return stride(load, last.var) == 1 and apart > 0 and apart % PAGE_BYTES == 0


def _vectors(extent: int, rows: Sequence[For], per_vector: int, target: Target) -> int:
    """Vectors in a tile's width: two, or more where rows are too few to hide an addition's latency;
    then as many as leave every core the same number of tiles.
    """
    whole, count = -(-extent // per_vector), math.prod(extent_of(x) for x in rows)
    most = min(whole, FEW_SUMS // count, target.vector_registers // 2)
    if most <= 2:
        return min(whole, 2)
    return max(range(2, most + 1), key=lambda v: (balance(-(-whole // v), target.cores) > 0.9, v))


def _fights(nest: Nest, lane: For, width: int, target: Target) -> bool:
    """Whether results of a tile's lanes lie so far apart that their lines push each other out of
    the first-level cache, before neighbours of them are written.
    """
    for store in stores(nest.body):
        lines = abs(stride(store, lane.var) or 0) * store.buffer.dtype.itemsize // LINE_BYTES
        if store.buffer.scope == "param" and lines > 1:
            places = CACHE_SETS // math.gcd(lines, CACHE_SETS)
            if width > places * (target.l1_bytes // (CACHE_SETS * LINE_BYTES)):
                return True
    return False


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


def lies_across(wide: Load, lane: For, last: For) -> bool:
    """Whether blocks of an operand, long along the reduction, are turned round to be copied."""
    return stride(wide, last.var) == 1 != stride(wide, lane.var) and extent_of(last) >= BLOCK


def _cost(nest: Nest, found: Contraction, lane: For, wide: Load, narrow: Load) -> float:
    """Cycles beside the multiplications when `lane` has the lanes."""
    cost = 0.0
    size = float(wide.buffer.size)
    turned = lies_across(wide, lane, found.reduced[-1])
    cost += size * (COPY if stride(wide, lane.var) == 1 else TURN if turned else GATHER)
    for store in stores(nest.body):
        if store.buffer.scope == "param" and stride(store, lane.var) != 1:
            cost += GATHER * store.buffer.size
    lanes_used = extent_of(lane) / (-(-extent_of(lane) // 16) * 16)
    if len(nest.loops) == 2 and len(found.reduced) == 1:
        if stride(narrow, found.reduced[0].var) != 1:
            cost += COPY * narrow.buffer.size
            if extent_of(lane) <= 16:
                lanes_used /= 2  # each of its lines is read for few multiplications
    steps = 1.0
    for loop in (*nest.loops, *found.reduced):
        steps *= extent_of(loop)
    return cost + steps / 32 / lanes_used


def balance(tiles: int, cores: int) -> float:
    """The share of the cores' time that is used where each tile takes the same."""
    return tiles / (-(-tiles // cores) * cores)


def spread(extent: int, block: int, cores: int) -> float:
    """The share of the cores' time that is used where iterations are dealt out in blocks, the last
    one smaller.
    """
    blocks, rest = divmod(extent, block)
    each, more = divmod(blocks, cores)
    longest = (each + 1) * block if more else each * block + rest
    return extent / (cores * longest)
