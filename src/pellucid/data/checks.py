"""What the data functions accept: rows, whole numbers, shares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.errors import ArgumentError
from pellucid.tensor.tensor import Tensor


def as_rows(op: str, name: str, data: Any) -> NDArray[Any]:
    """The data as an array of at least one axis; lists become what a tensor of them holds.

    Raises:
        ArgumentError: it has no axes, or rows of several lengths.
        DTypeError: it has elements that are no numbers.
    """
    array = data if isinstance(data, np.ndarray) else Tensor(data).numpy()
    if not array.ndim:
        operands: dict[str, object] = {name: repr(data)}
        raise ArgumentError(op, f"{name} must have rows", operands=operands)
    return array


def whole_number(op: str, name: str, value: Any, least: int) -> int:
    """The value as an int.

    Raises:
        ArgumentError: it is not an integer, or less than `least`.
    """
    if not isinstance(value, (int, np.integer)) or value < least:
        rule = f"{name} must be at least {least}, and an integer"
        raise ArgumentError(op, rule, operands={name: repr(value)})
    return int(value)


def share(op: str, name: str, value: Any) -> float:
    """The value as a float.

    Raises:
        ArgumentError: it is not a number in (0, 1).
    """
    if not isinstance(value, (int, float, np.integer, np.floating)) or not 0.0 < value < 1.0:
        raise ArgumentError(op, f"{name} must be in (0, 1)", operands={name: repr(value)})
    return float(value)
