"""Small rows without peers, and figures made by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from pellucid.bench.outcome import Outcome
from pellucid.bench.row import OURS, Array, Candidate, Goal, Load, Race, Row
from pellucid.bench.timing import Figure


def candidate(value: float = 1.0) -> Candidate:
    """Does nothing, and gives two equal numbers."""
    return Candidate(lambda: None, lambda: [np.full(2, value, np.float32)])


def broken() -> Candidate:
    raise RuntimeError("cannot\n  be built")


def race_row(
    peers: Mapping[str, Callable[[], Candidate]],
    goal: Goal | None = None,
    load: Load | None = None,
) -> Row:
    """A row whose own work is nothing."""

    def make(_: object) -> Race:
        return Race(ours=candidate(), load=load or Load(), peers=peers)

    return Row(name="a row", group="tests", goal=goal or Goal(ratio=1.0), make=make)


def figure(median: float) -> Figure:
    return Figure(median, median * 0.9, median * 0.95, median * 1.2, 9)


def figures(**medians: float) -> dict[str, Figure]:
    """By candidate; `ours` is Pellucid."""
    return {OURS if k == "ours" else k: figure(v) for k, v in medians.items()}


def outcome(**given: object) -> Outcome:
    plain = {"row": "a row", "group": "tests", "threads": 1, "unit": "s", "goal": ">= 1x"}
    return Outcome(**{**plain, **given})  # type: ignore[arg-type]  # by name


def array(*values: float) -> Array:
    return np.array(values, np.float32)
