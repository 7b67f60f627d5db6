"""Loops that run on to a multiple add zeros, and read nothing beyond their operands."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.core.errors import ScheduleError
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Const
from pellucid.loop.parser import parse_kernel
from pellucid.loop.rewrite import loops
from pellucid.loop.verifier import verify_kernel
from pellucid.schedule.round_up import round_up

SUM = """kernel sum(A: f32[3, 11], B: f32[11]) -> (C: f32[3]) {
  for i in 0..3:
    alloc s: f32[] local
    s[] = 0.0
    for k in 0..9:
      s[] = s[] + select(k >= 1, A[i, max(k - 1, 0) + 2], 0.0) * B[k + 2]
    C[i] = s[]
}
"""


@pytest.mark.parametrize("multiple", [1, 2, 4, 9, 16])
def test_the_sum_stays(multiple: int) -> None:
    kernel = parse_kernel(SUM)
    made = round_up(kernel, "k", multiple)
    verify_kernel(made)
    (loop,) = loops(made.body, "k")
    assert isinstance(loop.extent, Const)
    assert loop.extent.value == -(-9 // multiple) * multiple
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s, dtype=np.float32) for s in ((3, 11), 11))
    a[0, 10], b[:2] = np.inf, np.nan  # where the loop's first and last iterations just do not read
    want, got = np.full((2, 3), np.nan, np.float32)
    run_kernel(kernel, a, b, want)
    run_kernel(made, a, b, got)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("s[] + select(k >= 1, A[i, max(k - 1, 0) + 2], 0.0) * B[k + 2]", "s[] + B[k + 2]"),
        ("* B[k + 2]", "* B[2]"),
        ("s[] + select", "s[] * select"),
    ],
)
def test_other_bodies_are_refused(old: str, new: str) -> None:
    assert old in SUM
    with pytest.raises(ScheduleError, match="round_up"):
        round_up(parse_kernel(SUM.replace(old, new)), "k", 4)
