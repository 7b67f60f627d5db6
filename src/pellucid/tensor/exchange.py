"""How other libraries take a tensor: DLPack, NumPy's protocols, the array API's attributes."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from pellucid.core.errors import ArgumentError, DeviceError, TraceError
from pellucid.core.source import user_line
from pellucid.tensor.box import STATE, Array, Box
from pellucid.tensor.dlpack import export_array
from pellucid.tensor.trace import note_decision

if TYPE_CHECKING:  # the class these methods end up on
    from pellucid.tensor.tensor import Tensor

_CPU = (1, 0)  # DLPack: kDLCPU, device 0
VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")
"""Versions of the array API standard that the namespace satisfies."""


class Exchange(Box):
    """Protocols through which NumPy, DLPack and array API libraries use a tensor."""

    __slots__ = ()

    def __array_namespace__(self, *, api_version: str | None = None) -> ModuleType:
        """The module with the array API's functions, `pellucid.array_api`.

        Raises:
            ArgumentError: that version of the standard is not provided.
        """
        if api_version not in (None, *VERSIONS):
            raise ArgumentError(
                "__array_namespace__", "this version of the array API is not provided",
                operands={"api_version": api_version}, fix=f"use {VERSIONS[-1]!r}",
            )  # fmt: skip
        # the namespace is made of tensor functions, so this module cannot import it
        return importlib.import_module("pellucid.array_api")

    def to_device(self, device: str, /, *, stream: Any = None) -> Tensor:
        """This tensor on a device: itself, since there is only "cpu".

        Raises:
            DeviceError: another device was named.
            ArgumentError: a stream was named, which "cpu" does not have.
        """
        if device != "cpu":
            raise DeviceError("to_device", f"no device {device!r} here", fix="use 'cpu'")
        if stream is not None:
            raise ArgumentError("to_device", "a CPU has no streams", fix="leave stream out")
        return self  # type: ignore[return-value]  # boxes made here are tensors

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A DLPack capsule of the elements; in this tensor's memory, unless it is a cell.

        Raises:
            ArgumentError: a stream was named, or a cell is to be shared without a copy.
            BufferError: another device was named, or NumPy cannot export this.
            TraceError: the tensor is being recorded.
        """
        array = self._concrete("dlpack")
        if stream is not None:
            raise ArgumentError("dlpack", "a CPU has no streams", fix="leave stream out")
        if dl_device not in (None, _CPU):
            raise BufferError(f"dlpack: a tensor is in CPU memory, not on device {dl_device}")
        fixed = not array.flags.writeable and (max_version or (0, 0)) < (1, 0)
        if copy or self.is_cell or fixed:
            if copy is False:
                rule = "this memory may change, or must not: it cannot be shared"
                raise ArgumentError("dlpack", rule, fix="leave copy out, or say copy=True")
            array = array.copy()
        return export_array(array, max_version)

    def __dlpack_device__(self) -> tuple[int, int]:
        """The CPU, in DLPack's numbers."""
        return _CPU

    def _concrete(self, what: str) -> Array:
        """The array, where there is one: not while tracing."""
        trace = STATE.trace
        if self._array is None or (trace is not None and (self in trace.current)):
            raise TraceError(
                what,
                "a traced tensor has no value yet; only running the function gives it one",
                operands={"tensor": self.type},
                fix=_INSTEAD.get(
                    what, "compute with it, and look at it after the function has returned"
                ),
                source=user_line(),
            )
        if trace is not None and what in _DECIDING:
            note_decision(self, what)
        return self._array


_DECIDING = frozenset(("bool", "int", "float", "complex", "index", "item"))
_INSTEAD = {
    "copy": "use x.clone()",
    "bool": "record with jit(convert=True), use pellucid.where(condition, a, b), or make the "
    "argument static with static_argnames",
    "index": "use pellucid.take (for `range`: jit(convert=True)), or make the argument static with "
    "static_argnames",
    "int": "keep it a tensor, or make the argument static with static_argnames",
    "float": "keep it a tensor, or make the argument static with static_argnames",
    "complex": "keep it a tensor, or make the argument static with static_argnames",
}
