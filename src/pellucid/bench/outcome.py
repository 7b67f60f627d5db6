"""What came of a row: figures, differences, and what went wrong; as a record and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pellucid.bench.goals import Verdict
from pellucid.bench.timing import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One row with one number of threads.

    Attributes:
        row: its name.
        group: its group.
        threads: of every candidate.
        unit: of the figures.
        goal: in words.
        figures: by candidate.
        differences: of the results, by peer, of the largest element.
        errors: why a peer was left out.
        failed: why the row was stopped; empty if it was not.
        flops: operations of the work.
        nbytes: bytes of the work, each once.
        limit: what bounds it: `FMA`, `DRAM` and so on.
        limit_rate: that limit, per second.
        floor: the least that is possible, in the row's unit.
        verdict: None where the row was stopped.
        seconds: how long measuring took.
    """

    row: str
    group: str
    threads: int
    unit: str
    goal: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    differences: Mapping[str, float] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    failed: str = ""
    flops: int = 0
    nbytes: int = 0
    limit: str = ""
    limit_rate: float = 0.0
    floor: float = 0.0
    verdict: Verdict | None = None
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def from_json(read: Mapping[str, Any]) -> Outcome:
    """The outcome that `to_json` gave."""
    given = dict(read)
    given["figures"] = {name: Figure(**f) for name, f in given["figures"].items()}
    given["verdict"] = Verdict(**given["verdict"]) if given["verdict"] else None
    return Outcome(**given)
