"""What an operator record's lowering rule returns: the meaning of an op as index functions.

A rule says *what* each output element is; `lower/` decides how many ops share a nest and
`schedule/` how it runs. Readers stand for inputs: calling one with indices gives the element, which
may be a load or another op's inlined expression. That is how fusion works: a fused op's reader is
its producer's body.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pellucid.core.dtype import DType, Real
from pellucid.loop.ir import Buffer, Expr, Stmt

Index = tuple[Expr, ...]
Reader = Callable[[Index], Expr]
Readers = tuple[Reader, ...]
Combine = Literal["add", "mul", "max", "min", "or", "and"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pointwise:
    """`out[idx] = body(idx, readers)`: elementwise ops, movement, gathers, generated values.

    `elementwise`: every input is read at `idx` itself and nowhere else. `views`: the output is
    input 0's memory under another shape (reshape), so that no kernel is needed when nothing is
    fused with it.
    """

    body: Callable[[Index, Readers], Expr]
    elementwise: bool = False
    views: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Reduction:
    """`out[idx] = finish(combine over red in extents of body(idx, red, readers), starting at
    init)`.

    `accumulate` is the dtype partial results are kept in. Contractions and convolutions are `add`
    reductions whose body is a product of two readers; `lower/` recognises that form (`Call("mul",
    (a, b))`) by looking at it.
    """

    extents: tuple[int, ...]
    combine: Combine
    init: Real
    accumulate: DType
    body: Callable[[Index, Index, Readers], Expr]
    finish: Callable[[Expr], Expr] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Loops:
    """Anything else (scatter, scan, sort, concatenate): statements that fill the outputs from the
    inputs.

    `closed`: every element of the only output is stored once and never read, so that elementwise
    consumers may take part where it is stored.
    """

    build: Callable[[tuple[Buffer, ...], tuple[Buffer, ...]], tuple[Stmt, ...]]
    closed: bool = False


Lowering = Pointwise | Reduction | Loops
