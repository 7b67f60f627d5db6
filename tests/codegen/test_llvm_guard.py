"""Loads behind conditions become masked loads only where the condition covers the clamps."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.codegen.llvm import render_kernel
from pellucid.core.dtype import DType, float16, float32, float64, int8
from pellucid.core.target import Target
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import (
    Buffer,
    Call,
    Const,
    Expr,
    For,
    Kernel,
    Load,
    Store,
    Var,
    compare,
    const,
    iadd,
    imax,
    imin,
    imul,
    isub,
    select,
)
from pellucid.ops.movement import all_of
from tests.codegen.native import run
from tests.codegen.targets import HOST, each_target, poison, samples

I = Var("i")  # noqa: E741 the loop variable, as in formulas


def _row(n: int, low: int, step: int, dtype: DType, *, fill: float = 0, loose: int = 0) -> Kernel:
    """`y[i] = x[step*i - low]` and `fill` outside; `loose`: the condition covers more than that."""
    size = max(1, (n - 1) * step + 1 - 2 * low)
    x, y = Buffer("x", (size,), dtype), Buffer("y", (n,), dtype)
    at = isub(imul(I, step), low)
    inside = all_of([compare("ge", at, -loose), compare("lt", at, size + loose)])
    load = Load(x, (imin(imax(at, 0), size - 1),))
    body: Expr = select(inside, load, const(fill, dtype))
    return Kernel("row", (x, y), 1, (For("i", Const(n), (Store(y, (I,), body),), "vector"),))


def _check(kernel: Kernel, target: Target) -> None:
    *inputs, output = kernel.params
    sources = [samples(b.dtype, b.size).reshape(b.shape) for b in inputs]
    want, got = (poison(output.shape, output.dtype) for _ in range(2))
    run_kernel(kernel, *sources, want)
    run(kernel, target, *sources, got)
    np.testing.assert_array_equal(got, want)


@each_target
@pytest.mark.parametrize("dtype", [float32, float64, int8, float16], ids=str)
@pytest.mark.parametrize("step", [1, 2, 3, 5])
def test_edges_of_any_length(target: Target, dtype: DType, step: int) -> None:
    for n in (1, 2, 7, 14, 16, 17, 31, 50):
        for low in (0, 1, 2, 5):
            _check(_row(n, low, step, dtype), target)


@each_target
@pytest.mark.parametrize("change", [{"fill": 3.0}, {"loose": 1}, {"loose": -1}])
def test_what_is_no_plain_edge(target: Target, change: dict[str, float]) -> None:
    fill, loose = float(change.get("fill", 0)), int(change.get("loose", 0))
    _check(_row(23, 2, 1, float32, fill=fill, loose=loose), target)


@each_target
def test_windows_that_overlap_in_two_axes(target: Target) -> None:
    x, y = Buffer("x", (5, 13), float32), Buffer("y", (3, 5, 13), float32)
    k, j = Var("k"), Var("j")
    row, column = isub(iadd(j, k), 1), isub(iadd(I, k), 1)
    inside = [compare("ge", row, 0), compare("lt", row, 5)]
    inside += [compare("ge", column, 0), compare("lt", column, 13)]
    load = Load(x, (imin(imax(row, 0), 4), imin(imax(column, 0), 12)))
    value = Call("neg", (select(all_of(inside), load, const(0.0, float32)),), float32)
    inner = For("i", Const(13), (Store(y, (k, j, I), value),), "vector")
    taps = For("k", Const(3), (For("j", Const(5), (inner,)),), "unroll")
    _check(Kernel("windows", (x, y), 1, (taps,)), target)


def test_no_gather_where_the_condition_covers_the_clamps() -> None:
    assert "gather" not in render_kernel(_row(14, 1, 1, float32), HOST, "k")
    assert "gather" not in render_kernel(_row(30, 1, 2, float32), HOST, "k")
    assert "gather" in render_kernel(_row(14, 1, 1, float32, loose=1), HOST, "k")
