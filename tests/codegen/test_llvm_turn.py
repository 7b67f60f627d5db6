"""Blocks turned round in registers: the same elements, no gathers, nothing read outside."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.codegen.llvm import render_kernel
from pellucid.core.dtype import DType, bfloat16, bool_, float16, float32, float64, int32, int64
from pellucid.core.target import Target
from pellucid.loop.functions import cast
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Buffer, Const, For, Kernel, Load, Store, Var, iadd, imul
from pellucid.loop.rewrite import Block
from tests.codegen.native import run
from tests.codegen.targets import HOST, each_target, poison, samples

DTYPES = [float32, float64, float16, bfloat16, int32, int64, bool_]
R, S = Var("r"), Var("s")


def turn(rows: int, steps: int, dtype: DType, to: DType | None = None, offset: int = 3) -> Kernel:
    """`y[s, r] = x[r, s + offset]`, lanes along r, s written out; x ends with the last element."""
    x = Buffer("x", (rows, steps + offset), dtype)
    y = Buffer("y", (steps, rows), to or dtype)
    body: Block = (Store(y, (S, R), cast(Load(x, (R, iadd(S, offset))), y.dtype)),)
    body = (For("s", Const(steps), body, "unroll"),)
    return Kernel("turn", (x, y), 1, (For("r", Const(rows), body, "vector"),))


def check(kernel: Kernel, target: Target) -> None:
    x, y = kernel.params
    source = samples(x.dtype, x.size).reshape(x.shape)
    want, got = poison(y.shape, y.dtype), poison(y.shape, y.dtype)
    run_kernel(kernel, source, want)
    run(kernel, target, source, got)
    if y.dtype == bfloat16:  # whose NaNs NumPy does not know as such
        want, got = want.astype(np.float32), got.astype(np.float32)
    np.testing.assert_array_equal(got, want)


@each_target
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_rows_and_steps(target: Target, dtype: DType) -> None:
    for rows, steps in ((1, 1), (4, 4), (8, 8), (16, 16), (7, 16), (32, 16), (33, 13), (16, 37)):
        check(turn(rows, steps, dtype), target)


@each_target
def test_what_is_done_to_an_element_is_done_to_columns(target: Target) -> None:
    check(turn(32, 16, bfloat16, float32), target)
    check(turn(21, 16, int32, float32), target)


def test_gathers_are_left_for_what_does_not_fit() -> None:
    assert "gather" not in render_kernel(turn(16, 16, float32), HOST, "k")
    few = 3
    assert "gather" in render_kernel(turn(16, few, float32), HOST, "k")
    x, y = Buffer("x", (16, 32), float32), Buffer("y", (16, 16), float32)
    apart = Load(x, (R, imul(S, 2)))
    body: Block = (For("s", Const(16), (Store(y, (S, R), apart),), "unroll"),)
    kernel = Kernel("apart", (x, y), 1, (For("r", Const(16), body, "vector"),))
    assert "gather" in render_kernel(kernel, HOST, "k")
    check(kernel, HOST)


@each_target
def test_an_element_written_before_it_is_read_again(target: Target) -> None:
    x, y = Buffer("x", (16, 17), float32), Buffer("y", (16, 16), float32)
    z = Buffer("z", (16, 17), float32)
    far, near = Load(z, (R, S)), Store(y, (S, R), Load(z, (R, S)))
    change = Store(z, (R, iadd(S, 1)), Load(x, (R, S)))
    fill = For("r", Const(16), (For("s", Const(17), (Store(z, (R, S), Load(x, (R, S))),)),))
    inner: Block = (near, change, Store(y, (S, R), far))
    body: Block = (For("s", Const(16), inner, "unroll"),)
    nest = For("r", Const(16), body, "vector")
    kernel = Kernel("written", (x, z, y), 2, (fill, nest))
    source = samples(float32, x.size).reshape(x.shape)
    outputs = [[poison(b.shape, b.dtype) for b in (z, y)] for _ in range(2)]
    run_kernel(kernel, source, *outputs[0])
    run(kernel, target, source, *outputs[1])
    for want, got in zip(*outputs, strict=True):
        np.testing.assert_array_equal(got, want)
