"""Copy an operand into a buffer laid out in the order in which it will be read.

```
for jo in 0..4:                              alloc Bp: f32[4, 64, 16] temp
  for k in 0..64:                            for jo_B in 0..4:
    for jj in 0..16:                           for k_B in 0..64:
      C[...] = ... B[k, 16*jo + jj]     ->       for jj_B in 0..16:
                                                   Bp[jo_B, k_B, jj_B] = B[k_B, 16*jo_B + jj_B]
                                             for jo in 0..4:
                                               ... Bp[jo, k, jj]
```
What is packed is the largest expression that loads this buffer alone, so a cast, or the `select`
around a padded image, is done once per element: this is how a convolution becomes a matrix product
(implicit GEMM). Other names: TVM: cache_read with a layout; BLIS: packing; im2col.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import (
    Buffer,
    Call,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Load,
    Prefetch,
    Scope,
    Store,
    Var,
)
from pellucid.loop.rewrite import (
    Block,
    children,
    expressions,
    free_vars,
    fresh,
    kernel_names,
    map_own,
    map_stmt,
    rebuild,
    stores,
    substitute_expr,
    walk_expr,
    with_body,
)
from pellucid.schedule.nest import in_bounds, require_buffer, rewrite_loops, with_allocs


@dataclass(frozen=True, slots=True)
class _Operand:
    """A packed expression and the loops that index its copy: variable, extent, greatest extent."""

    expr: Expr
    loops: tuple[tuple[str, Expr, int], ...]


def pack(
    kernel: Kernel,
    operand: str,
    order: Sequence[str],
    at: str | None = None,
    name: str | None = None,
    scope: Scope = "temp",
) -> Kernel:
    """Read `operand` through a copy indexed by the loops `order`, outermost first.

    The copy is filled at the start of the body of each loop `at`, or of the kernel. Its loops are
    called `<var>_<operand>`. Elements past a cut-off extent are left undefined, and never read.
    Other expressions outside the loops `order` go on reading the operand itself.

    Args:
        kernel: the kernel.
        operand: name of a buffer that is not written below `at`.
        order: loops inside `at` that the operand's index is made of.
        at: the loop in whose body the copy lives; `None`: the whole kernel.
        name: name of the copy, `<operand>p` unless given.
        scope: of the copy.

    Raises:
        ScheduleError: the operand is written, is read by different expressions, at a place outside
        one
            of the loops, or with variables that are in neither `order` nor the loops around `at`.
    """
    buffer = require_buffer(kernel, "pack", operand)
    taken = kernel_names(kernel)
    copy_name = fresh(name or f"{operand}p", taken)
    names = {v: fresh(f"{v}_{operand}", taken) for v in order}

    def around(body: Block, facts: Facts) -> Block:
        return _packed(body, facts, buffer, names, (copy_name, scope))

    if at is None:
        return with_body(kernel, around(kernel.body, Facts()))

    def change(loop: For, facts: Facts) -> Block:
        return (For(loop.var, loop.extent, around(loop.body, facts.enter(loop)), loop.kind),)

    return rewrite_loops(kernel, "pack", at, change)


def _packed(
    body: Block, facts: Facts, buffer: Buffer, names: Mapping[str, str], made: tuple[str, Scope]
) -> Block:
    operand = _operand(body, facts, buffer, tuple(names))
    shape = tuple(most for _, _, most in operand.loops)
    copy = Buffer(made[0], shape, operand.expr.dtype, made[1])
    renamed = {v: Var(n) for v, n in names.items()}
    target = tuple(renamed[v] for v, _, _ in operand.loops)
    fill: Block = (Store(copy, target, substitute_expr(operand.expr, renamed)),)
    for var, extent, _ in reversed(operand.loops):
        fill = (For(names[var], substitute_expr(extent, renamed), fill),)
    read = Load(copy, tuple(Var(v) for v, _, _ in operand.loops))
    changed = map_stmt(body, lambda s: map_own(s, lambda e: replace_expr(e, operand.expr, read)))
    return with_allocs([copy], fill + changed)


def replace_expr(expr: Expr, old: Expr, new: Expr) -> Expr:
    """An expression with every `old` in it as `new`."""
    if expr == old:
        return new
    return rebuild(expr, tuple(replace_expr(a, old, new) for a in children(expr)))


def _operand(body: Block, facts: Facts, buffer: Buffer, order: tuple[str, ...]) -> _Operand:
    if any(s.buffer == buffer for s in stores(body)):
        raise ScheduleError("pack", f"{buffer.name} is written here", fix="use stage")
    if any(v in facts.extents for v in order):
        raise ScheduleError("pack", f"the loops {order} must be inside the loop it is packed at")
    places = places_of(body, facts, buffer)
    if not places:
        raise ScheduleError("pack", f"{buffer.name} is not read here")
    near = [p for p in places if all(v in p[1].extents for v in order)]
    expr, inside = (near or places)[0]
    places = near + [p for p in places if p[0] == expr and p not in near] if near else places
    if any(other != expr for other, _ in places):
        raise ScheduleError(
            "pack", f"{buffer.name} is read by different expressions", fix="pack before specialize"
        )
    unknown = free_vars(expr) - set(order) - set(facts.extents)
    if unknown:
        rule = f"the index of {buffer.name} also depends on {sorted(unknown)}"
        raise ScheduleError("pack", rule, operands={"order": order})
    if not all(in_bounds(e, inside) for e in walk_expr(expr) if isinstance(e, Load)):
        raise ScheduleError("pack", f"the copy of {buffer.name} may reach outside it")
    for _, known in places:
        missing = [v for v in order if v not in known.extents]
        if missing:
            raise ScheduleError("pack", f"{buffer.name} is read outside the loops {missing}")
    return _Operand(expr, tuple(_loop(v, inside, order, facts) for v in order))


def _loop(var: str, inside: Facts, order: tuple[str, ...], outside: Facts) -> tuple[str, Expr, int]:
    extent = inside.extents[var]
    most = inside.upper(extent)
    before = set(order[: order.index(var)]) | set(outside.extents)
    if math.isinf(most):
        raise ScheduleError("pack", f"the extent of {var!r} has no known limit")
    if free_vars(extent) - before:
        rule = f"the extent of {var!r} depends on {sorted(free_vars(extent) - before)}"
        raise ScheduleError("pack", rule, fix="put those loops before it in `order`")
    return var, extent, int(most)


def places_of(block: Block, facts: Facts, buffer: Buffer) -> list[tuple[Expr, Facts]]:
    """Every largest expression that loads this buffer alone, with the loops around it."""
    found: list[tuple[Expr, Facts]] = []
    for stmt in block:
        for expr in expressions(stmt):
            found += [(e, facts) for e in _largest(expr, buffer)]
        match stmt:
            case For():
                found += places_of(stmt.body, facts.enter(stmt), buffer)
            case If():
                found += places_of(stmt.then, facts, buffer) + places_of(stmt.orelse, facts, buffer)
            case Store() | Prefetch():
                pass
            case _:
                found += places_of(stmt.body, facts, buffer)
    return found


def _largest(expr: Expr, buffer: Buffer) -> list[Expr]:
    sources = {e.buffer for e in walk_expr(expr) if isinstance(e, Load)}
    if buffer not in sources:
        return []
    if sources == {buffer} and not isinstance(expr, Const | Var):
        return [expr]
    return [e for child in _parts(expr) for e in _largest(child, buffer)]


def _parts(expr: Expr) -> tuple[Expr, ...]:
    return expr.args if isinstance(expr, Call) else children(expr)
