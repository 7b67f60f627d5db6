"""Work on a tile of a buffer in a local copy.

```
for io in 0..8:                       for io in 0..8:
  for k in 0..64:                       alloc Cs: f32[8] local
    for ii in 0..8:                     for ii_C in 0..8: Cs[ii_C] = C[8*io + ii_C]
      C[8*io + ii] = C[8*io + ii]  ->   for k in 0..64:
                   + A[...]               for ii in 0..8: Cs[ii] = Cs[ii] + A[...]
                                        for ii_C in 0..8: C[8*io + ii_C] = Cs[ii_C]
```
Other names: TVM: cache_write, cache_read; register blocking, accumulator tile.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import Buffer, Expr, For, If, Kernel, Load, Scope, Stmt, Store, Var
from pellucid.loop.rewrite import (
    Block,
    allocated,
    bodies,
    expressions,
    free_vars,
    fresh,
    kernel_names,
    map_exprs,
    map_stmt,
    substitute_expr,
    walk_expr,
)
from pellucid.schedule.dependence import Access, same_iteration
from pellucid.schedule.nest import in_bounds, require_buffer, rewrite_loops, with_allocs


@dataclass(frozen=True, slots=True)
class _Place:
    """One access: statement, indices, the loops around it, whether a condition guards it."""

    stmt: Stmt
    indices: tuple[Expr, ...]
    facts: Facts
    guarded: bool


@dataclass(frozen=True, slots=True)
class _Tile:
    """What the body touches: the index, each loop's extent and size, whether to read it in."""

    indices: tuple[Expr, ...]
    loops: tuple[tuple[str, Expr, int], ...]
    read_in: bool


def stage(
    kernel: Kernel, name: str, order: Sequence[str], at: str, scope: Scope = "local"
) -> Kernel:
    """Use a copy of the tile of buffer `name` that the body of each loop `at` touches.

    The copy has one axis per loop of `order`. It is read in first, unless the body starts by
    writing every element, and written back last.

    Args:
        kernel: the kernel.
        name: the buffer, written in the body.
        order: loops inside `at` that, with the loops around, make up the index; all must index
            every access.
        at: the loop whose body works on the copy.
        scope: of the copy.

    Raises:
        ScheduleError: accesses at different indices or outside the loops, an index that reaches an
            element twice, or a tile that may reach outside the buffer.
    """
    buffer = require_buffer(kernel, "stage", name)
    taken = kernel_names(kernel)
    copy_name = fresh(f"{name}s", taken)
    names = {v: fresh(f"{v}_{name}", taken) for v in order}

    def change(loop: For, facts: Facts) -> Block:
        if buffer in allocated(loop.body):
            raise ScheduleError("stage", f"{name} is already private to {at!r}")
        found = _tile(loop.body, facts.enter(loop), buffer, tuple(order))
        copy = Buffer(copy_name, tuple(n for _, _, n in found.loops), buffer.dtype, scope)
        near = Load(copy, tuple(Var(v) for v in order))
        body = _redirect(loop.body, Load(buffer, found.indices), near)
        renamed: dict[str, Expr] = {v: Var(n) for v, n in names.items()}
        far = Load(buffer, tuple(substitute_expr(i, renamed) for i in found.indices))
        near = Load(copy, tuple(renamed[v] for v in order))
        loops = [(names[v], extent) for v, extent, _ in found.loops]
        before = _copy(loops, near, far) if found.read_in else ()
        body = with_allocs([copy], before + body + _copy(loops, far, near))
        return (For(loop.var, loop.extent, body, loop.kind),)

    return rewrite_loops(kernel, "stage", at, change)


def _copy(loops: list[tuple[str, Expr]], target: Load, source: Load) -> Block:
    body: Block = (Store(target.buffer, target.indices, source),)
    for var, extent in reversed(loops):
        body = (For(var, extent, body),)
    return body


def _redirect(block: Block, old: Load, new: Load) -> Block:
    def on_stmt(stmt: Stmt) -> Stmt:
        if isinstance(stmt, Store) and stmt.buffer == old.buffer:
            return Store(new.buffer, new.indices, stmt.value)
        return stmt

    return map_stmt(map_exprs(block, lambda e: new if e == old else e), on_stmt)


def _tile(body: Block, facts: Facts, buffer: Buffer, order: tuple[str, ...]) -> _Tile:
    places = list(_places(body, facts, buffer, guarded=False))
    if not any(isinstance(p.stmt, Store) and p.stmt.buffer == buffer for p in places):
        raise ScheduleError("stage", f"{buffer.name} is not written here", fix="use pack")
    if any(v in facts.extents for v in order):
        raise ScheduleError("stage", f"the loops {order} must be inside the loop it is staged at")
    first = places[0]
    for place in places:
        _check_like(place, first, buffer, order)
    extents = {v: first.facts.extents[v] for v in order}
    known = Facts(extents={**facts.extents, **extents}, nonnegative=facts.nonnegative)
    for expr, around in [
        *((i, {*order, *facts.extents}) for i in first.indices),
        *((e, set(facts.extents)) for e in extents.values()),
    ]:
        if free_vars(expr) - around:
            raise ScheduleError(
                "stage", f"the tile also depends on {sorted(free_vars(expr) - around)}"
            )
    limits = {v: known.upper(e) for v, e in extents.items()}
    if any(map(math.isinf, limits.values())):
        raise ScheduleError("stage", f"an extent of {order} has no known limit")
    _check_injective(buffer, first.indices, extents, known)
    loops = tuple((v, extents[v], int(limits[v])) for v in order)
    return _Tile(first.indices, loops, not _fills(first, facts, order))


def _check_like(place: _Place, first: _Place, buffer: Buffer, order: tuple[str, ...]) -> None:
    known = place.facts.extents
    if place.indices != first.indices:
        raise ScheduleError("stage", f"{buffer.name} is accessed at different indices")
    if any(v not in known for v in order):
        raise ScheduleError("stage", f"{buffer.name} is accessed outside the loops {order}")
    if any(known[v] != first.facts.extents[v] for v in order):
        raise ScheduleError("stage", f"the loops {order} have different extents")


def _check_injective(
    buffer: Buffer, indices: tuple[Expr, ...], extents: dict[str, Expr], known: Facts
) -> None:
    """One element must have one place in the copy, and lie inside the buffer."""
    if not in_bounds(Load(buffer, indices), known):
        raise ScheduleError("stage", f"the tile of {buffer.name} may reach outside it")
    access = Access(buffer, indices, True, "", ())
    nest = [For(v, e, ()) for v, e in extents.items()]
    if same_iteration(access, access, nest, known, frozenset()) != set(extents):
        raise ScheduleError("stage", f"the loops index elements of {buffer.name} more than once")


def _fills(first: _Place, outside: Facts, order: tuple[str, ...]) -> bool:
    """Whether the first access writes every element of the tile without reading it."""
    around = set(first.facts.extents) - set(outside.extents)
    plain = isinstance(first.stmt, Store) and not first.guarded and around == set(order)
    return plain and not any(isinstance(e, Load) and e.indices == first.indices
                             for x in expressions(first.stmt)[len(first.indices):]
                             for e in walk_expr(x))  # fmt: skip


def _places(block: Block, facts: Facts, buffer: Buffer, *, guarded: bool) -> Iterator[_Place]:
    for stmt in block:
        if isinstance(stmt, Store) and stmt.buffer == buffer:
            yield _Place(stmt, stmt.indices, facts, guarded)
        for load in (e for x in expressions(stmt) for e in walk_expr(x)):
            if isinstance(load, Load) and load.buffer == buffer:
                yield _Place(stmt, load.indices, facts, guarded)
        inside = facts.enter(stmt) if isinstance(stmt, For) else facts
        for body in bodies(stmt):
            yield from _places(body, inside, buffer, guarded=guarded or isinstance(stmt, If))
