"""Which outputs of a kernel may be written over which inputs.

Only the plain case counts: every load of the input is at the very index its element is replaced at,
before it is replaced. `y[i] = x[i] + b[i % 4]` may overwrite `x`, not `b`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pellucid.core.size import is_static
from pellucid.loop.compute import Index
from pellucid.loop.ir import Alloc, Buffer, Call, Expr, For, If, Kernel, Load, Prefetch, Stmt, Store


def inplace_params(kernel: Kernel, args: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """`(output position, input position)` pairs within the parameters that may share memory.

    Args:
        kernel: a nest without in-kernel aliasing.
        args: the slot of each parameter; a slot passed twice is never overwritten.
    """
    events = list(_events(kernel.body))
    first = len(kernel.params) - kernel.outputs
    pairs = []
    for o in range(first, len(kernel.params)):
        for i in range(first):
            if args.count(args[i]) == 1 and _fits(kernel.params[o], kernel.params[i], events):
                pairs.append((o, i))
    return tuple(pairs)


Event = tuple[str, Buffer, Index]


def _fits(output: Buffer, source: Buffer, events: Sequence[Event]) -> bool:
    if not is_static(output.shape):
        return False  # a tile at the end of an open size may do elements again
    if output.shape != source.shape or output.dtype.itemsize != source.dtype.itemsize:
        return False
    stores = [(n, e[2]) for n, e in enumerate(events) if e[0] == "store" and e[1] == output]
    if len(stores) != 1 or any(e[0] == "load" and e[1] == output for e in events):
        return False
    at, where = stores[0]
    loads = [(n, e[2]) for n, e in enumerate(events) if e[0] == "load" and e[1] == source]
    return all(n < at and idx == where for n, idx in loads)


def _events(stmts: Sequence[Stmt]) -> Iterator[Event]:
    """Loads and stores in textual order."""
    for stmt in stmts:
        match stmt:
            case Store():
                for expr in (*stmt.indices, stmt.value):
                    yield from _loads(expr)
                yield ("store", stmt.buffer, stmt.indices)
            case For():
                yield from _loads(stmt.extent)
                yield from _events(stmt.body)
            case If():
                yield from _loads(stmt.cond)
                yield from _events(stmt.then)
                yield from _events(stmt.orelse)
            case Alloc():
                yield from _events(stmt.body)
            case Prefetch():
                pass


def _loads(expr: Expr) -> Iterator[Event]:
    if isinstance(expr, Load):
        for index in expr.indices:
            yield from _loads(index)
        yield ("load", expr.buffer, expr.indices)
    elif isinstance(expr, Call):
        for arg in expr.args:
            yield from _loads(arg)
