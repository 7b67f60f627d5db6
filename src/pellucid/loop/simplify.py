"""Make a kernel smaller without changing what it computes.

Enters and leaves: a kernel. Folds constants; drops `min`, `max`, `//`, `%`, `select` and `if` whose
outcome the loops and conditions around them decide; removes loops of one or no iteration and blocks
that do nothing. Float arithmetic is left alone except where every operand is a literal.
"""

from __future__ import annotations

import math

import numpy as np

from pellucid.core.dtype import bool_, int64
from pellucid.loop.affine import Affine, affine, to_expr
from pellucid.loop.bounds import Facts
from pellucid.loop.functions import evaluate
from pellucid.loop.ir import (
    Alloc,
    Call,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Load,
    Prefetch,
    Stmt,
    Store,
    Var,
    const,
    imul,
    isub,
)
from pellucid.loop.rewrite import Block, constant, map_own, rebuild, substitute, with_body


def simplify(kernel: Kernel) -> Kernel:
    """The kernel with everything decided that can be."""
    return with_body(kernel, simplify_block(kernel.body, Facts()))


def simplify_block(block: Block, facts: Facts) -> Block:
    """Statements simplified under what is known around them."""
    return tuple(s for stmt in block for s in _statement(stmt, facts))


def _statement(stmt: Stmt, facts: Facts) -> Block:
    stmt = map_own(stmt, lambda e: simplify_expr(e, facts))
    match stmt:
        case Store() | Prefetch():
            return (stmt,)
        case Alloc():
            body = simplify_block(stmt.body, facts)
            return (Alloc(stmt.buffer, body),) if body else ()
        case If():
            return _if(stmt, facts)
        case For():
            return _for(stmt, facts)


def _if(stmt: If, facts: Facts) -> Block:
    if isinstance(stmt.cond, Const):
        return simplify_block(stmt.then if stmt.cond.value else stmt.orelse, facts)
    then = simplify_block(stmt.then, facts.assume(stmt.cond))
    orelse = simplify_block(stmt.orelse, facts.assume(stmt.cond, truth=False))
    return (If(stmt.cond, then, orelse),) if then or orelse else ()


def _for(loop: For, facts: Facts) -> Block:
    if facts.upper(loop.extent) <= 0:
        return ()
    if constant(loop.extent) == 1:
        return simplify_block(substitute(loop.body, {loop.var: Const(0)}), facts)
    body = simplify_block(loop.body, facts.enter(loop))
    return (For(loop.var, loop.extent, body, loop.kind),) if body else ()


def simplify_expr(expr: Expr, facts: Facts) -> Expr:
    """One expression simplified under what is known around it."""
    match expr:
        case Const():
            return expr
        case Var():
            return _variable(expr, facts)
        case Load():
            return rebuild(expr, tuple(simplify_expr(i, facts) for i in expr.indices))
        case Call():
            return _call(expr, facts)


def _variable(var: Var, facts: Facts) -> Expr:
    """A variable that conditions pin to one value is that value."""
    if not any(var in g.terms for g in facts.nonnegative):
        return var
    low, high = facts.lower(var), facts.upper(var)
    return Const(int(low)) if low == high and not math.isinf(low) else var


def _call(expr: Call, facts: Facts) -> Expr:
    if expr.fn == "select":
        decided = facts.prove(expr.args[0])
        if decided is not None:
            return simplify_expr(expr.args[1] if decided else expr.args[2], facts)
    made = rebuild(expr, tuple(simplify_expr(a, facts) for a in expr.args))
    if not isinstance(made, Call):
        return made
    if all(isinstance(a, Const) for a in made.args):
        return _literal(made)
    if made.dtype == bool_:
        return _condition(made, facts)
    return _index(made, facts) if made.dtype == int64 else made


def _literal(expr: Call) -> Expr:
    arrays = [np.asarray(a.value, a.dtype.numpy) for a in expr.args if isinstance(a, Const)]
    return const(evaluate(expr.fn, expr.dtype, *arrays).item(), expr.dtype)


def _condition(expr: Call, facts: Facts) -> Expr:
    decided = facts.prove(expr)
    if decided is not None:
        return const(decided, bool_)
    for known, other in (expr.args, expr.args[::-1]) if expr.fn in ("and", "or") else ():
        if isinstance(known, Const) and bool(known.value) == (expr.fn == "and"):
            return other
    return expr


def _index(expr: Call, facts: Facts) -> Expr:
    if expr.fn in ("min", "max"):
        gap = affine(expr.args[1]) - affine(expr.args[0])
        first = expr.args[0] if expr.fn == "min" else expr.args[1]
        second = expr.args[1] if expr.fn == "min" else expr.args[0]
        if facts.upper_sum(gap.scaled(-1)) <= 0:
            return first
        return second if facts.upper_sum(gap) <= 0 else expr
    if expr.fn in ("floordiv", "mod"):
        return _divide(expr, facts)
    return expr


def _divide(expr: Call, facts: Facts) -> Expr:
    value, divisor = expr.args
    by = constant(divisor)
    if by is None or by <= 0:
        return expr
    low, high = facts.lower(value), facts.upper(value)
    if not (math.isinf(low) or math.isinf(high)) and int(low) // by == int(high) // by:
        quotient = int(low) // by
        return Const(quotient) if expr.fn == "floordiv" else isub(value, imul(quotient, by))
    even, odd = affine(value).divided(by)
    if not even.terms and not even.constant:
        return _in_blocks(expr, affine(value), by, facts)
    rest = Call(expr.fn, (to_expr(odd), divisor), int64)
    inner = to_expr(affine(rest)) if odd.terms else rest
    inner = _divide(inner, facts) if isinstance(inner, Call) and inner.fn == expr.fn else inner
    return inner if expr.fn == "mod" else to_expr(even + affine(inner))


def _in_blocks(expr: Call, value: Affine, by: int, facts: Facts) -> Expr:
    """`(8 a + b) // 24 = a // 3` where b stays below 8, and the same for the remainder."""
    for size in {math.gcd(by, c) for c in value.terms.values()} - {1, by}:
        blocks, inside = value.divided(size)
        if facts.upper_sum(inside) < size and facts.upper_sum(inside.scaled(-1)) <= 0:
            outer = _divide(Call(expr.fn, (to_expr(blocks), Const(by // size)), int64), facts)
            return outer if expr.fn == "floordiv" else to_expr(affine(outer).scaled(size) + inside)
    return expr
