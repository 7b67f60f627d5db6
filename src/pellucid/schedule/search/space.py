"""The schedules that a recipe's decisions span for one kernel, found by going through the recipe.

Enters: a kernel and a target. Leaves: `Candidate`s, each a choice with the schedule it gives. A
choice is brought into normal form: values that are the rule's, or that were not asked for on that
way, are left out, so that equal schedules have equal texts wherever that can be told.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pellucid.core.target import Target
from pellucid.loop.ir import Kernel
from pellucid.schedule.choice import RULES, Choice, Decision, Value
from pellucid.schedule.recipes.choose import run_recipe
from pellucid.schedule.trace import Step

_CHANGED = 0.3  # of the decisions of a random candidate, at the least one


@dataclass(frozen=True, slots=True)
class Candidate:
    """A choice in normal form, the schedule it gives, and the decisions on the way."""

    choice: Choice
    steps: tuple[Step, ...]
    decisions: tuple[Decision, ...]

    @property
    def kernel(self) -> Kernel:
        """What would be compiled."""
        return self.steps[-1].kernel


class Space:
    """All candidates of a kernel for a target, where the contents of `constants` are known."""

    def __init__(self, kernel: Kernel, target: Target, constants: Collection[str] = ()) -> None:
        self.kernel, self.target, self.constants = kernel, target, frozenset(constants)

    def candidate(self, choice: Choice = RULES) -> Candidate:
        """What a choice gives."""
        schedule = run_recipe(self.kernel, self.target, self.constants, choice)
        made = tuple(schedule.decisions.made.values())
        own = {d.name: d.taken for d in made if d.taken != d.rule}
        return Candidate(Choice.of(own), schedule.steps, made)

    def random(self, rng: np.random.Generator) -> Candidate:
        """A candidate with random values for a random part of the decisions.

        Decisions that only other values bring up are made in a second round.
        """
        found = self._changed(self.ruled, rng, float(rng.uniform(_CHANGED, 1.0)))
        asked = {d.name for d in self.ruled.decisions}
        new = any(d.name not in asked for d in found.decisions)
        return self._changed(found, rng, _CHANGED) if new else found

    @cached_property
    def ruled(self) -> Candidate:
        """What the rules give."""
        return self.candidate()

    def mutated(self, parent: Candidate, rng: np.random.Generator) -> Candidate:
        """A candidate that differs from its parent in one decision or a few."""
        return self._changed(parent, rng, 1.5 / max(1, len(parent.decisions)))

    def crossed(self, a: Candidate, b: Candidate, rng: np.random.Generator) -> Candidate:
        """A candidate whose values come from one parent or the other."""
        mine, other = dict(a.choice.values), dict(b.choice.values)
        values: dict[str, Value] = {}
        for name in mine.keys() | other.keys():
            source = mine if rng.random() < 0.5 else other
            if name in source:
                values[name] = source[name]
        return self.candidate(Choice.of(values))

    def _changed(self, parent: Candidate, rng: np.random.Generator, share: float) -> Candidate:
        if not parent.decisions:
            return parent
        values = dict(parent.choice.values)
        changed = [d for d in parent.decisions if rng.random() < share]
        for decision in changed or [parent.decisions[int(rng.integers(len(parent.decisions)))]]:
            values[decision.name] = _other(decision, rng)
        return self.candidate(Choice.of(values))


def _other(decision: Decision, rng: np.random.Generator) -> Value:
    """Another value: of numbers often a neighbour, so that small steps are likely."""
    others = [v for v in decision.options if v != decision.taken]
    ordered = sorted(v for v in decision.options if isinstance(v, int))
    if len(ordered) == len(decision.options) > 3 and rng.random() < 0.5:
        at = ordered.index(_number(decision.taken))
        others = [ordered[i] for i in (at - 1, at + 1) if 0 <= i < len(ordered)]
    return others[int(rng.integers(len(others)))]


def _number(value: Value) -> int:
    return value if isinstance(value, int) else 0


def size_of_space(decisions: Mapping[str, Decision]) -> int:
    """Candidates if each decision were free of the others."""
    total = 1
    for decision in decisions.values():
        total *= len(decision.options)
    return total
