"""The thread pool's life: started when the first parallel program is loaded, sized, ended.

The pool itself is generated code (`codegen/llvm_pool.py`), one per process. A child made by `fork`
has no workers: programs still run right there, and the pool starts anew at the next load or
`set_num_threads`.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import threading

import numpy as np

from pellucid.core.config import MOST_THREADS, current_config, usable_cores
from pellucid.core.errors import ArgumentError
from pellucid.runtime.native import POOL_START, POOL_STOP, pool_library


@functools.cache
def max_threads() -> int:
    """The most threads the pool can have; programs hold scratch memory for so many."""
    return max(current_config().threads, usable_cores())


class _Pool:
    """How many threads are wanted, and whether they have been started in this process."""

    def __init__(self) -> None:
        self.wanted: int | None = None  # the configuration's number, until another is set
        self.started = False
        self.lock = threading.Lock()

    @property
    def threads(self) -> int:
        return current_config().threads if self.wanted is None else self.wanted

    def start(self) -> None:
        with self.lock:
            if not self.started:
                self._resize()

    def resize(self, threads: int) -> None:
        with self.lock:
            self.wanted = threads
            if self.started:
                self._resize()

    def stop(self) -> None:
        with self.lock:
            if self.started:
                self.started = False
                pool_library().function(POOL_STOP)()

    def forget(self) -> None:
        """In a forked child: no worker came along, and nobody will open a lock held at the fork."""
        self.started = False
        self.lock = threading.Lock()

    def _resize(self) -> None:
        start = pool_library().function(POOL_START, ctypes.c_int64, result=ctypes.c_int64)
        start(self.threads - 1)
        self.started = True


_POOL = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_POOL.forget)
atexit.register(_POOL.stop)


def start_pool() -> None:
    """Start the workers unless they run already."""
    _POOL.start()


def stop_pool() -> None:
    """End the workers; parallel loops run on the caller alone until the pool is started again."""
    _POOL.stop()


def get_num_threads() -> int:
    """Threads that parallel loops use, the caller included."""
    return _POOL.threads


def set_num_threads(threads: int) -> None:
    """Set how many threads parallel loops use, the caller included.

    Raises:
        ArgumentError: not an integer between 1 and `max_threads()`.
    """
    most = max_threads()
    if not isinstance(threads, (int, np.integer)) or not 1 <= threads <= most:
        more = f"set PELLUCID_THREADS before the start to allow more, up to {MOST_THREADS}"
        raise ArgumentError(
            "set_num_threads",
            f"threads must be an integer between 1 and {most}",
            operands={"threads": repr(threads)},
            fix=more if most < MOST_THREADS else "",
        )
    _POOL.resize(int(threads))
