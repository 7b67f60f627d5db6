"""Kernels that hold several nests over blocks, as attention does: each nest a schedule of its own.

```
for h in 12: for b in 16:                  parallel for hb in 192:
  for kb in 16:                              for kb in 16:
    for j in 64: for i in 64:                  for io in 2: for jo in 8:      # tiles of scores
      for d in 64:                     ->        for d in 64:
        s[j, i] += q[d, i] * k[j, d]               unroll for ji in 8: vector for ii in 32:
    ...                                              ss[ji, ii] += q[d, ...] * k[..., d]
```
A sum of products gets a tile of its results in registers while it is added up; any other reduction
a few vectors of its results; all else lanes along memory. Blocks are small enough for the caches as
they are. Threads share the loops around all nests.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from pellucid.core.errors import ScheduleError
from pellucid.core.target import Target
from pellucid.loop.ir import For, Store
from pellucid.loop.rewrite import Block, index_vars
from pellucid.loop.simplify import simplify
from pellucid.schedule.dependence import update_of
from pellucid.schedule.fuse import fuse
from pellucid.schedule.lanes import lanes
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.recipes.plan import PARALLEL_WORK, attempt, attempt_all
from pellucid.schedule.recipes.shape import (
    Nest,
    extent_of,
    inner_loops,
    nests_within,
    perfect_nest,
    stride,
    work,
)
from pellucid.schedule.recipes.tiles import part_tiles
from pellucid.schedule.recipes.tiling import operands_of, tile_height
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

VECTORS = 2  # of a tile's columns
MOST_ROWS = 12  # of a tile: with two vectors each, all registers


@dataclass(frozen=True, slots=True)
class Product:
    """A nest that adds up products: loops over rows and lanes of its results, and the reduced one;
    the results.
    """

    row: For
    lane: For
    reduced: For
    result: Store


def holds_blocks(kernel_body: Block) -> bool:
    """Whether a kernel is made of several nests, at least two of them sums of products."""
    return sum(find_product(n) is not None for n in leaf_nests(kernel_body)) > 1


def leaf_nests(block: Block) -> Iterator[Nest]:
    """The perfect nests of a block that hold nothing but stores, in order."""
    return nests_within(block, _is_leaf)


def _is_leaf(nest: Nest) -> bool:
    return all(isinstance(s, Store) for s in nest.body)


def find_product(nest: Nest) -> Product | None:
    """The sum of products that a nest of three loops is, if it is one."""
    store = nest.body[0]
    if len(nest.body) != 1 or len(nest.loops) != 3 or not isinstance(store, Store):
        return None
    update = update_of(store)
    operands = None if update is None or update[0] != "add" else operands_of(update[1])
    if operands is None:
        return None
    reduced = [x for x in nest.loops if x.var not in index_vars(store)]
    lane = [x for x in nest.loops if stride(store, x.var) == 1]
    if len(reduced) != 1 or len(lane) != 1 or reduced == lane:
        return None
    (row,) = (x for x in nest.loops if x not in (*reduced, *lane))
    wide = [x for x in operands if stride(x, lane[0].var) == 1 and row.var not in index_vars(x)]
    narrow = [x for x in operands if lane[0].var not in index_vars(x)]
    return Product(row, lane[0], reduced[0], store) if wide and narrow else None


def schedule_attention(schedule: Schedule, target: Target) -> None:
    """Threads over the loops around all nests, while these are simple, then each nest's own."""
    _threads(schedule, target)
    for nest in list(leaf_nests(schedule.kernel.body)):
        product = find_product(nest)
        if product is not None:
            attempt_all(schedule, functools.partial(_tile, schedule, product, target))
        else:
            _rows(schedule, nest, target)
    attempt(schedule, simplify)


def _tile(schedule: Schedule, product: Product, target: Target) -> None:
    """A register tile of the results over the whole reduction; panels of columns outermost."""
    row, lane, name = product.row.var, product.lane.var, product.result.buffer.name
    per_vector = target.lanes(product.result.buffer.dtype)
    full = -(-extent_of(product.lane) // per_vector)
    vectors = schedule.decide("vectors", min(full, VECTORS), range(1, min(full, 4) + 1))
    most = max(1, min((target.vector_registers - 2 - vectors) // vectors, MOST_ROWS))
    rule = tile_height(extent_of(product.row), most)
    height = schedule.decide("height", rule, range(1, min(extent_of(product.row), most) + 1))
    apply = schedule.apply
    apply(split, row, height, f"{row}o", f"{row}i")
    apply(split, lane, vectors * per_vector, f"{lane}o", f"{lane}i")
    inner = [f"{row}i", f"{lane}i"]
    apply(reorder, f"{lane}o", f"{row}o", product.reduced.var, *inner)
    apply(stage, name, inner, f"{row}o")
    for var in (f"{lane}o", f"{row}o"):
        part_tiles(schedule, var, rows=var != f"{lane}o")
    for var in (f"{lane}i", f"{lane}i_{name}"):
        attempt(schedule, lanes, var)
    for var in (f"{row}i", f"{row}i_{name}"):
        attempt(schedule, unroll, var)


def _rows(schedule: Schedule, nest: Nest, target: Target) -> None:
    """Lanes along memory; a reduction over the outer loop keeps its results in registers."""
    lane, stores = nest.loops[-1], [s for s in nest.body if isinstance(s, Store)]
    if len(nest.loops) == 2:
        outer = nest.loops[0].var
        sums = [s.buffer.name for s in stores if outer not in index_vars(s)]
        if sums:
            width = VECTORS * target.lanes(stores[0].buffer.dtype)
            if attempt_all(schedule, lambda: _columns(schedule, outer, lane.var, width, sums)):
                return
        if stride(stores[0], lane.var) != 1 and stride(stores[0], outer) == 1:
            attempt(schedule, reorder, lane.var, outer)  # a tile turned round: written in order
            attempt(schedule, lanes, outer)
            return
    attempt(schedule, lanes, lane.var)


def _columns(schedule: Schedule, outer: str, lane: str, width: int, sums: list[str]) -> None:
    apply = schedule.apply
    apply(split, lane, width, f"{lane}o", f"{lane}i")
    apply(reorder, f"{lane}o", outer, f"{lane}i")
    for name in sums:
        apply(stage, name, [f"{lane}i"], f"{lane}o")
        attempt(schedule, lanes, f"{lane}i_{name}")
    attempt(schedule, specialize, f"{lane}o")
    apply(lanes, f"{lane}i")


def _threads(schedule: Schedule, target: Target) -> None:
    """The loops around each nest of the whole kernel as one loop that threads share."""
    if target.cores < 2 or work(schedule.kernel.body) < 2 * PARALLEL_WORK:
        return
    for loop in inner_loops(schedule.kernel.body):
        nest = perfect_nest((loop,))
        around = nest.loops[:-1] if _is_leaf(nest) else nest.loops  # the last one has the lanes
        if not around:
            continue
        name = around[0].var
        for inner in around[1:]:
            fused = f"{name}{inner.var}"
            if not (_free(schedule, inner) and attempt(schedule, fuse, name, inner.var, fused)):
                break
            name = fused
        attempt(schedule, parallelize, name)


def _free(schedule: Schedule, loop: For) -> bool:
    """Whether a loop's iterations are independent."""
    try:
        parallelize(schedule.kernel, loop.var)
    except ScheduleError:
        return False
    return True
