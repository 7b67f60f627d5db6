"""Named loops and small arrays: what lowerings that write whole nests are written with.

Enters: hints for names, bodies as functions of variables. Leaves: statements. A name stands once in
a kernel: the hint, and a number.
"""

from __future__ import annotations

from collections.abc import Callable

from pellucid.loop.ir import Expr, For, Stmt, Var, as_expr

Body = tuple[Stmt, ...]


class Nests:
    """Names the loops and arrays of one kernel."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}

    def nest(self, body: Callable[..., Body], **extents: Expr | int) -> Body:
        """`body` of new variables in one loop per extent, the first outermost."""
        variables = [Var(self.name(hint)) for hint in extents]
        made = body(*variables)
        for variable, extent in zip(reversed(variables), reversed(extents.values()), strict=True):
            made = (For(variable.name, as_expr(extent), made),)
        return made

    def name(self, hint: str) -> str:
        """A name that no other loop or array of the kernel has."""
        number = self._count.get(hint, 0)
        self._count[hint] = number + 1
        return f"{hint}{number}"
