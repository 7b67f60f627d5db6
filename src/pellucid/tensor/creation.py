"""Tensors from other things: Python's data, other libraries' arrays, shapes of other tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from pellucid import ops
from pellucid.core.dtype import DTypeLike, as_dtype, float32
from pellucid.core.errors import ArgumentError
from pellucid.tensor.box import Array, Box, as_array
from pellucid.tensor.dispatch import apply
from pellucid.tensor.dlpack import import_array
from pellucid.tensor.tensor import Tensor, check_device, full


def asarray(
    obj: Any,
    dtype: DTypeLike | None = None,
    device: str | None = None,
    copy: bool | None = None,
) -> Tensor:
    """A tensor of this data: itself, if it is a tensor of this dtype.

    Args:
        obj: a tensor, a Python number, nested sequences of them, or anything NumPy understands.
        dtype: element type; the data's own by default, float32 for Python floats.
        device: "cpu", or left out.
        copy: True: always a new tensor; False: never a copy of the data; None: only where needed.

    Raises:
        DTypeError: the data's type has no Pellucid twin.
        DeviceError: `device` is not "cpu".
        ArgumentError: `copy` is False, and there is no other way.
    """
    check_device("asarray", device)
    if isinstance(obj, Tensor):
        if dtype is not None and obj.dtype != as_dtype(dtype):
            return _unless(copy is False, obj).astype(dtype)
        return obj.clone() if copy else obj
    if copy is False:
        return _shared("asarray", np.asarray(obj, copy=False), dtype)
    return Tensor(obj, dtype)


def _unless(copied: bool, x: Tensor) -> Tensor:
    if copied:
        raise _needs_copy("asarray", x.type)
    return x


def _needs_copy(op: str, data: object) -> ArgumentError:
    rule, fix = "cannot do without a copy", "leave copy out, or say copy=True"
    return ArgumentError(op, rule, operands={"data": data}, fix=fix)


def _shared(op: str, array: Array, dtype: DTypeLike | None) -> Tensor:
    """A tensor in an array's own memory."""
    made = as_array(array, None if dtype is None else as_dtype(dtype))
    if array.size and not np.shares_memory(made, array):
        raise _needs_copy(op, f"{array.dtype}{list(array.shape)}")
    return Tensor.plain(made)


def from_dlpack(x: Any, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor of another library's array, in its memory where that is possible.

    Args:
        x: an array that speaks DLPack, in CPU memory.
        device: "cpu", or left out.
        copy: True: always a copy; False: never; None: only where it is not C-contiguous.

    Raises:
        TypeError: `x` is no DLPack array.
        BufferError: `x` is not in CPU memory.
        ArgumentError: `copy` is False, and there is no other way.
        DeviceError: `device` is not "cpu".
    """
    check_device("from_dlpack", device)
    if not hasattr(x, "__dlpack__"):
        raise TypeError(f"from_dlpack: takes an array that speaks DLPack, got {type(x).__name__}")
    if isinstance(x, Tensor):
        x = x.numpy()
    array = import_array(x, copy)
    return (
        _shared("from_dlpack", array, None)
        if copy is False
        else Tensor.plain(as_array(array, None))
    )


def zeros(shape: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Zeros of `shape`, float32 by default."""
    return full(shape, 0, dtype or float32, device)


def ones(shape: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Ones of `shape`, float32 by default."""
    return full(shape, 1, dtype or float32, device)


def empty(shape: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """A tensor of `shape` for those who do not care what it holds: zeros, float32 by default."""
    return zeros(shape, dtype, device)


def full_like(
    x: Any, fill_value: Any, dtype: DTypeLike | None = None, device: str | None = None
) -> Tensor:
    """A tensor of one value with the shape of `x`, and its dtype unless another is given."""
    check_device("full_like", device)
    return apply(ops.full_like, x if isinstance(x, Box) else Tensor(x), fill_value, dtype)


def zeros_like(x: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Zeros with the shape of `x`, and its dtype unless another is given."""
    return full_like(x, 0, dtype, device)


def ones_like(x: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """Ones with the shape of `x`, and its dtype unless another is given."""
    return full_like(x, 1, dtype, device)


def empty_like(x: Any, dtype: DTypeLike | None = None, device: str | None = None) -> Tensor:
    """`empty` with the shape of `x`, and its dtype unless another is given."""
    return full_like(x, 0, dtype, device)
