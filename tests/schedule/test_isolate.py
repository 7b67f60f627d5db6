"""`isolate`: one loop apart from what is before and after it, only crossing buffers widened."""

from __future__ import annotations

import pytest

from pellucid.core.errors import ScheduleError
from pellucid.loop.parser import parse_kernel
from pellucid.loop.printer import print_kernel
from pellucid.schedule.isolate import isolate

BEFORE = """kernel k(A: f32[4, 8]) -> (B: f32[8]) {
  for j in 0..8:
    alloc acc: f32[] local
    acc[] = 0.0
    for k in 0..4:
      acc[] = acc[] + A[k, j]
    alloc t: f32[] local
    t[] = acc[] * 2.0
    B[j] = t[] * t[]
}
"""
AFTER = """kernel k(A: f32[4, 8]) -> (B: f32[8]) {
  alloc acc: f32[8] local
  for j in 0..8:
    acc[j] = 0.0
  for jr in 0..8:
    for k in 0..4:
      acc[jr] = acc[jr] + A[k, jr]
  for j in 0..8:
    alloc t: f32[] local
    t[] = acc[j] * 2.0
    B[j] = t[] * t[]
}
"""


def test_three_loops() -> None:
    assert print_kernel(isolate(parse_kernel(BEFORE), "j", "k", "jr")) == AFTER


def test_needs_the_inner_loop() -> None:
    with pytest.raises(ScheduleError, match="must hold one loop 'z'"):
        isolate(parse_kernel(BEFORE), "j", "z")


def test_refuses_values_between_iterations() -> None:
    text = BEFORE.replace("A[k, j]", "B[0]")
    with pytest.raises(ScheduleError, match="pass values through B"):
        isolate(parse_kernel(text), "j", "k")
