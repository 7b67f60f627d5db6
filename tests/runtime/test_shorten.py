from __future__ import annotations

import numpy as np
import pytest

from pellucid.loop.parser import parse_kernel
from pellucid.runtime.kernel import load_kernel
from pellucid.runtime.shorten import shorten

PRODUCT = """
kernel product(A: f32[40, 24], B: f32[24, 32]) -> (C: f32[40, 32]) {
  for i in 0..40:
    for j in 0..32:
      alloc s: f32[] local
      s[] = 0.0
      for k in 0..24:
        s[] = s[] + A[i, k] * B[k, j]
      C[i, j] = s[]
}
"""


@pytest.mark.parametrize(
    ("share", "rows", "columns"), [(0.25, 10, 32), (1 / 160, 1, 8), (1, 40, 32)]
)
def test_what_is_left_is_what_the_whole_computes(share: float, rows: int, columns: int) -> None:
    short, part = shorten(parse_kernel(PRODUCT), share)
    a = np.random.default_rng(0).random((40, 24), np.float32)
    b = np.random.default_rng(1).random((24, 32), np.float32)
    c = np.full((40, 32), np.nan, np.float32)
    load_kernel(short)(a, b, c)
    np.testing.assert_allclose(c[:rows, :columns], (a @ b)[:rows, :columns], rtol=1e-5)
    assert np.isnan(c).sum() == c.size - rows * columns
    assert part == pytest.approx(rows * columns / c.size, rel=0.1)


def test_each_thread_keeps_an_iteration() -> None:
    short, part = shorten(parse_kernel(PRODUCT), 1e-6, least=2)
    assert "for i in 0..2:" in str(short)
    assert "for j in 0..1:" in str(short)
    assert part == pytest.approx(2 / 40 / 32, rel=0.1)


def test_a_reduction_stays_whole() -> None:
    total = parse_kernel("""
kernel total(x: f32[1000]) -> (y: f32[]) {
  y[] = 0.0
  for i in 0..1000:
    y[] = y[] + x[i]
}
""")
    assert shorten(total, 0.1) == (total, 1.0)


def test_what_comes_before_stays_whole() -> None:
    packed = parse_kernel("""
kernel packed(x: f32[64, 64]) -> (y: f32[64, 64]) {
  alloc p: f32[64, 64] temp
  for i in 0..64:
    for j in 0..64:
      p[i, j] = x[j, i]
  for i1 in 0..64:
    for j1 in 0..64:
      y[i1, j1] = exp(p[63 - i1, 63 - j1])
}
""")
    short, part = shorten(packed, 0.5)
    assert "for i in 0..64:" in str(short)
    assert "for i1 in 0..32:" in str(short)
    assert 0.5 < part < 0.7
