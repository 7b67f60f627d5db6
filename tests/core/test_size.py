"""Sizes that are not known yet: arithmetic in normal form, bounds, decisions, text."""

from __future__ import annotations

import math
import operator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.size import (
    Dim,
    Size,
    as_size,
    bounds,
    deciding,
    estimating,
    is_static,
    prove,
    value_of,
)
from pellucid.core.size_input import dim, parse_size
from pellucid.core.span import length, sliced

DIMS = {"a": Dim("a", 0, 50), "b": Dim("b", 1, 20)}
A, B = (as_size(d) for d in DIMS.values())
NUMBERS = st.integers(-7, 7)


def polynomials() -> st.SearchStrategy[int]:
    leaves: st.SearchStrategy[int] = st.one_of(NUMBERS, st.just(A), st.just(B))

    def more(inner: st.SearchStrategy[int]) -> st.SearchStrategy[int]:
        ring = st.sampled_from((operator.add, operator.sub, operator.mul))
        made = st.tuples(ring, inner, inner).map(lambda t: t[0](t[1], t[2]))
        divide = st.sampled_from((operator.floordiv, operator.mod))
        return made | st.tuples(divide, inner, st.integers(1, 9)).map(lambda t: t[0](t[1], t[2]))

    return st.recursive(leaves, more, max_leaves=5)


@settings(max_examples=150, deadline=None)
@given(polynomials(), polynomials(), st.integers(0, 50), st.integers(1, 20))
def test_arithmetic_is_that_of_the_numbers(x: int, y: int, a: int, b: int) -> None:
    sizes = {"a": a, "b": b}
    for op in (operator.add, operator.sub, operator.mul):
        assert value_of(op(x, y), sizes) == op(value_of(x, sizes), value_of(y, sizes))
    assert value_of(x // 3, sizes) == value_of(x, sizes) // 3
    assert value_of(x % 3, sizes) == value_of(x, sizes) % 3
    low, high = bounds(x)
    assert low <= value_of(x, sizes) <= high


@settings(max_examples=100, deadline=None)
@given(polynomials())
def test_text_reads_back(x: int) -> None:
    again = parse_size(str(x), DIMS)
    assert value_of(again - x, {"a": 17, "b": 5}) == 0
    assert str(again) == str(x)


def test_normal_form() -> None:
    assert 2 * A + A - 3 * A == 0
    assert str(2 * A * B + 1) == "2*a*b + 1"
    assert (64 * A * B) // 64 == A * B
    assert (64 * A) % 64 == 0
    assert (A * B) // B == A
    assert str((A + 1) // 2) == "(a + 1)//2"
    assert {A, 1} - {1} == {A}
    assert math.prod((A, 3, B)) == 3 * A * B
    assert np.int64(3) * A == 3 * A
    assert not is_static((1, (A, 2)))


def test_bounds_answer() -> None:
    assert prove(A, "<=", 50)
    assert prove(B, "!=", 0)
    assert prove(A, ">", 50) is False
    assert prove(A, "==", 3) is None
    with pytest.raises(ShapeError, match="whether a < 3 depends on the size"):
        _ = A < 3
    with pytest.raises(ShapeError, match="used as a number"):
        range(A)


def test_decisions() -> None:
    with deciding({"a": 9, "b": 2}) as made:
        assert A % 2 == 1
        assert A > 3
        assert A != 1
        assert list(range(B)) == [0, 1]
    assert [str(d).partition(" (")[0] for d in made] == ["a%2 == 1", "a >= 4", "a != 1", "b == 2"]
    assert all(d.holds({"a": 11, "b": 2}) for d in made)
    assert not made[0].holds({"a": 4, "b": 2})
    with estimating():
        assert A > 3


@pytest.mark.parametrize("entry", [slice(None), slice(1, None), slice(None, -1), slice(2, 7, 2),
                                   slice(None, None, -1), slice(-3, None)])  # fmt: skip
def test_slices_of_open_axes(entry: slice) -> None:
    for n in (0, 1, 3, 9):
        with deciding({"a": n}):
            read = sliced(entry, A)
            assert value_of(length(read), {"a": n}) == len(range(n)[entry])


def test_dim_wants_a_name_and_bounds() -> None:
    assert isinstance(dim("batch", min=1, max=8), Size)
    with pytest.raises(ArgumentError, match="identifier"):
        dim("2x")
    with pytest.raises(ArgumentError, match="leave a size"):
        dim("x", min=3, max=2)
    with pytest.raises(ArgumentError, match="names, integers"):
        parse_size("a + c", DIMS)
