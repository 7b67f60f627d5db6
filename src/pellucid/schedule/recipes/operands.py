"""Copies of a contraction's operands in the order of use, where they pay."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.target import Target
from pellucid.loop.ir import For, Load
from pellucid.loop.rewrite import index_vars
from pellucid.schedule.lanes import lanes
from pellucid.schedule.pack import pack
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.recipes.copies import turn_copy
from pellucid.schedule.recipes.plan import attempt
from pellucid.schedule.recipes.shape import extent_of, stride
from pellucid.schedule.recipes.tiling import Contraction, Tiling, lies_across
from pellucid.schedule.reorder import reorder
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.trace import Schedule

FAR_BYTES = 1024  # rows this far apart miss the prefetcher and the translation cache
LINE_BYTES = 64
ROWS_AT_ONCE = 16  # of an operand being turned: they stay in the first-level cache
FEWEST_USES = 4  # of a copy, for it to pay
MANY_USES = 16  # of a copy, for it to pay although it only puts vectors on cache lines
AHEAD = 16  # rows of an operand read where it lies that are on their way


def pack_wide(
    schedule: Schedule,
    tiling: Tiling,
    reduced: Sequence[str],
    outer: Sequence[str],
    others: Sequence[For],
) -> None:
    """A copy of the lanes' operand in the order of use, where it is read across memory.

    One panel at a time where its loop is outermost of those that do not index it, else all at once.
    """
    lane, name = tiling.lane.var, tiling.wide.buffer.name
    if name in schedule.constants:
        _pack_constant(schedule, tiling, tiling.wide, reduced, others)
        return
    rows = 1 if tiling.row is None else -(-extent_of(tiling.row) // tiling.height)
    pays = stride(tiling.wide, lane) != 1 or (_far(tiling.wide, reduced) and rows >= FEWEST_USES)
    # single vectors should not cross cache lines, as they may where an operand lies
    pays |= tiling.width * tiling.wide.dtype.itemsize <= LINE_BYTES and rows >= MANY_USES
    if not schedule.decide("pack_wide", pays, (True, False)):
        return
    inside = outer[0] != f"{tiling.row.var}o" if tiling.row else True
    shared = [x.var for x in others if x.var in index_vars(tiling.wide)]
    if len(shared) < len(others):
        if attempt(schedule, pack, name, [*shared, f"{lane}o", *reduced, f"{lane}i"]):
            first = next((v for v in (*shared, reduced[0]) if v), "")
            attempt(schedule, parallelize, f"{first}_{name}")
        return
    single = outer[0] == f"{lane}o"
    order = [*reduced, f"{lane}i"] if single else [f"{lane}o", *reduced, f"{lane}i"]
    if attempt(schedule, pack, name, order, outer[0] if inside else None):
        if not inside:
            attempt(schedule, parallelize, f"{lane}o_{name}")


def fill_wide(schedule: Schedule, tiling: Tiling, found: Contraction, target: Target) -> None:
    """Lanes for the copy of the lanes' operand, in blocks turned round where it lies across."""
    lane, name = tiling.lane.var, tiling.wide.buffer.name
    attempt(schedule, specialize, f"{lane}o_{name}")
    step, inner = f"{found.reduced[-1].var}_{name}", f"{lane}i_{name}"
    across = lies_across(tiling.wide, tiling.lane, found.reduced[-1])
    if not across or not turn_copy(schedule, step, inner, target.lanes(tiling.wide.dtype)):
        attempt(schedule, lanes, inner)


def pack_narrow(
    schedule: Schedule, tiling: Tiling, found: Contraction, others: Sequence[For]
) -> list[str]:
    """A copy of the rows' operand where its rows lie across memory; the reduction's loops.

    Where the reduction runs along memory, it is read where it lies, unless a choice says otherwise:
    then whole lines of it are copied, row beside row.
    """
    reduced = [x.var for x in found.reduced]
    if tiling.narrow.buffer.name in schedule.constants:
        _pack_constant(schedule, tiling, tiling.narrow, reduced, others)
        return reduced
    if tiling.row is None or tiling.more or others or len(reduced) != 1:
        return reduced
    row, last, name = tiling.row.var, reduced[-1], tiling.narrow.buffer.name
    block = LINE_BYTES // tiling.narrow.dtype.itemsize
    layout = _layout(schedule, tiling, reduced, extent_of(found.reduced[-1]))
    if layout == "lines":
        if not attempt(schedule, split, last, block, f"{last}o", f"{last}i"):
            return reduced
        reduced = [f"{last}o", f"{last}i"]
        order, along = [f"{row}o", f"{last}o", f"{row}i", f"{last}i"], f"{last}i"
    elif layout == "dense":
        order, along = [f"{row}o", last, f"{row}i"], f"{row}i"
    else:
        return reduced
    if attempt(schedule, pack, name, order):
        first = f"{row}o_{name}"
        if along == f"{row}i" and attempt(
            schedule, split, f"{last}_{name}", ROWS_AT_ONCE, "kb", "kr"
        ):
            # a few rows of the source at a time: each line is read once, in the order of memory
            first = "kb" if attempt(schedule, reorder, "kb", first, "kr") else first
        attempt(schedule, lanes, f"{along}_{name}")
        attempt(schedule, parallelize, first)
    return reduced


def _layout(schedule: Schedule, tiling: Tiling, reduced: Sequence[str], extent: int) -> str:
    """How the rows' operand is copied: whole lines, the elements of a step side by side, or not."""
    row = "" if tiling.row is None else tiling.row.var
    along = stride(tiling.narrow, reduced[-1]) == 1
    rule = "none"
    if stride(tiling.narrow, row) == 1 and _far(tiling.narrow, reduced) and extent >= 256:
        rule = "dense"
    if -(-extent_of(tiling.lane) // tiling.width) < FEWEST_USES:
        rule = "none"
    options = ("none", "lines", "dense") if along else ("none", "dense")
    return schedule.decide("pack_narrow", rule, options)


def _pack_constant(
    schedule: Schedule,
    tiling: Tiling,
    load: Load,
    reduced: Sequence[str],
    others: Sequence[For],
) -> None:
    """A copy of an operand that never changes, in the order of use: made once, so always worth it.

    What does not fill a tile is padded, so that every row of the copy is read as whole vectors.
    """
    known, name = index_vars(load), load.buffer.name
    tiled = [x.var for x in (tiling.line, tiling.row, tiling.lane) if x is not None]
    tiled = [v for v in tiled if v in known]
    outer = [x.var for x in others if x.var in known]
    if tiling.panels > 1 and tiling.lane.var in tiled:
        outer.append(f"{tiling.lane.var}b")
    outer += [f"{v}o" for v in tiled]
    inner = [x.var for x in tiling.more if x.var in known] + [f"{v}i" for v in tiled]
    order = [*outer, *(v for v in reduced if v in known), *inner]
    if attempt(schedule, pack, name, order):
        attempt(schedule, lanes, f"{order[-1]}_{name}")


def _far(load: Load, reduced: Sequence[str]) -> bool:
    """Whether neighbours along a reduced loop lie so far apart that each is a page of its own."""
    steps = [stride(load, v) for v in reduced]
    return any(s is None or abs(s) * load.dtype.itemsize >= FAR_BYTES for s in steps)
