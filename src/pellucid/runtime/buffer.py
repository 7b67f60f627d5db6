"""Memory for arrays: a caching allocator of aligned blocks.

Enters: a shape and a dtype. Leaves: a NumPy array whose memory comes from a block that returns to
the allocator when the last view of it dies. Does not know programs or tensors.

A page that the system hands out for the first time costs more than the work done in it (it is
zeroed, and on a virtual machine mapped twice), so freed blocks are kept and given out again, and
large ones ask for huge pages. Small arrays come from NumPy, whose own cache is faster.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import sys
import sysconfig
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.errors import OutOfMemoryError
from pellucid.core.shape import Shape, size_of

ALIGNMENT = 64
SMALL_BYTES = 16 << 10
KEPT_BYTES = 512 << 10  # above, what an array takes to make is little beside filling it
CACHED_LIMIT_BYTES = 1 << 30
_PAGE = mmap.PAGESIZE
_HUGE_PAGE = 2 << 20


@dataclass(frozen=True, slots=True)
class AllocatorStats:
    """Bytes mapped from the system, of these free for reuse, and the most ever mapped."""

    mapped: int
    cached: int
    peak: int

    @property
    def live(self) -> int:
        """Bytes in blocks that arrays are using."""
        return self.mapped - self.cached


class Allocator:
    """Blocks by size class; freed ones are kept up to `cached_limit_bytes` and reused.

    Safe to use from several threads. A block may be freed at any point of any thread, inside the
    allocator too, so freeing only appends to a list, which needs no lock.
    """

    def __init__(self, cached_limit_bytes: int = CACHED_LIMIT_BYTES) -> None:
        self.cached_limit_bytes = cached_limit_bytes
        self._free: dict[int, list[int]] = {}
        self._types: dict[int, type[ctypes.Array[ctypes.c_char]]] = {}
        self._maps: dict[int, mmap.mmap] = {}
        self._mapped = self._peak = 0
        self._lock = threading.Lock()

    def empty(self, shape: Shape, dtype: np.dtype[Any]) -> NDArray[Any]:
        """An array of undefined contents; its address is a multiple of 64 from 16 KB up.

        Args:
            shape: its sizes.
            dtype: its NumPy dtype.
        """
        nbytes = size_of(shape) * dtype.itemsize
        if nbytes < SMALL_BYTES:
            return np.empty(shape, dtype)
        return np.ndarray(shape, dtype, self.block(nbytes))  # type: ignore[arg-type]  # a buffer

    def block(self, nbytes: int) -> ctypes.Array[ctypes.c_char]:
        """At least `nbytes` undefined bytes, page-aligned, given back when the object dies."""
        size = size_class(nbytes)
        free = self._free.get(size)
        try:
            address = free.pop() if free else self._map(size)
        except IndexError:  # another thread took the last one in between
            address = self._map(size)
        return self._types[size].from_address(address)

    def stats(self) -> AllocatorStats:
        """What is mapped and cached now."""
        return AllocatorStats(self._mapped, self._cached(), self._peak)

    def trim(self, keep_bytes: int = 0) -> None:
        """Give cached blocks back, largest first, until at most `keep_bytes` are cached."""
        with self._lock:
            self._trim(keep_bytes)

    def _cached(self) -> int:
        return sum(size * len(free) for size, free in list(self._free.items()))

    def _trim(self, keep_bytes: int) -> None:
        excess = self._cached() - keep_bytes
        for size in sorted(self._free, reverse=True):
            free = self._free[size]
            while excess > 0 and free:
                with contextlib.suppress(IndexError):
                    self._maps.pop(free.pop()).close()
                    self._mapped -= size
                    excess -= size

    def _map(self, size: int) -> int:
        """A new block from the system; the slow path, so the limit is kept here."""
        with self._lock:
            self._trim(self.cached_limit_bytes)
            if size not in self._types:
                self._free[size] = []
                self._types[size] = _block_type(size, self._free[size], self)
            memory = _system_memory(size)
            if size >= _HUGE_PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
                with contextlib.suppress(OSError):  # kernels without huge pages refuse
                    memory.madvise(mmap.MADV_HUGEPAGE)
            address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            self._maps[address] = memory
            self._mapped += size
            self._peak = max(self._peak, self._mapped)
            return address


def _system_memory(size: int) -> mmap.mmap:
    try:
        return mmap.mmap(-1, size)
    except (OSError, OverflowError, MemoryError) as error:
        raise OutOfMemoryError(
            "memory", "the system does not give a block of this size",
            operands={"size": f"{size:,} bytes"},
            fix="compute in smaller parts, checkpoint, or give a while_loop its max_steps",
        ) from error  # fmt: skip


def _count_alone() -> int:
    """What `sys.getrefcount` says of an object that a list and one variable hold."""
    objects: list[Any] = [object(), object()]
    first, _ = objects
    return sys.getrefcount(first)


# Whether the references to an object are counted, and no thread counts for itself.
_COUNTS = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
_ALONE = _count_alone() if _COUNTS else 0


@functools.cache
def default_allocator() -> Allocator:
    """The process's allocator."""
    return Allocator()


def array_maker(shape: Shape, dtype: np.dtype[Any]) -> Callable[[], NDArray[Any]]:
    """A function that makes arrays of one type, as the default allocator does, only faster."""
    nbytes = size_of(shape) * dtype.itemsize
    if nbytes < SMALL_BYTES:
        return functools.partial(np.empty, shape, dtype)
    if nbytes > KEPT_BYTES or not _COUNTS:
        return functools.partial(default_allocator().empty, shape, dtype)
    return _reusing_maker(shape, dtype, functools.partial(default_allocator().block, nbytes))


def _reusing_maker(
    shape: Shape, dtype: np.dtype[Any], take: Callable[[], ctypes.Array[ctypes.c_char]]
) -> Callable[[], NDArray[Any]]:
    """Arrays in one of two blocks that are kept, where no array holds it any more; else in a new
    one, which is kept instead.

    A thread that is about to use a block holds it too, so another one sees it taken.
    """
    blocks: list[Any] = [None, None]
    getrefcount = sys.getrefcount

    def make() -> NDArray[Any]:
        first, second = blocks
        if getrefcount(first) != _ALONE:
            free = getrefcount(second) == _ALONE
            first, second = second if free else take(), first
            blocks[:] = first, second
        return np.ndarray(shape, dtype, first)

    return make


def size_class(nbytes: int) -> int:
    """`nbytes` rounded up to a page and to three significant bits: at most a quarter is wasted."""
    step = max(_PAGE, (1 << max(nbytes - 1, 1).bit_length()) >> 3)
    return -(-max(nbytes, 1) // step) * step


def _block_type(size: int, free: list[int], owner: Allocator) -> type[ctypes.Array[ctypes.c_char]]:
    """A ctypes array type whose objects hand their address back when they die.

    The type holds its allocator, so that the memory outlives every block.
    """
    address_of = ctypes.addressof

    def __del__(self: ctypes.Array[ctypes.c_char]) -> None:
        free.append(address_of(self))

    return type("Block", (ctypes.c_char * size,), {"__del__": __del__, "owner": owner})


# The first field of NumPy's array object, after CPython's object header, is the data pointer: fixed
# by NumPy's C interface (`PyArrayObject_fields`). Reading it takes 0.1 us, `.ctypes.data` 1.2.
_DATA_OFFSET = object.__basicsize__
_field = ctypes.c_void_p.from_address


def _fast_pointer(array: NDArray[Any]) -> int:
    return _field(id(array) + _DATA_OFFSET).value or 0


def _slow_pointer(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _pointer_reader() -> Callable[[NDArray[Any]], int]:
    """The fast way where it is seen to agree with the documented one."""
    probe = np.empty(8, np.uint8)
    fast = sys.implementation.name == "cpython" and _fast_pointer(probe) == _slow_pointer(probe)
    return _fast_pointer if fast else _slow_pointer


data_pointer = _pointer_reader()
"""The address of an array's first element, as an int."""
