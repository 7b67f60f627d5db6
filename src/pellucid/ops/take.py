"""Reading by index arrays as users do it: `take`, `take_along_axis`, `embedding`, `one_hot`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import DTypeLike, float32, int64
from pellucid.core.errors import DTypeError, IndexRangeError, ShapeError
from pellucid.core.shape import normalize_axis
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add
from pellucid.ops.casting import astype
from pellucid.ops.comparison import equal, less, where
from pellucid.ops.create import constant, iota
from pellucid.ops.index import gather
from pellucid.ops.movement import broadcast_to, expand_dims, moveaxis, reshape
from pellucid.ops.shared import Array

Indices = Value | int | Sequence[int] | Array


def wrapped_indices(op: str, indices: Indices, n: int) -> Value:
    """Indices as a Value with negative ones counted from the end.

    Raises:
        IndexRangeError: known indices (not Values) lie outside `[-n, n)`.
        DTypeError: they are not integers.
    """
    if isinstance(indices, Value):
        if not indices.dtype.is_integer:
            raise DTypeError(op, "indices must be integers", operands={"indices": indices.type})
        if indices.dtype.kind == "uint":
            return indices
        fits = n < 1 << (indices.dtype.bits - 1)
        wide = indices if fits else astype(indices, int64)
        return where(less(wide, 0), add(wide, n), wide)
    known = np.asarray(indices)
    known = known.astype(np.int64) if known.size == 0 else known
    if known.dtype.kind not in "iu":
        raise DTypeError(op, "indices must be integers", operands={"indices": known.dtype})
    if known.size and (known.min() < -n or known.max() >= n):
        bad = int(known.min()) if known.min() < -n else int(known.max())
        operands: dict[str, object] = {"index": bad, "size": n}
        raise IndexRangeError(op, f"indices must be in [{-n}, {n})", operands=operands)
    known = known.astype(np.int64)
    return constant(np.where(known < 0, known + n, known))


def take(x: Value, indices: Indices, axis: int | None = None) -> Value:
    """`x[..., indices, ...]` along `axis`; of the flattened array by default.

    Args:
        x: any array.
        indices: integers of any shape, which replaces the axis; negative ones count from the end.
        axis: where.

    Raises:
        IndexRangeError: an index known now is out of range; one known later reads NaN or 0.
    """
    if axis is None:
        x, axis = reshape(x, (x.type.size,)), 0
    axis = normalize_axis("take", axis, x.shape)
    return gather(x, wrapped_indices("take", indices, x.shape[axis]), axis=axis)


def take_along_axis(x: Value, indices: Value, axis: int = -1) -> Value:
    """`out[.., i, ..] = x[.., indices[.., i, ..], ..]`: other axes aligned.

    Raises:
        ShapeError: the other axes are not equal or 1.
    """
    axis = normalize_axis("take_along_axis", axis, x.shape)
    if indices.rank != x.rank:
        operands: dict[str, object] = {"x": x.shape, "indices": indices.shape}
        raise ShapeError("take_along_axis", "ranks must be equal", operands=operands)
    x, indices = moveaxis(x, axis, -1), moveaxis(indices, axis, -1)
    pairs = zip(x.shape[:-1], indices.shape[:-1], strict=True)
    common = [b if a == 1 else a for a, b in pairs]
    x = broadcast_to(x, (*common, x.shape[-1]))
    indices = broadcast_to(indices, (*common, indices.shape[-1]))
    indices = wrapped_indices("take_along_axis", indices, x.shape[-1])
    last = x.rank - 1
    return moveaxis(gather(x, indices, axis=last, batch=last), -1, axis)


def one_hot(indices: Value, classes: int, dtype: DTypeLike = float32) -> Value:
    """`out[..., c] = (indices[...] == c)`; a row of zeros for an index outside `[0, classes)`.

    Args:
        indices: integers of any shape.
        classes: the size of the new last axis.
        dtype: of the result.
    """
    if not indices.dtype.is_integer:
        raise DTypeError("one_hot", "indices must be integers", operands={"it": indices.type})
    shape = (*indices.shape, classes)
    wide = broadcast_to(expand_dims(astype(indices, int64), -1), shape)
    return astype(equal(wide, iota(shape, indices.rank, int64)), dtype)


def embedding(weight: Value, indices: Value) -> Value:
    """Rows of `weight` `[rows, width]`: `[*indices.shape, width]`; gradients of rows are summed."""
    if weight.rank != 2:
        raise ShapeError("embedding", "weight needs two axes", operands={"weight": weight.shape})
    return take(weight, indices, axis=0)
