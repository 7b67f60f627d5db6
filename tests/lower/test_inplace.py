"""An input may be overwritten only by elements computed from the very element they replace."""

from __future__ import annotations

import pytest

from pellucid.loop.parser import parse_kernel
from pellucid.lower.inplace import inplace_params


@pytest.mark.parametrize(
    ("body", "pairs"),
    [
        ("y[i] = x[i] + z[i]", ((2, 0), (2, 1))),
        ("y[i] = x[3 - i] + z[i]", ((2, 1),)),
        ("y[i] = x[i] + z[0]", ((2, 0),)),
        ("y[i] = x[i]\n    y[i] = y[i] + z[i]", ()),
    ],
)
def test_pairs(body: str, pairs: tuple[tuple[int, int], ...]) -> None:
    text = f"kernel k(x: f32[4], z: f32[4]) -> (y: f32[4]) {{\n  for i in 0..4:\n    {body}\n}}\n"
    assert inplace_params(parse_kernel(text), (0, 1, 2)) == pairs


def test_a_slot_passed_twice_stays() -> None:
    text = (
        "kernel k(x: f32[4], z: f32[4]) -> (y: f32[4]) {\n  for i in 0..4:\n"
        "    y[i] = x[i] + z[i]\n}\n"
    )
    assert inplace_params(parse_kernel(text), (5, 5, 2)) == ()


def test_reading_after_the_write_forbids() -> None:
    text = (
        "kernel k(x: f32[4]) -> (y: f32[4], z: f32[4]) {\n  for i in 0..4:\n"
        "    y[i] = x[i] * 2.0\n    z[i] = x[i] + 1.0\n}\n"
    )
    assert inplace_params(parse_kernel(text), (0, 1, 2)) == ((2, 0),)
