"""Affine normal form and bounds under loops and conditions."""

from __future__ import annotations

import math

import pytest

from pellucid.loop.affine import affine, to_expr
from pellucid.loop.bounds import Facts
from pellucid.loop.ir import Expr, For, Store
from pellucid.loop.parser import parse_kernel


def expression(text: str) -> Expr:
    """The int64 expression of a text."""
    kernel = parse_kernel(f"kernel k(n: i64[4], u: u8[4]) -> (y: i64[1]) {{\n  y[0] = {text}\n}}")
    (store,) = kernel.body
    assert isinstance(store, Store)
    return store.value


def facts(**extents: str) -> Facts:
    result = Facts()
    for name, extent in extents.items():
        result = result.enter(For(name, expression(extent), ()))
    return result


TAIL = facts(io="6", ii="min(12, 64 - io * 12)")


@pytest.mark.parametrize(
    ("text", "known", "low", "high"),
    [
        ("7", Facts(), 7, 7),
        ("io * 12 + ii", TAIL, 0, 63),
        ("ii - io", TAIL, -5, 11),
        ("(io * 12 + ii) // 8", TAIL, 0, 7),
        ("(io * 12 + ii) % 8", TAIL, 0, 7),
        ("i - i // 8 * 8", facts(i="100"), 0, 7),
        ("max(min(n[0], 9), 2)", Facts(), 2, 9),
        ("cast(u[0], i64) * 2", Facts(), 0, 510),
        ("i * j", facts(i="4", j="5"), 0, 12),
        ("n[0]", Facts(), -math.inf, math.inf),
        ("select(i < 3, i, 3)", facts(i="10"), 0, 3),
        ("q", Facts(), -math.inf, math.inf),
    ],
)
def test_bounds(text: str, known: Facts, low: float, high: float) -> None:
    assert (known.lower(expression(text)), known.upper(expression(text))) == (low, high)


def test_conditions_count() -> None:
    known = facts(i="100")
    assert known.assume(expression("i * 2 < 20")).upper(expression("i")) == 9
    assert known.assume(expression("i < 90"), truth=False).lower(expression("i")) == 90
    guarded = known.assume(expression("n[0] >= 0 & n[0] < i"))
    assert guarded.upper(expression("n[0]")) == 98
    assert known.assume(expression("i > 200")).impossible
    assert not known.assume(expression("i > 20")).impossible


def test_proofs() -> None:
    known = facts(i="10")
    assert known.prove(expression("i < 10")) is True
    assert known.prove(expression("i >= 10 | i == -1")) is False
    assert known.prove(expression("i != 3")) is None
    assert known.prove(expression("n[0] == 3 & i < 10")) is None


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("i + j - i", "j"),
        ("(8 * i + j) // 8", "i + j // 8"),
        ("(8 * i + j + 17) % 8", "(j + 1) % 8"),
        ("3 - 2 * i", "3 - i * 2"),
        ("(2 * i) * (1 + 2)", "i * 6"),
    ],
)
def test_normal_form(text: str, normal: str) -> None:
    assert affine(expression(text)) == affine(expression(normal))
    assert affine(to_expr(affine(expression(text)))) == affine(expression(text))
