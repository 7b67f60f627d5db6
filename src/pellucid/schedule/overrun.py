"""Let the last tile, which is not full, run on as if it were: what lies beyond does the last
iteration's work again.

```
for io in 0..(n + 7) // 8:                      for io in 0..(n + 7) // 8:
  for ii in 0..min(8, n - 8*io):                  if 8 <= n - 8*io:
    y[8*io + ii] = f(x[8*io + ii])       ->         for ii in 0..8: ...
                                                  else:
                                                    for ii in 0..8:
                                                      y[8*io + min(ii, n - 8*io - 1)] = ...
```
So both branches have constant extents, and a short tile costs what a full one does. Legal where
what is stored is a function of what the kernel does not store.
"""

from __future__ import annotations

from pellucid.core.errors import ScheduleError
from pellucid.loop.affine import affine
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import (
    Call,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Load,
    Stmt,
    Store,
    Var,
    imin,
    isub,
)
from pellucid.loop.rewrite import (
    Block,
    allocated,
    children,
    loads,
    map_bodies,
    map_own,
    rebuild,
    stores,
)
from pellucid.loop.simplify import simplify_block
from pellucid.schedule.nest import rewrite_loops
from pellucid.schedule.specialize import is_full


def overrun(kernel: Kernel, var: str, always: bool = False) -> Kernel:
    """Every loop over `var` with a branch for full tiles, and one for the last, that runs on.

    Args:
        kernel: the kernel.
        var: the loop over tiles.
        always: full tiles are no case of their own: less code, where there are few tiles.

    Raises:
        ScheduleError: no such loop, no extent `min(constant, rest)` in it, or what is stored
            depends on what the kernel stores.
    """

    def change(loop: For, facts: Facts) -> Block:
        full = is_full(loop)
        if full is None:
            raise ScheduleError("overrun", "all its tiles are full", operands={"loop": var})
        _check(loop)
        inside = facts.enter(loop)
        other = _RunOn(loop).block(loop.body, {})
        if always:
            return (For(loop.var, loop.extent, simplify_block(other, inside), loop.kind),)
        then = simplify_block(loop.body, inside.assume(full))
        last = simplify_block(other, inside.assume(full, truth=False))
        return (For(loop.var, loop.extent, (If(full, then, last),), loop.kind),)

    return rewrite_loops(kernel, "overrun", var, change)


def _check(loop: For) -> None:
    own = allocated(loop.body)
    written = {s.buffer for s in stores(loop.body)} - own
    if written & {x.buffer for x in loads(loop.body)}:
        raise ScheduleError("overrun", "what is stored is read", operands={"loop": loop.var})


class _RunOn:
    """Rewrites a tile: constant extents, and nothing outside touched that is not there."""

    def __init__(self, tile: For) -> None:
        self.tile, self.own = tile.var, allocated(tile.body)

    def block(self, block: Block, limits: dict[str, Expr]) -> Block:
        """The statements, with variables that run on kept below their limits."""
        return tuple(self._stmt(s, limits) for s in block)

    def _stmt(self, stmt: Stmt, limits: dict[str, Expr]) -> Stmt:
        match stmt:
            case For():
                return self._loop(stmt, limits)
            case Store() if stmt.buffer in self.own:
                return Store(stmt.buffer, stmt.indices, self._expr(stmt.value, limits))
            case _:
                made = map_own(stmt, lambda e: self._expr(e, limits))
                return map_bodies(made, lambda body: self.block(body, limits))

    def _loop(self, loop: For, limits: dict[str, Expr]) -> Stmt:
        inner = {k: v for k, v in limits.items() if k != loop.var}
        size, rest = self._sides(loop.extent)
        if size is None or rest is None:
            extent = self._expr(loop.extent, limits)
            return For(loop.var, extent, self.block(loop.body, inner), loop.kind)
        inner[loop.var] = imin(Var(loop.var), isub(rest, 1))
        return For(loop.var, size, self.block(loop.body, inner), loop.kind)

    def _sides(self, extent: Expr) -> tuple[Expr | None, Expr | None]:
        """Both sides of `min(constant, what is left of the tiles)`."""
        if not isinstance(extent, Call) or extent.fn != "min":
            return None, None
        size = next((a for a in extent.args if isinstance(a, Const)), None)
        rest = next((a for a in extent.args if Var(self.tile) in affine(a).terms), None)
        return size, rest

    def _expr(self, expr: Expr, limits: dict[str, Expr]) -> Expr:
        if isinstance(expr, Var):
            return limits.get(expr.name, expr)
        if isinstance(expr, Load) and expr.buffer in self.own:
            return expr
        return rebuild(expr, tuple(self._expr(a, limits) for a in children(expr)))
