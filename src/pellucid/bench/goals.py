"""Whether a row reaches its goal, with the arithmetic.

Enters: a goal, the figures, the least seconds possible. Leaves: a `Verdict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pellucid.bench.row import OURS, Goal
from pellucid.bench.timing import Figure

LIMIT_COUNTS = 0.9  # of the limit, where it leaves less room than a ratio asks


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a row did.

    Attributes:
        best_peer: the peer with the least median; empty where none was measured.
        ratio: its median over ours; 0 where there is none.
        share: of the limit that ours reaches; 0 where no limit is known.
        reached: whether all parts of the goal hold; None if any cannot be judged.
        why: for parts that fail or need explaining, the arithmetic.
    """

    best_peer: str
    ratio: float
    share: float
    reached: bool | None
    why: str


def describe(goal: Goal, unit: str) -> str:
    """The goal in words."""
    parts = [f">= {goal.ratio:.3g}x"] if goal.ratio else []
    parts += [f">= {ratio:.3g}x {peer}" for peer, ratio in goal.peers.items()]
    parts += [f">= {goal.share:.0%} of limit"] if goal.share else []
    parts += [f"<= {quantity(goal.most, unit)}"] if goal.most else []
    if goal.over:
        parts.append(f"<= {quantity(goal.over[1], unit)} over {goal.over[0]}")
    return ", ".join(parts)


def quantity(value: float, unit: str) -> str:
    """`1.50 ms`, `2.0 MB`, `1.2`."""
    steps = {
        "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns")),
        "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "KB"), (1.0, "B")),
    }.get(unit, ())
    for size, name in steps:
        if abs(value) >= size:
            return f"{value / size:.3g} {name}" if abs(value) < 1000 * size else f"{value:.0f} s"
    return f"{value:.3g} {unit}".strip()


def judge(goal: Goal, figures: Mapping[str, Figure], floor: float, unit: str) -> Verdict:
    """Hold the figures against the goal.

    Args:
        goal: what was to be reached.
        figures: of ours and of the peers.
        floor: the least that is possible, in the row's unit; 0 where it is not known.
        unit: of the figures.
    """
    ours = figures[OURS].median
    others = {name: f.median for name, f in figures.items() if name != OURS}
    best = min(others, key=others.__getitem__, default="")
    share = floor / ours if floor and ours else 0.0
    parts = list(_parts(goal, ours, others, floor, unit))
    known = [held for held, _ in parts if held is not None]
    reached = False if False in known else (True if len(known) == len(parts) else None)
    why = "; ".join(text for held, text in parts if text and held is not None)
    return Verdict(best, others[best] / ours if best and ours else 0.0, share, reached, why)


def _parts(
    goal: Goal, ours: float, others: Mapping[str, float], floor: float, unit: str
) -> list[tuple[bool | None, str]]:
    """Each part of the goal: whether it holds, if that can be said, and its arithmetic."""
    parts: list[tuple[bool | None, str]] = []
    if goal.ratio:
        parts.append(_ratio(goal.ratio, ours, min(others.values(), default=None), floor))
    for peer, ratio in goal.peers.items():
        parts.append(_ratio(ratio, ours, others.get(peer), floor))
    if goal.share:
        parts.append((floor / ours >= goal.share if floor else None, ""))
    if goal.most:
        parts.append((ours <= goal.most, ""))
    if goal.over:
        peer, more = goal.over
        parts.append(_over(peer, more, ours, others.get(peer), unit))
    return parts


def _ratio(
    asked: float, ours: float, theirs: float | None, floor: float
) -> tuple[bool | None, str]:
    if theirs is None:
        return None, ""
    room = theirs / floor if floor else 0.0
    if theirs / ours >= asked or not floor or room >= asked:
        return theirs / ours >= asked, ""
    text = f"the limit leaves {room:.2f}x, ours is at {floor / ours:.0%} of it"
    return floor / ours >= LIMIT_COUNTS, text


def _over(
    peer: str, more: float, ours: float, theirs: float | None, unit: str
) -> tuple[bool | None, str]:
    if theirs is None:
        return None, ""
    return ours - theirs <= more, f"{quantity(ours - theirs, unit)} over {peer}"
