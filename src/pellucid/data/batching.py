"""Splitting data, and serving it in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pellucid.core.errors import ShapeError
from pellucid.data.checks import as_rows, share, whole_number
from pellucid.tensor.tensor import Tensor

Array = NDArray[Any]
Data = ArrayLike | Tensor


def _pairs(op: str, x: Data, y: Data) -> tuple[Array, Array]:
    """Both as arrays, of equal length."""
    left, right = as_rows(op, "x", x), as_rows(op, "y", y)
    if len(left) != len(right):
        operands: dict[str, object] = {"x": left.shape, "y": right.shape}
        raise ShapeError(op, "x and y must be as long", operands=operands)
    return left, right


def train_test_split(
    x: Data, y: Data, test_share: float = 0.2, seed: int = 0
) -> tuple[Array, Array, Array, Array]:
    """Two parts in random order, each class divided in the same proportion.

    Args:
        x: `[n, ...]`.
        y: classes `[n]`, integers.
        test_share: share of each class that goes into the test part.
        seed: of the order.

    Returns:
        `x_train, y_train, x_test, y_test`.

    Raises:
        ShapeError: `x` and `y` are not as long.
        ArgumentError: `test_share` is not in (0, 1), `seed` is negative, or `x` or `y` has no rows.
    """
    rows, labels = _pairs("train_test_split", x, y)
    test_share = share("train_test_split", "test_share", test_share)
    rng = np.random.default_rng(whole_number("train_test_split", "seed", seed, 0))
    test = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        test[members[: round(len(members) * test_share)]] = True
    order = rng.permutation(len(labels))
    train_rows, test_rows = order[~test[order]], order[test[order]]
    return rows[train_rows], labels[train_rows], rows[test_rows], labels[test_rows]


class Batches:
    """Data in batches; each pass over it is an epoch, shuffled anew. Made by `batches`."""

    def __init__(
        self, x: Data, y: Data, batch_size: int, *, shuffle: bool, seed: int, drop_last: bool
    ) -> None:
        self.x, self.y = _pairs("batches", x, y)
        self.batch_size = whole_number("batches", "batch_size", batch_size, 1)
        self.seed = whole_number("batches", "seed", seed, 0)
        self.shuffle, self.drop_last = shuffle, drop_last
        self.epoch = 0

    def __len__(self) -> int:
        whole, rest = divmod(len(self.x), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = np.arange(len(self.x))
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        self.epoch += 1
        for i in range(len(self)):
            rows = order[i * self.batch_size : (i + 1) * self.batch_size]
            yield Tensor(self.x[rows]), Tensor(self.y[rows])


def batches(  # what a loader is told, keyword-only
    x: Data,
    y: Data,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    drop_last: bool = False,
) -> Batches:
    """An iterable of `(x, y)` batches as tensors.

    Args:
        x: `[n, ...]`; an array, a tensor or nested lists.
        y: `[n, ...]`; likewise.
        batch_size: rows per batch; the last batch may have fewer.
        shuffle: another order in every epoch.
        seed: of the orders; equal seeds give equal epochs.
        drop_last: leave out a last batch that is not full, so that all have one shape.

    Raises:
        ShapeError: `x` and `y` are not as long.
        ArgumentError: `batch_size` is less than 1, `seed` is negative, one of them is no integer,
            or `x` or `y` has no rows.
    """
    return Batches(x, y, batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last)
