"""Gaussian elimination as loops, for small matrices, where a call of LAPACK is most of the time.

Rows are exchanged as in LAPACK's `getrf`, so that the pivot is the greatest of its column, but
one after the other: no index depends on the numbers. A pivot of 0 is noted, and not divided by
before the triangle is solved.
"""

from __future__ import annotations

from collections.abc import Callable

from pellucid.core.dtype import bool_, int32
from pellucid.core.size import is_static
from pellucid.graph.ir import TensorType
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
    iadd,
    isub,
    select,
)
from pellucid.ops.nests import Nests
from pellucid.ops.shared import nest

MOST = 32
"""The greatest number of rows that is eliminated here; measured: up to it, LAPACK takes longer."""

Right = Callable[[Index, Expr, Expr], Expr]
"""The right side: the element of a matrix of the stack at a row and a column."""


def is_small(a: TensorType) -> bool:
    """Whether elimination is done here for these matrices: few real rows, sizes known."""
    return a.dtype.is_float and is_static(*a.shape) and 0 < a.shape[-1] <= MOST and a.size > 0


def elimination(columns: int, right: Callable[[tuple[Buffer, ...]], Right]) -> Loops:
    """The lowering of `a @ x = b` for the stack `a`, the first source.

    Args:
        columns: of the right side.
        right: from the sources to the right side.

    The outputs are `x`, and per matrix an int32 that is 1 where a pivot was 0, else 0.
    """

    def build(sources: tuple[Buffer, ...], results: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
        stack = sources[0].shape[:-2]
        rows = right(sources)
        return nest("s", stack, lambda at: _System(sources[0], results, columns, rows, at).solve())

    return Loops(build=build)


def determinants(*, logarithm: bool) -> Loops:
    """The lowering of `det`, or with `logarithm` of `slogdet`, whose outputs are two."""

    def build(sources: tuple[Buffer, ...], results: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
        stack, kind = sources[0].shape[:-2], _Logarithm if logarithm else _Determinant
        return nest("s", stack, lambda at: kind(sources[0], results, 0, _nothing, at).solve())

    return Loops(build=build)


def _nothing(at: Index, i: Expr, c: Expr) -> Expr:
    return i


class _System:
    """One matrix of the stack beside its right side, `work`, and scalars in memory."""

    def __init__(
        self, a: Buffer, results: tuple[Buffer, ...], columns: int, right: Right, at: Index
    ) -> None:
        self.a, self.results, self.right, self.at = a, results, right, at
        self.n, self.columns = a.shape[-1], columns
        self.work = Buffer("work", (self.n, self.n + columns), a.dtype, "temp")
        self.number = Buffer("number", (1,), a.dtype, "local")
        self.wrong = Buffer("wrong", (1,), int32, "local")
        self.sign = Buffer("sign", (1,), a.dtype, "local")
        self.nests = Nests()

    def solve(self) -> tuple[Stmt, ...]:
        """All statements."""
        body = (
            Store(self.wrong, (Const(0),), Const(0, int32)),
            Store(self.sign, (Const(0),), Const(1.0, self.a.dtype)),
            *self.nests.nest(self._take_left, i=self.n, j=self.n),
            *self.nests.nest(self._take_right, i=self.n, c=self.columns),
            *self.nests.nest(self._column, k=self.n),
            *self.finish(),
        )
        for buffer in (self.sign, self.wrong, self.number, self.work):
            body = (Alloc(buffer, body),)
        return body

    def finish(self) -> tuple[Stmt, ...]:
        """From the upper triangle to the results."""
        return (
            *self.nests.nest(self._back, t=self.n),
            Store(self.results[1], self.at, Load(self.wrong, (Const(0),))),
        )

    def get(self, i: Expr, j: Expr) -> Expr:
        """An element of `work`."""
        return Load(self.work, (i, j))

    def set(self, i: Expr, j: Expr, value: Expr) -> Stmt:
        """Change an element of `work`."""
        return Store(self.work, (i, j), value)

    def keep(self, value: Expr) -> Stmt:
        """Remember a number."""
        return Store(self.number, (Const(0),), value)

    @property
    def kept(self) -> Expr:
        """The number remembered."""
        return Load(self.number, (Const(0),))

    def call(self, name: str, *args: Expr) -> Expr:
        """A function of numbers."""
        return Call(name, args, self.a.dtype)

    def _take_left(self, i: Var, j: Var) -> tuple[Stmt, ...]:
        return (self.set(i, j, Load(self.a, (*self.at, i, j))),)

    def _take_right(self, i: Var, c: Var) -> tuple[Stmt, ...]:
        return (self.set(i, iadd(c, self.n), self.right(self.at, i, c)),)

    def _column(self, k: Var) -> tuple[Stmt, ...]:
        """Bring the pivot of column `k` to its row, and the column below it to 0."""
        zero = Call("eq", (self.get(k, k), Const(0.0, self.a.dtype)), bool_)
        known = Load(self.wrong, (Const(0),))
        note = Store(self.wrong, (Const(0),), select(zero, Const(1, int32), known))
        below = self.nests.nest(
            lambda i: (If(compare("gt", i, k), self._exchange(i, k)),), i=self.n
        )
        clear = self.nests.nest(lambda i: (If(compare("gt", i, k), self._reduce(i, k)),), i=self.n)
        return (*below, note, *clear)

    def _exchange(self, i: Var, k: Var) -> tuple[Stmt, ...]:
        """Exchange rows `i` and `k` where the pivot in `i` is the greater."""
        sizes = [Call("abs", (self.get(row, k),), self.a.dtype) for row in (i, k)]
        swap = self.nests.nest(
            lambda j: (
                self.keep(self.get(k, j)),
                self.set(k, j, self.get(i, j)),
                self.set(i, j, self.kept),
            ),
            j=self.n + self.columns,
        )
        turned = Store(self.sign, (Const(0),), self.call("neg", Load(self.sign, (Const(0),))))
        return (If(Call("gt", tuple(sizes), bool_), (*swap, turned)),)

    def _reduce(self, i: Var, k: Var) -> tuple[Stmt, ...]:
        """Take from row `i` the multiple of row `k` that makes its element in column `k` 0."""
        moved = self.nests.nest(
            lambda j: (
                self.set(i, j, self.call("sub", self.get(i, j),
                                         self.call("mul", self.kept, self.get(k, j)))),
            ),
            j=self.n + self.columns,
        )  # fmt: skip
        below, zero = self.get(i, k), Const(0.0, self.a.dtype)
        share = self.call("div", below, self.get(k, k))
        # nothing is taken where it is 0 already: under a pivot of 0, the share would be NaN
        return (self.keep(select(Call("eq", (below, zero), bool_), zero, share)), *moved)

    def _back(self, t: Var) -> tuple[Stmt, ...]:
        """The solution in row `n - 1 - t`, from those below it."""
        i = isub(self.n - 1, t)

        def column(c: Var) -> tuple[Stmt, ...]:
            place = iadd(c, self.n)
            known = self.nests.nest(
                lambda j: (
                    If(
                        compare("gt", j, i),
                        (
                            self.keep(self.call("sub", self.kept, self.call(
                                "mul", self.get(i, j), self.get(j, place)))),
                        ),
                    ),
                ),
                j=self.n,
            )  # fmt: skip
            done = self.call("div", self.kept, self.get(i, i))
            return (
                self.keep(self.get(i, place)),
                *known,
                self.set(i, place, done),
                Store(self.results[0], (*self.at, i, c), self.get(i, place)),
            )

        return self.nests.nest(column, c=self.columns)


class _Determinant(_System):
    """The product of the pivots."""

    def finish(self) -> tuple[Stmt, ...]:
        """The product; negative after an odd number of exchanges."""
        factors = self.nests.nest(
            lambda k: (self.keep(self.call("mul", self.kept, self.get(k, k))),), k=self.n
        )
        sign = Load(self.sign, (Const(0),))
        return (self.keep(sign), *factors, Store(self.results[0], self.at, self.kept))


class _Logarithm(_System):
    """The sign of the product of the pivots, and the logarithm of its modulus."""

    def finish(self) -> tuple[Stmt, ...]:
        """The product of the signs, and the sum of the logarithms."""
        zero, sign = Const(0.0, self.a.dtype), Load(self.sign, (Const(0),))

        def take(k: Var) -> tuple[Stmt, ...]:
            pivot = self.get(k, k)
            size = self.call("log", self.call("abs", pivot))
            return (
                self.keep(self.call("add", self.kept, size)),
                Store(self.sign, (Const(0),), self.call("mul", sign, self.call("sign", pivot))),
            )

        return (
            self.keep(zero),
            *self.nests.nest(take, k=self.n),
            Store(self.results[0], self.at, sign),
            Store(self.results[1], self.at, self.kept),
        )
