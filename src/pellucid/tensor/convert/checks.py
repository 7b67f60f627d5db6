"""`assert` and `raise` while recording.

What a recorded tensor asserts is known only when the program runs: it is kept in a cell of the
program, which `jit(convert=True)` looks at after each call.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid import ops
from pellucid.core.errors import TraceError
from pellucid.core.source import user_line
from pellucid.tensor.box import STATE
from pellucid.tensor.convert.logic import both, is_recorded, truth
from pellucid.tensor.convert.state import DEPTH
from pellucid.tensor.dispatch import apply
from pellucid.tensor.tensor import Buffer


@dataclass(frozen=True, slots=True)
class Check:
    """What an `assert` on a recorded tensor found in the last run."""

    cell: Buffer
    message: tuple[object, ...]
    line: str

    def verify(self) -> None:
        """Raise as the statement would have.

        Raises:
            AssertionError: the tensor was false.
        """
        if not self.cell.numpy():
            self.cell.assign_(np.True_)
            raise AssertionError(*(self.message or (f"at {self.line}",)))


class _Open(threading.local):
    checks: list[Check] | None = None


_OPEN = _Open()


@contextmanager
def collected() -> Iterator[list[Check]]:
    """The checks that recording in this block leaves."""
    before, _OPEN.checks = _OPEN.checks, []
    try:
        yield _OPEN.checks
    finally:
        _OPEN.checks = before


class Checked:
    """Mixed into a jitted function: it looks at what was asserted after each call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._checks: list[Check] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result.

        Raises:
            AssertionError: an `assert` on a tensor failed.
        """
        result = super().__call__(*args, **kwargs)  # type: ignore[misc]  # what it is mixed into
        if STATE.trace is None:
            for check in self._checks:
                check.verify()
        return result

    def _trace(self, *args: Any) -> Any:
        with collected() as checks:
            recorded = super()._trace(*args)  # type: ignore[misc]  # what it is mixed into
        self._checks += checks
        return recorded


def assert_(test: Any, message: Callable[[], Any] | None = None) -> None:
    """`assert test, message()`.

    Raises:
        AssertionError: the test is a Python value, and false.
        TraceError: it is a recorded tensor, but nobody will look at it after the run.
    """
    if not is_recorded(test):
        if not test:
            raise AssertionError(*(() if message is None else (message(),)))
        return
    if _OPEN.checks is None:
        raise TraceError(
            "assert",
            "what a tensor asserts is looked at after a call of a function under jit(convert=True)",
            fix="record with jit(convert=True), or remove the assert",
            source=user_line(),
        )
    check = Check(Buffer(np.True_), () if message is None else (message(),), user_line())
    _OPEN.checks.append(check)
    check.cell.assign_(apply(ops.logical_and, check.cell, truth(test)))


def holding() -> Any:
    """Whether all that was asserted so far holds: a loop that would run on after it need not."""
    found: Any = True
    for check in _OPEN.checks or ():
        found = both(found, check.cell)
    return found


def raising() -> None:
    """Refuse a `raise` that is reached while recording a block that may not run.

    Raises:
        TraceError: there is such a block around it.
    """
    if DEPTH.blocks:
        raise TraceError(
            "raise",
            "this depends on a tensor, whose value is not known while recording",
            fix="use assert, which is checked after the run, or check before the call",
            source=user_line(),
        )
