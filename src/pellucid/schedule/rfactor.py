"""Reduce into several partial results side by side, then combine them.

```
for k in 0..100:                      alloc s_p: f32[16] local
  s[] = s[] + A[k]                    for ki in 0..16: s_p[ki] = 0.0
                                      for ko in 0..6:
                               ->       for ki in 0..16: s_p[ki] = s_p[ki] + A[16*ko + ki]
                                      for kt in 0..4: s_p[kt] = s_p[kt] + A[96 + kt]
                                      for kc in 0..16: s[] = s[] + s_p[kc]
```
The partial results do not depend on each other, so `ki` and `kt` can be vector loops. Sums of
floats are associated in another order. Other names: TVM, Halide: rfactor; partial or lane-wise
reduction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pellucid.core.dtype import DType, Real
from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.functions import call
from pellucid.loop.ir import Buffer, Const, Expr, For, Kernel, Load, Store, Var, const, iadd, imul
from pellucid.loop.rewrite import (
    Block,
    constant,
    free_vars,
    fresh,
    kernel_names,
    substitute_expr,
    walk_expr,
)
from pellucid.schedule.dependence import update_of
from pellucid.schedule.nest import rewrite_loops, with_allocs


@dataclass(frozen=True, slots=True)
class _Partial:
    """One reduction of the loop: its store, function, term and the buffer of partial results."""

    store: Store
    fn: str
    term: Expr
    buffer: Buffer


def neutral(fn: str, dtype: DType) -> Real:
    """The value `e` with `fn(e, x) = x` for every x of the dtype.

    Raises:
        ScheduleError: the function has none.
    """
    whole = 0 if dtype.kind in ("bool", "uint") else -1 << (dtype.bits - 1)
    least: Real = -float("inf") if dtype.is_float else whole
    bits = dtype.bits - (dtype.kind == "int")
    most: Real = (
        float("inf") if dtype.is_float else (1 if dtype.kind == "bool" else (1 << bits) - 1)
    )
    every: Real = -1 if dtype.kind == "int" else most
    values: dict[str, Real] = {
        "add": 0, "mul": 1, "max": least, "min": most, "and": every, "or": 0, "xor": 0,
    }  # fmt: skip
    if fn not in values:
        raise ScheduleError("rfactor", f"{fn} has no neutral value")
    return values[fn]


def rfactor(kernel: Kernel, var: str, lanes: int) -> Kernel:
    """Every reduction loop over `var` as `lanes` partial reductions and their combination.

    The loop's body must be reductions only: stores `x = fn(x, term)` whose index does not depend on
    `var`. New loops: `<var>o` around `<var>i` (the lanes; also where they are initialised),
    `<var>t` (the rest that does not divide) and `<var>c` (the combination).

    Raises:
        ScheduleError: no such loop, a constant extent missing, or another statement in the body.
    """
    if lanes < 1:
        raise ScheduleError("rfactor", "lanes must be >= 1", operands={"lanes": lanes})
    taken = kernel_names(kernel)
    outer, inner, tail, last = (fresh(var + end, taken) for end in "oitc")

    def change(loop: For, facts: Facts) -> Block:
        extent = constant(loop.extent)
        if extent is None:
            raise ScheduleError("rfactor", f"the extent of {var!r} must be constant")
        partials = _partials(loop, lanes, taken)
        blocks, rest = divmod(extent, lanes)

        def over(name: str, count: int, make: Callable[[_Partial, Expr], Store]) -> Block:
            return (For(name, Const(count), tuple(make(p, Var(name)) for p in partials)),)

        def step(at: Callable[[Expr], Expr]) -> Callable[[_Partial, Expr], Store]:
            return lambda p, lane: _accumulate(p, lane, var, at(lane))

        body = over(inner, lanes, _start)
        main = over(inner, lanes, step(lambda lane: iadd(imul(Var(outer), lanes), lane)))
        body += (For(outer, Const(blocks), main),) if blocks else ()
        body += over(tail, rest, step(lambda lane: iadd(lane, blocks * lanes))) if rest else ()
        body += over(last, lanes, _combine)
        return with_allocs([p.buffer for p in partials], body)

    return rewrite_loops(kernel, "rfactor", var, change)


def _partials(loop: For, lanes: int, taken: set[str]) -> list[_Partial]:
    result: list[_Partial] = []
    targets = {s.buffer for s in loop.body if isinstance(s, Store)}
    for stmt in loop.body:
        update = update_of(stmt) if isinstance(stmt, Store) else None
        if not isinstance(stmt, Store) or update is None:
            raise ScheduleError(
                "rfactor", f"the body of {loop.var!r} must be updates only", fix="distribute first"
            )
        read = {e.buffer for e in walk_expr(update[1]) if isinstance(e, Load)}
        moving = any(loop.var in free_vars(i) for i in stmt.indices)
        if moving or read & targets or len(targets) < len(loop.body):
            raise ScheduleError("rfactor", f"{stmt.buffer.name} is not reduced over {loop.var!r}")
        used = taken | {p.buffer.name for p in result}
        buffer = Buffer(fresh(f"{stmt.buffer.name}_p", used), (lanes,), stmt.buffer.dtype, "local")
        result.append(_Partial(stmt, update[0], update[1], buffer))
    return result


def _start(partial: _Partial, lane: Expr) -> Store:
    dtype = partial.buffer.dtype
    return Store(partial.buffer, (lane,), const(neutral(partial.fn, dtype), dtype))


def _accumulate(partial: _Partial, lane: Expr, var: str, value: Expr) -> Store:
    term = substitute_expr(partial.term, {var: value})
    return Store(partial.buffer, (lane,), call(partial.fn, Load(partial.buffer, (lane,)), term))


def _combine(partial: _Partial, lane: Expr) -> Store:
    own = Load(partial.store.buffer, partial.store.indices)
    value = call(partial.fn, own, Load(partial.buffer, (lane,)))
    return Store(partial.store.buffer, partial.store.indices, value)
