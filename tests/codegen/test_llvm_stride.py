"""Lanes that lie a few elements apart: read and written right, and nothing beside them touched."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.codegen.llvm import render_kernel
from pellucid.core.dtype import DType, bool_, float16, float32, float64, int8, int64
from pellucid.core.target import Target
from pellucid.loop.functions import call
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Buffer, Const, For, If, Kernel, Load, Store, Var, compare, iadd, imul
from tests.codegen.native import run
from tests.codegen.targets import HOST, each_target, poison, samples

I = Var("i")  # noqa: E741 the loop variable, as in formulas


def _strided(n: int, step: int, offset: int, dtype: DType, *, store: bool) -> Kernel:
    """`y[i] = x[step*i + offset]`, or the other way round; the buffer ends with the last lane."""
    far = Buffer("x" if not store else "y", (max(0, n - 1) * step + offset + 1,), dtype)
    near = Buffer("y" if not store else "x", (n,), dtype)
    place = (iadd(imul(I, step), offset),)
    body = Store(far, place, Load(near, (I,)))
    if not store:
        body = Store(near, (I,), Load(far, place))
    params = (near, far) if store else (far, near)
    return Kernel("strided", params, 1, (For("i", Const(n), (body,), "vector"),))


def _check(kernel: Kernel, target: Target) -> None:
    sources = [samples(b.dtype, b.size) for b in kernel.params[:-1]]
    want, got = (poison(kernel.params[-1].shape, kernel.params[-1].dtype) for _ in range(2))
    run_kernel(kernel, *sources, want)
    run(kernel, target, *sources, got)
    np.testing.assert_array_equal(got, want)


@each_target
@pytest.mark.parametrize("dtype", [float32, float64, int8, int64, float16, bool_], ids=str)
@pytest.mark.parametrize("step", [2, 3, 4, 5])
@pytest.mark.parametrize("store", [False, True])
def test_any_step_and_length(target: Target, dtype: DType, step: int, store: bool) -> None:
    for n in (1, 2, 5, 14, 16, 31, 64, 100):
        _check(_strided(n, step, n % 3, dtype, store=store), target)


@each_target
def test_lanes_switched_off_by_data(target: Target) -> None:
    n = 37
    x, y = Buffer("x", (2 * n,), float32), Buffer("y", (2 * n,), float32)
    place = (imul(I, 2),)
    positive = compare("gt", Load(x, place), Const(0.0, float32))
    body = If(positive, (Store(y, place, Load(x, (iadd(imul(I, 2), 1),))),), ())
    _check(Kernel("masked", (x, y), 1, (For("i", Const(n), (body,), "vector"),)), target)


def test_no_gather_for_short_steps() -> None:
    text = render_kernel(_strided(64, 2, 0, float32, store=False), HOST, "k")
    assert "gather" not in text
    assert "gather" in render_kernel(_strided(64, 9, 0, float32, store=False), HOST, "k")


def _rows(n: int, width: int, dtype: DType) -> Kernel:
    """`y[i] = x[i, 0] - x[i, last]`, of rows of `width` elements."""
    x, y = Buffer("x", (n, width), dtype), Buffer("y", (n,), dtype)
    ends = (Load(x, (I, Const(0))), Load(x, (I, Const(width - 1))))
    body = Store(y, (I,), call("sub", *ends))
    return Kernel("rows", (x, y), 1, (For("i", Const(n), (body,), "vector"),))


@each_target
@pytest.mark.parametrize("dtype", [float32, float64, int8], ids=str)
@pytest.mark.parametrize("width", [2, 3, 4, 5])
def test_elements_of_whole_rows(target: Target, dtype: DType, width: int) -> None:
    for n in (1, 5, 16, 31, 100):
        kernel = _rows(n, width, dtype)
        x = samples(dtype, n * width).reshape(n, width)
        want, got = (poison((n,), dtype) for _ in range(2))
        run_kernel(kernel, x, want)
        run(kernel, target, x, got)
        np.testing.assert_array_equal(got, want)


def test_elements_of_one_row_share_their_loads() -> None:
    text = render_kernel(_rows(2 * HOST.lanes(float32), 2, float32), HOST, "k")
    assert sum("load <" in line for line in text.splitlines()) == 2 * 2
    assert "masked.load" not in text
