"""What a row of the benchmark is: its work, its candidates, its goal.

Enters and leaves: records only. A row's `make` runs in a process of its own with the thread count
set; whatever it imports of a peer is imported there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

OURS = "pellucid"
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to do a row's work.

    Attributes:
        run: does the work once and waits until it is done.
        result: what the work gives, as arrays in an order that all candidates share; asked for
            once, before any `run`.
    """

    run: Callable[[], object]
    result: Callable[[], Sequence[Array]]


@dataclass(frozen=True, slots=True)
class Load:
    """What the work asks of the machine, counted from the graph: each byte once.

    Attributes:
        flops: arithmetic operations.
        read: bytes of the inputs.
        written: bytes of the outputs.
    """

    flops: int = 0
    read: int = 0
    written: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Race:
    """Candidates whose results are compared and which then take turns.

    Attributes:
        ours: Pellucid.
        load: what the work asks of the machine.
        peers: by name, what makes the candidate; only called where the peer is installed.
        tolerance: the largest difference of a result, of the result's largest element.
        beside: another process keeps a core busy while they take turns.
    """

    ours: Candidate
    load: Load
    peers: Mapping[str, Callable[[], Candidate]]
    tolerance: float = 1e-4
    beside: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """Candidates that were measured each by itself, such as in fresh processes.

    Attributes:
        seen: what was measured, by candidate, in the row's unit.
        errors: why a candidate could not be measured.
        floor: the least that is possible, where that is known.
    """

    seen: Mapping[str, Sequence[float]]
    errors: Mapping[str, str] = field(default_factory=dict)
    floor: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Goal:
    """What a row is to reach; all that are given hold. Zeros ask for nothing.

    Attributes:
        ratio: the best peer's median over ours, at least. Where the machine's limit leaves less
            room than that, 90 % of the limit counts.
        peers: the same for single peers.
        share: of the machine's limit, at least.
        most: ours, at most, in the row's unit.
        over: a peer, and how much more than it ours may take.
    """

    ratio: float = 0.0
    peers: Mapping[str, float] = field(default_factory=dict)
    share: float = 0.0
    most: float = 0.0
    over: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """How a row is measured.

    Attributes:
        threads: of every candidate.
        peers: names of those that take part; all where empty.
        quick: few and short rounds, to see that everything works.
    """

    threads: int = 1
    peers: tuple[str, ...] = ()
    quick: bool = False

    def wants(self, peer: str) -> bool:
        """Whether a peer takes part."""
        return not self.peers or peer in self.peers


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        name: unique; its first word is often the group.
        group: rows that are shown together.
        goal: what is to be reached.
        make: prepares the candidates, or measures them.
        unit: `s` or `B`, or nothing for a plain number.
    """

    name: str
    group: str
    goal: Goal
    make: Callable[[Setting], Race | Samples]
    unit: str = "s"
