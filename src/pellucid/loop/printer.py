"""Kernels as text that a person reads and `parser.py` reads back exactly.

```
kernel double(A: f32[64]) -> (B: f32[64]) {
  parallel for i in 0..64: alloc t: f32[] local t[] = 2.0 * A[i] B[i] = t[]
}
```

Bare integers are int64, bare decimals float32, other literals name their dtype: `i32(3)`. An
`alloc` holds for the rest of its block; where its body ends earlier it ends in a colon and the body
is indented.
"""

from __future__ import annotations

import math

import numpy as np

from pellucid.core.dtype import Real, bool_, float32, int64
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
    Prefetch,
    Stmt,
    Store,
    Var,
)

INFIX: dict[str, tuple[str, int]] = {
    "or": ("|", 1),
    "xor": ("^", 2),
    "and": ("&", 3),
    "eq": ("==", 4),
    "ne": ("!=", 4),
    "lt": ("<", 4),
    "le": ("<=", 4),
    "gt": (">", 4),
    "ge": (">=", 4),
    "shl": ("<<", 5),
    "shr": (">>", 5),
    "add": ("+", 6),
    "sub": ("-", 6),
    "mul": ("*", 7),
    "div": ("/", 7),
    "floordiv": ("//", 7),
    "mod": ("%", 7),
}

_LARGEST = float(np.finfo(np.float32).max)


def print_kernel(kernel: Kernel) -> str:
    """The kernel's text form; `parse_kernel` gives an equal kernel."""
    split = len(kernel.params) - kernel.outputs
    inputs = ", ".join(map(print_buffer, kernel.params[:split]))
    outputs = ", ".join(map(print_buffer, kernel.params[split:]))
    lines = [f"kernel {kernel.name}({inputs}) -> ({outputs}) {{", *_block(kernel.body, 1), "}"]
    return "\n".join(lines) + "\n"


def print_buffer(buffer: Buffer) -> str:
    """`A: f32[64, 32]`."""
    return f"{buffer.name}: {buffer.dtype.short}[{', '.join(map(str, buffer.shape))}]"


def print_block(block: tuple[Stmt, ...], depth: int = 0) -> str:
    """Statements as indented lines."""
    return "\n".join(_block(block, depth))


def _block(block: tuple[Stmt, ...], depth: int) -> list[str]:
    lines: list[str] = []
    for position, stmt in enumerate(block):
        lines += _statement(stmt, depth, last=position == len(block) - 1)
    return lines or ["  " * depth + "pass"]


def _statement(stmt: Stmt, depth: int, *, last: bool) -> list[str]:
    pad = "  " * depth
    match stmt:
        case Store():
            target = _access(stmt.buffer, stmt.indices)
            return [f"{pad}{target} = {print_expr(stmt.value)}"]
        case For():
            kind = "" if stmt.kind == "serial" else f"{stmt.kind} "
            head = f"{pad}{kind}for {stmt.var} in 0..{print_expr(stmt.extent)}:"
            return [head, *_block(stmt.body, depth + 1)]
        case If():
            lines = [f"{pad}if {print_expr(stmt.cond)}:", *_block(stmt.then, depth + 1)]
            return lines + ([f"{pad}else:", *_block(stmt.orelse, depth + 1)] if stmt.orelse else [])
        case Prefetch():
            where = "" if stmt.near else " far"
            return [f"{pad}prefetch {_access(stmt.buffer, stmt.indices)}{where}"]
        case Alloc():
            head = f"{pad}alloc {print_buffer(stmt.buffer)} {stmt.buffer.scope}"
            flat = last and bool(stmt.body)
            body = _block(stmt.body, depth if flat else depth + 1)
            return [head if flat else head + ":", *body]


def print_expr(expr: Expr, level: int = 0) -> str:
    """An expression, in parentheses where it binds weaker than `level`."""
    match expr:
        case Const():
            return _literal(expr)
        case Var():
            return expr.name
        case Load():
            return _access(expr.buffer, expr.indices)
        case Call():
            return _call(expr, level)


def _access(buffer: Buffer, indices: tuple[Expr, ...]) -> str:
    return f"{buffer.name}[{', '.join(print_expr(i) for i in indices)}]"


def _call(expr: Call, level: int) -> str:
    if expr.fn in INFIX and len(expr.args) == 2:
        sign, own = INFIX[expr.fn]
        left, right = expr.args
        text = f"{print_expr(left, own)} {sign} {print_expr(right, own + 1)}"
        return f"({text})" if own < level else text
    args = ", ".join(print_expr(a) for a in expr.args)
    target = f", {expr.dtype.short}" if expr.fn in ("cast", "bitcast") else ""
    return f"{expr.fn}({args}{target})"


def _literal(expr: Const) -> str:
    if expr.dtype == bool_:
        return "true" if expr.value else "false"
    text = _shortest(expr.value) if expr.dtype == float32 else repr(expr.value)
    bare = expr.dtype == int64 or (expr.dtype == float32 and math.isfinite(expr.value))
    return text if bare else f"{expr.dtype.short}({text})"


def _shortest(value: Real) -> str:
    """As few digits as name a float32: `0.1`, not the float64 nearest to it."""
    single = np.float32(value) if abs(value) <= _LARGEST else np.float32(0)
    return str(single) if float(single) == value else repr(value)
