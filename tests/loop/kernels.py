"""Kernels that loop and schedule tests share, and how to compare two of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import DType, float32
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Kernel
from pellucid.loop.parser import parse_kernel
from pellucid.loop.printer import print_kernel
from pellucid.loop.verifier import verify_kernel


def matmul(m: int, k: int, n: int, dtype: DType = float32) -> Kernel:
    """`relu(A @ B)` as the naive nest that lowering makes."""
    d = dtype.short
    zero = "0.0" if d == "f32" else f"{d}({'0.0' if dtype.is_float else '0'})"
    head = f"kernel matmul(A: {d}[{m}, {k}], B: {d}[{k}, {n}]) -> (C: {d}[{m}, {n}])"
    return parse_kernel(f"""{head} {{
  for i in 0..{m}:
    for j in 0..{n}:
      alloc acc: {d}[] local
      acc[] = {zero}
      for k in 0..{k}:
        acc[] = acc[] + A[i, k] * B[k, j]
      C[i, j] = max(acc[], {zero})
}}
""")


def pointwise(n: int) -> Kernel:
    """`exp(A) + i` over a vector."""
    return parse_kernel(f"""kernel pointwise(A: f32[{n}]) -> (B: f32[{n}]) {{
  for i in 0..{n}:
    B[i] = exp(A[i]) + cast(i, f32)
}}
""")


def moments(n: int) -> Kernel:
    """Sum and largest value of a vector."""
    return parse_kernel(f"""kernel moments(A: f32[{n}]) -> (S: f32[], M: f32[]) {{
  S[] = 0.0
  M[] = f32(-inf)
  for k in 0..{n}:
    S[] = S[] + A[k]
    M[] = max(M[], A[k])
}}
""")


def random_arrays(kernel: Kernel, seed: int = 0) -> list[NDArray[Any]]:
    """Normal numbers for every parameter, outputs included."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(0, 3, b.shape), b.dtype.numpy) for b in kernel.params]


def run(kernel: Kernel, seed: int = 0) -> list[NDArray[Any]]:
    """The outputs on random inputs, parallel loops in a random order."""
    arrays = random_arrays(kernel, seed)
    run_kernel(kernel, *arrays, seed=seed)
    return arrays[len(arrays) - kernel.outputs :]


def check_same(before: Kernel, after: Kernel) -> None:
    """`after` is well-formed, survives its text form and computes what `before` does."""
    verify_kernel(after)
    assert parse_kernel(print_kernel(after)) == after
    for expected, got in zip(run(before), run(after), strict=True):
        np.testing.assert_allclose(
            got.astype(np.float64), expected.astype(np.float64), rtol=1e-5, atol=1e-5
        )
