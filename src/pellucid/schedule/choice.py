"""What a recipe decides, as data: each decision's name, what its rule says, what else it may be.

Enters: a recipe asking `decide(name, rule, options)`. Leaves: the value taken, and a `Decision`.
With an empty `Choice` every rule holds. A search changes values and schedules again: which other
decisions there are may depend on them, so the space is found by going through the recipe, and no
list of it is kept anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

Value = int | str
V = TypeVar("V", bound=Value)


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of a recipe: its name, the rule's value, all legal values, the one taken."""

    name: str
    rule: Value
    options: tuple[Value, ...]
    taken: Value


@dataclass(frozen=True, slots=True)
class Choice:
    """Values for decisions by name, in the order of their names; rules hold for all others."""

    values: tuple[tuple[str, Value], ...] = ()

    @staticmethod
    def of(values: Mapping[str, Value]) -> Choice:
        """The choice of these values."""
        return Choice(tuple(sorted(values.items())))

    @staticmethod
    def parse(text: str) -> Choice:
        """The choice that a text stands for.

        Raises:
            ValueError: it stands for none.
        """
        read = json.loads(text)
        if not isinstance(read, dict) or not all(isinstance(v, Value) for v in read.values()):
            raise ValueError(f"not a choice: {text[:80]}")
        return Choice.of(read)

    def __str__(self) -> str:
        return json.dumps(dict(self.values))


RULES = Choice()
"""No value of one's own: what the rules say."""


class Decisions:
    """The decisions of one way through a recipe, in the order in which they were asked."""

    def __init__(self, choice: Choice = RULES) -> None:
        self._values = dict(choice.values)
        self.made: dict[str, Decision] = {}

    def decide(self, name: str, rule: V, options: Iterable[V]) -> V:
        """The value chosen for a decision, where it is legal; else the rule's.

        Args:
            name: what is decided. Asked again under one name, decisions are numbered.
            rule: the value without a choice.
            options: the legal values; the rule's is one of them whether it is named or not.
        """
        legal = tuple(dict.fromkeys((rule, *options)))
        if len(legal) < 2:
            return rule
        count = sum(known.split("#")[0] == name for known in self.made)
        key = f"{name}#{count}" if count else name
        wanted = self._values.get(key)
        taken = next((v for v in legal if v == wanted and type(v) is type(wanted)), rule)
        self.made[key] = Decision(key, rule, legal, taken)
        return taken
