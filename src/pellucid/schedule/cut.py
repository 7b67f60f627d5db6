"""Cut a loop where the conditions in it change, so that each piece needs none.

```
for j in 0..12:                                       for j in 0..2: B[j] = 0.0
  B[j] = select(j >= 2 & j < 10, A[j - 2], 0.0)  ->   for jb in 0..8: B[jb + 2] = A[jb]
                                                      for jc in 0..2: B[jc + 10] = 0.0
```
Other names: index set splitting; Halide: loop partitioning.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from pellucid.core.dtype import int64
from pellucid.core.errors import ScheduleError
from pellucid.loop.affine import affine
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import Call, Const, Expr, For, Kernel, Var, iadd
from pellucid.loop.rewrite import (
    Block,
    all_expressions,
    constant,
    free_vars,
    fresh,
    kernel_names,
    loops,
    map_bodies,
    substitute,
)
from pellucid.loop.simplify import simplify_block
from pellucid.schedule.nest import rewrite_loops

_COMPARISONS = frozenset(("lt", "le", "gt", "ge", "eq", "ne", "min", "max"))
MOST_PIECES = 8
_STRICT = {"lt", "ge", "max"}  # that ask whether the difference is below 0, not at most 0
_EQUAL = {"eq", "ne"}
MOST_TAPS = 64  # of a window, that are looked at one by one


def cut(kernel: Kernel, var: str) -> Kernel:
    """Every loop over `var` as loops over the pieces in which each of its conditions is settled.

    Only conditions on `var` alone count, and those that also hold short loops inside this one, such
    as the taps of a window: they are settled in a piece if they are for each tap. The first piece
    keeps the name; loops in later pieces get new names, so that no loop is named twice.

    Raises:
        ScheduleError: no such loop, an extent that is not constant, no condition, or more than
            `MOST_PIECES` pieces.
    """
    taken = kernel_names(kernel)

    def change(loop: For, facts: Facts) -> Block:
        extent = constant(loop.extent)
        if extent is None:
            raise ScheduleError("cut", f"the extent of {var!r} must be constant")
        edges = sorted({0, extent, *_edges(loop, extent)})
        if not 2 < len(edges) <= MOST_PIECES + 1:
            raise ScheduleError("cut", f"{var!r} has {len(edges) - 1} pieces")
        result: Block = ()
        for start, stop in itertools.pairwise(edges):
            piece = _piece(loop, start, stop, taken)
            result += simplify_block((piece,), facts)
        return result

    return rewrite_loops(kernel, "cut", var, change)


def _piece(loop: For, start: int, stop: int, taken: set[str]) -> For:
    """Iterations `start` to `stop`, counted from 0; names of their own except at the start."""
    body, name = loop.body, loop.var
    if start:
        name = fresh(loop.var, taken)
        taken.add(name)
        body = _renamed(body, taken)
    moved = substitute(body, {loop.var: iadd(Var(name), start)})
    return For(name, Const(stop - start), moved, loop.kind)


def _renamed(body: Block, taken: set[str]) -> Block:
    for inner in list(loops(body)):
        name = fresh(inner.var, taken)
        taken.add(name)
        body = _rename(body, inner.var, name)
    return body


def _rename(block: Block, old: str, new: str) -> Block:
    result: Block = ()
    for stmt in block:
        if isinstance(stmt, For) and stmt.var == old:
            inside = substitute(stmt.body, {old: Var(new)})
            result += (For(new, stmt.extent, inside, stmt.kind),)
        else:
            result += (map_bodies(stmt, lambda b: _rename(b, old, new)),)
    return result


def _edges(loop: For, extent: int) -> Iterator[int]:
    """The iterations before which a condition on the loop's variable changes, for some tap."""
    taps = _taps(loop)
    seen: set[Expr] = set()
    for expr in all_expressions(loop.body):
        if not isinstance(expr, Call) or expr.fn not in _COMPARISONS or expr in seen:
            continue
        seen.add(expr)
        if any(a.dtype != int64 for a in expr.args) or loop.var not in free_vars(expr):
            continue
        gap = affine(expr.args[0]) - affine(expr.args[1])
        others = [t for t in gap.terms if t != Var(loop.var)]
        if Var(loop.var) not in gap.terms or any(t not in taps for t in others):
            continue
        reached = list(itertools.product(*(range(taps[t]) for t in others)))
        for tap in reached if len(reached) <= MOST_TAPS else ():
            shift = sum(gap.terms[t] * n for t, n in zip(others, tap, strict=True))
            found = changes(gap.terms[Var(loop.var)], gap.constant + shift, expr.fn)
            yield from (i for i in found if 0 < i < extent)


def _taps(loop: For) -> dict[Expr, int]:
    """The short loops inside, by variable, with their extents."""
    found = {Var(x.var): constant(x.extent) for x in loops(loop.body)}
    return {v: n for v, n in found.items() if n is not None and 0 < n <= MOST_TAPS}


def changes(slope: int, start: int, fn: str) -> tuple[int, ...]:
    """Where the truth of `slope*i + start fn 0` changes from one whole `i` to the next."""
    strict = fn in _STRICT
    if slope < 0:
        slope, start, strict = -slope, -start, not strict
    reached, passed = -(start // slope), -start // slope + 1  # the first with >= 0, with > 0
    if fn in _EQUAL:
        return () if reached == passed else (reached, passed)
    return (reached,) if strict else (passed,)
