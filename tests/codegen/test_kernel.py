"""Kernels on their way to code: what their pointers promise LLVM."""

from __future__ import annotations

import re

import pytest

from pellucid.codegen.kernel import CompiledKernel
from pellucid.compile import this_machine
from pellucid.core.dtype import float32
from pellucid.loop.ir import Buffer, Call, Const, For, Kernel, Load, Store, Var


@pytest.mark.parametrize("rows", [64, 1 << 16])
def test_only_memory_that_nobody_shares_is_noalias(rows: int) -> None:
    """`y[i, j] = x[i, j] + b[j]` may be written over `x`, not over `b`, which every row reads.

    Where LLVM believed that `x` and `y` are apart, it moved loads of one past stores to the other.
    """
    x, b, y = (
        Buffer(n, s, float32) for n, s in (("x0", (rows, 8)), ("x1", (8,)), ("y0", (rows, 8)))
    )
    i, j = Var("i0"), Var("i1")
    body = Store(y, (i, j), Call("add", (Load(x, (i, j)), Load(b, (j,))), float32))
    nest = For("i0", Const(rows), (For("i1", Const(8), (body,)),))
    text = CompiledKernel("f", Kernel("k", (x, b, y), 1, (nest,)), this_machine()).ir
    heads = [h for h in re.findall(r"^define .*\((.*)\)", text, re.MULTILINE) if "%p0" in h]
    assert heads
    assert ("@pellucid_parallel_for" in text) == (len(heads) == 2) == (rows > 64)
    for head in heads:
        assert head.startswith("ptr %p0, ptr noalias %p1, ptr %p2")
