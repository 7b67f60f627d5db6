"""A schedule being tried: steps that are refused are left out, so that a recipe never fails."""

from __future__ import annotations

from collections.abc import Callable

from pellucid.core.errors import ScheduleError
from pellucid.core.target import Target
from pellucid.loop.ir import Kernel
from pellucid.schedule.trace import Schedule

PARALLEL_WORK = 1 << 15  # operations that are worth waking a thread for
CHUNKS_PER_CORE = 4


def attempt(schedule: Schedule, primitive: Callable[..., Kernel], *args: object) -> bool:
    """Apply a step where it is legal; whether it was."""
    try:
        schedule.apply(primitive, *args)
    except ScheduleError:
        return False
    return True


def attempt_all(schedule: Schedule, steps: Callable[[], None]) -> bool:
    """Apply several steps where all of them are legal, or none; whether they were."""
    before = schedule.steps
    try:
        steps()
    except ScheduleError:
        schedule.steps = before
        return False
    return True


def chunk_extent(extent: int, total_work: int, target: Target, multiple: int = 1) -> int:
    """Iterations per parallel chunk: as few as pay for themselves, a few chunks per core at most.

    Returns:
        A multiple of `multiple`; `extent` or more where one thread is best.
    """
    if target.cores < 2 or total_work < 2 * PARALLEL_WORK:
        return extent
    chunks = min(total_work // PARALLEL_WORK, CHUNKS_PER_CORE * target.cores)
    size = -(-extent // chunks)
    return -(-size // multiple) * multiple


def decide_chunk(
    schedule: Schedule, extent: int, total_work: int, target: Target, multiple: int = 1
) -> int:
    """Iterations per parallel chunk: `chunk_extent`'s, unless another number is chosen."""
    rule = chunk_extent(extent, total_work, target, multiple)
    if target.cores < 2 or extent < 2:
        return rule
    counts = (-(-extent // n) for n in (n * target.cores for n in (1, 2, 4, 8, 16)))
    sizes = {min(extent, -(-size // multiple) * multiple) for size in counts}
    return schedule.decide("chunk", min(rule, extent), (extent, *sorted(sizes)))
