from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pellucid.core.dtype import float32
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.data import batches, train_test_split
from pellucid.tensor.tensor import Tensor

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10) % 2


def test_split_keeps_pairs_and_proportions() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    x = np.arange(100)
    x_train, y_train, x_test, y_test = train_test_split(x, labels, 0.2, seed=3)
    assert np.bincount(y_test).tolist() == [10, 6, 4]
    assert sorted([*x_train, *x_test]) == list(range(100))
    np.testing.assert_array_equal(labels[x_train], y_train)
    np.testing.assert_array_equal(labels[x_test], y_test)
    assert not (np.diff(y_train) >= 0).all()
    again = train_test_split(x, labels, 0.2, seed=3)
    np.testing.assert_array_equal(again[0], x_train)
    assert not np.array_equal(train_test_split(x, labels, 0.2, seed=4)[0], x_train)


def test_batches_cover_everything_in_order() -> None:
    found = [(x.numpy(), y.numpy()) for x, y in batches(X, Y, 4)]
    assert [len(x) for x, _ in found] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), X)
    np.testing.assert_array_equal(np.concatenate([y for _, y in found]), Y)


@pytest.mark.parametrize(("drop", "count"), [(True, 2), (False, 3)])
def test_last_batch_can_be_dropped(drop: bool, count: int) -> None:
    loader = batches(X, Y, 4, drop_last=drop)
    assert len(loader) == len(list(loader)) == count


def test_epochs_are_shuffled_anew_and_repeatably() -> None:
    loader = batches(X, Y, 5, shuffle=True, seed=1)
    epochs = [np.concatenate([x.numpy()[:, 0] for x, _ in loader]) for _ in range(2)]
    assert not np.array_equal(epochs[0], epochs[1])
    assert sorted(epochs[0]) == sorted(X[:, 0])
    for x, y in loader:
        np.testing.assert_array_equal((x.numpy()[:, 0] / 2) % 2, y.numpy())
    same = batches(X, Y, 5, shuffle=True, seed=1)
    np.testing.assert_array_equal(np.concatenate([x.numpy()[:, 0] for x, _ in same]), epochs[0])


def test_no_data_gives_no_batches() -> None:
    assert list(batches(X[:0], Y[:0], 3)) == []


def test_bad_arguments() -> None:
    with pytest.raises(ShapeError, match=r"x and y must be as long, got x \(10, 2\) and y \(3,\)"):
        batches(X, Y[:3], 2)
    with pytest.raises(ArgumentError, match="batch_size must be at least 1"):
        batches(X, Y, 0)
    with pytest.raises(ArgumentError, match="test_share must be in"):
        train_test_split(X, Y, 1.0)


@pytest.mark.parametrize("batch_size", [1.5, "3", None, -1])
def test_batch_sizes_that_are_none(batch_size: Any) -> None:
    with pytest.raises(ArgumentError, match=r"batches: batch_size must be at least 1, and an int"):
        batches(X, Y, batch_size)


@pytest.mark.parametrize("seed", [-1, 1.5, "3", None])
def test_seeds_that_are_none(seed: Any) -> None:
    with pytest.raises(ArgumentError, match=r"batches: seed must be at least 0, and an integer"):
        batches(X, Y, 2, seed=seed)
    with pytest.raises(ArgumentError, match=r"train_test_split: seed must be at least 0"):
        train_test_split(X, Y, 0.5, seed=seed)


@pytest.mark.parametrize("share", ["a", None, float("nan"), -1])
def test_shares_that_are_none(share: Any) -> None:
    with pytest.raises(ArgumentError, match=r"test_share must be in \(0, 1\), got test_share"):
        train_test_split(X, Y, share)


def test_lists_and_tensors_are_data_too() -> None:
    for x, y in (
        ([[1.0], [2.0], [3.0]], [1, 0, 1]),
        (Tensor([[1.0], [2.0], [3.0]]), Tensor([1, 0, 1])),
    ):
        found = list(batches(x, y, np.int64(2)))  # type: ignore[arg-type]  # what is tested
        assert [b.tolist() for b, _ in found] == [[[1.0], [2.0]], [[3.0]]]
        assert found[0][0].dtype == float32
        assert [b.tolist() for _, b in found] == [[1, 0], [1]]
        parts = train_test_split(x, y, 0.5)
        assert [len(p) for p in parts] == [2, 2, 1, 1]


@pytest.mark.parametrize("x", [3, None, np.float32(3), [[1, 2], [3]], ["a"]])
def test_data_without_rows(x: Any) -> None:
    with pytest.raises((ArgumentError, DTypeError), match=r"must have rows, got x|Tensor: "):
        batches(x, [1], 1)
