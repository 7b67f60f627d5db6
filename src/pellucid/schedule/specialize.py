"""Give full tiles a version of their own, in which every extent is a constant.

```
for io in 0..6:                               for io in 0..6:
  for ii in 0..min(12, 64 - 12*io):             if io < 5:
    B[12*io + ii] = 0.0                  ->       for ii in 0..12: ...
                                                else:
                                                  for ii in 0..4: ... (io is 5)
```
Other names: loop unswitching on the tile's kind; Halide: specialize with a GuardWithIf tail.
"""

from __future__ import annotations

import functools

from pellucid.core.dtype import bool_
from pellucid.core.errors import ScheduleError
from pellucid.loop.affine import affine
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import Call, Const, Expr, For, If, Kernel, Var, compare
from pellucid.loop.rewrite import Block, constant, loops, substitute, walk_expr
from pellucid.loop.simplify import simplify_block
from pellucid.loop.sizes import is_fixed
from pellucid.schedule.nest import rewrite_loops


def specialize(kernel: Kernel, var: str) -> Kernel:
    """Every loop over `var` with one branch for its full tiles and one for the rest.

    The last iterations, whose inner extents are cut off by `min(factor, rest)`, go to the `else`
    branch; where that is one iteration, `var` is a constant there. Loops without such extents are
    left alone.

    An extent that is known when the program runs is told full from not by a condition.

    Raises:
        ScheduleError: no such loop, or an extent that varies.
    """

    def change(loop: For, facts: Facts) -> Block:
        full, extent = full_iterations(loop), constant(loop.extent)
        if extent is None and is_fixed(loop.extent):
            return _open_tiles(loop, facts)
        if extent is None:
            raise ScheduleError(
                "specialize",
                f"the extent of {var!r} must be constant",
                fix="specialize outer loops first",
            )
        if full >= extent:
            return (For(var, loop.extent, tile(loop, facts, 0, extent), loop.kind),)
        if full == 0:
            return (For(var, loop.extent, tile(loop, facts, 0, extent), loop.kind),)
        then, other = tile(loop, facts, 0, full), tile(loop, facts, full, extent)
        return (
            For(var, loop.extent, (If(compare("lt", Var(var), full), then, other),), loop.kind),
        )

    return rewrite_loops(kernel, "specialize", var, change)


def _open_tiles(loop: For, facts: Facts) -> Block:
    """The loop with a branch for tiles that `is_full` says are full."""
    full = is_full(loop)
    if full is None:
        return (loop,)
    inside = facts.enter(loop)
    then = simplify_block(loop.body, inside.assume(full))
    other = simplify_block(loop.body, inside.assume(full, truth=False))
    return (For(loop.var, loop.extent, (If(full, then, other),), loop.kind),)


def is_full(loop: For) -> Expr | None:
    """The condition under which every inner `min(constant, rest)` is its constant, if any."""
    found: dict[Expr, None] = {}
    for inner in loops(loop.body):
        for expr in walk_expr(inner.extent):
            if isinstance(expr, Call) and expr.fn == "min" and _is_linear(expr, loop.var):
                sides = sorted(expr.args, key=lambda a: Var(loop.var) in affine(a).terms)
                found[compare("le", *sides)] = None
    conditions = list(found)
    if not conditions:
        return None
    return functools.reduce(lambda a, b: Call("and", (a, b), bool_), conditions)


def full_iterations(loop: For) -> int:
    """How many iterations from 0 on have every inner `min(constant, rest)` at its constant."""
    count = constant(loop.extent) or 0
    for inner in loops(loop.body):
        for expr in walk_expr(inner.extent):
            if isinstance(expr, Call) and expr.fn == "min" and _is_linear(expr, loop.var):
                count = min(count, _full(expr, loop.var))
    return max(0, count)


def _is_linear(expr: Call, var: str) -> bool:
    """Whether a loop's variable counts in a minimum itself, and not only in one inside it."""
    return any(Var(var) in affine(a).terms for a in expr.args)


def _full(expr: Call, var: str) -> int:
    """The least `v` at which `min(a, b - f*v)` is below `a`."""
    gaps = [
        affine(expr.args[1]) - affine(expr.args[0]),
        affine(expr.args[0]) - affine(expr.args[1]),
    ]
    for gap in gaps:
        slope = gap.terms.get(Var(var), 0)
        if slope < 0 and len(gap.terms) == 1:
            return gap.constant // -slope + 1
    return 0


def tile(loop: For, facts: Facts, start: int, stop: int) -> Block:
    """The loop's body, simplified for `start <= var < stop`."""
    if stop - start == 1:
        return simplify_block(substitute(loop.body, {loop.var: Const(start)}), facts)
    var: Expr = Var(loop.var)
    inside = facts.enter(loop).assume(compare("lt", var, stop)).assume(compare("ge", var, start))
    return simplify_block(loop.body, inside)
