"""The record of a schedule: which steps were taken, and the kernel after each.

Enters: a kernel and primitives with their arguments. Leaves: `Step`s, the staircase from the naive
nest to what is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from pellucid.loop.ir import Kernel
from pellucid.loop.printer import print_kernel
from pellucid.schedule.choice import RULES, Choice, Decisions


@dataclass(frozen=True, slots=True)
class Step:
    """One primitive applied: its name, its arguments after the kernel, and the kernel it made."""

    name: str
    args: tuple[object, ...]
    kernel: Kernel

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.args))})\n{print_kernel(self.kernel)}"


class Schedule:
    """A kernel on its way through primitives; the first of `steps` is the kernel as lowered.

    `decide` asks for what a recipe leaves open; a `choice` answers where a rule shall not.

    Args:
        kernel: the kernel as lowered.
        constants: names of parameters whose contents never change: a whole copy of one, made
            outside all loops, costs nothing at run time (`hoist.py`).
        choice: values for decisions; the recipes' rules hold for all others.
    """

    def __init__(
        self, kernel: Kernel, constants: Collection[str] = (), choice: Choice = RULES
    ) -> None:
        self.constants = frozenset(constants)
        self.steps: tuple[Step, ...] = (Step("lower", (), kernel),)
        self.decisions = Decisions(choice)
        self.decide = self.decisions.decide

    @property
    def kernel(self) -> Kernel:
        """The kernel after the last step."""
        return self.steps[-1].kernel

    def apply(self, primitive: Callable[..., Kernel], *args: object) -> Schedule:
        """Apply `primitive(kernel, *args)`, remember the step and return this schedule."""
        kernel = primitive(self.kernel, *args)
        self.steps += (Step(getattr(primitive, "__name__", "step"), args, kernel),)
        return self
