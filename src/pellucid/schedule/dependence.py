"""Which iterations of a loop nest touch the same element: the one legality test of all schedule
steps.

Two accesses of a buffer, at least one a store, conflict where their indices are equal. For each
loop the test asks: can they be equal in two *different* iterations of that loop? It writes both
index tuples down, the second with its loop variables primed, and looks for an axis whose difference
is `c*v - c*v' + rest` with `|rest| < |c|`: then equal indices mean `v = v'`. What is proved equal
is used for the next axis and variable. `v // n` and `v % n` together stand for `v`, so fused loops
pass. Buffers allocated inside an iteration are private to it. A store `x = fn(x, term)` with a
commutative `fn` is an update: updates by one `fn` may change places, which for floats moves the
last bits.

Sound and incomplete, in the manner of the Banerjee test (Banerjee, 1988): "no" means "not proved".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pellucid.loop.affine import Affine, affine
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    For,
    If,
    Load,
    Prefetch,
    Stmt,
    Store,
    Var,
)
from pellucid.loop.rewrite import Block, expressions, free_vars, substitute_expr, walk_expr

COMMUTATIVE = frozenset(("add", "mul", "max", "min", "and", "or", "xor"))


@dataclass(frozen=True, slots=True)
class Access:
    """One load or store of a buffer and the loops around it, counted from where the test starts."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    store: bool
    update: str
    loops: tuple[tuple[str, Expr], ...]


def update_of(store: Store) -> tuple[str, Expr] | None:
    """`(fn, term)` where the store is `x = fn(x, term)`, fn is commutative and term does not read
    x's buffer.

    `fma(a, b, x)` is an `add` of `a * b`, `x - term` an `add` of `-term`.
    """
    value, own = store.value, Load(store.buffer, store.indices)
    if not isinstance(value, Call):
        return None
    fn, args = value.fn, value.args
    if fn == "fma":
        fn, args = "add", (args[2], Call("mul", args[:2], value.dtype))
    if fn == "sub" and args[0] == own:
        fn, args = "add", (own, Call("neg", args[1:], value.dtype))
    if fn not in COMMUTATIVE or own not in args:
        return None
    term = args[1] if args[0] == own else args[0]
    reads = any(isinstance(e, Load) and e.buffer == store.buffer for e in walk_expr(term))
    return None if reads else (fn, term)


def accesses(block: Block) -> list[Access]:
    """The accesses in a block to buffers from outside it."""
    return _collect(block, (), frozenset())


def _collect(
    block: Block, around: tuple[tuple[str, Expr], ...], private: frozenset[Buffer]
) -> list[Access]:
    found: list[Access] = []
    for stmt in block:
        found += _own(stmt, around, private)
        match stmt:
            case For():
                found += _collect(stmt.body, (*around, (stmt.var, stmt.extent)), private)
            case If():
                found += _collect(stmt.then + stmt.orelse, around, private)
            case Alloc():
                found += _collect(stmt.body, around, private | {stmt.buffer})
            case Store() | Prefetch():
                pass
    return found


def _own(
    stmt: Stmt, around: tuple[tuple[str, Expr], ...], private: frozenset[Buffer]
) -> list[Access]:
    update = update_of(stmt) if isinstance(stmt, Store) else None
    fn = update[0] if update else ""
    found = []
    for expr in expressions(stmt):
        for load in (e for e in walk_expr(expr) if isinstance(e, Load)):
            own = isinstance(stmt, Store) and load == Load(stmt.buffer, stmt.indices)
            found.append(Access(load.buffer, load.indices, False, fn if own else "", around))
    if isinstance(stmt, Store):
        found.append(Access(stmt.buffer, stmt.indices, True, fn, around))
    return [a for a in found if a.buffer not in private]


def conflicts(first: Iterable[Access], second: Iterable[Access]) -> Iterable[tuple[Access, Access]]:
    """The pairs that touch one buffer, at least one of them storing."""
    others = list(second)
    for a in first:
        for b in others:
            if a.buffer == b.buffer and (a.store or b.store):
                yield a, b


def independent(loop: For, facts: Facts) -> Access | None:
    """None if no two iterations of the loop conflict, else an access that may."""
    found = accesses(loop.body)
    for a, b in conflicts(found, found):
        if loop.var not in same_iteration(a, b, (loop,), facts, _stored(found)):
            return a if a.store else b
    return None


def separated(first: Block, second: Block, loop: For, facts: Facts) -> Access | None:
    """None if `first` in one iteration never conflicts with `second` in another, else an access
    that may.
    """
    left, right = accesses(first), accesses(second)
    for a, b in conflicts(left, right):
        if loop.var not in same_iteration(a, b, (loop,), facts, _stored(left + right)):
            return a if a.store else b
    return None


def reorderable(nest: Sequence[For], order: Sequence[str], facts: Facts) -> Access | None:
    """None if the iterations of a perfect nest may run in another loop order, else an access that
    forbids it.
    """
    found = accesses(nest[-1].body)
    for a, b in conflicts(found, found):
        proved = same_iteration(a, b, nest, facts, _stored(found))
        open_vars = [loop.var for loop in nest if loop.var not in proved]
        kept = [v for v in order if v in open_vars] == open_vars
        if not kept and not (a.update and a.update == b.update):
            return a if a.store else b
    return None


def _stored(found: Iterable[Access]) -> frozenset[Buffer]:
    return frozenset(a.buffer for a in found if a.store)


def same_iteration(
    a: Access, b: Access, nest: Sequence[For], facts: Facts, stored: frozenset[Buffer]
) -> set[str]:
    """The loops of a nest (outermost first) in whose same iteration `a` and `b` must be to
    conflict.
    """
    variables = {loop.var for loop in nest}
    if any(isinstance(e, Load) and e.buffer in stored
           for i in a.indices + b.indices for e in walk_expr(i)):  # fmt: skip
        return set()
    outer = [(loop.var, loop.extent) for loop in nest]
    extents: dict[str, Expr] = {**dict(outer), **dict(a.loops)}
    primed: dict[str, Expr] = {v: Var(v + "'") for v in (*variables, *dict(b.loops))}
    other = {v + "'": substitute_expr(e, primed) for v, e in (*outer, *b.loops)}
    both = replace(facts, extents={**facts.extents, **extents, **other})
    gaps = [
        affine(i) - affine(substitute_expr(j, primed))
        for i, j in zip(a.indices, b.indices, strict=True)
    ]
    equal = _solve(gaps, primed, both)
    return variables if equal is None else {v for v in variables if Var(v) in equal}


def _solve(gaps: list[Affine], primed: dict[str, Expr], facts: Facts) -> set[Expr] | None:
    """The terms that must be equal on both sides where all gaps are 0; None if they cannot all be
    0.
    """
    equal: set[Expr] = set()
    grown = True
    while grown:
        grown = False
        for gap in (_cancel(g, equal, primed) for g in gaps):
            if facts.upper_sum(gap) < 0 or facts.upper_sum(gap.scaled(-1)) < 0:
                return None
            for term in _candidates(gap, primed):
                if term not in equal and _forces(gap, term, primed, facts):
                    equal |= {term}
                    grown = True
        equal = _close(equal)
    return equal


def _cancel(gap: Affine, equal: set[Expr], primed: dict[str, Expr]) -> Affine:
    for term in equal:
        twin = substitute_expr(term, primed)
        both = gap.terms.get(term, 0) + gap.terms.get(twin, 0)
        if term in gap.terms or twin in gap.terms:
            gap = gap.without(term).without(twin) + Affine({term: both} if both else {})
    return gap


def _candidates(gap: Affine, primed: dict[str, Expr]) -> list[Expr]:
    """Terms of loops' variables that stand on both sides with opposite coefficients, largest
    first.
    """
    found = [
        t for t, c in gap.terms.items()
        if free_vars(t) & set(primed) and gap.terms.get(substitute_expr(t, primed)) == -c
    ]  # fmt: skip
    return sorted(found, key=lambda t: -abs(gap.terms[t]))


def _forces(gap: Affine, term: Expr, primed: dict[str, Expr], facts: Facts) -> bool:
    coefficient = abs(gap.terms[term])
    rest = gap.without(term).without(substitute_expr(term, primed))
    return facts.upper_sum(rest) < coefficient and facts.upper_sum(rest.scaled(-1)) < coefficient


def _close(equal: set[Expr]) -> set[Expr]:
    """`e // n` and `e % n` equal on both sides make `e` equal."""
    result = set(equal)
    for term in equal:
        if isinstance(term, Call) and term.fn == "floordiv" and isinstance(term.args[1], Const):
            if Call("mod", term.args, term.dtype) in equal:
                result.add(term.args[0])
    return result if result == equal else _close(result)
