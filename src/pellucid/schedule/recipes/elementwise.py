"""Elementwise and movement kernels: lanes over the contiguous loop, threads over chunks.

```
for i in 0..100000:           parallel for io in 0..7:
  y[i] = f(x[i])        ->      vector for ii in 0..min(14336, 100000 - 14336*io):
                                  y[14336*io + ii] = f(x[14336*io + ii])
```
"""

from __future__ import annotations

from pellucid.core.target import Target
from pellucid.loop.ir import For, Store
from pellucid.loop.rewrite import loops
from pellucid.schedule.cut import cut
from pellucid.schedule.lanes import lanes
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.recipes.plan import attempt, chunk_extent, decide_chunk
from pellucid.schedule.recipes.shape import Nest, extent_of, far_accesses, stride, work
from pellucid.schedule.reorder import reorder
from pellucid.schedule.split import split
from pellucid.schedule.trace import Schedule


def schedule_elementwise(schedule: Schedule, nest: Nest, target: Target) -> None:
    """Threads over the outermost loop, lanes over the one that walks memory best."""
    if not nest.loops:
        return
    total = work(schedule.kernel.body)
    by_rule = next(n for n, x in enumerate(nest.loops) if x.var == _lane_loop(nest))
    best = nest.loops[schedule.decide("lanes", by_rule, range(len(nest.loops)))].var
    order = [loop.var for loop in nest.loops]
    if best != order[-1]:
        order.remove(best)
        if attempt(schedule, reorder, *order, best):
            order.append(best)
        else:
            order = [loop.var for loop in nest.loops]
    first, last = order[0], order[-1]
    if len(order) == 1:
        extent = extent_of(nest.loops[0])
        size = decide_chunk(schedule, extent, total, target, multiple=64)
        if size < extent and attempt(schedule, split, first, size, f"{first}o", f"{first}i"):
            attempt(schedule, parallelize, f"{first}o")
            last = f"{first}i"
    else:
        outer = next(loop for loop in nest.loops if loop.var == first)
        parallel_outer(schedule, outer, total, target)
    for var in cut_pieces(schedule, last):
        attempt(schedule, lanes, var)


def cut_pieces(schedule: Schedule, var: str) -> list[str]:
    """A loop in pieces without conditions (padding, joins); the pieces' names."""
    before = {x.var for x in loops(schedule.kernel.body)}
    if not attempt(schedule, cut, var):
        return [var]
    after = {x.var for x in loops(schedule.kernel.body)}
    return [x for x in sorted(after) if x == var or x not in before]


def parallel_outer(schedule: Schedule, loop: For, total: int, target: Target) -> str:
    """Threads over a loop, in chunks where its iterations are small; the loop left inside."""
    size = decide_chunk(schedule, extent_of(loop), total, target)
    return _in_chunks(schedule, loop, size)


def share_loop(schedule: Schedule, loop: For, total: int, target: Target) -> str:
    """`parallel_outer` for one of several loops, in chunks as the rule has them."""
    return _in_chunks(schedule, loop, chunk_extent(extent_of(loop), total, target))


def _in_chunks(schedule: Schedule, loop: For, size: int) -> str:
    if size >= extent_of(loop):
        return loop.var
    if size == 1:
        attempt(schedule, parallelize, loop.var)
        return loop.var
    outer, inner = f"{loop.var}o", f"{loop.var}i"
    if attempt(schedule, split, loop.var, size, outer, inner):
        attempt(schedule, parallelize, outer)
        return inner
    return loop.var


def _lane_loop(nest: Nest) -> str:
    """The loop with the most unit strides; stores count most, the innermost wins ties."""
    accesses = far_accesses(nest.body)

    def score(loop: For) -> tuple[float, int]:
        total = 0.0
        for access in accesses:
            step = stride(access, loop.var)
            value = 1.0 if step in (0, 1) else -1.0
            total += value * (1.5 if isinstance(access, Store) else 1.0)
        short = extent_of(loop) < 4
        return (total - 10.0 * short, nest.loops.index(loop))

    return max(nest.loops, key=score).var
