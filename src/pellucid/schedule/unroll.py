"""Write a loop's iterations out one after the other.

```
for k in 0..64:       ->      for ko in 0..16:
  B[k] = A[k]                   unroll for ku in 0..4:
                                  B[4*ko + ku] = A[4*ko + ku]
```
An `unroll` loop means the same as a serial one; code generation copies its body
(`expand_unrolled`).
"""

from __future__ import annotations

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import Const, For, Kernel, Stmt
from pellucid.loop.rewrite import (
    Block,
    constant,
    fresh,
    kernel_names,
    loops,
    map_stmt,
    substitute,
    with_body,
)
from pellucid.schedule.nest import rewrite_loops
from pellucid.schedule.peel import peel
from pellucid.schedule.split import split


def unroll(kernel: Kernel, var: str, factor: int | None = None) -> Kernel:
    """Every loop over `var` unrolled, wholly or `factor` iterations at a time.

    With a factor, the loop is split into `<var>o` and the unrolled `<var>u`, and what does not
    divide is peeled off, so that all extents are constants.

    Raises:
        ScheduleError: no such loop, or an extent that is not constant.
    """
    if factor is not None:
        taken = kernel_names(kernel)
        outer = fresh(f"{var}o", taken)
        inner = fresh(f"{var}u", taken | {outer})
        peeled = peel(split(kernel, var, factor, outer, inner), outer)
        return unroll(peeled, inner) if any(loops(peeled.body, inner)) else peeled

    def change(loop: For, facts: Facts) -> Block:
        if constant(loop.extent) is None:
            raise ScheduleError(
                "unroll",
                f"the extent of {var!r} must be constant",
                fix="specialize or peel the loop outside it",
            )
        return (For(var, loop.extent, loop.body, "unroll"),)

    return rewrite_loops(kernel, "unroll", var, change)


def expand_unrolled(kernel: Kernel) -> Kernel:
    """The kernel with every `unroll` loop of constant extent replaced by copies of its body."""

    def expand(stmt: Stmt) -> Stmt | Block:
        extent = constant(stmt.extent) if isinstance(stmt, For) else None
        if not isinstance(stmt, For) or stmt.kind != "unroll" or extent is None:
            return stmt
        copies = (substitute(stmt.body, {stmt.var: Const(i)}) for i in range(extent))
        return tuple(s for copy in copies for s in copy)

    return with_body(kernel, map_stmt(kernel.body, expand))
