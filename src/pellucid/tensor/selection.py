"""Functions whose result's shape depends on the data: places that are not 0, distinct elements.

They look at the contents, so they work at once only; while a function is recorded they refuse and
say what to write instead. Elements are read with `take`, so gradients reach the places they were
at.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pellucid import ops
from pellucid.core.errors import ArgumentError, ShapeError, TraceError
from pellucid.core.shape import normalize_axis
from pellucid.core.source import user_line
from pellucid.tensor.box import STATE, Array, Box
from pellucid.tensor.dispatch import apply
from pellucid.tensor.tensor import Tensor


class UniqueAll(NamedTuple):
    """Distinct values, where each stands first, which each element is, how often each stands."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(NamedTuple):
    """Distinct values, and how often each stands there."""

    values: Tensor
    counts: Tensor


class UniqueInverse(NamedTuple):
    """Distinct values, and which of them each element is."""

    values: Tensor
    inverse_indices: Tensor


def _known(op: str, x: Any, fix: str) -> Array:
    """The contents of a tensor.

    Raises:
        TraceError: it is being recorded, so there are none yet.
    """
    if isinstance(x, Box) and (STATE.trace is not None or x._array is None):
        raise TraceError(
            op,
            "the shape of the result depends on the data, which a traced tensor does not have yet",
            operands={"x": x.type},
            fix=f"call it outside the traced function, or {fix}",
            source=user_line(),
        )
    return np.asarray(x)


def nonzero(x: Any) -> tuple[Tensor, ...]:
    """Where `x` is true or not 0: an int64 tensor of places per axis, in row-major order.

    Raises:
        ShapeError: `x` has no axes.
        TraceError: `x` is being recorded: how many there are is not known yet.
    """
    array = _known("nonzero", x, "keep the shape, with pellucid.where(condition, a, b)")
    if not array.shape:
        fix = "use x.reshape(1), or x != 0"
        raise ShapeError("nonzero", "needs at least one axis", operands={"x": ()}, fix=fix)
    return tuple(Tensor.plain(np.ascontiguousarray(i, np.int64)) for i in np.nonzero(array))


def unique_all(x: Any) -> UniqueAll:
    """The distinct elements of `x`, ascending, and where they are.

    Every NaN is distinct; -0.0 equals 0.0, and the first to come stands for both.

    Returns:
        values: `[n]`, of the dtype of `x`, with gradients to the places `indices`.
        indices: int64 `[n]`, the first place of each in the flattened `x`.
        inverse_indices: int64 of the shape of `x`: `values[inverse_indices]` is `x`.
        counts: int64 `[n]`.

    Raises:
        TraceError: `x` is being recorded: how many there are is not known yet.
    """
    return _unique("unique_all", x)


def unique_counts(x: Any) -> UniqueCounts:
    """The distinct elements of `x`, ascending, and how often each stands; see `unique_all`."""
    found = _unique("unique_counts", x)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(x: Any) -> UniqueInverse:
    """The distinct elements of `x`, ascending, and which each element is; see `unique_all`."""
    found = _unique("unique_inverse", x)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(x: Any) -> Tensor:
    """The distinct elements of `x`, ascending; see `unique_all`."""
    return _unique("unique_values", x).values


def _unique(op: str, x: Any) -> UniqueAll:
    array = _known(op, x, "keep the shape, with pellucid.sort(x)")
    _, indices, inverse, counts = np.unique(
        array.reshape(-1),
        return_index=True,
        return_inverse=True,
        return_counts=True,
        equal_nan=False,
    )
    places = Tensor.plain(indices.astype(np.int64))
    flat = apply(ops.reshape, x if isinstance(x, Box) else Tensor(x), (array.size,))
    inverse = inverse.astype(np.int64).reshape(array.shape)
    values = apply(ops.take, flat, places, 0)
    return UniqueAll(values, places, Tensor.plain(inverse), Tensor.plain(counts.astype(np.int64)))


def repeat(x: Any, repeats: Any, axis: int | None = None) -> Tensor:
    """Each element of `x` repeated along an axis; along the flattened tensor by default.

    Args:
        x: any tensor.
        repeats: how often; a tensor or sequence of integers says it for each place of the axis.
        axis: along which.

    Raises:
        ArgumentError: a number of repeats is negative.
        ShapeError: there is not one number for each place.
        TraceError: `repeats` is being recorded: how many there are is not known yet.
    """
    x = x if isinstance(x, Box) else Tensor(x)
    if isinstance(repeats, int):
        return apply(ops.repeat, x, repeats, axis)
    counts = _known("repeat", repeats, "repeat by a Python int")
    if axis is None:
        x, axis = apply(ops.reshape, x, (x.type.size,)), 0
    n = x.shape[normalize_axis("repeat", axis, x.shape)]
    if counts.shape not in ((), (1,), (n,)):
        operands: dict[str, object] = {"repeats": counts.shape, "size": n}
        rule = "needs one number of repeats for each place of the axis"
        raise ShapeError("repeat", rule, operands=operands)
    if counts.size and counts.min() < 0:
        operands = {"repeats": int(counts.min())}
        raise ArgumentError("repeat", "repeats must be >= 0", operands=operands)
    places = np.repeat(np.arange(n), np.broadcast_to(counts, (n,)))
    return apply(ops.take, x, Tensor.plain(places.astype(np.int64)), axis)
