"""Loops that an operand knows only in groups: a loop over groups around one inside a group.

```
for o in 0..64:                              for og in 0..4:
  for c:                                       for oe in 0..16:
    acc += x[o // 16 * 16 + c] * g[o]   ->       for c:
                                                   acc += x[16 * og + c] * g[16 * og + oe]
```
Then every index is a sum of loop variables, and the loop inside a group is one that only one of the
operands knows: lanes or rows of a tile, which share what the other one reads.
"""

from __future__ import annotations

from pellucid.loop.ir import Call, Const, Load, Var
from pellucid.loop.rewrite import walk_expr
from pellucid.loop.simplify import simplify
from pellucid.schedule.recipes.plan import attempt_all
from pellucid.schedule.recipes.shape import extent_of, outer_nest
from pellucid.schedule.recipes.tiling import Contraction, find_contraction
from pellucid.schedule.split import split
from pellucid.schedule.trace import Schedule


def part_groups(schedule: Schedule, found: Contraction) -> Contraction:
    """Split the nest's loops that an operand divides; the contraction that is there afterwards."""
    for loop in outer_nest(schedule.kernel).loops:
        sizes = {n for load in (found.a, found.b) for n in _divisors(load, loop.var)}
        extent = extent_of(loop)
        fitting = [n for n in sizes if 1 < n < extent and extent % n == 0]
        if len(sizes) == len(fitting) == 1:
            _part(schedule, loop.var, fitting[0])
    return find_contraction(outer_nest(schedule.kernel)) or found


def _part(schedule: Schedule, var: str, size: int) -> bool:
    def steps() -> None:
        schedule.apply(split, var, size, f"{var}g", f"{var}e")
        schedule.apply(simplify)

    return attempt_all(schedule, steps)


def _divisors(load: Load, var: str) -> set[int]:
    """The constants by which a loop's variable is divided in an operand's index."""
    calls = [e for i in load.indices for e in walk_expr(i) if isinstance(e, Call)]
    return {
        int(e.args[1].value) for e in calls
        if e.fn in ("floordiv", "mod") and e.args[0] == Var(var) and isinstance(e.args[1], Const)
    }  # fmt: skip
