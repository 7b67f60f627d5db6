"""bfloat16 through DLPack, which NumPy's own side of the protocol does not know.

NumPy moves the same memory as uint16; the type code in the capsule, which names the type for the
other side, is rewritten on the way.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from pellucid.core.dtype import bfloat16
from pellucid.tensor.box import Array

_UINT, _BFLOAT, _BITS = 1, 4, 16  # type codes of DLPack's header, and the size of both
_TYPE_AT = {b"dltensor": 20, b"dltensor_versioned": 52}
"""Where the type stands (code, then bits) in what a capsule of this name points to."""

_pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)
_is_named = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_IsValid", ctypes.pythonapi)
)


class _Capsule:
    """A capsule as an object that speaks the protocol."""

    def __init__(self, capsule: Any, device: tuple[int, int]) -> None:
        self._capsule, self._device = capsule, device

    def __dlpack__(self, **_: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device


def import_array(x: Any, copy: bool | None) -> Array:
    """The NumPy array of what speaks DLPack; in its memory where `copy` is not True.

    Raises:
        BufferError, RuntimeError: NumPy's, where the data is of a type or device it does not know.
    """
    try:
        return np.from_dlpack(x) if copy is None else np.from_dlpack(x, copy=copy)
    except (BufferError, RuntimeError):
        capsule = x.__dlpack__()
        if not _retyped(capsule, _BFLOAT, _UINT):
            raise
    made: Array = np.from_dlpack(_Capsule(capsule, x.__dlpack_device__())).view(bfloat16.numpy)
    return made.copy() if copy else made


def export_array(array: Array, max_version: tuple[int, int] | None) -> Any:
    """The DLPack capsule of an array.

    Raises:
        BufferError: NumPy cannot export it.
    """
    if array.dtype != bfloat16.numpy:
        return array.__dlpack__(max_version=max_version)
    capsule = array.view(np.uint16).__dlpack__(max_version=max_version)
    _retyped(capsule, _UINT, _BFLOAT)
    return capsule


def _retyped(capsule: Any, old: int, new: int) -> bool:
    """Write another type code of 16 bits into a capsule; False where the old one is not there."""
    for name, place in _TYPE_AT.items():
        if _is_named(capsule, name):
            code = (ctypes.c_uint8 * 2).from_address(_pointer_of(capsule, name) + place)
            if tuple(code) == (old, _BITS):
                code[0] = new
                return True
    return False
