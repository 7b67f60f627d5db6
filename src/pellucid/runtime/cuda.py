"""The CUDA runtime through ctypes: memory on the device, copies there and back, one launch.

Enters: a function that launches, arrays of the host. Leaves: results in arrays of the host. Each
launch copies its operands; nothing stays on the device between launches. Any library with the few
functions used here will do, so that the way can be tested without a device.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.errors import DeviceError

_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyKind


class CudaRuntime:
    """A CUDA runtime library; loaded when first used.

    Args:
        path: of the library; the system's `libcudart` where empty.
    """

    def __init__(self, path: str = "") -> None:
        self.path = path

    @functools.cached_property
    def _library(self) -> ctypes.CDLL | None:
        from ctypes.util import find_library  # noqa: PLC0415  # 8 ms, where a GPU is asked for

        path = self.path or find_library("cudart")
        try:
            return ctypes.CDLL(path) if path else None
        except OSError:
            return None

    @functools.cached_property
    def is_present(self) -> bool:
        """Whether there is such a library, and a device that it sees."""
        if self._library is None:
            return False
        count = ctypes.c_int(0)
        return self._library.cudaGetDeviceCount(ctypes.byref(count)) == 0 and count.value > 0

    def launch(
        self,
        function: Callable[..., int],
        inputs: Sequence[NDArray[Any]],
        outputs: Sequence[NDArray[Any]],
        numbers: Sequence[float] = (),
    ) -> None:
        """Run `function` on copies of the arrays, and copy what it made to `outputs`.

        Args:
            function: takes pointers to the device, then numbers, then a stream; returns 0.
            inputs: of the host.
            outputs: of the host, C-contiguous; written.
            numbers: whole ones are passed as `int64_t`, others as `double`.

        Raises:
            DeviceError: there is no device, or a call fails.
        """
        with ExitStack() as stack:
            places = [stack.enter_context(self._memory(a.nbytes)) for a in (*inputs, *outputs)]
            stream = stack.enter_context(self._stream())
            for array, place in zip(inputs, places, strict=False):
                solid = np.ascontiguousarray(array)
                self._copy(place, solid.ctypes.data, array.nbytes, _TO_DEVICE)
            pointers = [ctypes.c_void_p(p) for p in places]
            given = [_number(n) for n in numbers]
            failed = function(*pointers, *given, stream)
            if failed:
                raise DeviceError("cuda", "the launch failed", operands={"status": failed})
            self._call("cudaStreamSynchronize", stream)
            for array, place in zip(outputs, places[len(inputs) :], strict=True):
                self._copy(array.ctypes.data, place, array.nbytes, _TO_HOST)

    def _copy(self, target: int, source: int, nbytes: int, kind: int) -> None:
        pointers = ctypes.c_void_p(target), ctypes.c_void_p(source)
        self._call("cudaMemcpy", *pointers, ctypes.c_size_t(nbytes), kind)

    @contextmanager
    def _memory(self, nbytes: int) -> Iterator[int]:
        place = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(place), ctypes.c_size_t(max(1, nbytes)))
        try:
            yield place.value or 0
        finally:
            self._call("cudaFree", place)

    @contextmanager
    def _stream(self) -> Iterator[ctypes.c_void_p]:
        stream = ctypes.c_void_p()
        self._call("cudaStreamCreate", ctypes.byref(stream))
        try:
            yield stream
        finally:
            self._call("cudaStreamDestroy", stream)

    def _call(self, name: str, *args: Any) -> None:
        library = self._library
        if library is None:
            raise DeviceError(
                "cuda", "there is no CUDA runtime library", operands={"path": repr(self.path)},
                fix="install CUDA, or say where: cuda_function(..., runtime='.../libcudart.so')",
            )  # fmt: skip
        status = getattr(library, name)(*args)
        if status:
            describe = library.cudaGetErrorString
            describe.restype = ctypes.c_char_p
            said = (describe(status) or b"").decode(errors="replace")
            raise DeviceError("cuda", f"{name}: {said}", operands={"status": status})


@functools.cache
def find_cuda(path: str = "") -> CudaRuntime:
    """The runtime library at a path, or the system's; one object for each."""
    return CudaRuntime(path)


def _number(number: float) -> ctypes.c_int64 | ctypes.c_double:
    return ctypes.c_int64(number) if isinstance(number, int) else ctypes.c_double(number)
