"""Simplification: what becomes smaller, and that values stay."""

from __future__ import annotations

import pytest

from pellucid.loop.parser import parse_kernel
from pellucid.loop.printer import print_block
from pellucid.loop.simplify import simplify
from tests.loop.kernels import check_same

HEAD = "kernel k(x: f32[64]) -> (y: f32[64]) {\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("for i in 0..1:\n    y[i] = x[i]", "y[0] = x[0]"),
        ("for i in 0..0:\n    y[i] = x[i]", ""),
        ("y[0] = 1.0 + 2.0", "y[0] = 3.0"),
        ("if 3 < 2:\n    y[0] = 1.0\n  else:\n    y[0] = 2.0", "y[0] = 2.0"),
        (
            "for i in 0..8:\n    if i < 8:\n      y[i] = x[min(i, 7)]",
            "for i in 0..8:\n  y[i] = x[i]",
        ),
        (
            "for i in 0..5:\n    for j in 0..min(12, 64 - i * 12):\n      y[i * 12 + j] = 0.0",
            "for i in 0..5:\n  for j in 0..12:\n    y[i * 12 + j] = 0.0",
        ),
        (
            "for i in 0..8:\n    for j in 0..8:\n      y[(i * 8 + j) // 8] = x[(i * 8 + j) % 8]",
            "for i in 0..8:\n  for j in 0..8:\n    y[i] = x[j]",
        ),
        (
            "for i in 0..6:\n    for j in 0..8:\n      y[(i * 8 + j) // 24] = x[(i * 8 + j) % 24]",
            "for i in 0..6:\n  for j in 0..8:\n    y[i // 3] = x[i % 3 * 8 + j]",
        ),
        (
            "for i in 0..6:\n    for j in 0..9:\n      y[(i * 8 + j) // 24] = x[i]",
            "for i in 0..6:\n  for j in 0..9:\n    y[(i * 8 + j) // 24] = x[i]",
        ),
        (
            "for i in 0..9:\n    if i >= 8:\n      y[i] = x[i]",
            "for i in 0..9:\n  if i >= 8:\n    y[8] = x[8]",
        ),
        (
            "for i in 0..8:\n    y[i] = select(i >= 0 & i < 4, x[i], 0.0)",
            "for i in 0..8:\n  y[i] = select(i < 4, x[i], 0.0)",
        ),
    ],
)
def test_becomes(before: str, after: str) -> None:
    kernel = parse_kernel(f"{HEAD}  {before}\n}}")
    smaller = simplify(kernel)
    assert (print_block(smaller.body) if smaller.body else "") == after
    check_same(kernel, smaller)


def test_float_neutral_elements_stay() -> None:
    """`x + 0.0` is not x where x is -0.0."""
    kernel = parse_kernel(f"{HEAD}  y[0] = x[0] + 0.0\n}}")
    assert simplify(kernel) == kernel
