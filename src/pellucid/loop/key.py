"""The canonical key of a kernel: equal for kernels of equal structure, whatever their names.

Enters: a `Kernel`. Leaves: a hexadecimal SHA-256. Parameters, buffers and loop variables are
numbered in the order in which they appear, so two layers of one shape share one compiled kernel.
"""

from __future__ import annotations

import hashlib

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
)
from pellucid.loop.sizes import kernel_dims


class _Numbering:
    """Numbers for names, and the text of what uses them."""

    def __init__(self) -> None:
        self._buffers: dict[Buffer, str] = {}
        self._vars: dict[str, str] = {}
        self.parts: list[str] = []

    def declare(self, buffer: Buffer) -> str:
        """A new number for a buffer, with what its code depends on."""
        self._buffers[buffer] = f"b{len(self._buffers)}"
        return f"{self._buffers[buffer]}:{buffer.scope}{buffer.shape}{buffer.dtype}"

    def expr(self, expr: Expr) -> str:
        match expr:
            case Const():
                return f"{expr.value!r}{expr.dtype}"
            case Var():
                if isinstance(expr, Open):
                    return f"{expr.name}:{expr.dim.min}..{expr.dim.max}"
                return self._vars.get(expr.name, f"?{expr.name}")
            case Load():
                return self.element(expr.buffer, expr.indices)
            case Call():
                return f"{expr.fn}{expr.dtype}({','.join(map(self.expr, expr.args))})"

    def element(self, buffer: Buffer, indices: tuple[Expr, ...]) -> str:
        return f"{self._buffers[buffer]}[{','.join(map(self.expr, indices))}]"

    def block(self, body: tuple[Stmt, ...]) -> None:
        self.parts.append("{")
        for stmt in body:
            self.stmt(stmt)
        self.parts.append("}")

    def stmt(self, stmt: Stmt) -> None:
        match stmt:
            case Store():
                target = self.element(stmt.buffer, stmt.indices)
                self.parts.append(f"{target}={self.expr(stmt.value)}")
            case For():
                self._loop(stmt)
            case If():
                self.parts.append(f"if {self.expr(stmt.cond)}")
                self.block(stmt.then)
                self.block(stmt.orelse)
            case Prefetch():
                far = "" if stmt.near else "far "
                self.parts.append(f"prefetch {far}{self.element(stmt.buffer, stmt.indices)}")
            case Alloc():
                self.parts.append(f"alloc {self.declare(stmt.buffer)}")
                self.block(stmt.body)

    def _loop(self, loop: For) -> None:
        extent = self.expr(loop.extent)
        outer = self._vars.get(loop.var)
        self._vars[loop.var] = f"v{len(self.parts)}"
        self.parts.append(f"{loop.kind} {self._vars[loop.var]}<{extent}")
        self.block(loop.body)
        if outer is not None:
            self._vars[loop.var] = outer


def kernel_key(kernel: Kernel) -> str:
    """A hash of parameter types, statements and expressions; names do not count."""
    names = _Numbering()
    params = ",".join(names.declare(buffer) for buffer in kernel.params)
    dims = "".join(f"{d}={d.min}..{d.max};" for d in kernel_dims(kernel))
    names.parts.append(f"kernel({dims}{params})->{kernel.outputs}")
    names.block(kernel.body)
    return hashlib.sha256("\n".join(names.parts).encode()).hexdigest()
