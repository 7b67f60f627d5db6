"""The Cholesky factor as loops, for small matrices, as `elimination.py` for systems.

Column by column (Golub and Van Loan, Matrix Computations, 4.2.5). A pivot that is not positive is
noted.
"""

from __future__ import annotations

from pellucid.core.dtype import bool_, int32
from pellucid.loop.compute import Index, Loops
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    If,
    Load,
    Stmt,
    Store,
    Var,
    compare,
    select,
)
from pellucid.ops.nests import Nests
from pellucid.ops.shared import nest


def cholesky_loops() -> Loops:
    """The lowering for a stack of matrices. The outputs are the factors, and per matrix an int32
    that is 1 where a pivot was not positive, else 0.
    """

    def build(sources: tuple[Buffer, ...], results: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
        stack = sources[0].shape[:-2]
        return nest("s", stack, lambda at: _Factor(sources[0], results, at).statements())

    return Loops(build=build)


class _Factor:
    """One matrix of the stack: its factor `work`, and scalars in memory."""

    def __init__(self, a: Buffer, results: tuple[Buffer, ...], at: Index) -> None:
        self.a, self.results, self.at, self.n = a, results, at, a.shape[-1]
        self.work = Buffer("work", (self.n, self.n), a.dtype, "temp")
        self.number = Buffer("number", (1,), a.dtype, "local")
        self.wrong = Buffer("wrong", (1,), int32, "local")
        self.nests = Nests()

    def statements(self) -> tuple[Stmt, ...]:
        """All statements."""
        body = (
            Store(self.wrong, (Const(0),), Const(0, int32)),
            *self.nests.nest(self._column, j=self.n),
            *self.nests.nest(self._give, i=self.n, j=self.n),
            Store(self.results[1], self.at, Load(self.wrong, (Const(0),))),
        )
        for buffer in (self.wrong, self.number, self.work):
            body = (Alloc(buffer, body),)
        return body

    def _call(self, name: str, *args: Expr) -> Expr:
        return Call(name, args, self.a.dtype)

    def _keep(self, value: Expr) -> Stmt:
        return Store(self.number, (Const(0),), value)

    @property
    def _kept(self) -> Expr:
        return Load(self.number, (Const(0),))

    def _rest(self, i: Var, j: Var) -> tuple[Stmt, ...]:
        """Keep the element of the symmetric part less what the columns before `j` explain of it."""
        half = Const(0.5, self.a.dtype)
        pair = [self._call("mul", half, Load(self.a, (*self.at, *p))) for p in ((i, j), (j, i))]

        def take(k: Var) -> tuple[Stmt, ...]:
            product = self._call("mul", Load(self.work, (i, k)), Load(self.work, (j, k)))
            less = self._keep(self._call("sub", self._kept, product))
            return (If(compare("lt", k, j), (less,)),)

        return (self._keep(self._call("add", *pair)), *self.nests.nest(take, k=self.n))

    def _column(self, j: Var) -> tuple[Stmt, ...]:
        zero = Const(0.0, self.a.dtype)
        bad = Call("le", (self._kept, zero), bool_)
        known = Load(self.wrong, (Const(0),))
        note = Store(self.wrong, (Const(0),), select(bad, Const(1, int32), known))
        pivot = Store(self.work, (j, j), self._call("sqrt", self._kept))

        def below(i: Var) -> tuple[Stmt, ...]:
            value = self._call("div", self._kept, Load(self.work, (j, j)))
            done = (*self._rest(i, j), Store(self.work, (i, j), value))
            return (If(compare("gt", i, j), done),)

        return (*self._rest(j, j), note, pivot, *self.nests.nest(below, i=self.n))

    def _give(self, i: Var, j: Var) -> tuple[Stmt, ...]:
        place = (*self.at, i, j)
        inside = Store(self.results[0], place, Load(self.work, (i, j)))
        outside = Store(self.results[0], place, Const(0.0, self.a.dtype))
        return (If(compare("le", j, i), (inside,), (outside,)),)
