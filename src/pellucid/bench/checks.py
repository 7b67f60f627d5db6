"""Equal results first: a time means nothing where candidates compute different things."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.bench.row import Array
from pellucid.core.errors import PellucidError


class DifferenceError(PellucidError):
    """Two candidates of a row do not compute the same."""


def difference(row: str, peer: str, ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    """The largest difference of any element, of the largest element of its array.

    Raises:
        DifferenceError: number, shapes or places of NaN differ.
    """
    if [a.shape for a in ours] != [b.shape for b in theirs]:
        shapes = {"ours": [a.shape for a in ours], "theirs": [b.shape for b in theirs]}
        raise DifferenceError(row, f"shapes differ from those of {peer}", operands=shapes)
    return max((_difference(row, peer, a, b) for a, b in zip(ours, theirs, strict=True)), default=0)


def _difference(row: str, peer: str, ours: Array, theirs: Array) -> float:
    if ours.size == 0:
        return 0.0
    if np.array_equal(ours, theirs, equal_nan=ours.dtype.kind in "fc"):
        return 0.0
    wide = np.complex128 if ours.dtype.kind == "c" else np.float64
    a, b = ours.astype(wide), theirs.astype(wide)
    apart = np.abs(a - b)[~(np.isnan(a) & np.isnan(b)) & (a != b)]
    worst = float(apart.max(initial=0.0))
    scale = float(np.nanmax(np.abs(b)))
    if not np.isfinite(worst) or not np.isfinite(scale):
        raise DifferenceError(row, f"NaN or infinities are elsewhere than with {peer}")
    return worst / scale if scale else worst


def check(row: str, peer: str, found: float, tolerance: float) -> None:
    """Refuse a row whose candidates differ.

    Raises:
        DifferenceError: by more than `tolerance`.
    """
    if not found <= tolerance:
        operands: dict[str, object] = {"difference": f"{found:.1e}", "limit": f"{tolerance:.1e}"}
        raise DifferenceError(row, f"the result differs from that of {peer}", operands=operands)
