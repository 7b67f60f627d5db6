"""Named tensors in a safetensors file, written whole or not at all.

Enters names and arrays; leaves a file, or the arrays read back. Knows nothing of modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from pellucid.core.dtype import (
    DType,
    as_dtype,
    bfloat16,
    bool_,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from pellucid.core.errors import ArgumentError
from pellucid.core.files import write_atomically
from pellucid.tensor.tensor import Tensor

Array = NDArray[Any]

_FILE_NAMES: Mapping[str, DType] = {
    "BOOL": bool_, "I8": int8, "I16": int16, "I32": int32, "I64": int64,
    "U8": uint8, "U16": uint16, "U32": uint32, "U64": uint64,
    "F16": float16, "BF16": bfloat16, "F32": float32, "F64": float64,
    "F8_E4M3": float8_e4m3fn, "F8_E5M2": float8_e5m2,
}  # fmt: skip


def save_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor | Array],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write named tensors to a safetensors file.

    Args:
        path: the file; replaced only once the new one is complete.
        tensors: what to write.
        metadata: text to keep beside them.

    Raises:
        ArgumentError: `tensors` is no mapping of names to arrays.
        DTypeError: an array's type has no Pellucid twin.
    """
    if not isinstance(tensors, Mapping):
        raise ArgumentError(
            "save", "takes the file, then a mapping of names to tensors",
            operands={"tensors": type(tensors).__name__}, fix="use save(path, model.state_dict())",
        )  # fmt: skip
    arrays = {name: _to_save(name, value) for name, value in tensors.items()}
    write_atomically(path, safetensors.numpy.save(arrays, dict(metadata or {}) or None), flush=True)


def _to_save(name: str, value: Any) -> Array:
    if not isinstance(name, str) or name == "__metadata__":  # the format's own entry
        rule = "a name must be a string, and not __metadata__"
        raise ArgumentError("save", rule, operands={"name": repr(name)})
    array = array_of("save", name, value)
    as_dtype(array.dtype)  # refuses what could not be read again
    return np.ascontiguousarray(array).reshape(array.shape)


def array_of(op: str, name: str, value: Any) -> Array:
    """The array in a tensor of ours or PyTorch's (bfloat16 as float32), or what NumPy has.

    Raises:
        ArgumentError: it is neither.
    """
    if isinstance(value, Tensor):
        return value.numpy()
    if hasattr(value, "detach"):  # PyTorch's, which may want a gradient
        value = value.detach()
        value = value.float() if "bfloat16" in str(value.dtype) else value
    if not hasattr(value, "__array__"):
        operands: dict[str, object] = {name: type(value).__name__}
        raise ArgumentError(op, "takes tensors and arrays", operands=operands)
    return np.asarray(value)


def load_tensors(path: str | Path) -> dict[str, Array]:
    """The arrays of a safetensors file, by name.

    Raises:
        ArgumentError: the file is not a safetensors file, is damaged, or holds an unknown dtype.
        FileNotFoundError: there is no such file.
    """
    data = Path(path).read_bytes()
    try:
        entries = safetensors.deserialize(data)  # type: ignore[no-untyped-call]  # a stub without types
    except safetensors.SafetensorError as error:
        raise ArgumentError("load", f"{path} is not a whole safetensors file ({error})") from None
    return {name: _array_of(name, entry) for name, entry in entries}


def _array_of(name: str, entry: Mapping[str, Any]) -> Array:
    dtype = _FILE_NAMES.get(entry["dtype"])
    if dtype is None:
        raise ArgumentError("load", f"{name} has an unknown dtype", operands={"it": entry["dtype"]})
    flat = np.frombuffer(entry["data"], dtype=dtype.numpy)
    return flat.reshape(entry["shape"]).copy()
