"""Settings of the whole process that are other while some thread is inside of a `with`.

`QUICK_TURNS` shortens the turns between threads that run Python, while one of them mostly waits
outside of it. A thread that comes back from native code asks for the interpreter's lock and by
default gets it 5 ms later: where such calls take less, both together are no faster than one.

`NO_COLLECTION` stops the search for dead cycles while much is made that stays: tracing and
compiling. Nodes and values point at each other, so a program is nothing but cycles, and all of it
is alive until it is compiled. The collector would walk over it again and again and find nothing.
"""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
_TURN_S = 1e-4


class _Meanwhile(Generic[T]):
    """`with` it in any number of threads: the first changes, the last to leave restores.

    Args:
        change: sets what holds inside; returns what was before.
        restore: sets that again.
    """

    def __init__(self, change: Callable[[], T], restore: Callable[[T], None]) -> None:
        self._change, self._restore = change, restore
        self._lock = threading.Lock()
        self._before: list[T] = []  # of the first
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = [self._change()]
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
                self._restore(*self._before)


def _shorten_turns() -> float:
    before = sys.getswitchinterval()
    sys.setswitchinterval(min(_TURN_S, before))
    return before


def _stop_collecting() -> bool:
    before = gc.isenabled()
    gc.disable()
    return before


def _collect_again(before: bool) -> None:
    if before:
        gc.enable()


def grow_old() -> None:
    """Count all objects as old, so that collections of young ones do not look through them.

    Nothing happens where the user has frozen objects, which would thaw.
    """
    if not gc.get_freeze_count():
        gc.freeze()
        gc.unfreeze()


QUICK_TURNS = _Meanwhile(_shorten_turns, sys.setswitchinterval)
NO_COLLECTION = _Meanwhile(_stop_collecting, _collect_again)
