"""The interpreter: values, order, poison, bounds."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.core.dtype import DType, bfloat16, float16, float32, float64, int32
from pellucid.core.errors import ArgumentError, IndexRangeError
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.parser import parse_kernel
from tests.loop.kernels import matmul, moments, random_arrays


@pytest.mark.parametrize("dtype", [float32, float64, int32, float16, bfloat16], ids=str)
def test_matmul(dtype: DType) -> None:
    kernel = matmul(5, 7, 11, dtype)
    a, b, c = random_arrays(kernel)
    run_kernel(kernel, a, b, c)
    expected = np.maximum(a.astype(np.float64) @ b.astype(np.float64), 0)
    tolerance = 1e-5 if dtype.bits >= 32 else 0.1
    np.testing.assert_allclose(c.astype(np.float64), expected, rtol=tolerance, atol=tolerance * 10)


def test_reductions_at_once() -> None:
    kernel = moments(1000)
    a, s, m = random_arrays(kernel)
    run_kernel(kernel, a, s, m)
    np.testing.assert_allclose(s, a.sum(), rtol=1e-4)
    assert m == a.max()


def test_a_scan_runs_in_order() -> None:
    kernel = parse_kernel("""kernel scan() -> (y: f32[6]) {
  y[0] = 1.0
  for i in 0..5:
    y[i + 1] = y[i] * 2.0
}""")
    y = np.zeros(6, np.float32)
    run_kernel(kernel, y)
    np.testing.assert_array_equal(y, 2.0 ** np.arange(6))


def test_the_last_of_many_stores_stays() -> None:
    kernel = parse_kernel("""kernel last() -> (y: i64[], z: i64[2]) {
  for i in 0..5:
    y[] = i
  for i in 0..5:
    z[i % 2] = i
}""")
    y, z = np.zeros((), np.int64), np.zeros(2, np.int64)
    run_kernel(kernel, y, z)
    assert y == 4
    np.testing.assert_array_equal(z, [4, 3])


def test_scattered_updates_add_up() -> None:
    kernel = parse_kernel("""kernel histogram(i: i64[6]) -> (y: f32[3]) {
  for k in 0..3:
    y[k] = 0.0
  for k in 0..6:
    y[i[k]] = y[i[k]] + 1.0
}""")
    y = np.full(3, 9, np.float32)
    run_kernel(kernel, np.array([0, 1, 1, 2, 2, 2]), y)
    np.testing.assert_array_equal(y, [1, 2, 3])


def test_fresh_buffers_are_poison() -> None:
    kernel = parse_kernel("""kernel k() -> (y: f32[], z: i32[]) {
  alloc t: f32[] local
  alloc u: i32[] temp
  y[] = t[]
  z[] = u[]
}""")
    y, z = np.zeros((), np.float32), np.zeros((), np.int32)
    run_kernel(kernel, y, z)
    assert np.isnan(y)
    assert z != 0


@pytest.mark.parametrize("index", ["i + 1", "i - 1"])
def test_an_index_outside_raises(index: str) -> None:
    text = f"kernel k(x: f32[4]) -> (y: f32[4]) {{\n  for i in 0..4:\n    y[i] = x[{index}]\n}}"
    with pytest.raises(IndexRangeError, match="is outside axis 0 of size 4"):
        run_kernel(parse_kernel(text), np.zeros(4, np.float32), np.zeros(4, np.float32))


def test_arrays_must_fit() -> None:
    kernel = moments(4)
    with pytest.raises(ArgumentError, match="takes 3 arrays"):
        run_kernel(kernel)
    scalar = np.zeros((), np.float32)
    with pytest.raises(ArgumentError, match=r"A must be f32\[4\]"):
        run_kernel(kernel, np.zeros(5, np.float32), scalar, scalar)


def test_parallel_order_is_shuffled() -> None:
    kernel = parse_kernel("""kernel racy() -> (y: i64[]) {
  parallel for i in 0..100:
    y[] = i
    y[] = i
}""")
    seen = set()
    for seed in range(5):
        y = np.zeros((), np.int64)
        run_kernel(kernel, y, seed=seed)
        seen.add(int(y))
    assert len(seen) > 1


def test_zero_iterations() -> None:
    kernel = matmul(0, 3, 2)
    run_kernel(kernel, *random_arrays(kernel))
    kernel = matmul(2, 0, 3)
    a, b, c = random_arrays(kernel)
    run_kernel(kernel, a, b, c)
    np.testing.assert_array_equal(c, np.zeros((2, 3)))
