"""Scattering whole rows: parts of the result, each of which takes the updates that fall into it.

```
parallel for part in 0..64:
  for r in 0..786: y[786*part + r, :] = x[786*part + r, :]
  for k in 0..32768:
    if idx[k] is one of the part's rows: y[idx[k], :] = y[idx[k], :] + updates[k, :]
```
Each element meets its updates in their order, so the result is the same for any number of threads.
A part stays in cache from its start to its last update, which is worth looking at every index once
for each part, as long as rows are many times longer than such a look.
"""

from __future__ import annotations

from pellucid.core.dtype import bool_, int64
from pellucid.core.shape import size_of
from pellucid.loop.compute import Index
from pellucid.loop.ir import (
    Buffer,
    Call,
    Const,
    Expr,
    For,
    If,
    Load,
    Stmt,
    Store,
    Var,
    compare,
    iadd,
    imax,
    imin,
    imul,
    isub,
)
from pellucid.ops.shared import cast_expr, nest

PART_BYTES = 1 << 19  # of the result, which stay in the second-level cache
FEWEST_PARTS = 8  # for threads to share
LOOK = 4  # elements of a row that take as long as looking at an index


def scatter_rows(buffers: tuple[Buffer, ...], axes: int, *, adding: bool) -> tuple[Stmt, ...]:
    """Statements that write `x` with the updates at `indices` along its first axis to `out`.

    Args:
        buffers: x `[n, *tail]`, indices `[*k]`, updates `[*k, *tail]`, and out like x.
        axes: the rank of k.
        adding: whether updates are added, or replace what is there.
    """
    x, indices, updates, out = buffers
    n, tail = out.shape[0], out.shape[1:]
    rows = -(-n // _parts(n, size_of(tail), out.nbytes))
    part = Var("part")
    first = imul(part, rows)
    last = imin(iadd(first, rows), n)

    def start(t: Index) -> tuple[Stmt, ...]:
        place = (iadd(first, Var("r")), *t)
        return (Store(out, place, Load(x, place)),)

    def update(k: Index) -> tuple[Stmt, ...]:
        at = cast_expr(Load(indices, k), int64)
        mine = Call("and", (compare("ge", at, first), compare("lt", at, last)), bool_)
        return (If(mine, nest("t", tail, lambda t: write(k, imin(imax(at, 0), n - 1), t))),)

    def write(k: Index, at: Expr, t: Index) -> tuple[Stmt, ...]:
        value: Expr = Load(updates, (*k, *t))
        if adding:
            value = Call("add", (Load(out, (at, *t)), value), out.dtype)
        return (Store(out, (at, *t), value),)

    body = (
        For("r", isub(last, first), nest("c", tail, start)),
        *nest("k", updates.shape[:axes], update),
    )
    return (For(part.name, Const(-(-n // rows)), body, "parallel"),)


def _parts(n: int, width: int, nbytes: int) -> int:
    """Parts of the result: small enough for the cache, but not more than looking pays for."""
    wanted = max(FEWEST_PARTS, -(-nbytes // PART_BYTES))
    return min(n, wanted, max(FEWEST_PARTS, width // LOOK))
