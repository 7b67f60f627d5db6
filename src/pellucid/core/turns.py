"""Shorter turns between threads that run Python, while one of them mostly waits outside of it.

A thread that comes back from native code asks for the interpreter's lock and by default gets it
5 ms later. Where such calls take less than that, both threads together are no faster than one.
"""

from __future__ import annotations

import sys
import threading
from types import TracebackType

_SECONDS = 1e-4


class _QuickTurns:
    """`with QUICK_TURNS:` in any number of threads; the last to leave restores the interval."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(_SECONDS, self._before))
            self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                sys.setswitchinterval(self._before)


QUICK_TURNS = _QuickTurns()
