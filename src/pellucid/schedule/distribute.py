"""Give each statement of a loop's body a loop of its own.

```
for j in 0..16:               alloc acc: f32[16] local
  alloc acc: f32[] local      for j in 0..16:
  acc[] = 0.0            ->     acc[j] = 0.0
  for k in 0..64:             for j in 0..16:
    acc[] = acc[] + A[k, j]     for k in 0..64:
  B[j] = acc[]                    acc[j] = acc[j] + A[k, j]
                              for j in 0..16:
                                B[j] = acc[j]
```
Buffers allocated in the body get one more axis, so that every iteration keeps its own (scalar
expansion). Other names: loop fission, loop distribution.
"""

from __future__ import annotations

import math

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import Buffer, For, Kernel, Var
from pellucid.loop.rewrite import Block, replace_buffer
from pellucid.schedule.dependence import separated
from pellucid.schedule.nest import flatten, rewrite_loops, with_allocs


def distribute(kernel: Kernel, var: str) -> Kernel:
    """Every loop over `var` as one loop per statement of its body.

    Raises:
        ScheduleError: no such loop, an extent without a known limit, or statements that pass values
            between different iterations.
    """

    def change(loop: For, facts: Facts) -> Block:
        found, pieces = flatten(loop.body)
        buffers = list(dict.fromkeys(found))  # equal siblings are dead in turn: they share one
        if len({b.name for b in buffers}) < len(buffers):
            raise ScheduleError("distribute", f"two buffers in {var!r} share a name")
        limit = facts.upper(loop.extent)
        if buffers and math.isinf(limit):
            raise ScheduleError("distribute", f"the extent of {var!r} has no known limit")
        _check(buffers, loop, facts)
        expanded = [
            Buffer(b.name, (max(0, int(limit)), *b.shape), b.dtype, b.scope) for b in buffers
        ]
        result: Block = ()
        for piece in pieces:
            body: Block = (piece,)
            for old, new in zip(buffers, expanded, strict=True):
                body = replace_buffer(body, old, new, (Var(var),))
            result += (For(var, loop.extent, body, loop.kind),)
        return with_allocs(expanded, result)

    return rewrite_loops(kernel, "distribute", var, change)


def _check(private: list[Buffer], loop: For, facts: Facts) -> None:
    _, pieces = flatten(loop.body)
    for position, piece in enumerate(pieces):
        later = with_allocs(private, tuple(pieces[position + 1 :]))
        clash = separated(with_allocs(private, (piece,)), later, loop, facts)
        if clash is not None:
            rule = f"different iterations of {loop.var!r} pass values through {clash.buffer.name}"
            raise ScheduleError("distribute", rule)
