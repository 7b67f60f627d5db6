"""The loop IR: one kernel is a nest of counted loops over row-major buffers.

Enters from `lower/`, is rewritten by `schedule/`, leaves to `codegen/`. Expressions are pure trees;
statements are `For`, `If`, `Store`, `Alloc` and
`Prefetch`. Every loop starts at 0 and steps by 1. Index
arithmetic is int64. All nodes are frozen and compare by structure, so two kernels that print alike
are alike.

Meaning in one place: `interpreter.py`. Well-formedness: `verifier.py`. Text: `printer.py`,
`parser.py`.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pellucid.core.dtype import DType, Real, bool_, float32, int64
from pellucid.core.shape import Shape, size_of
from pellucid.core.size import Dim, Quotient, Size

Scope = Literal["param", "temp", "local"]
LoopKind = Literal["serial", "parallel", "vector", "unroll"]


@dataclass(frozen=True, slots=True)
class Buffer:
    """A row-major array. `param`: passed in; `temp`: scratch memory of the kernel; `local`:
    registers or stack.
    """

    name: str
    shape: Shape
    dtype: DType
    scope: Scope = "param"

    @property
    def size(self) -> int:
        """Elements."""
        return size_of(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes."""
        return self.size * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Const:
    """A literal."""

    value: Real
    dtype: DType = int64


@dataclass(frozen=True, slots=True)
class Var:
    """A loop variable (int64)."""

    name: str

    @property
    def dtype(self) -> DType:
        """Always int64."""
        return int64


@dataclass(frozen=True, slots=True)
class Open(Var):
    """A size that is known when the program runs; the same all through it."""

    dim: Dim

    @staticmethod
    def of(dim: Dim) -> Open:
        """The variable of a dimension; no loop's name begins like its."""
        return Open(f"${dim.name}", dim)


@dataclass(frozen=True, slots=True)
class Load:
    """One element of a buffer; as many int64 indices as the buffer has axes."""

    buffer: Buffer
    indices: tuple[Expr, ...]

    @property
    def dtype(self) -> DType:
        """The buffer's."""
        return self.buffer.dtype


@dataclass(frozen=True, slots=True)
class Call:
    """A scalar function of `loop/functions.py` applied to arguments; `dtype` is the result's."""

    fn: str
    args: tuple[Expr, ...]
    dtype: DType


Expr = Const | Var | Load | Call


@dataclass(frozen=True, slots=True)
class Store:
    """`buffer[indices] = value`. A reduction is a store whose value loads the same element."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class For:
    """`for var in range(extent)`. `parallel`: iterations may run on any thread; `vector`: one SIMD
    operation.
    """

    var: str
    extent: Expr
    body: tuple[Stmt, ...]
    kind: LoopKind = "serial"


@dataclass(frozen=True, slots=True)
class If:
    """`then` where the condition holds, else `orelse`."""

    cond: Expr
    then: tuple[Stmt, ...]
    orelse: tuple[Stmt, ...] = ()


@dataclass(frozen=True, slots=True)
class Alloc:
    """A `temp` or `local` buffer that lives while `body` runs; its contents start undefined."""

    buffer: Buffer
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class Prefetch:
    """A hint that `buffer[indices]` will be wanted soon; changes nothing.

    `near`: in the first-level cache, else in the second. The place may lie outside the buffer.
    """

    buffer: Buffer
    indices: tuple[Expr, ...]
    near: bool = True


Stmt = Store | For | If | Alloc | Prefetch


@dataclass(frozen=True, slots=True)
class Kernel:
    """A named loop nest. `params` are the inputs, then the outputs; the last `outputs` of them are
    written.
    """

    name: str
    params: tuple[Buffer, ...]
    outputs: int
    body: tuple[Stmt, ...]

    def __str__(self) -> str:
        """The text form, which parses back."""
        from pellucid.loop.printer import print_kernel  # noqa: PLC0415  # it imports this module

        return print_kernel(self)


def const(value: Real, dtype: DType = int64) -> Const:
    """A literal whose value is normalised to its dtype's Python type, and for float32 rounded."""
    if dtype.kind == "bool":
        return Const(bool(value), dtype)
    if dtype == float32:
        return Const(_single(float(value)), dtype)
    return Const(float(value) if dtype.is_float else int(value), dtype)


def _single(value: float) -> float:
    try:
        return float(struct.unpack("f", struct.pack("f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def as_expr(value: Expr | int) -> Expr:
    """An int as an int64 literal, a size as the polynomial it is; anything else unchanged."""
    if isinstance(value, Size):
        return _polynomial(value)
    return Const(value) if isinstance(value, int) else value


def _polynomial(size: Size) -> Expr:
    total: Expr = Const(0)
    for monomial, count in sorted(size.terms, key=lambda term: term[1] < 0):
        product: Expr = Const(1)
        for atom in monomial:
            product = imul(product, _atom(atom))
        if count >= 0:
            total = iadd(total, imul(product, count))
        else:
            total = isub(total, imul(product, -count))
    return total


def _atom(atom: Dim | Quotient) -> Expr:
    if isinstance(atom, Dim):
        return Open.of(atom)
    return (ifloordiv if atom.kind == "//" else imod)(as_expr(atom.value), as_expr(atom.by))


INDEX_FOLDS: dict[str, Callable[[int, int], int]] = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "mod": operator.mod,
    "min": min,
    "max": max,
}
_RIGHT_NEUTRAL = {"add": 0, "sub": 0, "mul": 1, "floordiv": 1}
_LEFT_NEUTRAL = {"add": 0, "mul": 1}


def _fold(fn: str, a: Expr, b: Expr) -> Expr | None:
    if isinstance(a, Const) and isinstance(b, Const):
        known = fn not in ("floordiv", "mod") or b.value != 0
        return Const(INDEX_FOLDS[fn](int(a.value), int(b.value))) if known else None
    if isinstance(b, Const) and _RIGHT_NEUTRAL.get(fn) == b.value:
        return a
    if isinstance(a, Const) and _LEFT_NEUTRAL.get(fn) == a.value:
        return b
    zero = Const(0)
    if (fn == "mul" and zero in (a, b)) or (fn == "mod" and b == Const(1)):
        return zero
    return None


def index(fn: str, a: Expr | int, b: Expr | int) -> Expr:
    """int64 index arithmetic (`add sub mul floordiv mod min max`), folded where both sides or
    neutral ones are known.
    """
    x, y = as_expr(a), as_expr(b)
    folded = _fold(fn, x, y)
    return Call(fn, (x, y), int64) if folded is None else folded


def iadd(a: Expr | int, b: Expr | int) -> Expr:
    """`a + b` on indices."""
    return index("add", a, b)


def isub(a: Expr | int, b: Expr | int) -> Expr:
    """`a - b` on indices."""
    return index("sub", a, b)


def imul(a: Expr | int, b: Expr | int) -> Expr:
    """`a * b` on indices."""
    return index("mul", a, b)


def ifloordiv(a: Expr | int, b: Expr | int) -> Expr:
    """`a // b` on indices."""
    return index("floordiv", a, b)


def imod(a: Expr | int, b: Expr | int) -> Expr:
    """`a % b` on indices."""
    return index("mod", a, b)


def imin(a: Expr | int, b: Expr | int) -> Expr:
    """`min(a, b)` on indices."""
    return index("min", a, b)


def imax(a: Expr | int, b: Expr | int) -> Expr:
    """`max(a, b)` on indices."""
    return index("max", a, b)


def compare(fn: str, a: Expr | int, b: Expr | int) -> Expr:
    """A bool comparison (`lt le gt ge eq ne`)."""
    return Call(fn, (as_expr(a), as_expr(b)), bool_)


def select(cond: Expr, a: Expr, b: Expr) -> Expr:
    """`a if cond else b`; both sides may be evaluated, so both must be in bounds."""
    return Call("select", (cond, a, b), a.dtype)
