"""Ask for memory before it is needed.

```
for io in 0..8:                        for io in 0..8:
  for k in 0..64:               ->       for k in 0..64:
    ... A[io, k] ...                       prefetch A[io + 1, k]
                                           ... A[io, k] ...
```
A hint, which changes nothing but the time. The element may lie outside the buffer.
Other names: Halide: prefetch.
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import Const, Expr, For, Kernel, Prefetch
from pellucid.loop.rewrite import Block, free_vars
from pellucid.schedule.nest import require_buffer, rewrite_loops


def prefetch(
    kernel: Kernel,
    operand: str,
    at: str,
    indices: Sequence[Expr],
    loops: Sequence[tuple[str, int]] = (),
    near: bool = True,
) -> Kernel:
    """Prefetch `operand[indices]` at the start of the body of each loop `at`.

    Args:
        kernel: the kernel.
        operand: name of a buffer.
        at: the loop.
        indices: one per axis, of the variables of `loops`, of `at` and of loops around it.
        loops: name and extent of loops around the prefetch, outermost first; they are unrolled.
        near: for the first-level cache, else the second.

    Raises:
        ScheduleError: no such loop or buffer, or an index of variables that are not known there.
    """
    buffer = require_buffer(kernel, "prefetch", operand)

    def change(loop: For, facts: Facts) -> Block:
        known = {*facts.extents, loop.var, *(v for v, _ in loops)}
        unknown = {v for i in indices for v in free_vars(i)} - known
        if unknown:
            raise ScheduleError("prefetch", f"no loop over {sorted(unknown)} is around {at!r}")
        body: Block = (Prefetch(buffer, tuple(indices), near),)
        for var, extent in reversed(loops):
            body = (For(var, Const(extent), body, "unroll"),)
        return (For(loop.var, loop.extent, body + loop.body, loop.kind),)

    return rewrite_loops(kernel, "prefetch", at, change)
