"""Which loops can be SIMD loops as they stand, and how wide; pure analysis of loop IR.

A `vector` loop that does not pass is written as a scalar loop, which has the same meaning.
"""

from __future__ import annotations

from collections.abc import Iterator

from pellucid.core.dtype import DType, bool_, int64
from pellucid.core.target import Target
from pellucid.loop.ir import Alloc, Call, Const, Expr, For, If, Load, Prefetch, Stmt, Store, Var

_REDUCIBLE = frozenset(("add", "mul", "max", "min", "and", "or", "xor"))
_PRIVATE_BYTES = 1024


def expressions(expr: Expr) -> Iterator[Expr]:
    """`expr` and everything inside it, load indices included."""
    yield expr
    if isinstance(expr, Call):
        for arg in expr.args:
            yield from expressions(arg)
    elif isinstance(expr, Load):
        for index in expr.indices:
            yield from expressions(index)


def statements(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """Every statement of `body`, nested ones included."""
    for stmt in body:
        yield stmt
        if isinstance(stmt, If):
            yield from statements(stmt.then)
            yield from statements(stmt.orelse)
        elif isinstance(stmt, For | Alloc):
            yield from statements(stmt.body)


def roots(stmt: Stmt) -> tuple[Expr, ...]:
    """The expressions a statement itself evaluates."""
    if isinstance(stmt, Store):
        return (*stmt.indices, stmt.value)
    if isinstance(stmt, For):
        return (stmt.extent,)
    if isinstance(stmt, Prefetch):
        return stmt.indices
    return (stmt.cond,) if isinstance(stmt, If) else ()


def stored_names(body: tuple[Stmt, ...]) -> frozenset[str]:
    """The buffers that `body` writes."""
    return frozenset(s.buffer.name for s in statements(body) if isinstance(s, Store))


def uses(expr: Expr, var: str, private: frozenset[str] = frozenset()) -> bool:
    """True when `expr` can differ between the lanes of `var`."""
    return any(
        (isinstance(e, Var) and e.name == var) or (isinstance(e, Load) and e.buffer.name in private)
        for e in expressions(expr)
    )


def reduction(store: Store) -> tuple[str, Expr] | None:
    """`(fn, rest)` of `b[i] = fn(b[i], rest)`, or None."""
    value = store.value
    if not isinstance(value, Call) or value.fn not in _REDUCIBLE or len(value.args) != 2:
        return None
    own = Load(store.buffer, store.indices)
    for position in (0, 1):
        rest = value.args[1 - position]
        if value.args[position] == own and not _loads(rest, store.buffer.name):
            return value.fn, rest
    return None


def _loads(expr: Expr, name: str) -> bool:
    return any(isinstance(e, Load) and e.buffer.name == name for e in expressions(expr))


def _load_count(body: tuple[Stmt, ...], name: str) -> int:
    return sum(
        isinstance(e, Load) and e.buffer.name == name
        for stmt in statements(body)
        for root in roots(stmt)
        for e in expressions(root)
    )


def _affine(expr: Expr, var: str) -> bool:
    """True when `expr` is built from `var` by sums and constant multiples only."""
    if not uses(expr, var):
        return True
    if isinstance(expr, Var):
        return True
    if not isinstance(expr, Call) or expr.fn not in ("add", "sub", "mul"):
        return False
    if expr.fn == "mul" and not any(isinstance(a, Const) for a in expr.args):
        return False
    return all(_affine(a, var) for a in expr.args)


class _Check:
    """Whether each statement of one vector loop can run for all lanes at once."""

    def __init__(self, loop: For) -> None:
        self.var, self.body = loop.var, loop.body
        allocs = [s.buffer for s in statements(loop.body) if isinstance(s, Alloc)]
        self.private = frozenset(b.name for b in allocs)
        self.small = sum(b.nbytes for b in allocs) <= _PRIVATE_BYTES

    def varies(self, expr: Expr) -> bool:
        return uses(expr, self.var, self.private)

    def passes(self) -> bool:
        return self.small and all(
            self._statement(stmt) and all(self._expression(root) for root in roots(stmt))
            for stmt in statements(self.body)
        )

    def _expression(self, root: Expr) -> bool:
        return not any(
            isinstance(e, Load)
            and e.buffer.name in self.private
            and any(self.varies(i) for i in e.indices)
            for e in expressions(root)
        )

    def _statement(self, stmt: Stmt) -> bool:
        if isinstance(stmt, For):
            return not self.varies(stmt.extent)
        return self._store(stmt) if isinstance(stmt, Store) else True

    def _store(self, store: Store) -> bool:
        name = store.buffer.name
        varying = any(self.varies(i) for i in store.indices)
        if name in self.private:
            return not varying
        if varying:
            return all(_affine(i, self.var) for i in store.indices) or not _load_count(
                self.body, name
            )
        if not self.varies(store.value):
            return not _loads(store.value, name)
        return reduction(store) is not None and _load_count(self.body, name) == 1


def can_vectorize(loop: For) -> bool:
    """True when all lanes of the loop can run at once with the meaning of one after the other.

    That lanes do not depend on each other through memory is the schedule's promise; checked here
    are the forms the code generator has no SIMD counterpart for: extents that differ by lane,
    private arrays indexed by lane, stores of different values to one element that are not a
    reduction.
    """
    return _Check(loop).passes()


def loop_lanes(loop: For, target: Target) -> int:
    """Lanes for a loop's SIMD code: one register of the widest type that its data is computed in.

    Index arithmetic does not count, int64 only where nothing but int64 and bool is computed.
    """
    seen: set[DType] = set()
    for stmt in statements(loop.body):
        values = (
            (stmt.value,)
            if isinstance(stmt, Store)
            else (stmt.cond,)
            if isinstance(stmt, If)
            else ()
        )
        for value in values:
            seen |= set(_data_dtypes(value))
        if isinstance(stmt, Store):
            seen.add(stmt.buffer.dtype)
    wide = {max(4, d.itemsize) if d.is_float else d.itemsize for d in seen - {bool_, int64}}
    size = max(wide) if wide else 8 if int64 in seen else 1
    return max(1, target.vector_bits // (8 * size))


def _data_dtypes(expr: Expr) -> Iterator[DType]:
    yield expr.dtype
    if isinstance(expr, Call):
        for arg in expr.args:
            yield from _data_dtypes(arg)
