"""Copy the part of an operand that a loop's body sees, edges included, into a buffer of its own.

```
for c in 0..64:                      for c in 0..64:
  for y in 0..14:                      alloc Xh: f32[16] temp
    for k in 0..3:            ->       for Xh0 in 0..16:
      B[c, y] = B[c, y]                  Xh[Xh0] = select(Xh0 > 0 & ..., X[c, ...], 0)
        + select(y + k > 0 & ...,      for y in 0..14:
                 X[c, ...], 0)           for k in 0..3:
                                           B[c, y] = B[c, y] + Xh[y + k]
```
Where windows overlap, `pack` would copy each element once per window. Each axis of the copy is one
sum of loop variables (`y + k`); what is copied is the largest expression that loads the operand
alone, so that the zeros around an image are made once. Other names: TVM: compute_at with a halo;
Halide: compute_at of a producer that a stencil reads.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from pellucid.core.dtype import int64
from pellucid.core.errors import ScheduleError
from pellucid.loop.affine import Affine, affine, to_expr
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import Buffer, Call, Const, Expr, For, Kernel, Load, Store, Var, iadd
from pellucid.loop.rewrite import (
    Block,
    children,
    free_vars,
    fresh,
    kernel_names,
    map_own,
    map_stmt,
    rebuild,
    stores,
    walk_expr,
)
from pellucid.schedule.nest import in_bounds, require_buffer, rewrite_loops, with_allocs
from pellucid.schedule.pack import places_of, replace_expr

_SUMS = ("add", "sub", "mul")


@dataclass(frozen=True, slots=True)
class _Axis:
    """One axis of the copy: the sum that indexes it, its loop, and how far it goes."""

    core: Affine
    var: str
    extent: int


def halo(kernel: Kernel, operand: str, at: str) -> Kernel:
    """Read `operand` through a copy of what the body of each loop `at` reads of it.

    The copy is called `<operand>h`, its loops `<operand>h0`, `<operand>h1`, ...

    Args:
        kernel: the kernel.
        operand: a buffer that is read there, at one index, and not written.
        at: the loop in whose body the copy lives.

    Raises:
        ScheduleError: the operand is written, or read by different expressions, or an index is not
            a sum of loop variables, or has no known limit.
    """
    buffer = require_buffer(kernel, "halo", operand)
    taken = kernel_names(kernel)
    name = fresh(f"{operand}h", taken)

    def change(loop: For, facts: Facts) -> Block:
        body = _copied(loop.body, facts.enter(loop), buffer, name, taken | {name})
        return (For(loop.var, loop.extent, body, loop.kind),)

    return rewrite_loops(kernel, "halo", at, change)


def _copied(body: Block, facts: Facts, buffer: Buffer, name: str, taken: set[str]) -> Block:
    expr, known = _operand(body, facts, buffer)
    inside = set(known.extents) - set(facts.extents)
    axes = _axes(expr, known, inside, name, taken)
    source = _moved(expr, axes, inside)
    extents = {a.var: Const(a.extent) for a in axes}
    around = Facts(extents={**facts.extents, **extents}, nonnegative=facts.nonnegative)
    if free_vars(source) & inside:
        raise ScheduleError("halo", f"the index of {buffer.name} is not a sum of loop variables")
    if not all(in_bounds(e, around) for e in walk_expr(source) if isinstance(e, Load)):
        raise ScheduleError("halo", f"the copy of {buffer.name} may reach outside it")
    copy = Buffer(name, tuple(a.extent for a in axes), expr.dtype, "temp")
    fill: Block = (Store(copy, tuple(Var(a.var) for a in axes), source),)
    for axis in reversed(axes):
        fill = (For(axis.var, Const(axis.extent), fill),)
    read = Load(copy, tuple(to_expr(a.core) for a in axes))
    changed = map_stmt(body, lambda s: map_own(s, lambda e: replace_expr(e, expr, read)))
    return with_allocs([copy], fill + changed)


def _operand(body: Block, facts: Facts, buffer: Buffer) -> tuple[Expr, Facts]:
    if any(s.buffer == buffer for s in stores(body)):
        raise ScheduleError("halo", f"{buffer.name} is written here")
    places = places_of(body, facts, buffer)
    if not places or any(expr != places[0][0] for expr, _ in places):
        raise ScheduleError("halo", f"{buffer.name} must be read at one index here")
    return places[0]


def _axes(
    expr: Expr, facts: Facts, inside: set[str], name: str, taken: set[str]
) -> tuple[_Axis, ...]:
    load = next(e for e in walk_expr(expr) if isinstance(e, Load))
    cores = [_core(index, inside) for index in load.indices if free_vars(index) & inside]
    known = [v for core in cores for t in core.terms for v in free_vars(t)]
    if not cores or len(known) != len(set(known)):
        raise ScheduleError("halo", f"two axes of {load.buffer.name} move together")
    axes = []
    for number, core in enumerate(cores):
        most = facts.upper_sum(core)
        plain = all(isinstance(t, Var) and c > 0 for t, c in core.terms.items())
        if not plain:
            rule = f"an index of {load.buffer.name} is not a sum of loop variables"
            raise ScheduleError("halo", rule)
        if math.isinf(most):
            raise ScheduleError("halo", f"an index of {load.buffer.name} has no known limit")
        axes.append(_Axis(core, fresh(f"{name}{number}", taken), int(most) + 1))
    return tuple(axes)


def _core(index: Expr, inside: set[str]) -> Affine:
    """The variables of an index, out of the `min` and `max` that keep it inside the buffer."""
    while isinstance(index, Call) and index.fn in ("min", "max"):
        index = next((a for a in index.args if free_vars(a) & inside), Const(0))
    return _inner_part(affine(index), inside)


def _inner_part(sum_: Affine, inside: set[str]) -> Affine:
    return Affine({t: c for t, c in sum_.terms.items() if free_vars(t) & inside})


def _moved(expr: Expr, axes: tuple[_Axis, ...], inside: set[str]) -> Expr:
    """The expression with each axis's sum as that axis's loop variable."""
    if isinstance(expr, Var) or (isinstance(expr, Call) and expr.fn in _SUMS):
        if expr.dtype == int64:
            sum_ = affine(expr)
            for axis in axes:
                if axis.core.terms == _inner_part(sum_, inside).terms:
                    return iadd(Var(axis.var), to_expr(sum_ - axis.core))
    return rebuild(expr, tuple(_moved(a, axes, inside) for a in children(expr)))
