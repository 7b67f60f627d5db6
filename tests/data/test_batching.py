from __future__ import annotations

import numpy as np
import pytest

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.data import batches, train_test_split

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
