"""What a program may ask about this library: the array API's inspection functions."""

from __future__ import annotations

from pellucid.core import dtype as dt
from pellucid.core.dtype import DType
from pellucid.tensor.data_types import isdtype
from pellucid.tensor.tensor import check_device

_STANDARD = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float32", "float64", "complex64", "complex128",
)  # fmt: skip
_KNOWN = {d.name: d for d in dt.ALL}
_DEFAULTS = {
    "real floating": "float32",
    "complex floating": "complex64",
    "integral": "int64",
    "indexing": "int64",
}
MOST_AXES = 64
"""Axes of an array, at most: NumPy's limit."""


class NamespaceInfo:
    """Devices, dtypes and abilities of the namespace."""

    def capabilities(self) -> dict[str, bool | int]:
        """What the standard leaves open: both kinds of data-dependent shape work, at once."""
        return {
            "boolean indexing": True,
            "data-dependent shapes": True,
            "max dimensions": MOST_AXES,
        }

    def default_device(self) -> str:
        """The device of tensors made without naming one."""
        return "cpu"

    def default_dtypes(self, *, device: str | None = None) -> dict[str, DType]:
        """The dtypes of tensors made without naming one.

        Raises:
            DeviceError: there is no such device.
        """
        check_device("default_dtypes", device)
        return {kind: _KNOWN[name] for kind, name in _DEFAULTS.items() if name in _KNOWN}

    def devices(self) -> list[str]:
        """The devices there are."""
        return ["cpu"]

    def dtypes(
        self, *, device: str | None = None, kind: str | tuple[str, ...] | None = None
    ) -> dict[str, DType]:
        """The standard's dtypes, by name.

        Args:
            device: a device; all have the same.
            kind: only those of this kind (or one of these), as `isdtype` names them.

        Raises:
            DeviceError: there is no such device.
            ArgumentError: there is no such kind.
        """
        check_device("dtypes", device)
        named = {name: _KNOWN[name] for name in _STANDARD if name in _KNOWN}
        return {n: d for n, d in named.items() if kind is None or isdtype(d, kind)}


def __array_namespace_info__() -> NamespaceInfo:
    """Answers to questions about this library: its devices, dtypes and abilities."""
    return NamespaceInfo()
