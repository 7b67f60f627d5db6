"""Give one loop of a body, what stands before it and what stands after it, loops of their own.

```
for j in 0..16:                     alloc acc: f32[16] local
  alloc acc: f32[] local            for j in 0..16:
  acc[] = 0.0                         acc[j] = 0.0
  for k in 0..64:             ->    for j in 0..16:
    acc[] = acc[] + A[k, j]           for k in 0..64:
  alloc t: f32[] local                  acc[j] = acc[j] + A[k, j]
  t[] = acc[] * s[j]                for j in 0..16:
  B[j] = t[] * t[]                    alloc t: f32[] local
                                      t[] = acc[j] * s[j]
                                      B[j] = t[] * t[]
```
`distribute` separates every statement; here the ones that need not part stay together, so that only
the buffers that cross a cut (`acc`) get one element per iteration. Other names: loop fission.
"""

from __future__ import annotations

import math

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import Alloc, Buffer, For, Kernel, Load, Var
from pellucid.loop.rewrite import (
    Block,
    all_expressions,
    loops,
    rename_loop,
    replace_buffer,
    stores,
    walk,
)
from pellucid.schedule.dependence import separated
from pellucid.schedule.nest import flatten, rewrite_loops, with_allocs


def isolate(kernel: Kernel, var: str, inner: str, name: str | None = None) -> Kernel:
    """Every loop over `var` around a loop over `inner` as up to three loops over `var`.

    Loops over `var` that hold no such loop are left alone, so a body with several inner loops is
    cut by one step for each.

    Args:
        kernel: the kernel.
        var: the loop to cut.
        inner: a loop in its body; the statement that holds it is what gets a loop of its own.
        name: another name for that loop, so that later steps can tell it from the other two.

    Raises:
        ScheduleError: no such loops, an extent without a known limit, or iterations that pass
            values to each other across a cut.
    """
    if not any(_holds(x.body, inner) for x in loops(kernel.body) if x.var == var):
        raise ScheduleError("isolate", f"{var!r} must hold one loop {inner!r}")

    def change(loop: For, facts: Facts) -> Block:
        buffers, pieces = flatten(loop.body)
        at = [n for n, p in enumerate(pieces) if _holds((p,), inner)]
        if not at:
            return (loop,)
        if len(at) > 1:
            raise ScheduleError("isolate", f"{var!r} must hold one loop {inner!r}")
        parts = [tuple(pieces[: at[0]]), (pieces[at[0]],), tuple(pieces[at[0] + 1 :])]
        names = [var, name or var, var]
        kept = [(n, p) for n, p in zip(names, parts, strict=True) if p]
        return _cut(loop, facts, buffers, kept)

    return rewrite_loops(kernel, "isolate", var, change)


def _holds(block: Block, inner: str) -> bool:
    return any(x.var == inner for x in loops(block))


def _cut(loop: For, facts: Facts, buffers: list[Buffer], named: list[tuple[str, Block]]) -> Block:
    limit, parts = facts.upper(loop.extent), [p for _, p in named]
    homes = {b: [n for n, p in enumerate(parts) if _touches(p, b)] for b in buffers}
    shared = [b for b in buffers if len(homes[b]) > 1]
    if shared and math.isinf(limit):
        raise ScheduleError("isolate", f"the extent of {loop.var!r} has no known limit")
    for n, part in enumerate(parts):
        rest = with_allocs(shared, tuple(s for p in parts[n + 1 :] for s in p))
        clash = separated(with_allocs(shared, part), rest, loop, facts)
        if clash is not None:
            rule = f"iterations of {loop.var!r} pass values through {clash.buffer.name}"
            raise ScheduleError("isolate", rule)
    wide = {b: Buffer(b.name, (max(0, int(limit)), *b.shape), b.dtype, b.scope) for b in shared}
    result: Block = ()
    for n, part in enumerate(parts):
        body = with_allocs([b for b in buffers if homes[b] == [n]], part)
        for old, new in wide.items():
            body = replace_buffer(body, old, new, (Var(loop.var),))
        made = For(loop.var, loop.extent, body, loop.kind)
        result += (made if named[n][0] == loop.var else rename_loop(made, named[n][0]),)
    return with_allocs(list(wide.values()), result)


def _touches(block: Block, buffer: Buffer) -> bool:
    if any(isinstance(s, Alloc) and s.buffer == buffer for s in walk(block)):
        return False
    if any(s.buffer == buffer for s in stores(block)):
        return True
    return any(isinstance(e, Load) and e.buffer == buffer for e in all_expressions(block))
