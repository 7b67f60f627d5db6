"""Results whose shape depends on the data: at once with gradients, refused in a recording."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.errors import ArgumentError, IndexRangeError, ShapeError, TraceError

X = np.array([[3.0, 1.0, 3.0], [-0.0, 0.0, 1.0]], np.float32)


def test_nonzero_gives_places_axis_by_axis() -> None:
    for got, want in zip(pl.nonzero(pl.Tensor(X)), np.nonzero(X), strict=True):
        assert got.dtype == pl.int64
        np.testing.assert_array_equal(got.numpy(), want)
    with pytest.raises(ShapeError, match="needs at least one axis"):
        pl.nonzero(pl.Tensor(1.0))


def test_unique_puts_the_elements_back_together() -> None:
    found = pl.unique_all(pl.Tensor(X))
    np.testing.assert_array_equal(found.values.numpy(), [0, 1, 3])
    np.testing.assert_array_equal(found.indices.numpy(), [3, 1, 0])
    np.testing.assert_array_equal(found.counts.numpy(), [2, 2, 2])
    np.testing.assert_array_equal(pl.take(found.values, found.inverse_indices, 0).numpy(), X)
    assert pl.unique_counts(pl.Tensor(X)).counts.tolist() == [2, 2, 2]
    assert pl.unique_inverse(pl.Tensor(X)).inverse_indices.shape == X.shape


def test_every_nan_is_distinct() -> None:
    values, counts = pl.unique_counts(pl.Tensor([np.nan, 1.0, np.nan]))
    np.testing.assert_array_equal(values.numpy(), [1, np.nan, np.nan])
    assert counts.tolist() == [1, 1, 1]


def test_gradients_reach_the_elements_that_were_chosen() -> None:
    x = pl.Tensor(X, requires_grad=True)
    (pl.unique_values(x) * pl.Tensor([1.0, 2.0, 4.0])).sum().backward()
    np.testing.assert_array_equal(x.grad, [[4, 2, 0], [1, 0, 0]])
    y = pl.Tensor(X, requires_grad=True)
    (y[y > 0.5] ** 2).sum().backward()
    np.testing.assert_array_equal(y.grad, np.where(X > 0.5, 2 * X, 0))


@pytest.mark.parametrize(
    ("name", "fn"),
    [
        ("nonzero", lambda x: pl.nonzero(x)[0]),
        ("unique_values", pl.unique_values),
        ("unique_all", lambda x: pl.unique_all(x)[0]),
        ("repeat", lambda x: pl.repeat(x, x.astype("int64"))),
        ("getitem", lambda x: x[x > 0]),
    ],
)
def test_a_recording_refuses_and_names_the_mend(name: str, fn: Callable[[Any], Any]) -> None:
    with pytest.raises(TraceError, match=rf"(?s){name}: .*Fix: "):
        pl.jit(fn)(pl.Tensor([1.0, 2.0]))


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_repeats_may_differ_from_place_to_place(axis: int | None) -> None:
    counts = np.array({None: range(6), 0: [2, 0], -1: [1, 0, 3]}[axis])
    x = pl.Tensor(X, requires_grad=True)
    got = pl.repeat(x, pl.Tensor(counts), axis=axis)
    np.testing.assert_array_equal(got.detach(), np.repeat(X, counts, axis=axis))
    got.sum().backward()
    want = {None: np.arange(6).reshape(2, 3), 0: counts[:, None], -1: counts[None]}[axis]
    np.testing.assert_array_equal(x.grad, np.broadcast_to(want, X.shape))


def test_repeats_are_checked() -> None:
    x = pl.Tensor(X)
    with pytest.raises(ShapeError, match="repeat: needs one number of repeats"):
        pl.repeat(x, pl.Tensor([1, 2, 3]), axis=0)
    with pytest.raises(ArgumentError, match="repeats must be >= 0"):
        pl.repeat(x, pl.Tensor([1, -2]), axis=0)


def test_a_mask_without_axes_adds_one() -> None:
    x = pl.Tensor(X)
    for mask in (True, False):
        for key in (mask, pl.Tensor(mask), np.array(mask)):
            np.testing.assert_array_equal(x[key], X[mask])
        np.testing.assert_array_equal(x[..., mask], X[..., mask])


def test_a_mask_may_have_a_size_of_0() -> None:
    empty = pl.zeros((0, 1))
    assert empty[pl.zeros((0, 0), dtype="bool")].shape == (0,)
    with pytest.raises(IndexRangeError, match="a mask must have the sizes"):
        empty[pl.ones((1, 1), dtype="bool")]


def test_one_element_is_written_through_a_mask_of_any_kind() -> None:
    mask = X > 0.5
    want = X.copy()
    want[mask] = 7
    for key in (mask, pl.Tensor(mask), (mask,)):
        x = pl.Tensor(X)
        x[key] = 7
        np.testing.assert_array_equal(x, want)
    rows = np.array([True, False])
    x, want = pl.Tensor(X), X.copy()
    x[rows], want[rows] = 5, 5
    np.testing.assert_array_equal(x, want)
    x[pl.Tensor(False)] = 9
    np.testing.assert_array_equal(x, want)


def test_one_element_is_written_through_a_mask_in_a_recording() -> None:
    def fn(x: pl.Tensor, value: pl.Tensor) -> pl.Tensor:
        x = x * 1
        x[x > 0.5] = value
        return (x * x).sum()

    x, value = pl.Tensor(X), pl.Tensor(2.0)
    assert pl.jit(fn)(x, value).item() == fn(x, value).item() == 16
    assert pl.grad(fn, argnums=1)(x, value).item() == 16


def test_a_slice_may_have_tensors_for_its_ends() -> None:
    x = pl.Tensor(X)
    np.testing.assert_array_equal(x[pl.Tensor(0) : pl.Tensor(1)], X[0:1])
    with pytest.raises(TraceError, match="index"):
        pl.jit(lambda x, n: x[:n])(x, pl.Tensor(1))
