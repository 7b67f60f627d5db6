"""All rows, in the order of the table. A new group is a file with `ROWS` and a line here."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from pellucid.bench import (
    attention,
    complex_numbers,
    convolution,
    elementwise,
    gemm,
    inference,
    memory,
    movement,
    normalization,
    overhead,
    scaling,
    search,
    startup,
    steps,
    techniques,
    transforms,
)
from pellucid.bench.row import Row
from pellucid.core.errors import ArgumentError, did_you_mean

ROWS: tuple[Row, ...] = (
    *gemm.ROWS,
    *steps.ROWS,
    *inference.ROWS,
    *elementwise.ROWS,
    *complex_numbers.ROWS,
    *normalization.ROWS,
    *movement.ROWS,
    *convolution.ROWS,
    *attention.ROWS,
    *overhead.ROWS,
    *startup.ROWS,
    *memory.ROWS,
    *scaling.ROWS,
    *search.ROWS,
    *techniques.ROWS,
    *transforms.ROWS,
)


def select(patterns: Sequence[str]) -> list[Row]:
    """The rows whose name or group is one of the patterns, in which `*` stands for anything; all
    rows where there is none.

    Raises:
        ArgumentError: a pattern fits nothing.
    """
    for pattern in patterns:
        if not any(_fits(row, pattern) for row in ROWS):
            known = [row.name for row in ROWS] + list(dict.fromkeys(row.group for row in ROWS))
            fix = did_you_mean(pattern, known) or "`pellucid bench --list` names all rows"
            raise ArgumentError("bench", f"there is no row or group {pattern!r}", fix=fix)
    return [r for r in ROWS if not patterns or any(_fits(r, p) for p in patterns)]


def _fits(row: Row, pattern: str) -> bool:
    return pattern == row.group or fnmatchcase(row.name, pattern)
