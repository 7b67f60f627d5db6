"""Let the iterations of a loop run on any thread.

```
for i in 0..64:       ->      parallel for i in 0..64:
  B[i] = A[i]                   B[i] = A[i]
```
Other names: TVM, Halide: parallel; OpenMP: parallel for.
"""

from __future__ import annotations

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import For, Kernel
from pellucid.loop.rewrite import Block
from pellucid.schedule.dependence import independent
from pellucid.schedule.nest import rewrite_loops


def parallelize(kernel: Kernel, var: str) -> Kernel:
    """Every loop over `var` parallel.

    Raises:
        ScheduleError: no such loop, or two of its iterations may touch the same element.
    """

    def change(loop: For, facts: Facts) -> Block:
        clash = independent(loop, facts)
        if clash is not None:
            rule = (
                f"different iterations of {var!r} may touch the same element of {clash.buffer.name}"
            )
            raise ScheduleError(
                "parallelize", rule, fix="parallelize a loop that is not reduced over"
            )
        return (For(var, loop.extent, loop.body, "parallel"),)

    return rewrite_loops(kernel, "parallelize", var, change)
