"""Run all iterations of a loop as the lanes of SIMD operations, whatever its body is.

```
for i in 0..16:                    vector for i in 0..16:
  alloc t: f32[] local       ->      alloc t: f32[] local
  t[] = exp(A[i])                    t[] = exp(A[i])
  s[] = s[] + t[]                    s[] = s[] + t[]
```
Buffers allocated in the body are private to a lane; a commutative update of one element by all
lanes (`s` above) is a reduction over the lanes, which moves the last bits of floats. `vectorize` is
the strict form for plain stores. Extents need not be constant: code generation masks the rest.
"""

from __future__ import annotations

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import For, Kernel
from pellucid.loop.rewrite import Block, loops
from pellucid.schedule.dependence import accesses, conflicts, same_iteration
from pellucid.schedule.nest import rewrite_loops


def lanes(kernel: Kernel, var: str) -> Kernel:
    """Every loop over `var` as a vector loop.

    Raises:
        ScheduleError: no such loop, a parallel or vector loop inside it, or iterations that pass
            values to each other.
    """

    def change(loop: For, facts: Facts) -> Block:
        if any(inner.kind in ("parallel", "vector") for inner in loops(loop.body)):
            raise ScheduleError("lanes", f"{var!r} has a parallel or vector loop inside")
        found = accesses(loop.body)
        stored = frozenset(a.buffer for a in found if a.store)
        for a, b in conflicts(found, found):
            if a.update and a.update == b.update:
                continue
            if loop.var not in same_iteration(a, b, (loop,), facts, stored):
                rule = f"different iterations of {var!r} pass values through {a.buffer.name}"
                raise ScheduleError("lanes", rule, fix="use rfactor or a loop further out")
        return (For(var, loop.extent, loop.body, "vector"),)

    return rewrite_loops(kernel, "lanes", var, change)
