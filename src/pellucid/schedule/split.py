"""Split one loop into two.

```
for i in 0..100:          for io in 0..9:
  B[i] = A[i]        ->     for ii in 0..min(12, 100 - 12*io):
                              B[12*io + ii] = A[12*io + ii]
```
Other names: TVM, Halide: split; strip-mining.
"""

from __future__ import annotations

from pellucid.core.errors import ScheduleError
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import (
    Const,
    Expr,
    For,
    Kernel,
    LoopKind,
    Var,
    iadd,
    ifloordiv,
    imin,
    imul,
    isub,
)
from pellucid.loop.rewrite import Block, constant, fresh, kernel_names, substitute
from pellucid.schedule.nest import rewrite_loops


def split(
    kernel: Kernel, var: str, factor: int, outer: str | None = None, inner: str | None = None
) -> Kernel:
    """Every loop over `var` as a loop over blocks of `factor` iterations and a loop inside the
    block.

    The inner extent is `factor`, or `min(factor, what is left)` where the extent does not divide.
    The outer loop keeps the kind `parallel` or `unroll`; the inner one is serial (or `unroll`).

    Args:
        kernel: the kernel.
        var: the loop.
        factor: iterations per block, >= 1.
        outer: name of the outer loop, `<var>o` unless given.
        inner: name of the inner loop, `<var>i` unless given.

    Raises:
        ScheduleError: no such loop, a factor below 1, a name in use, or a vector loop.
    """
    if factor < 1:
        raise ScheduleError("split", "factor must be >= 1", operands={"factor": factor})
    taken = kernel_names(kernel) - {var}
    for name in (outer, inner):
        if name is not None and name in taken:
            raise ScheduleError("split", f"the name {name!r} is in use", operands={"loop": var})
    first = outer or fresh(f"{var}o", taken | {var})
    second = inner or fresh(f"{var}i", taken | {var, first})

    def change(loop: For, facts: Facts) -> Block:
        if loop.kind == "vector":
            raise ScheduleError(
                "split",
                "a vector loop cannot be split",
                operands={"loop": var},
                fix="split before vectorize",
            )
        blocks = ifloordiv(iadd(loop.extent, factor - 1), factor)
        rest: Expr = isub(loop.extent, imul(Var(first), factor))
        length = constant(loop.extent)
        size = imin(factor, rest) if length is None or length % factor else Const(factor)
        value = iadd(imul(Var(first), factor), Var(second))
        kind: LoopKind = "unroll" if loop.kind == "unroll" else "serial"
        body = substitute(loop.body, {var: value})
        return (For(first, blocks, (For(second, size, body, kind),), loop.kind),)

    return rewrite_loops(kernel, "split", var, change)
