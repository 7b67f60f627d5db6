"""No search for dead cycles while much is made that stays: tracing and compiling.

Nodes and values point at each other, so a program is nothing but cycles, and all of it is alive
until it is compiled. The collector would walk over it again and again and find nothing.
"""

from __future__ import annotations

import gc
import threading
from types import TracebackType


class _NoCollection:
    """`with NO_COLLECTION:` in any number of threads; the last to leave restores the collector."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = True

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._before:
                gc.enable()


NO_COLLECTION = _NoCollection()
