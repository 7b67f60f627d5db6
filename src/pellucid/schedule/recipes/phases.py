"""Kernels that make something of blocks, multiply it, and make the result of that: Winograd's.

```
for n, b:                                  parallel for nb:                # or, for few blocks:
  alloc v, m                                 alloc v, m                    # each phase's own loop
  for g: ... for c in 16: v[...] = ...         for g: ... vector for c: v[...] = ...
  for k: for o: for t: for z in 32:    ->      for k: for o: for to:
    alloc sum                                    alloc sums: f32[14, 32]
    for c: sum += v[k,t,c] * w[k,o,c,z]          for c: unroll for ti: vector for z: sums += ...
  for g: ... for o in 16: y[...] = ...         for g: ... vector for o: y[...] = ...
```
The last loop of every nest has the lanes. Loops inside it are short and written out; where a nest
stores or reads across its lanes, the loop around them is written out too, so that code generation
turns whole blocks round in registers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

from pellucid.core.target import Target
from pellucid.loop.ir import Alloc, For, If, Load, Store, Var, iadd, ifloordiv, imul
from pellucid.loop.rewrite import Block, loops, substitute_expr, walk
from pellucid.loop.simplify import simplify
from pellucid.schedule.fuse import fuse
from pellucid.schedule.isolate import isolate
from pellucid.schedule.lanes import lanes
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.prefetch import prefetch
from pellucid.schedule.recipes.plan import PARALLEL_WORK, attempt, attempt_all
from pellucid.schedule.recipes.shape import (
    Nest,
    extent_of,
    far_accesses,
    nests_within,
    perfect_nest,
    stride,
    work,
)
from pellucid.schedule.recipes.tiling import Contraction, balance, find_contraction, tile_height
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

VECTORS = 2  # of a tile of sums
FAIR = 0.9  # of the cores' time in use, beyond which blocks are shared out whole
LINE_BYTES = 64
NEAR = 4  # elements between lanes that need no turning


def holds_phases(body: Block) -> bool:
    """Whether a kernel is blocks of several nests, some of which transform small arrays in
    registers.
    """
    nests = list(phase_nests(body))
    return len(nests) > 1 and any(
        len(s.buffer.shape) > 1 for n in nests for s in _allocs(n.body) if s.buffer.scope == "local"
    )


def phase_nests(block: Block) -> Iterator[Nest]:
    """The perfect nests whose last loop holds no loop over memory, in order."""
    return nests_within(block, _is_last)


def _is_last(nest: Nest) -> bool:
    """Whether what a nest's last loop holds works on registers."""
    return not any(
        isinstance(s, Alloc) and s.buffer.scope != "local" for s in _allocs(nest.body)
    ) and not any(isinstance(s, If) for s in nest.body)


def _allocs(block: Block) -> Iterator[Alloc]:
    return (s for s in walk(block) if isinstance(s, Alloc))


def _product(nest: Nest) -> Contraction | None:
    found = find_contraction(nest)
    if found is None or len(nest.loops) < 3:
        return None
    return found if "temp" in (found.a.buffer.scope, found.b.buffer.scope) else None


def schedule_phases(schedule: Schedule, target: Target) -> None:
    """Threads, then each nest's own form."""
    attempt(schedule, simplify)  # loops of one iteration prove nothing about those around them
    _threads(schedule, target)
    for nest in list(phase_nests(schedule.kernel.body)):
        found = _product(nest)
        if found is not None:
            attempt_all(schedule, functools.partial(_tile, schedule, nest, found, target))
        else:
            _elements(schedule, nest, target)
    attempt(schedule, simplify)


def _tile(schedule: Schedule, nest: Nest, found: Contraction, target: Target) -> None:
    """Register tiles of the product's rows and lanes over the whole reduction."""
    *_, rows, lane = nest.loops
    row, var, reduced = rows.var, lane.var, found.reduced[0]
    name, per_vector = found.update.buffer.name, target.lanes(found.update.buffer.dtype)
    apply = schedule.apply
    full = -(-extent_of(lane) // per_vector)
    vectors = schedule.decide("vectors", min(full, VECTORS), range(1, min(full, 4) + 1))
    most = max(1, (target.vector_registers - 1 - vectors) // vectors)
    rule = tile_height(extent_of(rows), most)
    height = schedule.decide("height", rule, range(1, min(extent_of(rows), most) + 1))
    around = [x.var for x in nest.loops[:-2]]
    apply(split, row, height, f"{row}o", f"{row}i")
    outer = [f"{row}o"]
    if vectors < full:
        apply(split, var, vectors * per_vector, f"{var}o", f"{var}i")
        outer, var = [f"{var}o", *outer], f"{var}i"
    apply(reorder, *around, *outer, f"{row}i", var)
    inside = (f"{row}i", var)
    for loop in reversed(inside):
        apply(isolate, loop, reduced.var, f"{loop}r")
    registers = [f"{loop}r" for loop in inside]
    apply(split, reduced.var, extent_of(reduced), "ko", f"{reduced.var}s")
    apply(reorder, "ko", f"{reduced.var}s", *registers)
    apply(stage, name, registers, "ko")
    _fetch(schedule, nest, found, f"{row}o", target)
    for loop in outer:
        attempt(schedule, specialize, loop)
    for loop in (var, f"{var}r", f"{var}r_{name}"):
        attempt(schedule, lanes, loop)
    for loop in (f"{row}i", f"{row}ir", f"{row}ir_{name}"):
        attempt(schedule, unroll, loop)


def _fetch(schedule: Schedule, nest: Nest, found: Contraction, tiles: str, target: Target) -> None:
    """Ask for the next panel of a far operand while one is in use, some rows for every tile."""
    lane, reduced = nest.loops[-1], found.reduced[0]
    given = [x for x in (found.a, found.b) if x.buffer.scope == "param"]
    wide = next((x for x in given if stride(x, lane.var) == 1), None)
    far = wide is not None and wide.buffer.nbytes > target.l1_bytes
    if wide is None or not schedule.decide("fetch", far, (True, False)):
        return
    line = LINE_BYTES // wide.buffer.dtype.itemsize
    count = next(extent_of(x) for x in loops(schedule.kernel.body, tiles))
    depth = extent_of(reduced)
    step = iadd(imul(Var(tiles), depth), Var(f"{reduced.var}s"))
    values = {
        reduced.var: iadd(ifloordiv(step, count), depth),
        lane.var: imul(Var("pl"), line),
    }
    place = [substitute_expr(i, values) for i in wide.indices]
    lines = [("pl", -(-extent_of(lane) // line))]
    attempt(schedule, prefetch, wide.buffer.name, f"{reduced.var}s", place, lines, False)


def _elements(schedule: Schedule, nest: Nest, target: Target) -> None:
    """Lanes over the last loop, all inside of it written out; blocks turned round where they lie
    across the lanes.
    """
    last = nest.loops[-1]
    for inner in list(loops(nest.body)):
        attempt(schedule, unroll, inner.var)
    if not attempt(schedule, lanes, last.var) or len(nest.loops) < 2:
        return
    before = nest.loops[-2]
    across = [a for a in far_accesses(nest.body) if _across(a, last, before)]
    if not across:
        return
    width = target.lanes(across[0].buffer.dtype)
    if any(isinstance(a, Store) for a in across):
        attempt(schedule, unroll, before.var, width)
        return
    chunk = f"{before.var}i"  # lanes outside of what is read along memory
    attempt_all(schedule, lambda: _turn(schedule, before.var, chunk, last.var, width))


def _turn(schedule: Schedule, var: str, chunk: str, lane: str, width: int) -> None:
    schedule.apply(split, var, width, f"{var}o", chunk)
    schedule.apply(reorder, f"{var}o", lane, chunk)
    schedule.apply(specialize, f"{var}o")
    schedule.apply(unroll, chunk)


def _across(access: Load | Store, lane: For, before: For) -> bool:
    step = stride(access, lane.var)
    return step is not None and abs(step) > NEAR and stride(access, before.var) == 1


def _threads(schedule: Schedule, target: Target) -> None:
    """Threads share whole blocks, where these are many; else every phase's own loops."""
    body = schedule.kernel.body
    if target.cores < 2 or work(body) < 2 * PARALLEL_WORK:
        return
    blocks = perfect_nest(body[:1]) if isinstance(body[0], For) else Nest((), body)
    count = math.prod(extent_of(x) for x in blocks.loops)
    fair = balance(count, target.cores) >= FAIR
    whole = schedule.decide("blocks", fair, (True, False))
    if not (whole and _share(schedule, blocks.loops)):
        _share_phases(schedule, blocks.body)


def _share_phases(schedule: Schedule, body: Block) -> None:
    """Every phase's own loops as one that threads share; blocks that add up stay in order."""
    for stmt in _inside(body):
        if isinstance(stmt, For):
            nest = perfect_nest((stmt,))
            if not _share(schedule, nest.loops[:-2] if _is_last(nest) else nest.loops):
                _share_phases(schedule, nest.body)
        elif isinstance(stmt, Alloc):
            _share_phases(schedule, stmt.body)


def _inside(block: Block) -> Block:
    """The statements of a block behind its allocations."""
    while len(block) == 1 and isinstance(block[0], Alloc):
        block = block[0].body
    return block


def _share(schedule: Schedule, around: Sequence[For]) -> bool:
    """Perfect loops as one that threads share; whether they are."""

    def steps() -> None:
        name = around[0].var
        for inner in around[1:]:
            if not attempt(schedule, fuse, name, inner.var, f"{name}{inner.var}"):
                break
            name = f"{name}{inner.var}"
        schedule.apply(parallelize, name)

    return bool(around) and attempt_all(schedule, steps)
