"""Schedules for a few rows of a product whose rows are open, beside the one for any number.

What is good for many rows (operands copied in the order they are read, tall tiles) costs more than
it saves where there are a few. So the kernel asks once:

```
if rows <= 32:
  if rows <= 1: ... no tiles, operands where they are
  else:         ... tiles of eight rows, operands where they are
else:           ... as for any number of rows
```
"""

from __future__ import annotations

from collections.abc import Collection

from pellucid.core.size import estimating, is_static
from pellucid.core.target import Target
from pellucid.loop.compute import Recipe
from pellucid.loop.ir import For, If, Kernel, compare
from pellucid.loop.rewrite import Block, constant, with_body
from pellucid.loop.sizes import is_fixed, kernel_dims
from pellucid.schedule.choice import RULES, Choice
from pellucid.schedule.recipes.choose import schedule_kernel
from pellucid.schedule.recipes.shape import outer_nest
from pellucid.schedule.recipes.tiling import find_contraction
from pellucid.schedule.trace import Step

VERSIONS = ((8, 32), (1, 1))  # rows that a schedule is made for, and up to how many rows get it
LEAST_BYTES = 1 << 16  # of a matrix that is not worth a copy for a few rows


def schedule_versions(
    kernel: Kernel,
    target: Target,
    constants: Collection[str] = (),
    choice: Choice = RULES,
    recipe: Recipe | None = None,
) -> tuple[Step, ...]:
    """`schedule_kernel`'s steps; for products with open rows, with a version for a few of them."""
    with estimating():
        steps = schedule_kernel(kernel, target, constants, choice, recipe)
        plain = not constants and recipe is None
        rows = _open_rows(kernel) if plain and kernel_dims(kernel) else None
    if rows is None:
        return steps
    made = steps
    for usual, most in VERSIONS:
        with estimating(usual):
            few = schedule_kernel(kernel, target, constants, choice)[-1].kernel.body
        made = (*made, Step("for few", (rows.var, most), _with_version(made, few, rows, most)))
    return made


def _with_version(steps: tuple[Step, ...], few: Block, rows: For, most: int) -> Kernel:
    """The last kernel, and for few rows another body."""
    latest = steps[-1].kernel
    whole = latest.body[0]
    if steps[-1].name == "for few" and isinstance(whole, If):
        then = (If(compare("le", rows.extent, most), few, whole.then),)
        return with_body(latest, (If(whole.cond, then, whole.orelse),))
    return with_body(latest, (If(compare("le", rows.extent, most), few, latest.body),))


def _open_rows(kernel: Kernel) -> For | None:
    """The only open loop of a product with a matrix that is known and large."""
    nest = outer_nest(kernel)
    found = find_contraction(nest)
    if found is None or any(constant(x.extent) is None for x in found.reduced):
        return None
    rows = [x for x in nest.loops if constant(x.extent) is None]
    known = [x.buffer.nbytes for x in (found.a, found.b) if is_static(x.buffer.shape)]
    large = any(nbytes >= LEAST_BYTES for nbytes in known)
    return rows[0] if len(rows) == 1 and large and is_fixed(rows[0].extent) else None
