"""`cut`: pieces without conditions, the same elements."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.core.errors import ScheduleError
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Call, Const
from pellucid.loop.parser import parse_kernel
from pellucid.loop.rewrite import all_expressions, loops
from pellucid.loop.verifier import verify_kernel
from pellucid.schedule.cut import cut

PADDED = """kernel k(A: f32[8]) -> (B: f32[12]) {
  for j in 0..12:
    B[j] = select(j - 2 >= 0 & j - 2 < 8, A[min(max(j - 2, 0), 7)], 0.0)
}
"""


def test_padding_in_three_pieces() -> None:
    before = parse_kernel(PADDED)
    after = cut(before, "j")
    verify_kernel(after)
    assert [x.var for x in loops(after.body)] == ["j", "j_1", "j_2"]
    calls = {e.fn for e in all_expressions(after.body) if isinstance(e, Call)}
    assert not calls & {"select", "min", "max", "lt", "ge"}
    x = np.arange(1, 9, dtype=np.float32)
    want, got = np.zeros(12, np.float32), np.full(12, 7, np.float32)
    run_kernel(before, x, want)
    run_kernel(after, x, got)
    np.testing.assert_array_equal(got, want)


WINDOW = """kernel k(A: f32[9]) -> (B: f32[5]) {
  for j in 0..5:
    B[j] = 0.0
    for t in 0..3:
      B[j] = B[j] + select(j * 2 + t >= 1 & j * 2 + t < 10, A[min(max(j * 2 + t - 1, 0), 8)], 0.0)
}
"""


def test_the_edges_of_a_window_are_pieces() -> None:
    before = parse_kernel(WINDOW)
    after = cut(before, "j")
    verify_kernel(after)
    inside = next(x for x in loops(after.body) if x.extent == Const(3) and x.var.startswith("j"))
    calls = {e.fn for e in all_expressions(inside.body) if isinstance(e, Call)}
    assert not calls & {"select", "min", "max", "lt", "ge"}
    x = np.arange(1, 10, dtype=np.float32)
    want, got = np.zeros(5, np.float32), np.full(5, 7, np.float32)
    run_kernel(before, x, want)
    run_kernel(after, x, got)
    np.testing.assert_array_equal(want, [3, 9, 15, 21, 17])
    np.testing.assert_array_equal(got, want)


def test_nothing_to_cut() -> None:
    with pytest.raises(ScheduleError, match="has 1 pieces"):
        cut(
            parse_kernel(
                "kernel k(A: f32[4]) -> (B: f32[4]) {\n  for j in 0..4:\n    B[j] = A[j]\n}\n"
            ),
            "j",
        )
