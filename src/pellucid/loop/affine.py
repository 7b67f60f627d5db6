"""Index expressions as sums: `12*io + ii - 1` is `{io: 12, ii: 1}` and the constant -1.

Enters: an int64 expression. Leaves: an `Affine`, in which anything that is not a sum or a multiple
(a load, `min`, `//`, `%`, a product of variables) is one opaque term. The normal form makes equal
sums equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pellucid.core.dtype import int64
from pellucid.loop.ir import Call, Const, Expr, iadd, ifloordiv, imod, imul, isub


@dataclass(frozen=True, slots=True)
class Affine:
    """`constant + sum of coefficient * term`; no coefficient is 0."""

    terms: Mapping[Expr, int] = field(default_factory=dict)
    constant: int = 0

    def __add__(self, other: Affine) -> Affine:
        terms = dict(self.terms)
        for term, coefficient in other.terms.items():
            terms[term] = terms.get(term, 0) + coefficient
        kept = {t: c for t, c in terms.items() if c}
        return Affine(kept, self.constant + other.constant)

    def __sub__(self, other: Affine) -> Affine:
        return self + other.scaled(-1)

    def scaled(self, factor: int) -> Affine:
        """Every coefficient times `factor`."""
        if factor == 0:
            return Affine()
        return Affine({t: c * factor for t, c in self.terms.items()}, self.constant * factor)

    def plus(self, constant: int) -> Affine:
        """The same terms, the constant moved."""
        return Affine(self.terms, self.constant + constant)

    def without(self, term: Expr) -> Affine:
        """The sum with one term left out."""
        return Affine({t: c for t, c in self.terms.items() if t != term}, self.constant)

    def divided(self, divisor: int) -> tuple[Affine, Affine]:
        """`(q, r)` with `self = divisor * q + r`; q has what divides evenly, `0 <= r.constant <
        divisor`.
        """
        even = {t: c // divisor for t, c in self.terms.items() if c % divisor == 0}
        odd = {t: c for t, c in self.terms.items() if c % divisor}
        quotient, remainder = divmod(self.constant, divisor)
        return Affine(even, quotient), Affine(odd, remainder)


def affine(expr: Expr) -> Affine:
    """An int64 expression as a sum."""
    if isinstance(expr, Const):
        return Affine({}, int(expr.value))
    if not isinstance(expr, Call) or expr.dtype != int64:
        return Affine({expr: 1})
    match expr.fn:
        case "add":
            return affine(expr.args[0]) + affine(expr.args[1])
        case "sub":
            return affine(expr.args[0]) - affine(expr.args[1])
        case "neg":
            return affine(expr.args[0]).scaled(-1)
        case "mul":
            return _product(expr)
        case "floordiv" | "mod":
            return _division(expr)
        case _:
            return Affine({expr: 1})


def _product(expr: Call) -> Affine:
    a, b = affine(expr.args[0]), affine(expr.args[1])
    if not a.terms:
        return b.scaled(a.constant)
    return Affine({expr: 1}) if b.terms else a.scaled(b.constant)


def _division(expr: Call) -> Affine:
    """`(c*q + r) // c = q + r // c` and `(c*q + r) % c = r % c`, with as much in q as divides
    evenly.
    """
    divisor = expr.args[1]
    if not isinstance(divisor, Const) or int(divisor.value) <= 0:
        return Affine({expr: 1})
    quotient, rest = affine(expr.args[0]).divided(int(divisor.value))
    inner = to_expr(rest)
    if expr.fn == "mod":
        left = imod(inner, divisor)
        return Affine({}, int(left.value)) if isinstance(left, Const) else Affine({left: 1})
    left = ifloordiv(inner, divisor)
    tail = Affine({}, int(left.value)) if isinstance(left, Const) else Affine({left: 1})
    return quotient + tail


def to_expr(sum_: Affine) -> Expr:
    """The sum as an expression: positive terms first, then the negative ones, then the constant."""
    result: Expr = Const(0)
    for term, coefficient in sorted(sum_.terms.items(), key=lambda item: item[1] < 0):
        if coefficient > 0:
            result = iadd(result, imul(term, coefficient))
        else:
            result = isub(result, imul(term, -coefficient))
    if sum_.constant < 0 and sum_.terms:
        return isub(result, -sum_.constant)
    return iadd(result, sum_.constant)
