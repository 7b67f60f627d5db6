"""How large an index expression can get, from the loops and conditions around it.

Enters: `Facts` gathered on the way down a nest, and expressions. Leaves: integer bounds, or a proof
that a condition always or never holds. Sound, not complete: an infinite bound or `None` means "not
known". Bounds are found by replacing one term after the other, innermost first, by what limits it:
a loop variable by its extent (each side of a `min` on its own) or by a condition around it,
`min`/`max`/`select` by their sides, `//` and `%` by their divisors.
Source: the elimination order of symbolic range propagation (Blume and Eigenmann, 1995), over affine
forms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pellucid.core.dtype import bool_, int64
from pellucid.loop.affine import Affine, affine
from pellucid.loop.ir import Call, Const, Expr, For, Open, Var
from pellucid.loop.rewrite import walk_expr

Bound = int | float
_DEEPEST = 40
_NEGATED = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known at one place: extents of the loops around it, outermost first, and sums that
    are >= 0 there.
    """

    extents: Mapping[str, Expr] = field(default_factory=dict)
    nonnegative: tuple[Affine, ...] = ()
    depth: int = 0

    def enter(self, loop: For) -> Facts:
        """The facts inside a loop."""
        return replace(self, extents={**self.extents, loop.var: loop.extent})

    def assume(self, cond: Expr, truth: bool = True) -> Facts:
        """The facts where a condition holds (or does not); what cannot be used is ignored."""
        return replace(self, nonnegative=self.nonnegative + _constraints(cond, truth))

    def upper(self, expr: Expr) -> Bound:
        """A number the expression never exceeds; infinity where none is known."""
        return _upper(affine(expr), self)

    def lower(self, expr: Expr) -> Bound:
        """A number the expression is never below."""
        return -_upper(affine(expr).scaled(-1), self)

    def upper_sum(self, sum_: Affine) -> Bound:
        """`upper` of a sum."""
        return _upper(sum_, self)

    @property
    def impossible(self) -> bool:
        """True where the conditions contradict each other, so that the place is never reached."""
        return any(_upper(g, self._without(i)) < 0 for i, g in enumerate(self.nonnegative))

    def prove(self, cond: Expr) -> bool | None:
        """True if the condition always holds here, False if it never does, None if that is not
        known.
        """
        if isinstance(cond, Const):
            return bool(cond.value)
        if not isinstance(cond, Call) or cond.dtype != bool_:
            return None
        if cond.fn in ("and", "or"):
            return _prove_both(cond, self)
        if cond.fn == "not":
            inner = self.prove(cond.args[0])
            return None if inner is None else not inner
        if cond.fn not in _NEGATED or cond.args[0].dtype != int64:
            return None
        return _prove_comparison(cond, self)

    def _without(self, position: int) -> Facts:
        kept = self.nonnegative[:position] + self.nonnegative[position + 1 :]
        return replace(self, nonnegative=kept, depth=self.depth + 1)


def _constraints(cond: Expr, truth: bool) -> tuple[Affine, ...]:
    if not isinstance(cond, Call) or cond.dtype != bool_:
        return ()
    if cond.fn == "not":
        return _constraints(cond.args[0], not truth)
    if (cond.fn, truth) in (("and", True), ("or", False)):
        return _constraints(cond.args[0], truth) + _constraints(cond.args[1], truth)
    if cond.fn not in _NEGATED or cond.args[0].dtype != int64:
        return ()
    gap = affine(cond.args[1]) - affine(cond.args[0])
    match cond.fn if truth else _NEGATED[cond.fn]:
        case "lt":
            return (gap.plus(-1),)
        case "le":
            return (gap,)
        case "gt":
            return (gap.scaled(-1).plus(-1),)
        case "ge":
            return (gap.scaled(-1),)
        case "eq":
            return (gap, gap.scaled(-1))
        case _:
            return ()


def _prove_both(cond: Call, facts: Facts) -> bool | None:
    sides = [facts.prove(a) for a in cond.args]
    decisive = cond.fn == "or"
    if decisive in sides:
        return decisive
    return None if None in sides else not decisive


def _prove_comparison(cond: Call, facts: Facts) -> bool | None:
    gap = affine(cond.args[1]) - affine(cond.args[0])
    most, least = facts.upper_sum(gap), -facts.upper_sum(gap.scaled(-1))
    always, never = {
        "lt": (least > 0, most <= 0),
        "le": (least >= 0, most < 0),
        "gt": (most < 0, least >= 0),
        "ge": (most <= 0, least > 0),
        "eq": (least == most == 0, least > 0 or most < 0),
        "ne": (least > 0 or most < 0, least == most == 0),
    }[cond.fn]
    return True if always else (False if never else None)


def _upper(sum_: Affine, facts: Facts) -> Bound:
    if not sum_.terms:
        return sum_.constant
    if facts.depth > _DEEPEST:
        return math.inf
    facts = replace(facts, depth=facts.depth + 1)
    term = _first_to_go(sum_, facts)
    rest, coefficient = sum_.without(term), sum_.terms[term]
    best = _by_conditions(term, coefficient, rest, facts)
    if isinstance(term, Var):
        return min(best, _upper_var(term, coefficient, rest, facts))
    if isinstance(term, Call):
        return min(best, _upper_call(term, coefficient, rest, facts))
    return best


def _first_to_go(sum_: Affine, facts: Facts) -> Expr:
    """The innermost term; but before a call, a variable whose extent that call limits."""
    order = list(facts.extents)
    term = max(sum_.terms, key=lambda t: _rank(t, order))
    if isinstance(term, Call):
        for other in sum_.terms:
            extent = facts.extents.get(other.name) if isinstance(other, Var) else None
            if extent is not None and any(e == term for e in walk_expr(extent)):
                return other
    return term


def _rank(term: Expr, order: list[str]) -> tuple[int, int]:
    if not isinstance(term, Var):
        return (1, sum(1 for _ in walk_expr(term)))
    if isinstance(term, Open):
        return (0, -2)
    return (0, order.index(term.name) if term.name in order else -1)


def _upper_var(var: Var, coefficient: int, rest: Affine, facts: Facts) -> Bound:
    if isinstance(var, Open):
        if coefficient > 0:  # what can be as large as it likes gets no memory for the largest
            return math.inf
        return _upper(rest.plus(coefficient * var.dim.min), facts)
    if var.name not in facts.extents:
        return math.inf
    if coefficient < 0:
        return _upper(rest, facts)
    limits = [affine(e).plus(-1).scaled(coefficient) for e in _sides(facts.extents[var.name])]
    return min(_upper(rest + limit, facts) for limit in limits)


def _by_conditions(term: Expr, coefficient: int, rest: Affine, facts: Facts) -> Bound:
    """What the conditions around say of a sum with this term."""
    best: Bound = math.inf
    for position, known in enumerate(facts.nonnegative):
        inside = known.terms.get(term, 0)
        if inside * coefficient < 0:
            fewer = facts._without(position)
            best = min(best, _upper_by(known.without(term), inside, coefficient, rest, fewer))
    return best


def _upper_by(known: Affine, inside: int, coefficient: int, rest: Affine, facts: Facts) -> Bound:
    """A bound of `coefficient * v + rest` from `inside * v + known >= 0`, the two of opposite
    signs.
    """
    factor, remainder = divmod(abs(coefficient), abs(inside))
    if remainder == 0:
        return _upper(rest + known.scaled(factor), facts)
    most = _upper(known, facts)
    if math.isinf(most):
        return math.inf
    limit = int(most) // abs(inside)
    return _upper(rest.plus(abs(coefficient) * limit), facts)


def _sides(extent: Expr) -> tuple[Expr, ...]:
    """Sums that each limit an extent that is known to be positive."""
    if isinstance(extent, Call) and extent.fn == "min":
        return tuple(s for a in extent.args for s in _sides(a))
    if isinstance(extent, Call) and extent.fn == "max" and Const(0) in extent.args:
        return _sides(extent.args[0] if extent.args[1] == Const(0) else extent.args[1])
    return (extent,)


def _upper_call(term: Call, coefficient: int, rest: Affine, facts: Facts) -> Bound:
    match term.fn:
        case "min" | "max":
            sides = [_upper(rest + affine(a).scaled(coefficient), facts) for a in term.args]
            return min(sides) if (term.fn == "min") == (coefficient > 0) else max(sides)
        case "select":
            return _upper_select(term, coefficient, rest, facts)
        case "mod":
            return _upper_mod(term, coefficient, rest, facts)
        case "floordiv":
            return _upper_floordiv(term, coefficient, rest, facts)
        case "mul":
            return _upper_product(term, coefficient, rest, facts)
        case "cast":
            return _upper_cast(term, coefficient, rest, facts)
        case _:
            return math.inf


def _upper_select(term: Call, coefficient: int, rest: Affine, facts: Facts) -> Bound:
    best: Bound = -math.inf
    for value, truth in ((term.args[1], True), (term.args[2], False)):
        inside = facts.assume(term.args[0], truth)
        if not inside.impossible:
            best = max(best, _upper(rest + affine(value).scaled(coefficient), inside))
    return best


def _upper_mod(term: Call, coefficient: int, rest: Affine, facts: Facts) -> Bound:
    value, divisor = term.args
    if not isinstance(divisor, Const) or int(divisor.value) <= 0:
        return math.inf
    if coefficient < 0:
        return _upper(rest, facts)
    best = _upper(rest.plus(coefficient * (int(divisor.value) - 1)), facts)
    if facts.lower(value) >= 0:
        best = min(best, _upper(rest + affine(value).scaled(coefficient), facts))
    return best


def _upper_floordiv(term: Call, coefficient: int, rest: Affine, facts: Facts) -> Bound:
    value, divisor = affine(term.args[0]), term.args[1]
    if not isinstance(divisor, Const) or int(divisor.value) <= 0:
        return math.inf
    by = int(divisor.value)
    sign = 1 if coefficient > 0 else -1
    most = sign * _upper(value.scaled(sign), facts)
    best: Bound = math.inf
    if not math.isinf(most):
        best = _upper(rest.plus(coefficient * (int(most) // by)), facts)
    if coefficient % by == 0:
        edge = value if sign > 0 else value.plus(1 - by)
        best = min(best, _upper(rest + edge.scaled(coefficient // by), facts))
    return best


def _upper_product(term: Call, coefficient: int, rest: Affine, facts: Facts) -> Bound:
    (a, b), (c, d) = ((facts.lower(x), facts.upper(x)) for x in term.args)
    if any(map(math.isinf, (a, b, c, d))):
        return math.inf
    corners = [coefficient * int(x) * int(y) for x in (a, b) for y in (c, d)]
    return _upper(rest.plus(max(corners)), facts)


def _upper_cast(term: Call, coefficient: int, rest: Affine, facts: Facts) -> Bound:
    """An integer of another width is within its dtype, a bool is 0 or 1."""
    dtype = term.args[0].dtype
    if dtype.is_float or dtype.bits > 32:
        return math.inf
    unsigned = dtype.kind != "int"
    bits = 1 if dtype == bool_ else dtype.bits
    low = 0 if unsigned else -(1 << (bits - 1))
    high = (1 << (bits if unsigned else bits - 1)) - 1
    return _upper(rest.plus(max(coefficient * low, coefficient * high)), facts)
