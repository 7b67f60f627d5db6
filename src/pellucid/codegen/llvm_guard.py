"""Loads behind a condition, `select(0 <= i & i < n, x[min(max(i, 0), n - 1)], 0)`, as masked loads.

The index is clamped because a load must lie inside its buffer even where its value is not wanted.
Lanes that a mask leaves out are not read at all: there the clamps are superfluous, and lanes that
are neighbours stay neighbours.
"""

from __future__ import annotations

from collections.abc import Callable

from pellucid.codegen.llvm_index import Affine, added, scaled
from pellucid.core.dtype import int64
from pellucid.loop.ir import Call, Const, Expr, imax, imin
from pellucid.loop.rewrite import rebuild

Forms = Callable[[Expr], Affine]
Bound = tuple[str, int, frozenset[tuple[str, int]], int]  # at least 0, or below it: a form

_SHIFTS = {"ge": ("ge", 0), "gt": ("ge", -1), "lt": ("lt", 0), "le": ("lt", -1)}


def bounds_of(condition: Expr, form_of: Forms) -> set[Bound]:
    """What a conjunction of comparisons says about sums of indices."""
    if not isinstance(condition, Call):
        return set()
    if condition.fn == "and":
        return {x for part in condition.args for x in bounds_of(part, form_of)}
    if condition.fn not in _SHIFTS or condition.args[0].dtype != int64:
        return set()
    left, right = (form_of(x) for x in condition.args)
    if left.vector or right.vector:
        return set()
    side, shift = _SHIFTS[condition.fn]
    return {_bound(side, added(added(left, scaled(right, -1)), Affine(shift)))}


def unclamped(index: Expr, bounds: set[Bound], form_of: Forms) -> Expr:
    """An index without the `min` and `max` that some bounds make superfluous."""
    if not isinstance(index, Call):
        return index
    if index.fn not in ("min", "max"):
        return rebuild(index, tuple(unclamped(a, bounds, form_of) for a in index.args))
    inner, limit = unclamped(index.args[0], bounds, form_of), index.args[1]
    form = form_of(inner)
    if isinstance(limit, Const) and not form.vector:
        gap = added(form, Affine(-int(limit.value) - (index.fn == "min")))
        if _bound("lt" if index.fn == "min" else "ge", gap) in bounds:
            return inner
    return (imin if index.fn == "min" else imax)(inner, limit)


def _bound(side: str, form: Affine) -> Bound:
    return side, form.const, frozenset(form.terms), form.lane
