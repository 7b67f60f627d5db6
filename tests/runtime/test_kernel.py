from __future__ import annotations

import numpy as np
import pytest

from pellucid.core.errors import ArgumentError
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.parser import parse_kernel
from pellucid.runtime.kernel import load_kernel
from pellucid.schedule.pack import pack
from pellucid.schedule.parallelize import parallelize

MATMUL = parse_kernel("""
kernel matmul(A: f32[8, 12], B: f32[12, 16]) -> (C: f32[8, 16]) {
  for i in 0..8:
    for j in 0..16:
      C[i, j] = 0.0
      for k in 0..12:
        C[i, j] = C[i, j] + A[i, k] * B[k, j]
}
""")
RNG = np.random.default_rng(0)
A, B = RNG.random((8, 12), np.float32), RNG.random((12, 16), np.float32)


@pytest.mark.parametrize("scheduled", [False, True], ids=["naive", "threads and scratch"])
def test_loaded_kernel_equals_the_interpreter(scheduled: bool) -> None:
    kernel = MATMUL
    if scheduled:
        kernel = pack(parallelize(kernel, "i"), "B", ("k", "j"), None)
    got, expected = np.empty((8, 16), np.float32), np.empty((8, 16), np.float32)
    load_kernel(kernel)(A, B, got)
    run_kernel(kernel, A, B, expected)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((A, B), "takes 3 arrays"),
        ((A, B.T.copy(), np.empty((8, 16), np.float32)), "B must be C-contiguous f32"),
        ((A, B, np.empty((16, 8), np.float32).T), "C must be C-contiguous"),
        ((A.astype(np.float64), B, np.empty((8, 16), np.float32)), "got it float64"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: tuple[np.ndarray, ...], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        load_kernel(MATMUL)(*arrays)
