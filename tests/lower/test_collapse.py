"""Loops that walk adjacent axes together become one; all others stay."""

from __future__ import annotations

import pytest

from pellucid.loop.parser import parse_kernel
from pellucid.loop.printer import print_kernel
from pellucid.lower.collapse import collapse_axes

ROWS = """kernel k(x: f32[2, 3, 4], b: f32[4]) -> (y: f32[2, 3, 4]) {
  for i in 0..2:
    for j in 0..3:
      for c in 0..4:
        y[i, j, c] = x[i, j, c] + b[c]
}
"""
MERGED = """kernel k(x: f32[6, 4], b: f32[4]) -> (y: f32[6, 4]) {
  for i in 0..6:
    for c in 0..4:
      y[i, c] = x[i, c] + b[c]
}
"""


def test_rows_merge_until_the_bias_forbids() -> None:
    assert print_kernel(collapse_axes(parse_kernel(ROWS))) == MERGED


@pytest.mark.parametrize(
    "store",
    [
        "y[i, j] = x[j, i]",  # transposed
        "y[i, j] = x[i, 2 - j]",  # reversed
        "y[i, j] = x[i, j] * cast(j, f32)",  # the variable itself is a value
        "y[i, j] = x[i, 0]",  # one column only
    ],
)
def test_other_walks_stay(store: str) -> None:
    text = (
        "kernel k(x: f32[3, 3]) -> (y: f32[3, 3]) {\n  for i in 0..3:\n    for j in 0..3:\n"
        f"      {store}\n}}\n"
    )
    kernel = parse_kernel(text)
    assert collapse_axes(kernel) == kernel
