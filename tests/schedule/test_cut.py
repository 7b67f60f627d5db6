"""`cut`: pieces without conditions, the same elements."""

from __future__ import annotations

import itertools
import operator

import numpy as np
import pytest

from pellucid.core.errors import ScheduleError
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Call, Const
from pellucid.loop.parser import parse_kernel
from pellucid.loop.rewrite import all_expressions, constant, loops
from pellucid.loop.verifier import verify_kernel
from pellucid.schedule.cut import changes, cut

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


@pytest.mark.parametrize("fn", ["lt", "ge", "le", "gt", "eq", "ne", "min", "max"])
def test_edges_are_where_a_condition_changes(fn: str) -> None:
    asked = {"min": operator.le, "max": operator.ge}.get(fn) or getattr(operator, fn)
    for slope, start in itertools.product((-7, -3, -1, 1, 2, 5), range(-12, 13)):
        truth = [asked(slope * i + start, 0) for i in range(-20, 21)]
        expected = [i for i in range(-19, 21) if truth[i + 20] != truth[i + 19]]
        assert list(changes(slope, start, fn)) == expected, (slope, start)


def test_long_loops_are_cut_without_looking_at_every_turn() -> None:
    text = PADDED.replace("12", str(10**13)).replace("8", str(10**13 - 4)).replace("7", "9")
    after = cut(parse_kernel(text), "j")
    assert [constant(x.extent) for x in loops(after.body)] == [2, 10**13 - 4, 2]
