"""A model of a kernel's time, learnt from measurements: small trees, each mending the ones before.

Enters: features of scheduled kernels, and the seconds they took. Leaves: a score per candidate, low
is fast; only the order of one kernel's candidates means anything. Without measurements the score is
the features' own estimate. Source: Friedman, "Greedy Function Approximation: A Gradient Boosting
Machine" (2001); what AutoTVM and Ansor use, here in NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.schedule.search.features import FEATURES

Floats = NDArray[np.float64]
FEWEST_ROWS = 24  # measurements below which the estimate alone is trusted
_TREES, _DEPTH, _RATE = 60, 3, 0.15
_CUTS = 12  # thresholds tried per feature
_LEAST_LEAF = 4
_ESTIMATE = FEATURES.index("estimate")


@dataclass(frozen=True, slots=True)
class _Tree:
    """A split on one feature with what lies below, or at a leaf a value."""

    feature: int
    threshold: float
    low: _Tree | float
    high: _Tree | float

    def predict(self, rows: Floats) -> Floats:
        goes_low = rows[:, self.feature] <= self.threshold
        out = np.empty(len(rows))
        for side, part in ((self.low, goes_low), (self.high, ~goes_low)):
            out[part] = side if isinstance(side, float) else side.predict(rows[part])
        return out


@dataclass(frozen=True, slots=True)
class CostModel:
    """Trees whose sum corrects the estimate; none before anything was measured."""

    trees: tuple[_Tree, ...] = ()

    def score(self, rows: Floats) -> Floats:
        """Logarithms of time up to a constant per kernel; rows of features, shape (n, features)."""
        rows = np.atleast_2d(rows)
        total: Floats = rows[:, _ESTIMATE].copy()
        for tree in self.trees:
            total += _RATE * tree.predict(rows)
        return total


def fit(rows: Floats, seconds: Floats, groups: Sequence[object]) -> CostModel:
    """A model of measurements.

    Args:
        rows: features, shape (n, features).
        seconds: measured times, shape (n,).
        groups: which kernel each row belongs to; times are compared within a kernel only.
    """
    if len(rows) < FEWEST_ROWS:
        return CostModel()
    index = _numbers(groups)
    wanted = np.log2(seconds) - rows[:, _ESTIMATE]
    rest = wanted - _means(wanted, index)
    trees = []
    for _ in range(_TREES):
        tree = _grow(rows, rest, _DEPTH)
        if isinstance(tree, float):
            break
        step = tree.predict(rows)
        rest = rest - _RATE * (step - _means(step, index))
        trees.append(tree)
    return CostModel(tuple(trees))


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's: 1 where both put the same elements first, 0 where neither tells of the other."""
    if len(a) < 2:
        return 0.0
    x, y = (np.argsort(np.argsort(v)).astype(float) for v in (a, b))
    x, y = x - x.mean(), y - y.mean()
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def _numbers(groups: Sequence[object]) -> NDArray[np.int64]:
    known: dict[object, int] = {}
    return np.array([known.setdefault(g, len(known)) for g in groups], np.int64)


def _means(values: Floats, index: NDArray[np.int64]) -> Floats:
    """Each row's group's mean."""
    sums = np.bincount(index, values)
    means: Floats = (sums / np.bincount(index))[index]
    return means


def _grow(rows: Floats, rest: Floats, depth: int) -> _Tree | float:
    """The tree that takes most of the squares away, split by split."""
    found = _best_split(rows, rest) if depth else None
    if found is None:
        return float(rest.mean())
    feature, threshold = found
    low = rows[:, feature] <= threshold
    return _Tree(
        feature,
        threshold,
        _grow(rows[low], rest[low], depth - 1),
        _grow(rows[~low], rest[~low], depth - 1),
    )


def _best_split(rows: Floats, rest: Floats) -> tuple[int, float] | None:
    best, found = 1e-9, None
    count, total = len(rest), rest.sum()
    for feature in range(rows.shape[1]):
        column = rows[:, feature]
        cuts = np.unique(np.quantile(column, np.linspace(0, 1, _CUTS + 2)[1:-1]))
        low = column[:, None] <= cuts
        n, s = low.sum(axis=0), rest @ low
        legal = (n >= _LEAST_LEAF) & (count - n >= _LEAST_LEAF)
        if not legal.any():
            continue
        n = np.where(legal, n, 1)
        gain = s**2 / n + (total - s) ** 2 / np.maximum(count - n, 1) - total**2 / count
        gain = np.where(legal, gain, -1.0)
        at = int(gain.argmax())
        if gain[at] > best:
            best, found = float(gain[at]), (feature, float(cuts[at]))
    return found
