"""Run all iterations of an innermost loop as SIMD operations.

```
for j in 0..16:       ->      vector for j in 0..16:
  B[j] = A[j]                   B[j] = A[j]
```
Each store does all its lanes before the next store starts. The extent may be any constant; code
generation cuts it into registers. Other names: TVM, Halide: vectorize.
"""

from __future__ import annotations

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import For, Kernel, Store
from pellucid.loop.rewrite import Block, constant
from pellucid.schedule.dependence import independent
from pellucid.schedule.nest import rewrite_loops


def vectorize(kernel: Kernel, var: str) -> Kernel:
    """Every loop over `var` as a vector loop.

    Raises:
        ScheduleError: no such loop, an extent that is not constant, a body with more than stores in
            it, or iterations that may touch the same element.
    """

    def change(loop: For, facts: Facts) -> Block:
        if constant(loop.extent) is None:
            raise ScheduleError(
                "vectorize",
                f"the extent of {var!r} must be constant",
                fix="specialize or peel the loop outside it",
            )
        if not all(isinstance(s, Store) for s in loop.body):
            raise ScheduleError(
                "vectorize",
                f"the body of {var!r} must be stores only",
                fix="reorder or distribute first",
            )
        clash = independent(loop, facts)
        if clash is not None:
            rule = (
                f"different iterations of {var!r} may touch the same element of {clash.buffer.name}"
            )
            raise ScheduleError("vectorize", rule, fix="use rfactor where it is a reduction")
        return (For(var, loop.extent, loop.body, "vector"),)

    return rewrite_loops(kernel, "vectorize", var, change)
