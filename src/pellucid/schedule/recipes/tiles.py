"""Full tiles apart from the rest, in the way that fits what is known of their number."""

from __future__ import annotations

from pellucid.loop.ir import For
from pellucid.loop.rewrite import constant, loops
from pellucid.schedule.overrun import overrun
from pellucid.schedule.recipes.plan import attempt
from pellucid.schedule.recipes.shape import extent_of
from pellucid.schedule.specialize import specialize
from pellucid.schedule.trace import Schedule


def is_open(loop: For | None) -> bool:
    """Whether a loop's extent is known only when the program runs."""
    return loop is not None and constant(loop.extent) is None


def part_tiles(schedule: Schedule, var: str, rows: bool) -> bool:
    """Part full tiles from the rest; whether that was possible.

    Args:
        schedule: what is changed.
        var: the loop over tiles.
        rows: it is one over rows, which may run on: not over lanes.
    """
    found = list(loops(schedule.kernel.body, var))
    if rows and any(map(is_open, found)):
        few = all(extent_of(x) == 1 for x in found)
        if attempt(schedule, overrun, var, few):
            return True
    return attempt(schedule, specialize, var)
