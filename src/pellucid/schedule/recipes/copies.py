"""Copies of operands: how the loops of a pack are run."""

from __future__ import annotations

from pellucid.schedule.lanes import lanes
from pellucid.schedule.peel import peel
from pellucid.schedule.recipes.plan import attempt, attempt_all
from pellucid.schedule.reorder import reorder
from pellucid.schedule.split import split
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import unroll


def turn_copy(schedule: Schedule, step: str, lane: str, width: int) -> bool:
    """A copy that puts neighbours along `step` far apart, in blocks turned round in registers.

    Args:
        schedule: what to change; `lane` is the loop inside `step` along which the copy lies.
        step: the loop along which the source lies.
        lane: becomes the lanes.
        width: steps per block: the lanes of a vector.

    Returns:
        Whether it was legal; if not, nothing has changed.
    """

    def steps() -> None:
        blocks, inside = f"{step}b", f"{step}r"
        schedule.apply(split, step, width, blocks, inside)
        schedule.apply(reorder, lane, inside)
        attempt(schedule, peel, blocks)
        schedule.apply(unroll, inside)
        schedule.apply(lanes, lane)

    return attempt_all(schedule, steps)
