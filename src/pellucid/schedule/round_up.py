"""Run the loop of a sum of products on to a multiple of its blocks, with zeros for what is missing.

```
for k in 0..30:                  for k in 0..32:
  s = s + A[k] * B[k]      ->      s = s + select(k < 30, A[min(k, 29)], 0)
                                         * select(k < 30, B[min(k, 29)], 0)
```
So that every block of the loop is as long as the others and can have accumulators of its own
(`privatize`); lanes that are not there are masked off. Both factors become zero, so that nothing
but zeros is added. Other names: padding of the iteration domain; TVM: pad_einsum.
"""

from __future__ import annotations

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.functions import call
from pellucid.loop.ir import (
    Call,
    Const,
    Expr,
    For,
    Kernel,
    Load,
    Stmt,
    Store,
    Var,
    compare,
    const,
    imin,
    select,
)
from pellucid.loop.rewrite import (
    Block,
    constant,
    free_vars,
    map_expr,
    map_stmt,
    stores,
    substitute_expr,
)
from pellucid.schedule.dependence import update_of
from pellucid.schedule.nest import rewrite_loops


def round_up(kernel: Kernel, var: str, multiple: int) -> Kernel:
    """Every loop over `var` with an extent that `multiple` divides.

    Args:
        kernel: the kernel.
        var: a loop whose body only adds products to what is there, both factors of which are read
            at places that depend on `var`.
        multiple: what the extent is to be a multiple of, >= 1.

    Raises:
        ScheduleError: no such loop, an extent that is not constant, or another body.
    """

    def change(loop: For, facts: Facts) -> Block:
        extent = constant(loop.extent)
        if extent is None or multiple < 1:
            raise ScheduleError("round_up", f"the extent of {var!r} must be constant")
        if any(x is None for x in map(_factors, stores(loop.body))):
            raise ScheduleError("round_up", f"the body of {var!r} must add products")
        body = map_stmt(loop.body, lambda s: _guarded(s, var, extent))
        return (For(var, Const(-(-extent // multiple) * multiple), body, loop.kind),)

    return rewrite_loops(kernel, "round_up", var, change)


def _factors(store: Store) -> tuple[Expr, Expr] | None:
    """The factors of the product that a store adds to its element."""
    update = update_of(store)
    if update is None or update[0] != "add":
        return None
    term = update[1]
    return (term.args[0], term.args[1]) if isinstance(term, Call) and term.fn == "mul" else None


def _guarded(stmt: Stmt, var: str, extent: int) -> Stmt:
    if not isinstance(stmt, Store):
        return stmt
    factors = _factors(stmt)
    if factors is None:
        return stmt
    a, b = (_or_zero(x, var, extent) for x in factors)
    own = Load(stmt.buffer, stmt.indices)
    return Store(stmt.buffer, stmt.indices, call("add", own, call("mul", a, b)))


def _or_zero(factor: Expr, var: str, extent: int) -> Expr:
    """A factor where the loop's variable is below its extent, else 0."""
    inside, zero = compare("lt", Var(var), extent), const(0, factor.dtype)
    value = factor
    if isinstance(factor, Call) and factor.fn == "select" and factor.args[2] == zero:
        inside, value = call("and", inside, factor.args[0]), factor.args[1]
    kept = map_expr(value, lambda e: _kept(e, var, extent))
    if var not in free_vars(factor):
        rule = f"both factors must depend on {var!r}"
        raise ScheduleError("round_up", rule)
    return select(inside, kept, zero)


def _kept(expr: Expr, var: str, extent: int) -> Expr:
    """A load at places that its loop reaches."""
    if not isinstance(expr, Load):
        return expr
    last: dict[str, Expr] = {var: imin(Var(var), extent - 1)}
    return Load(expr.buffer, tuple(substitute_expr(i, last) for i in expr.indices))
