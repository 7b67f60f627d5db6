"""What a contraction asks for before it needs it: rows far apart, and what its epilogue reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.core.target import Target
from pellucid.loop.ir import Expr, Load, Var, iadd, ifloordiv, imod, imul
from pellucid.loop.rewrite import allocated, loads, substitute_expr
from pellucid.loop.rewrite import loops as loops_over
from pellucid.schedule.prefetch import prefetch
from pellucid.schedule.recipes.plan import attempt
from pellucid.schedule.recipes.shape import Nest, extent_of, stride
from pellucid.schedule.recipes.tiling import Contraction, Tiling
from pellucid.schedule.split import split
from pellucid.schedule.trace import Schedule

LINE_BYTES = 64
AHEAD = 16  # rows of an operand read where it lies that are on their way


def fetch_wide(schedule: Schedule, tiling: Tiling, found: Contraction, target: Target) -> None:
    """Ask some rows ahead for an operand that is read where it lies, in rows far apart."""
    wide, lane, line = tiling.wide, tiling.lane.var, LINE_BYTES // tiling.wide.dtype.itemsize
    step = f"{found.reduced[0].var}s"
    where_it_lies = any(
        x.buffer == wide.buffer
        for loop in loops_over(schedule.kernel.body, step)
        for x in loads(loop.body)
    )
    far = stride(wide, lane) == 1 and wide.buffer.nbytes > target.l2_bytes
    if len(found.reduced) > 1 or not far or not where_it_lies:
        return
    values = {
        lane: iadd(imul(Var(f"{lane}o"), tiling.width), imul(Var("pl"), line)),
        found.reduced[0].var: iadd(Var(step), AHEAD),
    }
    place = [substitute_expr(i, values) for i in wide.indices]
    lines = [("pl", -(-tiling.width // line))]
    attempt(schedule, prefetch, wide.buffer.name, step, place, lines, False)


def fetch_epilogue(
    schedule: Schedule, nest: Nest, tiling: Tiling, found: Contraction, target: Target
) -> None:
    """Ask for the tile of what the epilogue reads while the reduction runs."""
    row, lane = tiling.row, tiling.lane
    alone = len(nest.loops) == 2 and len(found.reduced) == 1 and not (tiling.more or tiling.line)
    read = epilogue_loads(nest, found, row.var if row else "", lane.var)
    if not alone or row is None or sum(x.buffer.nbytes for x in read) <= target.l1_bytes:
        return
    stretches = _stretches(schedule, found, _line(read))
    if stretches is None:
        return
    column = imul(Var(f"{lane.var}o"), tiling.width)
    if tiling.panels > 1:
        column = iadd(column, imul(Var(f"{lane.var}b"), tiling.panels * tiling.width))
    origin = imul(Var(f"{row.var}o"), tiling.height), column
    place = Place((row.var, lane.var), origin, (tiling.height, tiling.width))
    fetch_tile(schedule, read, *stretches, place)


def fetch_panel(
    schedule: Schedule, tiling: Tiling, found: Contraction, outer: Sequence[str], target: Target
) -> None:
    """Ask for the next panel of a packed literal while the row tiles of this one run.

    Programs have more weights than the near caches hold: each is read once in a run.
    """
    row, lane, line = tiling.row, tiling.lane.var, LINE_BYTES // tiling.wide.dtype.itemsize
    name = f"{tiling.wide.buffer.name}p"
    packed = next((b for b in allocated(schedule.kernel.body) if b.name == name), None)
    known = tiling.wide.buffer.name in schedule.constants
    if row is None or packed is None or not known or packed.nbytes <= target.l1_bytes:
        return
    panel, rows = (extent_of(found.reduced[0]), tiling.width), -(-extent_of(row) // tiling.height)
    if outer != [f"{lane}o", f"{row.var}o"] or packed.shape[1:] != panel or rows < 2:
        return
    stretches = _stretches(schedule, found, line)
    if stretches is None:
        return
    (at, count), per = stretches, -(-tiling.width // line)
    each = -(-panel[0] * per // (rows * count))
    turn = iadd(imul(Var(f"{row.var}o"), count), Var(at))
    number = iadd(imul(turn, each), Var("pw"))
    place = [iadd(Var(f"{lane}o"), 1), ifloordiv(number, per), imul(imod(number, per), line)]
    attempt(schedule, prefetch, name, at, place, [("pw", each)], False)


def _stretches(schedule: Schedule, found: Contraction, line: int) -> tuple[str, int] | None:
    """The reduction's loop in stretches of about `line` steps, and how many; None if uneven."""
    reduced, extent = found.reduced[0].var, extent_of(found.reduced[0])
    even = [n for n in range(line // 2, line + 1) if extent % n == 0]
    if _has_loop(schedule, f"{reduced}os"):
        return f"{reduced}os", extent // line
    if not even:
        return None
    if not _has_loop(schedule, "kp"):
        if not attempt(schedule, split, f"{reduced}s", max(even), "kp", "kq"):
            return None
    return "kp", extent // max(even)


def epilogue_loads(nest: Nest, found: Contraction, row: str, lane: str) -> list[Load]:
    """What is read once per result, along the lanes, beside the operands and the sum."""
    known = {found.a.buffer, found.b.buffer, found.update.buffer}
    read = [x for x in loads(nest.body) if x.buffer.scope == "param" and x.buffer not in known]
    return [x for x in dict.fromkeys(read) if stride(x, lane) == 1 and stride(x, row)]


@dataclass(frozen=True, slots=True)
class Place:
    """Where tiles of results lie: loops over rows and columns, the first of a tile, its size."""

    loops: tuple[str, str]
    origin: tuple[Expr, Expr]
    shape: tuple[int, int]


def fetch_tile(schedule: Schedule, read: Sequence[Load], at: str, count: int, place: Place) -> None:
    """Ask for a tile of each load, some lines in each of `count` iterations of the loop `at`.

    Args:
        schedule: what to change.
        read: accesses indexed by both loops of `place`.
        at: the loop.
        count: its iterations.
        place: the tile.
    """
    line = _line(read)
    per = -(-place.shape[1] // line)
    each = -(-place.shape[0] * per // max(1, count))
    number = iadd(imul(Var(at), each), Var("pn"))
    inside = ifloordiv(number, per), imul(imod(number, per), line)
    values = {v: iadd(o, i) for v, o, i in zip(place.loops, place.origin, inside, strict=True)}
    for load in read:
        indices = [substitute_expr(i, values) for i in load.indices]
        attempt(schedule, prefetch, load.buffer.name, at, indices, [("pn", each)], False)


def _line(read: Sequence[Load]) -> int:
    """Elements in a cache line."""
    return LINE_BYTES // min((x.dtype.itemsize for x in read), default=4)


def _has_loop(schedule: Schedule, var: str) -> bool:
    return any(True for _ in loops_over(schedule.kernel.body, var))
