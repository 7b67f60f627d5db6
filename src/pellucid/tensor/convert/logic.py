"""`and`, `or`, `not`, `in`, `assert` and `raise` where a tensor may decide.

Python values decide as in Python. A recorded tensor has no truth value yet: both sides are computed
and combined, which is the same for operations, since they have no effect and never fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pellucid import ops
from pellucid.core import dtype as dt
from pellucid.core.errors import ShapeError, TraceError
from pellucid.core.source import user_line
from pellucid.tensor.box import STATE
from pellucid.tensor.dispatch import apply
from pellucid.tensor.tensor import Tensor, full

Thunk = Callable[[], Any]


def is_recorded(value: Any) -> bool:
    """Whether a value is a tensor in a function that is being recorded."""
    return STATE.trace is not None and isinstance(value, Tensor)


def truth(value: Any) -> Tensor:
    """The truth value of a recorded tensor with one element, or of a Python value, as a bool tensor
    without axes.

    Raises:
        ShapeError: there is more than one element, or none.
    """
    if not isinstance(value, Tensor):
        return full((), bool(value), dt.bool_)
    if value.size != 1:
        raise ShapeError(
            "bool", "only one element has a truth value", operands={"tensor": value.type},
            fix="use .any() or .all()",
        )  # fmt: skip
    flat = value.reshape(()) if value.shape else value
    return flat if flat.dtype == dt.bool_ else flat.astype(dt.bool_)


def and_(first: Any, *rest: Thunk) -> Any:
    """`first and rest[0]() and …`."""
    for later in rest:
        if is_recorded(first):
            first = _both(first, later(), False)
        elif first:
            first = later()
        else:
            return first
    return first


def or_(first: Any, *rest: Thunk) -> Any:
    """`first or rest[0]() or …`."""
    for later in rest:
        if is_recorded(first):
            first = _both(first, later(), True)
        elif first:
            return first
        else:
            first = later()
    return first


def either(a: Any, b: Any) -> Any:
    """`a or b`, both known or recorded."""
    return or_(a, lambda: b)


def both(a: Any, b: Any) -> Any:
    """`a and b`, both known or recorded."""
    return and_(a, lambda: b)


def _both(a: Tensor, b: Any, either: bool) -> Any:
    if a.dtype == dt.bool_ and isinstance(b, bool):
        return b if b is either else truth(a)
    if a.dtype == dt.bool_ and _is_bool(b):
        return apply(ops.logical_or if either else ops.logical_and, truth(a), truth(b))
    if not isinstance(b, (Tensor, int, float)):
        raise TraceError(
            "or" if either else "and",
            "one side is a tensor of a recorded function, so the other must be one or a number",
            operands={"left": a.type, "right": type(b).__name__},
            fix="compare: (x > 0) and (y > 0)",
            source=user_line(),
        )
    operands = (a, b) if either else (b, a)
    return apply(ops.where, truth(a), *(_scalar(v) for v in operands))


def _is_bool(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == dt.bool_


def _scalar(value: Any) -> Any:
    return value if isinstance(value, Tensor) else full((), value)


def not_(value: Any) -> Any:
    """`not value`."""
    return apply(ops.logical_not, truth(value)) if is_recorded(value) else not value


def contains(container: Any, item: Any) -> Any:
    """`item in container`."""
    if is_recorded(container):
        return (container == item).any()
    if is_recorded(item) and isinstance(container, (tuple, list, range, set, frozenset)):
        found: Any = False
        for member in container:
            found = either(found, item == member)
        return found
    return item in container


def known(test: Any) -> Any:
    """The condition of a comprehension, which decides how long the result is.

    Raises:
        TraceError: a recorded tensor decides.
    """
    if is_recorded(test):
        raise TraceError(
            "convert",
            "the `if` of a comprehension depends on a tensor, so the length is not known",
            fix="keep all items and use where, or write a loop",
            source=user_line(),
        )
    return test


def choose_number(test: Any, a: Any, b: Any) -> Any:
    """`a if test else b`, of tensors or numbers without effects."""
    if not is_recorded(test):
        return a if test else b
    return apply(ops.where, truth(test), *(_scalar(v) for v in (a, b)))
