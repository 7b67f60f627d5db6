"""Giving variables what a construct computed, in the object they hold where it is changed in place.

`y = x` and then `x["n"] = 1` changes what both names mean, so a list or dictionary that a block
changed stays the same object. (Of tensors changed in place the trace itself knows.)
"""

from __future__ import annotations

from typing import Any

from pellucid.tensor.convert.journal import note
from pellucid.tensor.convert.state import ABSENT, Variable


def assign(variable: Variable, before: Any, value: Any, same: bool) -> None:
    """Give a variable its new value.

    Args:
        variable: the variable.
        before: what it held before the construct.
        value: what it is to hold.
        same: whether the object in it was changed, not replaced by another.
    """
    note(variable.place)
    variable.place.set(_renewed(before, value) if same and before is not ABSENT else value)


def _renewed(before: Any, value: Any) -> Any:
    """The old object with the new contents, where it can have them; else the new one."""
    if type(before) is list and type(value) is list:
        before[:] = value
        return before
    if type(before) is dict and type(value) is dict:
        before.clear()
        before.update(value)
        return before
    return value
