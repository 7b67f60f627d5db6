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
    complex64,
    complex128,
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
from pellucid.core.errors import ArgumentError, DTypeError
from pellucid.core.files import write_atomically
from pellucid.tensor.tensor import Tensor

Array = NDArray[Any]

_FILE_NAMES: Mapping[str, DType] = {
    "BOOL": bool_, "I8": int8, "I16": int16, "I32": int32, "I64": int64,
    "U8": uint8, "U16": uint16, "U32": uint32, "U64": uint64,
    "C64": complex64, "F16": float16, "BF16": bfloat16, "F32": float32, "F64": float64,
    "F8_E4M3": float8_e4m3fn, "F8_E5M2": float8_e5m2,
}  # fmt: skip
_NOT_IN_NUMPY = {f"torch.{d.name}": d for d in (bfloat16, float8_e4m3fn, float8_e5m2)}
_RESERVED = "__metadata__"  # the safetensors header's own entry


def array_of(op: str, name: str, value: Any) -> Array:
    """A tensor or array, ours, NumPy's or PyTorch's, as an array Pellucid has a dtype for.

    Raises:
        ArgumentError: it is none.
        DTypeError: it is one of another dtype.
    """
    if isinstance(value, Tensor):
        return value.numpy()
    try:
        array = _array_of_torch(value) if hasattr(value, "detach") else np.asarray(value)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        as_dtype(array.dtype)
    except (DTypeError, TypeError, ValueError, RuntimeError):
        rule = f"{name} is no tensor of numbers or bools"
        dtype = getattr(value, "dtype", None)
        if dtype is not None:
            raise DTypeError(op, rule, operands={"dtype": dtype}) from None
        raise ArgumentError(op, rule, operands={"it": type(value).__name__}) from None
    return array


def _array_of_torch(value: Any) -> Array:
    value = value.detach().cpu()  # one that wants a gradient would give no array
    narrow = _NOT_IN_NUMPY.get(str(value.dtype))
    array: Array = value.numpy() if narrow is None else value.float().numpy().astype(narrow.numpy)
    return array


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
        ArgumentError: `tensors` is no mapping of names to tensors, or `metadata` is not text.
        DTypeError: a tensor has another library's dtype.
    """
    if not isinstance(tensors, Mapping):
        raise ArgumentError(
            "save", "takes the file, then a mapping of names to tensors",
            operands={"tensors": type(tensors).__name__}, fix="use save(path, model.state_dict())",
        )  # fmt: skip
    arrays = {name: _to_write(name, value) for name, value in tensors.items()}
    notes = dict(metadata or {})
    if not all(isinstance(text, str) for note in notes.items() for text in note):
        raise ArgumentError("save", "metadata must be strings by name", fix="use json.dumps")
    write_atomically(path, safetensors.numpy.save(arrays, notes or None), flush=True)


def _to_write(name: Any, value: Any) -> Array:
    if not isinstance(name, str) or name == _RESERVED:
        rule = f"names must be strings other than {_RESERVED!r}"
        raise ArgumentError("save", rule, operands={"it": repr(name)})
    if not (isinstance(value, (Tensor, np.ndarray, np.generic)) or hasattr(value, "detach")):
        operands: dict[str, object] = {"it": type(value).__name__}
        fix = "wrap it in pellucid.Tensor, or keep it in the metadata"
        raise ArgumentError("save", f"{name} is no tensor", operands=operands, fix=fix)
    array = array_of("save", name, value)
    if array.dtype == complex128.numpy:
        rule = f"the file format has no name for the dtype of {name}"
        fix = "cast to complex64, or save real and imaginary parts"
        raise DTypeError("save", rule, operands={"dtype": array.dtype}, fix=fix)
    return np.ascontiguousarray(array).reshape(array.shape)


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
