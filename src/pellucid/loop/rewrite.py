"""Walking and rebuilding loop programs: the few traversals every checker and schedule step is made
of.

Enters and leaves: `loop/ir.py` trees. Nothing here checks or decides. Rebuilt int64 arithmetic is
folded by `ir.index`, so that substituting constants leaves constants.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping

from pellucid.core.dtype import int64
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Load,
    Open,
    Prefetch,
    Stmt,
    Store,
    Var,
    index,
)

Block = tuple[Stmt, ...]
_INDEX_FUNCTIONS = frozenset(("add", "sub", "mul", "floordiv", "mod", "min", "max"))


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct subexpressions."""
    if isinstance(expr, Load):
        return expr.indices
    return expr.args if isinstance(expr, Call) else ()


def walk_expr(expr: Expr) -> Iterator[Expr]:
    """The expression and all its subexpressions, outermost first."""
    yield expr
    for child in children(expr):
        yield from walk_expr(child)


def walk(block: Block) -> Iterator[Stmt]:
    """Every statement, in program order, a statement before its body."""
    for stmt in block:
        yield stmt
        for body in bodies(stmt):
            yield from walk(body)


def bodies(stmt: Stmt) -> tuple[Block, ...]:
    """The blocks inside a statement."""
    match stmt:
        case Store() | Prefetch():
            return ()
        case If():
            return (stmt.then, stmt.orelse)
        case _:
            return (stmt.body,)


def expressions(stmt: Stmt) -> tuple[Expr, ...]:
    """The expressions a statement itself holds, those of its body left out."""
    match stmt:
        case Store():
            return (*stmt.indices, stmt.value)
        case Prefetch():
            return stmt.indices
        case For():
            return (stmt.extent,)
        case If():
            return (stmt.cond,)
        case _:
            return ()


def all_expressions(block: Block) -> Iterator[Expr]:
    """Every expression and subexpression of a block."""
    for stmt in walk(block):
        for expr in expressions(stmt):
            yield from walk_expr(expr)


def loads(block: Block) -> Iterator[Load]:
    """Every load in a block."""
    return (e for e in all_expressions(block) if isinstance(e, Load))


def stores(block: Block) -> Iterator[Store]:
    """Every store in a block."""
    return (s for s in walk(block) if isinstance(s, Store))


def loops(block: Block, var: str | None = None) -> Iterator[For]:
    """Every loop in a block, or those over one variable."""
    return (s for s in walk(block) if isinstance(s, For) and var in (None, s.var))


def allocated(block: Block) -> set[Buffer]:
    """The buffers allocated inside a block."""
    return {s.buffer for s in walk(block) if isinstance(s, Alloc)}


def free_vars(expr: Expr) -> set[str]:
    """The loop variables an expression mentions; open sizes are none."""
    return {e.name for e in walk_expr(expr) if isinstance(e, Var) and not isinstance(e, Open)}


def index_vars(access: Load | Store) -> set[str]:
    """The variables of an access's index."""
    return {v for i in access.indices for v in free_vars(i)}


def block_vars(block: Block) -> set[str]:
    """The loop variables a block mentions or binds."""
    every = all_expressions(block)
    used = {e.name for e in every if isinstance(e, Var) and not isinstance(e, Open)}
    return used | {loop.var for loop in loops(block)}


def kernel_names(kernel: Kernel) -> set[str]:
    """Every name in use: parameters, buffers, loop variables."""
    buffers = {b.name for b in kernel.params} | {b.name for b in allocated(kernel.body)}
    return buffers | block_vars(kernel.body)


def fresh(hint: str, taken: Collection[str]) -> str:
    """`hint`, or `hint_1`, `hint_2`, … where it is taken."""
    if hint not in taken:
        return hint
    return next(n for i in itertools.count(1) if (n := f"{hint}_{i}") not in taken)


def rebuild(expr: Expr, args: tuple[Expr, ...]) -> Expr:
    """The same kind of expression over other subexpressions; index arithmetic is folded."""
    if args == children(expr):
        return expr
    match expr:
        case Load():
            return Load(expr.buffer, args)
        case Call():
            if expr.dtype == int64 and expr.fn in _INDEX_FUNCTIONS:
                return index(expr.fn, *args)
            return Call(expr.fn, args, expr.dtype)
        case _:
            return expr


def map_expr(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Apply `change` to every subexpression, innermost first."""
    return change(rebuild(expr, tuple(map_expr(a, change) for a in children(expr))))


def map_own(stmt: Stmt, change: Callable[[Expr], Expr]) -> Stmt:
    """A statement with its own expressions changed as wholes, its body untouched."""
    match stmt:
        case Store():
            indices = tuple(change(i) for i in stmt.indices)
            return Store(stmt.buffer, indices, change(stmt.value))
        case For():
            return For(stmt.var, change(stmt.extent), stmt.body, stmt.kind)
        case If():
            return If(change(stmt.cond), stmt.then, stmt.orelse)
        case Prefetch():
            return Prefetch(stmt.buffer, tuple(change(i) for i in stmt.indices), stmt.near)
        case Alloc():
            return stmt


def map_bodies(stmt: Stmt, change: Callable[[Block], Block]) -> Stmt:
    """A statement with its blocks changed."""
    match stmt:
        case Store() | Prefetch():
            return stmt
        case For():
            return For(stmt.var, stmt.extent, change(stmt.body), stmt.kind)
        case If():
            return If(stmt.cond, change(stmt.then), change(stmt.orelse))
        case Alloc():
            return Alloc(stmt.buffer, change(stmt.body))


def map_stmt(block: Block, change: Callable[[Stmt], Stmt | Block]) -> Block:
    """Apply `change` to every statement, innermost first; a block returned in place of one is
    spliced in.
    """
    result: list[Stmt] = []
    for stmt in block:
        changed = change(map_bodies(stmt, lambda body: map_stmt(body, change)))
        result.extend(changed if isinstance(changed, tuple) else (changed,))
    return tuple(result)


def map_exprs(block: Block, change: Callable[[Expr], Expr]) -> Block:
    """Apply `change` to every subexpression of a block, innermost first."""
    return map_stmt(block, lambda s: map_own(s, lambda e: map_expr(e, change)))


def substitute_expr(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """The expression with variables replaced."""
    return map_expr(expr, lambda e: values.get(e.name, e) if isinstance(e, Var) else e)


def substitute(block: Block, values: Mapping[str, Expr]) -> Block:
    """The block with variables replaced; loops that bind one of them hide it."""
    result: list[Stmt] = []
    for stmt in block:
        own = map_own(stmt, lambda e: substitute_expr(e, values))
        inner = dict(values)
        if isinstance(stmt, For):
            inner.pop(stmt.var, None)
        result.append(map_bodies(own, lambda body, seen=inner: substitute(body, seen)))  # type: ignore[misc]  # bound per loop
    return tuple(result)


def replace_buffer(block: Block, old: Buffer, new: Buffer, prefix: tuple[Expr, ...] = ()) -> Block:
    """Accesses to `old` made accesses to `new`, with `prefix` put before their indices."""

    def on_expr(expr: Expr) -> Expr:
        if isinstance(expr, Load) and expr.buffer == old:
            return Load(new, prefix + expr.indices)
        return expr

    def on_stmt(stmt: Stmt) -> Stmt:
        if isinstance(stmt, Store) and stmt.buffer == old:
            return Store(new, prefix + stmt.indices, stmt.value)
        if isinstance(stmt, Prefetch) and stmt.buffer == old:
            return Prefetch(new, prefix + stmt.indices, stmt.near)
        return Alloc(new, stmt.body) if isinstance(stmt, Alloc) and stmt.buffer == old else stmt

    return map_stmt(map_exprs(block, on_expr), on_stmt)


def rename_loop(loop: For, var: str) -> For:
    """The same loop over another variable."""
    return For(var, loop.extent, substitute(loop.body, {loop.var: Var(var)}), loop.kind)


def with_body(kernel: Kernel, body: Block) -> Kernel:
    """The kernel with another body."""
    return Kernel(kernel.name, kernel.params, kernel.outputs, body)


def constant(expr: Expr) -> int | None:
    """The value of an integer literal, else None."""
    return int(expr.value) if isinstance(expr, Const) else None
