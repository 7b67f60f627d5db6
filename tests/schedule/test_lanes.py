"""`lanes`: private buffers and reductions pass, values passed between iterations do not."""

from __future__ import annotations

import pytest

from pellucid.core.errors import ScheduleError
from pellucid.loop.parser import parse_kernel
from pellucid.schedule.lanes import lanes

PRIVATE = """kernel k(A: f32[8]) -> (B: f32[8]) {
  for i in 0..8:
    alloc t: f32[] local
    t[] = exp(A[i])
    B[i] = t[] * t[]
}
"""
CARRIED = """kernel k(A: f32[9]) -> (B: f32[9]) {
  for i in 0..8:
    B[i + 1] = B[i] + A[i]
}
"""
SUM = """kernel k(A: f32[8]) -> (B: f32[]) {
  for i in 0..8:
    B[] = B[] + A[i]
}
"""


@pytest.mark.parametrize("text", [PRIVATE, SUM])
def test_makes_a_vector_loop(text: str) -> None:
    made = lanes(parse_kernel(text), "i")
    assert made == parse_kernel(text.replace("  for i", "  vector for i"))


def test_refuses_a_carried_value() -> None:
    with pytest.raises(ScheduleError, match="pass values through B"):
        lanes(parse_kernel(CARRIED), "i")


NESTED = """kernel k(A: f32[2, 8]) -> (B: f32[2, 8]) {
  for o in 0..2:
    vector for i in 0..8:
      B[o, i] = A[o, i]
}
"""


def test_refuses_lanes_in_lanes() -> None:
    with pytest.raises(ScheduleError, match="parallel or vector loop inside"):
        lanes(parse_kernel(NESTED), "o")
