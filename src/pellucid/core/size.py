"""Sizes that are not known yet: named dimensions, and integer polynomials of them.

`Dim("batch")` is a name with bounds. A `Size` is a polynomial of dimensions with integer
coefficients, in which `a // b` and `a % b` count as unknowns where they do not divide evenly. It
goes wherever a shape has an int. The normal form makes equal polynomials equal, and a polynomial
that is constant is an int.

Questions about a size (`n < 3`, `n == 1`, `if n`) are answered for all values within the bounds
where that is possible. Else it depends on where they are asked. While a function is recorded
(`deciding`), the likely value decides, and the answer is a `Decision` that each call checks. In the
compiler (`estimating`), where only speed hangs on them, the likely value decides. Anywhere else
they are an error. Where the package itself asks whether two sizes are equal, equality means the
same polynomial: what it does for sizes that differ is right for ones that happen not to.
"""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, SupportsIndex, TypeAlias

from pellucid.core.errors import ShapeError
from pellucid.core.source import is_ours, user_line

MOST = 1 << 48  # an address has so many bits
LIKELY = 64  # what a dimension is taken for where nothing is known of it
Sizes = Mapping[str, int]
Relation = Literal["==", "!=", "<", "<=", ">", ">="]
_RELATIONS: dict[Relation, Callable[[int, int], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt,
    "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_OPPOSITE: dict[Relation, Relation] = {
    "==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">",
}  # fmt: skip


_TURNED: dict[Relation, Relation] = {
    "==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<=",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dim:
    """A named dimension: any size from `min` to `max`, both included.

    Attributes:
        name: an identifier; one name is one size within a program.
        min: the least size.
        max: the greatest size.
        likely: the size that the compiler's estimates are made for.
    """

    name: str
    min: int = 0
    max: int = MOST
    likely: int = field(default=LIKELY, compare=False)

    def __str__(self) -> str:
        return self.name

    @property
    def is_bounded(self) -> bool:
        """Whether bounds were given."""
        return (self.min, self.max) != (0, MOST)


@dataclass(frozen=True, slots=True, eq=False)
class Quotient:
    """`value // by` or `value % by` that cannot be divided evenly."""

    kind: Literal["//", "%"]
    value: int
    by: int

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quotient) or self.kind != other.kind:
            return False
        return _same(self.value, other.value) and _same(self.by, other.by)

    def __hash__(self) -> int:
        return hash((self.kind, self.value, self.by))

    def __str__(self) -> str:
        return f"{_factor(self.value)}{self.kind}{_factor(self.by)}"


Atom: TypeAlias = "Dim | Quotient"
Monomial: TypeAlias = tuple[Atom, ...]


def _same(a: int, b: int) -> bool:
    """Whether two sizes are the same polynomial, whoever asks."""
    if isinstance(a, Size) or isinstance(b, Size):
        return isinstance(a, Size) and isinstance(b, Size) and a.terms == b.terms
    return a == b


def _factor(value: int) -> str:
    text = str(value)
    return text if text.isidentifier() or text.isdigit() else f"({text})"


if TYPE_CHECKING:  # a size goes where an int goes, but counting or addressing with it is an error
    _Base = int
else:
    _Base = object


class Size(_Base):
    """A polynomial of dimensions, not constant. `terms`: products of unknowns, and how often."""

    __slots__ = ("_hash", "terms")
    __array_ufunc__ = None  # NumPy's numbers leave arithmetic to us
    terms: tuple[tuple[Monomial, int], ...]
    _hash: int

    # --- text ------------------------------------------------------------------------------------

    def __str__(self) -> str:
        # a product with a sign keeps its divisions in brackets: `-(n//2)` is not `-n//2`
        text = ""
        for monomial, count in self.terms:
            sign = ("-" if count < 0 else "") if not text else (" - " if count < 0 else " + ")
            factors = [str(abs(count))] if abs(count) != 1 or not monomial else []
            text += sign + "*".join(factors + [_atom(a, len(monomial) > 1 or count != 1)
                                               for a in monomial])  # fmt: skip
        return text

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    # --- arithmetic ------------------------------------------------------------------------------

    # beside a float a size is a number, with all that `__float__` says of that

    def __add__(self, other: int) -> int:
        b = _terms(other)
        return float(self) + other if b is None else _sum(dict(self.terms), b, 1)  # type: ignore[return-value]  # a float's sum

    __radd__ = __add__

    def __sub__(self, other: int) -> int:
        b = _terms(other)
        return float(self) - other if b is None else _sum(dict(self.terms), b, -1)  # type: ignore[return-value]  # a float's

    def __rsub__(self, other: int) -> int:
        b = _terms(other)
        return other - float(self) if b is None else _sum(b, dict(self.terms), -1)  # type: ignore[return-value]  # a float's

    def __neg__(self) -> int:
        return 0 - self

    def __pos__(self) -> int:
        return self

    def __abs__(self) -> int:
        return self if self >= 0 else -self

    def __mul__(self, other: int) -> int:
        b = _terms(other)
        if b is None:
            return float(self) * other  # type: ignore[return-value]  # a float's product
        made: dict[Monomial, int] = {}
        for m, c in self.terms:
            for n, d in b.items():
                key = tuple(sorted(m + n, key=str))
                made[key] = made.get(key, 0) + c * d
        return _size(made)

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> int:
        return _divided(self, other)[0]

    def __rfloordiv__(self, other: int) -> int:
        return _divided(other, self)[0]

    def __mod__(self, other: int) -> int:
        return _divided(self, other)[1]

    def __rmod__(self, other: int) -> int:
        return _divided(other, self)[1]

    def __truediv__(self, other: float) -> float:
        return float(self) / other

    def __rtruediv__(self, other: float) -> float:
        return other / float(self)

    def __divmod__(self, other: int) -> tuple[int, int]:
        return _divided(self, other)

    def __rdivmod__(self, other: int) -> tuple[int, int]:
        return _divided(other, self)

    # --- questions -------------------------------------------------------------------------------

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other or (isinstance(other, Size) and other.terms == self.terms):
            return True
        if not isinstance(other, (int, Size)) or isinstance(other, bool):
            return False
        return _ask_equal(self, other, sys._getframe(1).f_code.co_filename)

    def __ne__(self, other: object) -> bool:
        if not isinstance(other, (int, Size)) or isinstance(other, bool):
            return True
        return not _ask_equal(self, other, sys._getframe(1).f_code.co_filename)

    def __lt__(self, other: int) -> bool:
        return _ask(self, "<", other)

    def __le__(self, other: int) -> bool:
        return _ask(self, "<=", other)

    def __gt__(self, other: int) -> bool:
        return _ask(self, ">", other)

    def __ge__(self, other: int) -> bool:
        return _ask(self, ">=", other)

    def __bool__(self) -> bool:
        return not _ask_equal(self, 0, sys._getframe(1).f_code.co_filename)

    def __index__(self) -> int:
        """The number itself, where a recorded function wants it: good for this size only."""
        scope = _SCOPE.get()
        if scope is None or scope.decisions is None:
            _refuse(self, "a size that is not known yet was used as a number")
        value = likely(self)
        scope.add(Decision(self, "==", value, user_line()))
        return value

    __int__ = __index__

    def bit_length(self) -> int:
        """As of an int."""
        return self.__index__().bit_length()

    def __float__(self) -> float:
        scope = _SCOPE.get()
        if scope is not None and scope.decisions is None:
            return float(likely(self))
        return float(self.__index__())


def _make(terms: Mapping[Monomial, int]) -> Size:
    made = object.__new__(Size)
    made.terms = tuple(sorted(terms.items(), key=_order))
    made._hash = hash(made.terms)
    return made


def _order(item: tuple[Monomial, int]) -> Any:
    monomial, _ = item
    return (-len(monomial), [str(a) for a in monomial])


def _atom(atom: Atom, inside: bool) -> str:
    return f"({atom})" if isinstance(atom, Quotient) and inside else str(atom)


def _terms(value: object) -> dict[Monomial, int] | None:
    if isinstance(value, Size):
        return dict(value.terms)
    if isinstance(value, float) or not isinstance(value, SupportsIndex):
        return None
    return {(): operator.index(value)}


def _sum(a: dict[Monomial, int], b: Mapping[Monomial, int], sign: int) -> int:
    for monomial, count in b.items():
        a[monomial] = a.get(monomial, 0) + sign * count
    return _size(a)


def _size(terms: Mapping[Monomial, int]) -> int:
    kept = {m: c for m, c in terms.items() if c}
    if not kept or set(kept) == {()}:
        return kept.get((), 0)
    return _make(kept)


def _divided(value: int, by: int) -> tuple[int, int]:
    """Quotient and remainder: what divides evenly does, the rest becomes an unknown."""
    if not isinstance(by, Size):
        if by == 0:
            raise ZeroDivisionError("a size divided by 0")
        return _divided_by_number(value, by)
    whole = _exact(value, by)
    if whole is not None and by != 0:
        return whole, 0
    quotient = _make({(Quotient("//", value, by),): 1})
    return quotient, _make({(Quotient("%", value, by),): 1})


def _divided_by_number(value: int, by: int) -> tuple[int, int]:
    terms = _terms(value) or {}
    even = _size({m: c // by for m, c in terms.items()})
    rest = _size({m: c % by for m, c in terms.items()})
    if not isinstance(rest, Size):
        return even, rest  # `0 <= rest < by` for a positive divisor
    low, high = bounds(rest)
    if by > 0 and low >= 0 and high < by:
        return even, rest
    return even + _make({(Quotient("//", rest, by),): 1}), _make({(Quotient("%", rest, by),): 1})


def _exact(value: int, by: Size) -> int | None:
    """`value / by` where `by` is one product of unknowns that divides every term."""
    if len(by.terms) != 1:
        return 1 if isinstance(value, Size) and value.terms == by.terms else None
    ((divisor, factor),) = by.terms
    made: dict[Monomial, int] = {}
    for monomial, count in (_terms(value) or {}).items():
        left = list(monomial)
        for atom in divisor:
            if atom not in left:
                return None
            left.remove(atom)
        if count % factor:
            return None
        made[tuple(left)] = count // factor
    return _size(made)


# ------------------------------------------------------------------------------------------ values


def value_of(size: int, sizes: Sizes) -> int:
    """The number that a size is, for these sizes of its dimensions."""
    if not isinstance(size, Size):
        return size
    total = 0
    for monomial, count in size.terms:
        total += count * math.prod(_atom_value(atom, sizes) for atom in monomial)
    return total


def _atom_value(atom: Atom, sizes: Sizes) -> int:
    if isinstance(atom, Dim):
        return sizes[atom.name]
    value, by = value_of(atom.value, sizes), value_of(atom.by, sizes)
    return value // by if atom.kind == "//" else value % by


def likely(size: int) -> int:
    """The number that a size probably is."""
    if not isinstance(size, Size):
        return size
    scope = _SCOPE.get()
    if scope is None:
        return value_of(size, {d.name: d.likely for d in dims_of(size)})
    if scope.decisions is None:  # what is made once for all sizes is not made for one or two
        usual = {d.name: scope.usual or max(d.likely, LIKELY) for d in dims_of(size)}
        usual = {d.name: min(usual[d.name], d.max) for d in dims_of(size)}
        return value_of(size, usual)
    return value_of(size, {d.name: scope.sizes.get(d.name, d.likely) for d in dims_of(size)})


def dims_of(*sizes: object) -> tuple[Dim, ...]:
    """The dimensions of sizes, each once, in the order of their names; tuples are looked into."""
    found: dict[str, Dim] = {}
    for dim in _dims(sizes):
        found.setdefault(dim.name, dim)
    return tuple(found[name] for name in sorted(found))


def _dims(value: object) -> Iterator[Dim]:
    if isinstance(value, Dim):
        yield value
    elif isinstance(value, Size):
        for monomial, _ in value.terms:
            yield from _dims(monomial)
    elif isinstance(value, Quotient):
        yield from _dims((value.value, value.by))
    elif isinstance(value, tuple):
        for item in value:
            yield from _dims(item)


def is_static(*sizes: object) -> bool:
    """True where no size is left open; tuples are looked into."""
    return next(_dims(sizes), None) is None


def bound(value: Any, sizes: Sizes) -> Any:
    """A value with the sizes in it as numbers; tuples are looked into."""
    if isinstance(value, Size):
        return value_of(value, sizes)
    if type(value) is tuple:
        return tuple(bound(item, sizes) for item in value)
    return value


def bounds(size: int) -> tuple[int, int]:
    """The least and the greatest value, or numbers beyond them."""
    if not isinstance(size, Size):
        return size, size
    low, high = _interval(dict(size.terms))
    if any(isinstance(a, Quotient) and a.kind == "//" for m, _ in size.terms for a in m):
        low = max(low, math.ceil(_interval(_without_quotients(size, -1))[0]))
        high = min(high, math.floor(_interval(_without_quotients(size, 1))[1]))
    return low, high


def _interval(terms: Mapping[Monomial, Any]) -> tuple[Any, Any]:
    low = high = 0
    for monomial, count in terms.items():
        ends = (count, count)
        for atom in monomial:
            ends = _product(ends, _atom_bounds(atom))
        low, high = low + ends[0], high + ends[1]
    return low, high


def _without_quotients(size: Size, sign: int) -> dict[Monomial, Fraction]:
    """A size nowhere below (`sign` 1) or above it: `n // 3` is in `(n - 2) / 3..n / 3`."""
    made: dict[Monomial, Fraction] = {}
    for monomial, count in size.terms:
        parts: Mapping[Monomial, int] = {monomial: 1}
        share = Fraction(count)
        (atom, *others) = monomial or (None,)
        if isinstance(atom, Quotient) and not others and atom.kind == "//":
            if is_static(atom.by) and atom.by > 0:
                edge = atom.value if sign * count > 0 else atom.value + (1 - atom.by)
                parts, share = _terms(edge) or {}, Fraction(count, atom.by)
        for part, number in parts.items():
            made[part] = made.get(part, Fraction(0)) + share * number
    return {m: c for m, c in made.items() if c}


def _product(a: tuple[Any, Any], b: tuple[int, int]) -> tuple[Any, Any]:
    corners = [x * y for x in a for y in b]
    return min(corners), max(corners)


def _atom_bounds(atom: Atom) -> tuple[int, int]:
    if isinstance(atom, Dim):
        return atom.min, atom.max
    low, high = bounds(atom.value)
    least, most = bounds(atom.by)
    if least <= 0:  # a divisor of unknown sign
        reach = max(abs(low), abs(high), abs(least), abs(most))
        return -reach, reach
    if atom.kind == "%":
        return 0, most - 1
    return min(low // least, low // most), max(high // least, high // most)


# -------------------------------------------------------------------------------------- questions


@dataclass(frozen=True, slots=True)
class Decision:
    """Something that has to hold of the sizes: `seq % 2 == 0`."""

    left: int
    relation: Relation
    right: int
    source: str = field(default="", compare=False)

    def holds(self, sizes: Sizes) -> bool:
        """Whether it does for these sizes."""
        left, right = value_of(self.left, sizes), value_of(self.right, sizes)
        return _RELATIONS[self.relation](left, right)

    @property
    def key(self) -> str:
        """Equal for decisions of the same thing."""
        return f"{self.left - self.right} {self.relation}"

    def __str__(self) -> str:
        left, relation, right = _balanced(self)
        return f"{left} {relation} {right}" + (f" (at {self.source})" if self.source else "")


def _balanced(decision: Decision) -> tuple[int, str, int]:
    """`n - 3 < 0` as `n < 3`, and `-n <= -1` as `n >= 1`."""
    gap = decision.left - decision.right
    terms = dict(gap.terms) if isinstance(gap, Size) else {}
    constant = terms.pop((), 0)
    if terms and all(count < 0 for count in terms.values()):
        return constant - gap, _TURNED[decision.relation], constant
    return gap - constant, decision.relation, -constant


@dataclass(slots=True)
class Scope:
    """Where questions that bounds do not answer are decided by the likely value."""

    decisions: list[Decision] | None
    sizes: Sizes
    usual: int = 0

    def add(self, decision: Decision) -> None:
        """Write down what a recording hangs on, once."""
        if self.decisions is not None and decision.key not in {d.key for d in self.decisions}:
            self.decisions.append(decision)


_SCOPE: ContextVar[Scope | None] = ContextVar("pellucid_sizes", default=None)


@contextmanager
def deciding(sizes: Sizes = MappingProxyType({})) -> Iterator[list[Decision]]:
    """In this block these sizes decide, or else likely ones; what was decided is in the list."""
    made: list[Decision] = []
    token = _SCOPE.set(Scope(made, sizes))
    try:
        yield made
    finally:
        _SCOPE.reset(token)


@contextmanager
def estimating(usual: int = 0) -> Iterator[None]:
    """In this block likely values, or the `usual` one, decide what bears on speed only."""
    token = _SCOPE.set(Scope(None, MappingProxyType({}), usual))
    try:
        yield
    finally:
        _SCOPE.reset(token)


def _ask_equal(left: Size, right: int, file: str) -> bool:
    scope = _SCOPE.get()
    asks = scope is not None and scope.decisions is not None
    if asks and not is_ours(file):
        return _ask(left, "==", right)
    if asks and _is_divided(left - right) and likely(left) == likely(right):
        return _ask(left, "==", right)  # a rule that wants `n % 2 == 0` or `2 * (n // 2) == n`
    return prove(left, "==", right) is True


def _is_divided(size: int) -> bool:
    terms = size.terms if isinstance(size, Size) else ()
    return any(isinstance(atom, Quotient) for monomial, _ in terms for atom in monomial)


def _ask(left: Size, relation: Relation, right: int) -> bool:
    if _terms(right) is None:
        return bool(_RELATIONS[relation](float(left), right))  # type: ignore[arg-type]  # a float
    answer = prove(left, relation, right)
    if answer is not None:
        return answer
    scope = _SCOPE.get()
    if scope is None:
        _refuse(left, f"whether {left} {relation} {right} depends on the size")
    answer = _RELATIONS[relation](likely(left), likely(right))
    made: Relation = relation if answer else _OPPOSITE[relation]
    if made == "<":
        made, right = "<=", right - 1
    elif made == ">":
        made, right = ">=", right + 1
    scope.add(Decision(left, made, right, user_line()))
    return answer


def prove(left: int, relation: Relation, right: int) -> bool | None:
    """Whether it holds for all sizes within the bounds (True), for none (False), or for some."""
    low, high = bounds(left - right)
    if low == high:
        return _RELATIONS[relation](low, 0)
    if relation in ("==", "!="):
        return None if low <= 0 <= high else relation == "!="
    first, last = (_RELATIONS[relation](end, 0) for end in (low, high))
    return bool(first) if first == last else None


def may_equal(a: int, b: int) -> bool:
    """Whether two sizes are equal; in the compiler also where that was decided when recording."""
    scope = _SCOPE.get()
    in_compiler = scope is None or scope.decisions is None
    return a == b or (in_compiler and _is_divided(a - b) and prove(a, "==", b) is None)


def _refuse(size: Size, rule: str) -> NoReturn:
    fix = "give the dimension bounds (pellucid.dim(name, min=..., max=...)), or no name"
    in_compiler = _SCOPE.get() is not None
    raise ShapeError("size", rule, operands={"size": size}, fix="" if in_compiler else fix)


def as_size(dim: Dim) -> int:
    """A dimension as a size."""
    return _make({(dim,): 1})
