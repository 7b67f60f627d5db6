"""Concrete iterations of a nest: the numbers in a verifier's counterexample.

Enters: loops, conditions and int64 expressions. Leaves: assignments of loop variables that reach a
place, and values there. All iterations are tried where they are few, else the first, middle and
last of each loop.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from pellucid.core.errors import VerifyError
from pellucid.core.size import is_static
from pellucid.loop.affine import affine
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import Const, Expr, For, Load, Var, as_expr
from pellucid.loop.rewrite import free_vars

MOST_POINTS = 4096
Point = dict[str, int]
_INTEGER: Mapping[str, Callable[..., int]] = MappingProxyType({
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "neg": operator.neg,
    "floordiv": lambda a, b: a // b if b else 0, "mod": lambda a, b: a % b if b else 0,
    "min": min, "max": max, "lt": operator.lt, "le": operator.le, "gt": operator.gt,
    "ge": operator.ge, "eq": operator.eq, "ne": operator.ne, "and": operator.and_,
    "or": operator.or_, "xor": operator.xor, "select": lambda c, a, b: a if c else b,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where a statement stands: what is known there, and the conditions that must hold (or not)."""

    facts: Facts = field(default_factory=Facts)
    conditions: tuple[tuple[Expr, bool], ...] = ()

    def enter(self, loop: For) -> Place:
        """Inside a loop."""
        return replace(self, facts=self.facts.enter(loop))

    def assume(self, cond: Expr, truth: bool) -> Place:
        """Inside a branch."""
        known = self.facts.assume(cond, truth)
        return Place(known, (*self.conditions, (cond, truth)))


def evaluate_index(expr: Expr, point: Mapping[str, int]) -> int | None:
    """The expression's value in one iteration; None where it depends on data."""
    if isinstance(expr, Const):
        return int(expr.value)
    if isinstance(expr, Var):
        return point[expr.name]
    if isinstance(expr, Load) or expr.fn not in _INTEGER:
        return None
    args = [evaluate_index(a, point) for a in expr.args]
    return None if None in args else int(_INTEGER[expr.fn](*args))


def points(place: Place, about: tuple[Expr, ...], fixed: Mapping[str, int]) -> Iterator[Point]:
    """Iterations that reach `place`, over the loops that `about` and the conditions depend on.

    Variables in `fixed` keep their value. At most `MOST_POINTS` are tried.
    """
    names = _relevant(place, about)
    size = 1
    for name in names:
        most = place.facts.upper(place.facts.extents[name])
        size = min(MOST_POINTS + 1, int(min(size * max(most, 1), MOST_POINTS + 1)))
    tried = _assign(place, names, dict(fixed), whole=size <= MOST_POINTS)
    for point in itertools.islice(tried, MOST_POINTS):
        if all(evaluate_index(c, point) == int(truth) for c, truth in place.conditions):
            yield point


def exhaustive(place: Place, about: tuple[Expr, ...]) -> bool:
    """Whether `points` tries every iteration, so that finding none proves something."""
    size = 1.0
    for name in _relevant(place, about):
        size *= place.facts.upper(place.facts.extents[name])
    known = all(evaluate_index(e, _Zeros()) is not None for e in about)
    return (
        known
        and size <= MOST_POINTS
        and all(evaluate_index(c, _Zeros()) is not None for c, _ in place.conditions)
    )


class _Zeros(dict[str, int]):
    def __missing__(self, key: str) -> int:
        return 0


def _relevant(place: Place, about: tuple[Expr, ...]) -> list[str]:
    needed = {v for e in (*about, *(c for c, _ in place.conditions)) for v in free_vars(e)}
    for name in reversed(list(place.facts.extents)):
        if name in needed:
            needed |= free_vars(place.facts.extents[name])
    return [v for v in place.facts.extents if v in needed]


def _assign(place: Place, names: list[str], point: Point, *, whole: bool) -> Iterator[Point]:
    if not names:
        yield dict(point)
        return
    extent = evaluate_index(place.facts.extents[names[0]], point)
    if extent is None:
        return
    few = sorted({0, 1, 2, extent // 2, extent - 2, extent - 1})
    values = range(extent) if whole else [i for i in few if 0 <= i < extent]
    if names[0] in point:
        values = [point[names[0]]]
    for value in values:
        yield from _assign(place, names[1:], {**point, names[0]: value}, whole=whole)


def out_of_bounds(kernel: str, load: Load, axis: int, place: Place) -> VerifyError | None:
    """The error for an index that leaves its axis, or None where it is proved not to."""
    expr, size = load.indices[axis], load.buffer.shape[axis]
    beyond = affine(expr) - affine(as_expr(size))
    if place.facts.lower(expr) >= 0 and place.facts.upper_sum(beyond) < 0:
        return None
    if not is_static(size):
        return VerifyError(kernel, f"cannot prove index {axis} of {load.buffer.name} below {size}")
    for point in points(place, (expr,), {}):
        value = evaluate_index(expr, point)
        if value is not None and not 0 <= value < size:
            return _violation(kernel, load, axis, (value, point))
    if exhaustive(place, (expr,)) or place.facts.impossible:
        return None
    rule = f"cannot prove index {axis} of {load.buffer.name} to be within 0..{size}"
    return VerifyError(kernel, rule, fix="clamp it with min and max, or guard it with an if")


def _violation(kernel: str, load: Load, axis: int, found: tuple[int, Point]) -> VerifyError:
    value, point = found
    limit = f">= {load.buffer.shape[axis]}" if value >= 0 else "< 0"
    where = ", ".join(f"{name} = {i}" for name, i in point.items())
    rule = f"index {axis} of {load.buffer.name} is {value} {limit}"
    return VerifyError(kernel, rule + (f" at {where}" if where else ""))
