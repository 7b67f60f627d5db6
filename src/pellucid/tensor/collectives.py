"""Functions across the examples of a `vmap` with `axis_name`: psum, pmax and others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pellucid import ops
from pellucid.autodiff import collective
from pellucid.core.errors import ArgumentError, did_you_mean
from pellucid.graph.ir import Value
from pellucid.tensor.box import STATE
from pellucid.tensor.dispatch import apply
from pellucid.tensor.recording import as_tensor
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.tree import tree_map

Names = str | Sequence[str]


class _Axes(threading.local):
    """Names and sizes of the axes of vmaps being recorded in this thread, innermost last."""

    def __init__(self) -> None:
        self.open: list[tuple[str, int]] = []


_AXES = _Axes()


@contextmanager
def bound_axis(name: str | None, size: int) -> Iterator[None]:
    """In this block, collectives may use the name."""
    if name is None:
        yield
        return
    _AXES.open.append((name, size))
    try:
        yield
    finally:
        _AXES.open.pop()


def axis_size(axis_name: str) -> int:
    """How many examples the axis has.

    Raises:
        ArgumentError: no vmap around has an axis of that name.
    """
    sizes = dict(_AXES.open)
    if axis_name not in sizes:
        known = list(sizes)
        fix = (
            did_you_mean(str(axis_name), known) or "call it in a function under vmap(axis_name=...)"
        )
        raise ArgumentError(
            "axis", f"no vmap around has an axis {axis_name!r}", operands={"axes": known}, fix=fix
        )
    return sizes[axis_name]


def _names(axis_name: Names) -> tuple[str, ...]:
    names = (axis_name,) if isinstance(axis_name, str) else tuple(axis_name)
    for name in names:
        axis_size(name)
    return names


def _across(fn: Callable[[Value, str], Value], x: Any, axis_name: Names) -> Any:
    def one(leaf: Any) -> Tensor:
        result = as_tensor(leaf)
        for name in names:
            result = apply(fn, result, name)
        return result

    names = _names(axis_name)
    return tree_map(one, x)


def psum(x: Any, axis_name: Names) -> Any:
    """The sum of every example's `x` over the named axis, or several; of containers leaf by leaf.

    Gradient: the sum of all examples' cotangents.

    Raises:
        ArgumentError: no vmap around has an axis of that name.
        DTypeError: `x` is bool.
    """
    return _across(collective.axis_sum, x, axis_name)


def pmean(x: Any, axis_name: Names) -> Any:
    """The mean of every example's `x` over the named axis, or several; see `psum`."""
    count = 1
    for name in _names(axis_name):
        count *= axis_size(name)
    return tree_map(lambda total: total / count, psum(x, axis_name))


def pmax(x: Any, axis_name: Names) -> Any:
    """The greatest of every example's `x`, element by element; see `psum`.

    Gradient: shared evenly by the examples that attain it.
    """
    return _across(collective.axis_max, x, axis_name)


def pmin(x: Any, axis_name: Names) -> Any:
    """The least of every example's `x`, element by element; see `pmax`."""
    return _across(collective.axis_min, x, axis_name)


def all_gather(x: Any, axis_name: str, axis: int = 0, tiled: bool = False) -> Any:
    """Every example's `x`: the same for all of them, along a new axis.

    Args:
        x: a tensor or a container of them.
        axis_name: the vmap's axis.
        axis: where the new axis goes.
        tiled: join along the axis that is there instead.

    Raises:
        ArgumentError: no vmap around has an axis of that name.
    """
    size = axis_size(axis_name)

    def one(leaf: Any) -> Tensor:
        tensor = as_tensor(leaf)
        moved: Tensor = apply(_gathered, tensor, axis_name, size, axis)
        if not tiled:
            return moved
        at = axis % tensor.ndim
        sizes = (*tensor.shape[:at], size * tensor.shape[at], *tensor.shape[at + 1 :])
        return moved.reshape(sizes)

    return tree_map(one, x)


def _gathered(x: Value, name: str, size: int, axis: int) -> Value:
    return ops.moveaxis(collective.axis_gather(x, name, size), 0, axis)


def axis_index(axis_name: str) -> Tensor:
    """The example's number along the named axis, int64.

    Raises:
        ArgumentError: no vmap around has an axis of that name.
    """
    axis_size(axis_name)
    made: Tensor = STATE.trace.record(collective.axis_index, (axis_name,), {})  # type: ignore[union-attr]  # a vmap is being recorded
    return made
