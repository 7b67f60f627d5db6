"""Buffers whose strides are known only when the program runs, as buffers of one axis.

`x[i, j]` of `x: f32[64, seq]` -> `x[i * seq + j]` of `x: f32[64*seq]`: what generates code then
needs no strides that are not numbers.
"""

from __future__ import annotations

from dataclasses import replace

from pellucid.core.size import is_static
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Const,
    Expr,
    Kernel,
    Load,
    Prefetch,
    Stmt,
    Store,
    as_expr,
    iadd,
    imul,
)
from pellucid.loop.rewrite import map_exprs, map_stmt, walk


def flatten_open(kernel: Kernel) -> Kernel:
    """The kernel with one axis for every buffer that has an open size behind its first axis."""
    if all(map(_is_plain, kernel.params)) and not _allocates(kernel):
        return kernel
    body = map_stmt(map_exprs(kernel.body, _expr), _stmt)
    return replace(kernel, params=tuple(map(_buffer, kernel.params)), body=body)


def _allocates(kernel: Kernel) -> bool:
    return any(isinstance(s, Alloc) and not _is_plain(s.buffer) for s in walk(kernel.body))


def _is_plain(buffer: Buffer) -> bool:
    return is_static(buffer.shape[1:])


def _buffer(buffer: Buffer) -> Buffer:
    return buffer if _is_plain(buffer) else replace(buffer, shape=(buffer.size,))


def _place(buffer: Buffer, indices: tuple[Expr, ...]) -> tuple[Expr, ...]:
    if _is_plain(buffer):
        return indices
    flat: Expr = Const(0)
    for index, size in zip(indices, buffer.shape, strict=True):
        flat = iadd(imul(flat, as_expr(size)), index)
    return (flat,)


def _expr(expr: Expr) -> Expr:
    if isinstance(expr, Load):
        return Load(_buffer(expr.buffer), _place(expr.buffer, expr.indices))
    return expr


def _stmt(stmt: Stmt) -> Stmt:
    match stmt:
        case Store():
            place = _place(stmt.buffer, stmt.indices)
            return Store(_buffer(stmt.buffer), place, stmt.value)
        case Prefetch():
            place = _place(stmt.buffer, stmt.indices)
            return Prefetch(_buffer(stmt.buffer), place, stmt.near)
        case Alloc():
            return Alloc(_buffer(stmt.buffer), stmt.body)
        case _:
            return stmt
