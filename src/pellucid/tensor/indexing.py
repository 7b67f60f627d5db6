"""Index keys: arrays, lists and masks as index tensors, checked against the shape.

Enters: what stands between the brackets of `x[...]`. Leaves: a key of ints, slices, `None`, `...`
and integer tensors. A mask becomes the positions of its true elements, so its contents may differ
from call to call. While recording, tensors have no contents yet and are left to `ops.getitem`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Any

import numpy as np

from pellucid.core.errors import IndexRangeError
from pellucid.core.shape import Shape, normalize_axis, size_of
from pellucid.ops.getitem import mask_fits
from pellucid.tensor.box import STATE, Array, Box


def known_key(key: Any, shape: Shape, tensor: Callable[[Array], Box]) -> Any:
    """The key with its arrays as integer tensors.

    Args:
        key: as written.
        shape: of the tensor that is indexed.
        tensor: makes a tensor that holds an array.

    Raises:
        IndexRangeError: an index is outside its axis, a mask does not fit its axes, or there are
            more indices than axes.
    """
    entries = [_array_of(e) for e in (key if isinstance(key, tuple) else (key,))]
    if not any(isinstance(e, np.ndarray) for e in entries):
        return tuple(entries) if isinstance(key, tuple) else entries[0]
    taken = sum(map(_axes_taken, entries))
    if taken > len(shape):
        operands: dict[str, object] = {"x": shape, "indices": taken}
        raise IndexRangeError("getitem", "there are more indices than axes", operands=operands)
    result: list[Any] = []
    axis = 0
    for entry in entries:
        if isinstance(entry, np.ndarray):
            parts = _positions(entry, shape[axis : axis + _axes_taken(entry)])
            result += [tensor(np.ascontiguousarray(part, np.int64)) for part in parts]
        else:
            result.append(entry)
        axis += len(shape) - taken if entry is Ellipsis else _axes_taken(entry)
    return tuple(result)


def _array_of(entry: Any) -> Any:
    """Lists, arrays and (not while recording) tensors of indices as arrays; the rest as it is."""
    if isinstance(entry, Box):
        if STATE.trace is not None or entry.dtype.kind == "float":
            return entry
        if entry.shape:
            return entry._array
        return bool(entry._array) if entry.dtype.kind == "bool" else entry
    if isinstance(entry, slice):
        start, stop, step = entry.start, entry.stop, entry.step
        if isinstance(start, Box) or isinstance(stop, Box) or isinstance(step, Box):
            return slice(_known(start), _known(stop), _known(step))
        return entry
    if isinstance(entry, list) and not any(isinstance(e, Box) for e in entry):
        array = np.asarray(entry)
        entry = array.astype(np.int64) if array.size == 0 else array
    fits = isinstance(entry, np.ndarray) and entry.ndim and entry.dtype.kind in "biu"
    return entry if fits or not isinstance(entry, np.ndarray) else entry.tolist()


def _known(part: Any) -> Any:
    """Part of a slice: a tensor's number, and anything else as it is."""
    return operator.index(part) if isinstance(part, Box) else part  # type: ignore[arg-type]  # boxes made here are tensors


def sole_mask(key: Any, tensor: Callable[[Array], Box]) -> Box | None:
    """The mask that a key consists of, if it is nothing else.

    Args:
        key: as written.
        tensor: makes a tensor that holds an array.
    """
    if isinstance(key, tuple) and len(key) == 1:
        key = key[0]
    if isinstance(key, Box):
        return key if key.dtype.kind == "bool" else None
    is_array = isinstance(key, np.ndarray) and key.dtype == np.bool_
    return tensor(key) if is_array else None


def _axes_taken(entry: Any) -> int:
    if entry is None or isinstance(entry, (EllipsisType, bool)):
        return 0
    masks = isinstance(entry, np.ndarray) and entry.dtype == np.bool_
    return entry.ndim if masks else 1


def _positions(array: Array, sizes: Sequence[int]) -> tuple[Array, ...]:
    """The index arrays that an array stands for, one per axis it takes."""
    if array.dtype == np.bool_:
        if not mask_fits(array.shape, sizes):
            operands = {"mask": array.shape, "axes": tuple(sizes)}
            rule = "a mask must have the sizes of the axes it selects from"
            raise IndexRangeError("getitem", rule, operands=operands)
        return np.nonzero(array)
    _refuse_outside("getitem", array, sizes[0])
    return (array,)


def check_indices(op: str, indices: Any, shape: Shape, axis: int | None) -> None:
    """Refuse indices outside an axis (of the flattened array: `None`) where they can be looked at.

    Recorded programs cannot refuse; there, what is read outside is NaN, or 0.

    Raises:
        IndexRangeError: a tensor, not of a recording, holds such an index.
    """
    if STATE.trace is None and isinstance(indices, Box) and indices.dtype.is_integer:
        size = size_of(shape) if axis is None else shape[normalize_axis(op, axis, shape)]
        _refuse_outside(op, np.asarray(indices._array), size)


def _refuse_outside(op: str, array: Array, size: int) -> None:
    if array.size and not (-size <= array.min() and array.max() < size):
        worst = array.max() if array.max() >= size else array.min()
        operands: dict[str, object] = {"index": int(worst), "size": size}
        rule = f"the index must be in [{-size}, {size})"
        raise IndexRangeError(op, rule, operands=operands)
