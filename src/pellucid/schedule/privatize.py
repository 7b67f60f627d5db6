"""Give each iteration of a reduction's innermost loop an accumulator of its own, combined last.

```
for k in 0..64:                        alloc s_p: f32[16] local
  for j in 0..16:                      for jz in 0..16: s_p[jz] = 0.0
    s[] = s[] + A[k, j] * B[k, j]  ->  for k in 0..64:
                                         for j in 0..16: s_p[j] = s_p[j] + A[k, j] * B[k, j]
                                       for jc in 0..16: s[] = s[] + s_p[jc]
```
So a sum along memory gets lanes that do not depend on each other, over a whole nest; `rfactor` does
it for a single loop. Sums of floats are associated in another order, the same one always. Other
names: TVM: rfactor over an inner axis; reduction privatization.
"""

from __future__ import annotations

from collections.abc import Callable

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.functions import call
from pellucid.loop.ir import Alloc, Buffer, Const, For, Kernel, Load, Store, Var, const
from pellucid.loop.rewrite import Block, constant, fresh, index_vars, kernel_names
from pellucid.schedule.dependence import update_of
from pellucid.schedule.nest import rewrite_loops, with_allocs
from pellucid.schedule.rfactor import neutral


def privatize(kernel: Kernel, var: str, inner: str) -> Kernel:
    """Every reduction nest that starts at loop `var` with one accumulator per iteration of `inner`.

    New loops: `<inner>z` (the start) and `<inner>c` (the combination).

    Args:
        kernel: the kernel.
        var: the outermost loop of a perfect nest around one update `x = fn(x, term)`, whose index
            depends on none of the nest's loops; parts of the term may have names.
        inner: the nest's innermost loop, of constant extent.

    Raises:
        ScheduleError: no such loops, or the nest is no such reduction.
    """
    taken = kernel_names(kernel)
    start, last = fresh(f"{inner}z", taken), fresh(f"{inner}c", taken)

    def change(loop: For, facts: Facts) -> Block:
        nest = _nest(loop, inner)
        names, store = split_update(nest[-1].body)
        if store is None:
            raise ScheduleError("privatize", f"the body of {inner!r} must be one update")
        update = update_of(store)
        if update is None or index_vars(store) & {x.var for x in nest}:
            raise ScheduleError("privatize", f"{store.buffer.name} is not reduced over {var!r}")
        fn, term = update
        count, dtype = constant(nest[-1].extent) or 0, store.buffer.dtype
        private = Buffer(fresh(f"{store.buffer.name}_p", taken), (count,), dtype, "local")
        zero = Store(private, (Var(start),), const(neutral(fn, dtype), dtype))
        own, total = Load(private, (Var(inner),)), Load(store.buffer, store.indices)
        body = names((Store(private, (Var(inner),), call(fn, own, term)),))
        for x in reversed(nest):
            body = (For(x.var, x.extent, body, x.kind),)
        joined = call(fn, total, Load(private, (Var(last),)))
        whole = (
            For(start, Const(count), (zero,)),
            *body,
            For(last, Const(count), (Store(store.buffer, store.indices, joined),)),
        )
        return with_allocs([private], whole)

    return rewrite_loops(kernel, "privatize", var, change)


def split_update(body: Block) -> tuple[Callable[[Block], Block], Store | None]:
    """The one statement a body is for, and what puts a block in its place, behind the statements
    that name the parts of its term; None where the body does more than that.
    """
    if len(body) == 1 and isinstance(body[0], Store):
        return lambda block: block, body[0]
    if len(body) != 1 or not isinstance(body[0], Alloc):
        return lambda block: block, None
    named, (*parts, last) = body[0].buffer, body[0].body
    around, store = split_update((last,))
    if not all(isinstance(s, Store) and s.buffer == named for s in parts):
        return around, None
    return lambda block: (Alloc(named, (*parts, *around(block))),), store


def _nest(loop: For, inner: str) -> list[For]:
    """The loops from `loop` to `inner`."""
    nest = [loop]
    while nest[-1].var != inner:
        body = nest[-1].body
        if len(body) != 1 or not isinstance(body[0], For):
            raise ScheduleError(
                "privatize", f"no perfect nest leads from {loop.var!r} to {inner!r}"
            )
        nest.append(body[0])
    if constant(nest[-1].extent) is None:
        raise ScheduleError("privatize", f"the extent of {inner!r} must be constant")
    return nest
