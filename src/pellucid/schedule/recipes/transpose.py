"""Elementwise kernels that read an operand across its rows: square blocks turned in registers.

```
for i in 0..512:                     parallel for jo in 0..4:
  for j in 0..512:                     for io in 0..32:
    y[i, j] = x[j, i]           ->       vector for ji in 0..128:
                                           unroll for ii in 0..16:
                                             y[16*io + ii, 128*jo + ji] = x[128*jo + ji, 16*io + ii]
```
The lanes lie along the result. Each step reads as many elements of a row of the operand as a vector
has, so code generation loads rows and shuffles them into columns; steps follow the operand's rows,
which fetches memory in order, and write a few full lines of each of the result's.
"""

from __future__ import annotations

from pellucid.core.target import Target
from pellucid.loop.ir import For, Load, Store
from pellucid.schedule.lanes import lanes
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.recipes.columns import nest_bytes
from pellucid.schedule.recipes.elementwise import parallel_outer
from pellucid.schedule.recipes.plan import CHUNKS_PER_CORE, attempt, attempt_all, chunk_extent
from pellucid.schedule.recipes.shape import Nest, extent_of, far_accesses, stride, work
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll

ROWS = 128  # of the operand that are read side by side
MOST_LANES = 16  # of blocks that registers hold
NEAR = 4  # elements between lanes that whole vectors and shuffles reach
MOST_WORK = 32  # operations per element that are worth writing out once for every column


def schedule_transpose(schedule: Schedule, nest: Nest, target: Target) -> bool:
    """Lanes along the result and blocks turned in registers; False, and nothing done, where no
    operand is read across its rows.
    """
    width = _block(nest, target)
    found = _turned_loop(nest, width)
    plain = all(isinstance(stmt, Store) for stmt in nest.body)
    if found is None or not plain or work(nest.body) > MOST_WORK:
        return False
    return attempt_all(schedule, lambda: _blocks(schedule, nest, found, width, target))


def _block(nest: Nest, target: Target) -> int:
    """The lanes that code generation gives a vector of these elements."""
    types = [a.buffer.dtype for a in far_accesses(nest.body)]
    widest = max((max(4, t.itemsize) if t.is_float else t.itemsize for t in types), default=4)
    return min(MOST_LANES, target.vector_bits // (8 * widest))


def _turned_loop(nest: Nest, width: int) -> For | None:
    """The loop along an operand's memory where the innermost loop strides through it."""
    if width < 2 or len(nest.loops) < 2 or extent_of(nest.loops[-1]) < width:
        return None
    last = nest.loops[-1].var
    accesses = far_accesses(nest.body)
    if any(stride(a, last) not in (0, 1) for a in accesses if not isinstance(a, Load)):
        return None
    for load in accesses:
        step = stride(load, last)
        if step is None or abs(step) <= NEAR:
            continue
        along = [x for x in nest.loops[:-1] if _along(load, x, width)]
        if along:
            return along[0]
    return None


def _along(load: Load | Store, loop: For, width: int) -> bool:
    """Whether a loop goes along an operand's memory, far enough for half a block."""
    return stride(load, loop.var) == 1 and 2 * extent_of(loop) >= width


def _blocks(schedule: Schedule, nest: Nest, turned: For, width: int, target: Target) -> None:
    """Rows of the operand in strips, its columns in blocks.

    Raises:
        ScheduleError: the loops cannot change places.
    """
    apply, last = schedule.apply, nest.loops[-1]
    others = [x for x in nest.loops if x.var not in (last.var, turned.var)]
    strip, rows = f"{last.var}o", f"{last.var}i"
    step, column = f"{turned.var}o", f"{turned.var}i"
    total = work(schedule.kernel.body)
    by_steps = not others and not _has_strips(last, width, target)
    share = extent_of(last) if others or by_steps else -(-extent_of(last) // (2 * target.cores))
    apply(split, last.var, max(width, min(ROWS, -(-share // width) * width)), strip, rows)
    block = min(width, extent_of(turned))
    apply(split, turned.var, block, step, column)
    apply(reorder, *(x.var for x in others), strip, step, rows, column)
    if others:
        parallel_outer(schedule, others[0], total, target)
    elif chunk_extent(extent_of(last), total, target) < extent_of(last):
        if not (by_steps and _share_steps(schedule, turned, (strip, step, rows), width, target)):
            attempt(schedule, parallelize, strip)
    attempt(schedule, specialize, strip)
    if extent_of(turned) % block:
        apply(specialize, step)
    if width < target.vector_bits // (8 * nest_bytes(nest)):
        apply(split, rows, width, f"{rows}b", f"{rows}v")
        attempt(schedule, specialize, f"{rows}b")
        rows = f"{rows}v"
    apply(lanes, rows)
    apply(unroll, column)


def _has_strips(last: For, width: int, target: Target) -> bool:
    """Whether there is a strip of rows for each of the threads."""
    return extent_of(last) >= 2 * target.cores * width


def _share_steps(
    schedule: Schedule, turned: For, inside: tuple[str, str, str], width: int, target: Target
) -> bool:
    """Threads over the operand's columns; whether these are whole blocks, and enough."""
    blocks, rest = divmod(extent_of(turned), width)
    (strip, step, rows), column = inside, f"{turned.var}i"
    if rest or blocks < CHUNKS_PER_CORE * target.cores:
        return False
    size, chunk = -(-blocks // (CHUNKS_PER_CORE * target.cores)), f"{turned.var}c"

    def share() -> None:
        schedule.apply(split, step, size, chunk, f"{step}s")
        schedule.apply(reorder, chunk, strip, f"{step}s", rows, column)
        schedule.apply(parallelize, chunk)

    return attempt_all(schedule, share)
