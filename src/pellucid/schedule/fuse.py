"""Make one loop of two nested ones.

```
for i in 0..4:            for f in 0..40:
  for j in 0..10:    ->     B[f // 10, f % 10] = 0.0
    B[i, j] = 0.0
```
Other names: TVM, Halide: fuse; loop coalescing or collapsing.
"""

from __future__ import annotations

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import For, Kernel, Var, ifloordiv, imod, imul
from pellucid.loop.rewrite import Block, free_vars, fresh, kernel_names, substitute
from pellucid.schedule.nest import require_loop, rewrite_loops


def fuse(kernel: Kernel, outer: str, inner: str, name: str | None = None) -> Kernel:
    """Every loop over `outer` directly around a loop over `inner` as one loop, in the same order.

    The fused loop has the kind both had, or is serial where they differed.

    Args:
        kernel: the kernel.
        outer: the outer loop.
        inner: the only statement of its body.
        name: name of the fused loop, `<outer><inner>` unless given.

    Raises:
        ScheduleError: the loops are not perfectly nested, or the inner extent depends on `outer`.
    """
    require_loop(kernel, "fuse", inner)
    fused = fresh(name or f"{outer}{inner}", kernel_names(kernel) - {outer, inner})
    both = {"outer": outer, "inner": inner}

    def change(loop: For, facts: Facts) -> Block:
        body = loop.body[0]
        if len(loop.body) != 1 or not isinstance(body, For) or body.var != inner:
            raise ScheduleError(
                "fuse",
                "the loops must be perfectly nested",
                operands=both,
                fix="distribute or reorder first",
            )
        if outer in free_vars(body.extent):
            raise ScheduleError(
                "fuse",
                "the inner extent depends on the outer loop",
                operands=both,
                fix="fuse before splitting",
            )
        values = {
            outer: ifloordiv(Var(fused), body.extent),
            inner: imod(Var(fused), body.extent),
        }
        kind = loop.kind if loop.kind == body.kind else "serial"
        total = imul(loop.extent, body.extent)
        return (For(fused, total, substitute(body.body, values), kind),)

    return rewrite_loops(kernel, "fuse", outer, change)
