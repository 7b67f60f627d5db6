"""Statements under construction: what one loop body computes once, and in which order.

A scope is a loop body being written. It remembers every value it has an expression for, and names
those that are read more than once in a one-element `local` buffer, so that expression trees stay
small and nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from pellucid.core.dtype import DType
from pellucid.graph.ir import Value
from pellucid.loop.compute import Index
from pellucid.loop.ir import Alloc, Buffer, Call, Expr, Load, Stmt, Store, Var

Key = tuple[Value, Index]


class Names:
    """Unique buffer and variable names of one kernel: `sum0`, `exp1`, …; none of `taken`."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        self._count: dict[str, int] = {}
        self._taken = frozenset(taken)

    def take(self, hint: str) -> str:
        """`hint` with the next number behind it."""
        while True:
            number = self._count.get(hint, 0)
            self._count[hint] = number + 1
            if f"{hint}{number}" not in self._taken:
                return f"{hint}{number}"


class Scope:
    """One loop body: its variables, what it knows, its statements so far."""

    def __init__(self, names: Names, variables: frozenset[str], parent: Scope | None) -> None:
        self.names, self.variables, self.parent = names, variables, parent
        self.known: dict[Key, Expr] = {}
        self._items: list[Buffer | Stmt] = []

    def find(self, key: Key) -> Expr | None:
        """The expression for a value at an index, from here or further out."""
        scope: Scope | None = self
        while scope is not None:
            if key in scope.known:
                return scope.known[key]
            scope = scope.parent
        return None

    def home(self, idx: Index) -> Scope:
        """The outermost scope that has every variable of an index."""
        used = frozenset(name for i in idx for name in variables_in(i))
        scope = self
        while scope.parent is not None and used <= scope.parent.variables:
            scope = scope.parent
        return scope

    def alloc(self, buffer: Buffer) -> None:
        """From here to the end of the body, `buffer` lives."""
        self._items.append(buffer)

    def add(self, *stmts: Stmt) -> None:
        """Append statements."""
        self._items.extend(stmts)

    def name(self, hint: str, value: Expr, dtype: DType) -> Load:
        """Keep `value` in a new one-element local; the load of it."""
        buffer = Buffer(self.names.take(hint), (), dtype, "local")
        self.alloc(buffer)
        self.add(Store(buffer, (), value))
        return Load(buffer, ())

    def close(self) -> tuple[Stmt, ...]:
        """The statements, each allocation around everything behind it."""
        body: tuple[Stmt, ...] = ()
        for item in reversed(self._items):
            body = (Alloc(item, body),) if isinstance(item, Buffer) else (item, *body)
        return body


def variables_in(expr: Expr) -> set[str]:
    """Names of the loop variables an expression reads."""
    if isinstance(expr, Var):
        return {expr.name}
    children: Sequence[Expr] = ()
    if isinstance(expr, Call):
        children = expr.args
    elif isinstance(expr, Load):
        children = expr.indices
    return {name for child in children for name in variables_in(child)}
