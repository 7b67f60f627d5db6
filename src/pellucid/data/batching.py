"""Splitting data, and serving it in batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.tensor.tensor import Tensor

Array = NDArray[Any]


def _check_lengths(op: str, x: Array, y: Array) -> None:
    if len(x) != len(y):
        raise ShapeError(op, "x and y must be as long", operands={"x": x.shape, "y": y.shape})


def train_test_split(
    x: Array, y: Array, test_share: float = 0.2, seed: int = 0
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
        ArgumentError: `test_share` is not in (0, 1).
    """
    _check_lengths("train_test_split", x, y)
    if not 0.0 < test_share < 1.0:
        operands: dict[str, object] = {"test_share": test_share}
        raise ArgumentError("train_test_split", "test_share must be in (0, 1)", operands=operands)
    rng = np.random.default_rng(seed)
    test = np.zeros(len(y), np.bool_)
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        test[members[: round(len(members) * test_share)]] = True
    order = rng.permutation(len(y))
    train_rows, test_rows = order[~test[order]], order[test[order]]
    return x[train_rows], y[train_rows], x[test_rows], y[test_rows]


class Batches:
    """Data in batches; each pass over it is an epoch, shuffled anew. Made by `batches`."""

    def __init__(
        self, x: Array, y: Array, batch_size: int, *, shuffle: bool, seed: int, drop_last: bool
    ) -> None:
        _check_lengths("batches", x, y)
        if batch_size < 1:
            operands: dict[str, object] = {"batch_size": batch_size}
            raise ArgumentError("batches", "batch_size must be at least 1", operands=operands)
        self.x, self.y, self.batch_size = x, y, batch_size
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
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
    x: Array,
    y: Array,
    batch_size: int,
    *,
    shuffle: bool = False,
    seed: int = 0,
    drop_last: bool = False,
) -> Batches:
    """An iterable of `(x, y)` batches as tensors.

    Args:
        x: `[n, ...]`.
        y: `[n, ...]`.
        batch_size: rows per batch; the last batch may have fewer.
        shuffle: another order in every epoch.
        seed: of the orders; equal seeds give equal epochs.
        drop_last: leave out a last batch that is not full, so that all have one shape.

    Raises:
        ShapeError: `x` and `y` are not as long.
        ArgumentError: `batch_size` is less than 1.
    """
    return Batches(x, y, batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last)
