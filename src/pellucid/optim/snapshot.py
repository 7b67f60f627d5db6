"""Reading snapshots of optimisers, in PyTorch's form, and checking what is in them.

Enters what a user gives to `load_state_dict`; leaves settings, counts and state, or an error.
Changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.core.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class GroupPart:
    """What a snapshot says of one group: settings, and each parameter's number and state."""

    settings: Mapping[str, Any]
    states: tuple[tuple[Any, Mapping[str, Any]], ...]


def groups_of(optimizer: str, snapshot: Any, sizes: Sequence[int]) -> list[GroupPart]:
    """The groups of a snapshot.

    Args:
        optimizer: who asks.
        snapshot: `{"state": {number: {name: value}}, "param_groups": [{"params": [number]}]}`.
        sizes: how many parameters the optimiser's groups have.

    Raises:
        ArgumentError: it has another form, or groups of other sizes.
    """
    states, groups = _entry(snapshot, "state"), _entry(snapshot, "param_groups")
    if not isinstance(states, Mapping) or not _are_groups(groups):
        operands: dict[str, object] = {"it": _described(snapshot)}
        rule = "a snapshot has `state` by number and a list of `param_groups` with `params`"
        raise ArgumentError(optimizer, rule, operands=operands, fix="pass a state_dict()")
    found = [len(group["params"]) for group in groups]
    if found != list(sizes):
        operands = {"parameters per group": found}
        raise ArgumentError(optimizer, "the snapshot has other groups", operands=operands)
    numbers = [n for group in groups for n in group["params"]]
    if not all(isinstance(states.get(n, {}), Mapping) for n in numbers):
        raise ArgumentError(optimizer, "the snapshot's state is not made of mappings")
    return [
        GroupPart(group, tuple((n, states.get(n, {})) for n in group["params"])) for group in groups
    ]


def _entry(snapshot: Any, name: str) -> Any:
    return snapshot.get(name) if isinstance(snapshot, Mapping) else None


def _are_groups(groups: Any) -> bool:
    return isinstance(groups, (list, tuple)) and all(
        isinstance(g, Mapping) and isinstance(g.get("params"), (list, tuple)) for g in groups
    )


def _described(snapshot: Any) -> str:
    if not isinstance(snapshot, Mapping):
        return type(snapshot).__name__
    keys = ", ".join(repr(k) for k in list(snapshot)[:5])
    return f"a mapping of {keys or 'nothing'}"


def step_in(optimizer: str, number: Any, given: Mapping[str, Any]) -> float:
    """How many steps a parameter has made.

    PyTorch's SGD does not count; where it has left a direction, it has made the first step.

    Raises:
        ArgumentError: the count is no number of at least 0.
    """
    if given.get("step") is None:
        return float(any(value is not None for value in given.values()))
    step = plain_setting(given["step"])
    check_number(optimizer, f"step of parameter {number}", step)
    return float(step)


def plain_setting(value: Any) -> Any:
    """A setting as Python data: arrays without axes as numbers, lists as tuples."""
    if isinstance(value, (list, tuple)):
        return tuple(map(plain_setting, value))
    return value.item() if getattr(value, "shape", None) == () else value


def check_number(optimizer: str, name: str, value: Any, end: float = math.inf) -> None:
    """Refuse what is no real number in `[0, end)`; infinity is left to its user.

    Raises:
        ArgumentError: it is not.
    """
    number = plain_setting(value)
    real = isinstance(number, (int, float))
    if not real or not number >= 0 or (end < math.inf and number >= end):
        rule = f"{name} must be >= 0" if end == math.inf else f"{name} must be in [0, {end:g})"
        raise ArgumentError(optimizer, rule, operands={name: value if real else repr(value)})
