"""Run the last, cut-off tiles of a loop after it.

```
for io in 0..6:                               for io in 0..5:
  for ii in 0..min(12, 64 - 12*io):    ->       for ii in 0..12: ...
    B[12*io + ii] = 0.0                       for ii in 0..4: ... (io is 5)
```
What `specialize` does with a branch, for loops that are not parallel, without one.
"""

from __future__ import annotations

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import Const, For, Kernel, Var, iadd
from pellucid.loop.rewrite import Block, constant, substitute
from pellucid.loop.simplify import simplify_block
from pellucid.schedule.nest import rewrite_loops
from pellucid.schedule.specialize import full_iterations, tile


def peel(kernel: Kernel, var: str) -> Kernel:
    """Every loop over `var` as a loop over its full tiles, then the rest.

    Raises:
        ScheduleError: no such loop, an extent that is not constant, or a parallel or vector loop.
    """

    def change(loop: For, facts: Facts) -> Block:
        full, extent = full_iterations(loop), constant(loop.extent)
        if extent is None:
            raise ScheduleError("peel", f"the extent of {var!r} must be constant")
        if loop.kind in ("parallel", "vector"):
            raise ScheduleError("peel", f"{var!r} is a {loop.kind} loop", fix="use specialize")
        if full in (0, extent):
            return simplify_block((loop,), facts)
        main = For(var, Const(full), loop.body, loop.kind)
        if extent - full == 1:
            return simplify_block((main,), facts) + tile(loop, facts, full, extent)
        moved = substitute(loop.body, {var: iadd(Var(var), full)})
        rest = For(var, Const(extent - full), moved, loop.kind)
        return simplify_block((main, rest), facts)

    return rewrite_loops(kernel, "peel", var, change)
