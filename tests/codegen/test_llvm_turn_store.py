"""Blocks turned round in registers: every element in its place, nothing beside them touched."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.codegen.llvm import render_kernel
from pellucid.core.dtype import DType, float32, float64, int32
from pellucid.core.target import Target
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Kernel
from pellucid.loop.parser import parse_kernel
from tests.codegen.native import run
from tests.codegen.targets import HOST, each_target, poison, samples


def _check(kernel: Kernel, target: Target) -> None:
    sources = [samples(b.dtype, b.size, k).reshape(b.shape)
               for k, b in enumerate(kernel.params[:-1])]  # fmt: skip
    want, got = (poison(kernel.params[-1].shape, kernel.params[-1].dtype) for _ in range(2))
    run_kernel(kernel, *sources, want)
    run(kernel, target, *sources, got)
    np.testing.assert_array_equal(got, want)


def _transpose(rows: int, columns: int, dtype: DType = float32) -> Kernel:
    """Rows of `x`, a few columns in, as columns of `y`, with elements beside them left alone."""
    name = {"float32": "f32", "float64": "f64", "int32": "i32"}[dtype.name]
    return parse_kernel(f"""
kernel turn(x: {name}[{rows}, {columns + 9}]) -> (y: {name}[{columns + 1}, {rows + 7}]) {{
  unroll for r in 0..{rows}:
    vector for i in 0..{columns}:
      y[i, r + 3] = x[r, i + 2]
}}
""")


@each_target
@pytest.mark.parametrize("dtype", [float32, int32, float64], ids=str)
def test_every_size_of_block(target: Target, dtype: DType) -> None:
    for rows, columns in (
        (1, 16),
        (2, 16),
        (3, 19),
        (7, 40),
        (14, 32),
        (16, 16),
        (16, 5),
        (17, 33),
    ):
        _check(_transpose(rows, columns, dtype), target)


@each_target
def test_operands_far_apart_are_turned_too(target: Target) -> None:
    kernel = parse_kernel("""
kernel block(x: f32[7, 32], z: f32[32, 11], b: f32[32]) -> (y: f32[32, 9]) {
  unroll for r in 0..7:
    vector for i in 0..32:
      alloc t: f32[] local
      t[] = x[r, i] + b[i]
      y[i, r + 1] = select(t[] <= 0.0, 0.0, t[]) + z[i, r + 4]
}
""")
    _check(kernel, target)
    text = render_kernel(kernel, target, "k")
    assert "scatter" not in text
    assert "gather" not in text


@each_target
def test_a_chain_through_memory_keeps_its_order(target: Target) -> None:
    _check(
        parse_kernel("""
kernel chain(x: f32[16]) -> (y: f32[16, 20]) {
  for i0 in 0..16:
    for j0 in 0..20:
      y[i0, j0] = x[i0]
  unroll for r in 0..9:
    vector for i in 0..16:
      y[i, r + 1] = y[i, r] + x[i]
}
"""),
        target,
    )


def test_no_scatter_for_a_full_block() -> None:
    assert "scatter" not in render_kernel(_transpose(16, 32), HOST, "k")
    assert "scatter" in render_kernel(_transpose(16, 5), HOST, "k")
