"""What Winograd's nests are written with: named loops, and products with small known matrices.

Enters: expressions for the elements of a vector. Leaves: statements that store the elements of a
matrix times it. Nothing is multiplied by 1 or 0, and what two elements share is computed once:
points come in pairs of a number and its negative, whose sums differ in signs only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from pellucid.core.dtype import DType
from pellucid.loop.ir import Alloc, Buffer, Call, Expr, Load, Store, const
from pellucid.ops.nests import Body, Nests
from pellucid.ops.winograd_matrices import Matrix

Sum = list[tuple[Fraction, Expr]]


class WinogradNests(Nests):
    """Names the loops and small arrays of one kernel, and multiplies by matrices."""

    def __init__(self, dtype: DType) -> None:
        super().__init__()
        self.dtype = dtype

    def tile(self, hint: str, *shape: int) -> Buffer:
        """A small array beside the registers."""
        return Buffer(self.name(hint), shape, self.dtype, "local")

    def combine(
        self,
        matrix: Matrix,
        read: Sequence[Expr],
        places: Sequence[tuple[Buffer, tuple[Expr, ...]]],
    ) -> Body:
        """`places = matrix @ read`, with what points and their negatives share computed once."""
        shared: list[tuple[Buffer, Expr]] = []

        def name(value: Expr) -> Expr:
            if not isinstance(value, Call):
                return value
            shared.append((self.tile("part"), value))
            return Load(shared[-1][0], ())

        sums = [[(c, e) for c, e in zip(row, read, strict=True) if c] for row in matrix]
        sums = _paired_columns(sums, name)
        made = _paired_rows(sums, name)
        body: Body = tuple(
            Store(buffer, idx, value) for (buffer, idx), value in zip(places, made, strict=True)
        )
        for buffer, value in reversed(shared):
            body = (Alloc(buffer, (Store(buffer, (), value), *body)),)
        return body


def _paired_columns(sums: list[Sum], name: Callable[[Expr], Expr]) -> list[Sum]:
    """Terms `c a + c b` and `c a - c b` of several sums in terms of `a + b` and `a - b`."""
    columns = [dict((e, c) for c, e in row) for row in sums]
    terms = list(dict.fromkeys(e for row in columns for e in row))
    for a in terms:
        for b in terms[terms.index(a) + 1 :]:
            pairs = [(row.get(a), row.get(b)) for row in columns]
            used = [(x, y) for x, y in pairs if x or y]
            signs = {x == y for x, y in used if x and y and abs(x) == abs(y)}
            if len(signs) < 2 or not all(x and y and abs(x) == abs(y) for x, y in used):
                continue
            plus, minus = name(_call("add", a, b)), name(_call("sub", a, b))
            for row in columns:
                x, y = row.pop(a, None), row.pop(b, None)
                if x:
                    row[plus if x == y else minus] = x
    return [[(c, e) for e, c in row.items()] for row in columns]


def _paired_rows(sums: list[Sum], name: Callable[[Expr], Expr]) -> list[Expr]:
    """The sums, of which pairs that differ in the signs of some terms share both parts."""
    made: dict[int, Expr] = {}
    for i, first in enumerate(sums):
        for k in range(i + 1, len(sums)):
            second = {e: c for c, e in sums[k]}
            fits = len(first) == len(second) > 2 and all(
                abs(second.get(e, 0)) == abs(c) for c, e in first
            )
            if i in made or k in made or not fits:
                continue
            even = [(c, e) for c, e in first if second[e] == c]
            odd = [(c, e) for c, e in first if second[e] == -c]
            if even and odd:
                scale = odd[0][0]
                part = name(_total([(c / scale, e) for c, e in odd]))
                rest = name(_total(even))
                made[i], made[k] = _plus(rest, scale, part), _plus(rest, -scale, part)
    return [made.get(i) or _total(row) for i, row in enumerate(sums)]


def _total(terms: Sum) -> Expr:
    """A sum, beginning with a term that needs no product."""
    ordered = sorted(terms, key=lambda t: t[0] != 1)
    (factor, start), *rest = ordered
    total = start if factor == 1 else _call("mul", const(float(factor), start.dtype), start)
    for c, e in rest:
        total = _plus(total, c, e)
    return total


def _plus(total: Expr, factor: Fraction, term: Expr) -> Expr:
    if abs(factor) == 1:
        return _call("add" if factor > 0 else "sub", total, term)
    return Call("fma", (const(float(factor), term.dtype), term, total), term.dtype)


def _call(fn: str, a: Expr, b: Expr) -> Expr:
    return Call(fn, (a, b), b.dtype)
