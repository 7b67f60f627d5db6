"""The recipe for a kernel, chosen by looking at its nest; a nest that fits none stays as it is."""

from __future__ import annotations

from collections.abc import Collection

from pellucid.core.target import Target
from pellucid.loop.compute import Recipe
from pellucid.loop.ir import Kernel
from pellucid.loop.rewrite import loops
from pellucid.schedule.choice import RULES, Choice
from pellucid.schedule.recipes.attention import holds_blocks, schedule_attention
from pellucid.schedule.recipes.channels import schedule_channels
from pellucid.schedule.recipes.contraction import schedule_contraction
from pellucid.schedule.recipes.convolution import schedule_panels
from pellucid.schedule.recipes.elementwise import schedule_elementwise
from pellucid.schedule.recipes.groups import part_groups
from pellucid.schedule.recipes.mixed import find_mixed, schedule_mixed
from pellucid.schedule.recipes.phases import holds_phases, schedule_phases
from pellucid.schedule.recipes.rows import schedule_rows
from pellucid.schedule.recipes.shape import inner_loops, outer_nest
from pellucid.schedule.recipes.tiling import find_contraction
from pellucid.schedule.recipes.transpose import schedule_transpose
from pellucid.schedule.recipes.windows import schedule_windows
from pellucid.schedule.trace import Schedule, Step


def schedule_kernel(
    kernel: Kernel,
    target: Target,
    constants: Collection[str] = (),
    choice: Choice = RULES,
    recipe: Recipe | None = None,
) -> tuple[Step, ...]:
    """The steps from the kernel as lowered to the kernel that is compiled, which is the last one's.

    Never fails: a step that is not legal for this nest is left out, as is a chosen value. Unless
    there is a recipe of an operator's own, which may take steps that are refused.

    Args:
        kernel: as lowered.
        target: the machine.
        constants: names of the parameters whose contents never change.
        choice: values for decisions; the recipe's rules hold for all others.
        recipe: an operator's own, to be used instead of the package's.

    Raises:
        ScheduleError: a step of `recipe` is not legal.
    """
    if recipe is not None:
        own = Schedule(kernel, constants, choice)
        recipe(own, target)
        return own.steps
    return run_recipe(kernel, target, constants, choice).steps


def run_recipe(
    kernel: Kernel, target: Target, constants: Collection[str] = (), choice: Choice = RULES
) -> Schedule:
    """`schedule_kernel`'s steps, with the decisions that were made on the way."""
    schedule = Schedule(kernel, constants, choice)
    nest = outer_nest(kernel)
    found, mixed = find_contraction(nest), find_mixed(nest, target)
    if mixed is not None and schedule_mixed(schedule, mixed, target):
        return schedule
    if found is not None and (
        schedule_panels(schedule, found, target)
        or schedule_windows(schedule, found, target)
        or schedule_channels(schedule, found, target)
    ):
        return schedule
    if found is not None:
        found = part_groups(schedule, found)
        schedule_contraction(schedule, outer_nest(schedule.kernel), found, target)
    elif holds_blocks(kernel.body):
        schedule_attention(schedule, target)
    elif holds_phases(kernel.body):
        schedule_phases(schedule, target)
    elif not inner_loops(nest.body) and not any(x.kind != "serial" for x in loops(kernel.body)):
        if not schedule_transpose(schedule, nest, target):
            schedule_elementwise(schedule, nest, target)
    else:
        schedule_rows(schedule, nest, target)
    return schedule
