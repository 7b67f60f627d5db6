"""Movement functions against NumPy; the records themselves are tested from the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.core.dtype import float32, int32
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.graph.ir import TensorType, Value
from pellucid.ops import join
from pellucid.ops import movement as mv
from pellucid.ops.layout import aligned_groups
from tests.ops.records import Array, run, run1, trace

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def _np_pad(x: Array) -> Array:
    return np.pad(x, ((1, 0), (0, 3), (2, 1)), constant_values=7)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (lambda x: mv.reshape(x, (4, -1)), lambda x: x.reshape(4, -1)),
        (lambda x: mv.reshape(x, -1), lambda x: x.reshape(-1)),
        (mv.transpose, np.transpose),
        (lambda x: mv.transpose(x, (1, -1, 0)), lambda x: x.transpose(1, 2, 0)),
        (lambda x: mv.swapaxes(x, 0, -1), lambda x: x.swapaxes(0, -1)),
        (mv.matrix_transpose, lambda x: x.swapaxes(-1, -2)),
        (lambda x: mv.moveaxis(x, (0, 1), (-1, 0)), lambda x: np.moveaxis(x, (0, 1), (-1, 0))),
        (lambda x: mv.moveaxis(x, 2, 0), lambda x: np.moveaxis(x, 2, 0)),
        (lambda x: mv.expand_dims(x, (0, -1)), lambda x: np.expand_dims(x, (0, -1))),
        (lambda x: mv.squeeze(mv.expand_dims(x, 1)), lambda x: x),
        (lambda x: mv.squeeze(mv.expand_dims(x, (1, 2)), 2), lambda x: x[:, None]),
        (lambda x: mv.broadcast_to(x, (5, 2, 3, 4)), lambda x: np.broadcast_to(x, (5, 2, 3, 4))),
        (mv.flip, np.flip),
        (lambda x: mv.flip(x, (0, -1)), lambda x: np.flip(x, (0, 2))),
        (lambda x: mv.pad(x, (1, 0, 2), (0, 3, 1), 7), _np_pad),
        (lambda x: join.tile(x, 2), lambda x: np.tile(x, 2)),
        (lambda x: join.tile(x, (2, 1, 3, 1)), lambda x: np.tile(x, (2, 1, 3, 1))),
        (lambda x: join.repeat(x, 3), lambda x: np.repeat(x, 3)),
        (lambda x: join.repeat(x, 2, axis=1), lambda x: np.repeat(x, 2, axis=1)),
        (lambda x: join.roll(x, 5), lambda x: np.roll(x, 5)),
        (lambda x: join.roll(x, (1, -2), (0, 2)), lambda x: np.roll(x, (1, -2), (0, 2))),
        (lambda x: join.roll(x, 1, (0, 0)), lambda x: np.roll(x, 1, (0, 0))),
        (lambda x: join.tril(x, -1), lambda x: np.tril(x, -1)),
        (lambda x: join.triu(x, 1), lambda x: np.triu(x, 1)),
        (lambda x: join.stack([x, x], -1), lambda x: np.stack([x, x], -1)),
        (lambda x: join.concatenate([x, x], 1), lambda x: np.concatenate([x, x], 1)),
        (lambda x: join.concatenate([x, x], None), lambda x: np.concatenate([x, x], None)),
    ],
)
def test_agrees_with_numpy(
    ours: Callable[[Value], Value], theirs: Callable[[Array], Array]
) -> None:
    np.testing.assert_array_equal(run1(ours, X), theirs(X))


def test_interior_padding_is_the_transpose_of_a_strided_slice() -> None:
    x = np.array([1, 2, 3], np.int32)
    got = run1(lambda v: mv.pad(v, (1,), (2,), 9, interior=(2,)), x)
    np.testing.assert_array_equal(got, [9, 1, 9, 9, 2, 9, 9, 3, 9, 9])


@pytest.mark.parametrize("sections", [2, (1, 3), (0, 4)])
def test_split(sections: Any) -> None:
    parts = run(lambda x: mv.split(x, sections, -1), X)
    cuts = 2 if sections == 2 else [sections[0]]
    for part, want in zip(parts, np.split(X, cuts, -1), strict=True):
        np.testing.assert_array_equal(part, want)


def test_unstack() -> None:
    for part, want in zip(run(lambda x: join.unstack(x, 1), X), np.moveaxis(X, 1, 0), strict=True):
        np.testing.assert_array_equal(part, want)


def test_concatenate_promotes() -> None:
    whole, half = np.array([1, 2], np.int32), np.array([0.5], np.float32)
    got = run1(lambda a, b: join.concatenate([a, b]), whole, half)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [1, 2, 0.5])


def test_movement_that_moves_nothing_makes_no_node() -> None:
    graph = trace(
        lambda x: mv.pad(mv.flip(mv.transpose(mv.reshape(x, (1, 3)), (0, 1)), 0), (0, 0), (0, 0)),
        TensorType((1, 3), float32),
    )
    assert graph.nodes == ()


def test_reshape_groups_are_as_small_as_possible() -> None:
    found = aligned_groups((2, 3, 20, 1), (6, 4, 5))
    assert [(list(a), list(b)) for a, b in found] == [([0, 1], [0]), ([2], [1, 2]), ([3], [])]


@given(st.lists(st.integers(1, 4), max_size=5), st.randoms())
@settings(max_examples=50, deadline=None)
def test_reshape_groups_hold_equal_products(shape: list[int], random: Any) -> None:
    merged = list(shape)
    while len(merged) > 1 and random.random() < 0.6:
        i = random.randrange(len(merged) - 1)
        merged[i : i + 2] = [merged[i] * merged[i + 1]]
    groups = aligned_groups(tuple(shape), tuple(merged))
    for a, b in groups:
        assert np.prod([shape[i] for i in a]) == np.prod([merged[j] for j in b])
    assert [i for a, _ in groups for i in a] == list(range(len(shape)))
    assert [j for _, b in groups for j in b] == list(range(len(merged)))


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (
            lambda x: mv.reshape(x, (5, 5)),
            r"reshape: sizes must be equal, got x \(2, 3, 4\)",
        ),
        (lambda x: mv.reshape(x, (5, -1)), "the other sizes must divide the size"),
        (lambda x: mv.transpose(x, (0, 0, 1)), "must name every axis once"),
        (lambda x: mv.transpose(x, (0, 1, 3)), r"axis must be in \[-3, 3\)"),
        (lambda x: mv.moveaxis(x, (0, 1), 2), "as many destinations as sources"),
        (lambda x: mv.broadcast_to(x, (2, 3, 5)), "sizes must be equal or 1"),
        (lambda x: mv.slice_(x, (0, 0, 0), (2, 4, 4)), "inside its axis"),
        (lambda x: mv.slice_(x, (0, 0), (2, 3)), "one entry per axis"),
        (lambda x: mv.slice_(x, (0, 0, 0), (2, 3, 4), (1, 0, 1)), "steps must not be zero"),
        (lambda x: mv.pad(x, (-1, 0, 0), (0, 0, 0)), "paddings must be >= 0"),
        (lambda x: mv.squeeze(x, 0), "axes must have size 1"),
        (lambda x: mv.split(x, 3, 2), "sections must divide the axis"),
        (lambda x: mv.split(x, (3, 3), 2), "sizes must add up"),
        (lambda x: join.concatenate([x, mv.transpose(x)]), "may differ at axis 0 only"),
        (lambda x: join.concatenate([]), "at least one array"),
        (lambda x: join.stack([x, mv.transpose(x)]), "all of one shape"),
        (lambda x: join.tril(mv.reshape(x, -1)), "at least two axes"),
        (lambda x: join.roll(x, (1, 2), 0), "one shift per axis"),
    ],
)
def test_refuses(fn: Callable[[Value], Value], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        trace(fn, TensorType((2, 3, 4), float32))


def test_pad_value_must_fit() -> None:
    for value in (0.5, 2**31):
        with pytest.raises(ArgumentError, match="the value must fit the dtype"):
            trace(lambda x, v=value: mv.pad(x, (1,), (1,), v), TensorType((2,), int32))
