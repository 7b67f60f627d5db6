"""The matrices of Winograd's convolution, derived with exact fractions.

`y = At [(G w) * (Bt x)]` gives `m` neighbouring outputs of a filter of `r` taps with `m + r - 1`
products, one for each point at which the polynomials behind it are evaluated (Cook and Toom); one
of the points is infinity. In two dimensions the same matrices act on rows and on columns.

Sources: Winograd, "Arithmetic Complexity of Computations" (1980); Lavin and Gray, "Fast Algorithms
for Convolutional Neural Networks" (2016). Computed, not typed in: a textbook prints `At` with a
wrong sign.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

Row = tuple[Fraction, ...]
Matrix = tuple[Row, ...]

POINTS: dict[int, Row] = {
    2: (Fraction(0), Fraction(1), Fraction(-1)),
    4: (Fraction(0), Fraction(2, 3), Fraction(-2, 3), Fraction(3, 2), Fraction(-3, 2)),
}
"""The finite points for tiles of `m` outputs and three taps.

A number and its negative share half of their sums. Of the pairs tried for m = 4, 2/3 and 3/2 round
best: the largest error is a fifth of that of the usual 1 and 2 (their powers stay near 1).
"""


@dataclass(frozen=True, slots=True)
class Transforms:
    """`at` `[m, n]`, `g` `[n, r]` and `bt` `[n, n]`, where n = m + r - 1."""

    at: Matrix
    g: Matrix
    bt: Matrix


@functools.cache
def transforms(outputs: int, taps: int, points: Row) -> Transforms:
    """The matrices for tiles of `outputs` and filters of `taps`.

    Args:
        outputs: m, of a tile.
        taps: r.
        points: m + r - 2 different numbers; infinity is added.

    Returns:
        Fractions. Denominators are in `g`, which is applied once: `bt` has whole numbers where the
        points are whole.
    """
    size = outputs + taps - 1
    scales = [math.prod((p - q for q in points if q != p), start=Fraction(1)) for p in points]
    scales.append(Fraction(1))
    inverse = _inverse(_powers(points, size))
    bt = tuple(tuple(scale * inverse[k][i] for k in range(size)) for i, scale in enumerate(scales))
    g = tuple(
        tuple(v / scale for v in row)
        for row, scale in zip(_powers(points, taps), scales, strict=True)
    )
    return Transforms(at=_transposed(_powers(points, outputs)), g=g, bt=bt)


def _powers(points: Sequence[Fraction], degree: int) -> Matrix:
    """A polynomial of `degree` coefficients evaluated at the points and at infinity."""
    rows = [tuple(p**k for k in range(degree)) for p in points]
    last = tuple(Fraction(int(k == degree - 1)) for k in range(degree))
    return (*rows, last)


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _inverse(matrix: Matrix) -> Matrix:
    """Gauss and Jordan."""
    size = len(matrix)
    rows = [[*row, *(Fraction(int(i == k)) for k in range(size))] for i, row in enumerate(matrix)]
    for k in range(size):
        pivot = next(i for i in range(k, size) if rows[i][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [v / rows[k][k] for v in rows[k]]
        for i in range(size):
            if i != k and rows[i][k]:
                factor = rows[i][k]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
    return tuple(tuple(row[size:]) for row in rows)
