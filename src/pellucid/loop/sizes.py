"""Sizes in kernels that are known only when the program runs.

Enters: kernels and expressions. Leaves: the dimensions they hang on, the numbers that expressions
probably have, whether an expression is the same all through a kernel.
"""

from __future__ import annotations

from collections.abc import Iterator

from pellucid.core.size import Dim, as_size, dims_of, likely
from pellucid.loop.ir import INDEX_FOLDS, Alloc, Call, Const, Expr, Kernel, Open
from pellucid.loop.rewrite import all_expressions, walk, walk_expr


def kernel_dims(kernel: Kernel) -> tuple[Dim, ...]:
    """The dimensions of a kernel's loops, values and buffers, by name."""
    return dims_of(tuple(_dims(kernel)))


def _dims(kernel: Kernel) -> Iterator[Dim]:
    for buffer in kernel.params:
        yield from dims_of(buffer.shape)
    for stmt in walk(kernel.body):
        if isinstance(stmt, Alloc):
            yield from dims_of(stmt.buffer.shape)
    for expr in all_expressions(kernel.body):
        if isinstance(expr, Open):
            yield expr.dim


def is_fixed(expr: Expr) -> bool:
    """Whether an expression is the same all through a kernel: numbers and open sizes."""
    return all(isinstance(e, Const | Open | Call) for e in walk_expr(expr))


def likely_value(expr: Expr) -> int | None:
    """The number that a fixed expression probably is; None where it varies."""
    match expr:
        case Const():
            return int(expr.value)
        case Open():
            return likely(as_size(expr.dim))
        case Call() if expr.fn in INDEX_FOLDS:
            args = [likely_value(a) for a in expr.args]
            known = [a for a in args if a is not None]
            return INDEX_FOLDS[expr.fn](*known) if len(known) == len(args) else None
        case _:
            return None
