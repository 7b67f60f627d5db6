"""Which programs a piece of code runs, and how often: for tuning them afterwards.

Enters: a `with` block. Leaves: a `Watched` for each program that was loaded inside it. A program
that was loaded outside costs nothing more to call: nothing is asked on the way to native code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from pellucid.compile import Compiled

Entry = Callable[[int], object]


@dataclass(slots=True)
class Watched:
    """A program that was loaded while someone watched: its calls, and seconds inside it."""

    compiled: Compiled
    runs: int = 0
    seconds: float = 0.0


_WATCHERS: ContextVar[tuple[list[Watched], ...]] = ContextVar("watchers", default=())


@contextmanager
def watch_programs() -> Iterator[list[Watched]]:
    """The programs that this thread loads in the block, in order."""
    seen: list[Watched] = []
    token = _WATCHERS.set((*_WATCHERS.get(), seen))
    try:
        yield seen
    finally:
        _WATCHERS.reset(token)


def watched_entry(compiled: Compiled, entry: Entry) -> Entry:
    """A program's entry, which counts its calls where someone watches."""
    watchers = _WATCHERS.get()
    if not watchers:
        return entry
    seen = Watched(compiled)
    for watcher in watchers:
        watcher.append(seen)

    def counted(address: int) -> object:
        start = time.perf_counter()
        result = entry(address)
        seen.seconds += time.perf_counter() - start
        seen.runs += 1
        return result

    return counted
