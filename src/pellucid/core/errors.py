"""Error classes. Each takes the operator and its operands, so that neither can be left out of the
message.

A message reads `matmul: inner dims must match, got a (2, 3) and b (4, 3). Fix: use b.T.`
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

import numpy as np


class PellucidError(Exception):
    """Base of every error Pellucid raises on purpose.

    Args:
        op: the operator, pass, layer or command that refuses.
        message: the rule that was broken, lower case, no full stop.
        operands: what was given, by name: a shape, a dtype, a type or any printable value.
        fix: what to do instead; only when doing it would work.
        source: the user's line, `file.py:12`, where known.
    """

    def __init__(
        self,
        op: str,
        message: str,
        *,
        operands: Mapping[str, object] | None = None,
        fix: str = "",
        source: str = "",
    ) -> None:
        self.op, self.rule, self.operands, self.fix, self.source = (
            op,
            message,
            dict(operands or {}),
            fix,
            source,
        )
        super().__init__(self._render())

    def rename(self, op: str) -> None:
        """Say that it was `op` that refused: what the user called, not what that is made of."""
        self.op = op
        self.args = (self._render(),)

    def _render(self) -> str:
        text = f"{self.op}: {self.rule}"
        if self.operands:
            text += ", got " + " and ".join(
                f"{name} {value}" for name, value in self.operands.items()
            )
        text += f" (at {self.source})" if self.source else ""
        return f"{_stopped(text)} Fix: {_stopped(self.fix)}" if self.fix else _stopped(text)


def _stopped(text: str) -> str:
    """The text as a sentence; one that ends in a question or a block of lines needs no stop."""
    return text if text.endswith((".", "?", "\n")) else f"{text}."


class ShapeError(PellucidError, ValueError):
    """Shapes, axes or sizes that do not fit."""


class AxisError(ShapeError, IndexError):
    """An axis that a shape does not have."""


class DTypeError(PellucidError, TypeError):
    """Element types that do not fit."""


class ArgumentError(PellucidError, ValueError):
    """An argument outside its stated range, or of the wrong kind."""


class IndexRangeError(PellucidError, IndexError):
    """An index outside its axis."""


class DeviceError(PellucidError, RuntimeError):
    """A device or target that is absent or cannot do what was asked."""


class TraceError(PellucidError, TypeError):
    """Python code that cannot be recorded into a graph."""


class TraceWarning(UserWarning):
    """A value that was looked at while recording, and is now part of the program."""


class GradientError(PellucidError, RuntimeError):
    """A derivative that does not exist, or was asked of something that has none."""


class VerifyError(PellucidError, ValueError):
    """A graph, loop nest or memory plan that breaks its own rules."""


class ScheduleError(PellucidError, ValueError):
    """A schedule step that is not legal here."""


class LinAlgError(PellucidError, np.linalg.LinAlgError):
    """A matrix that has not what was asked of it: singular, not positive definite, not finite."""


class LoweringError(PellucidError, RuntimeError):
    """An operator that cannot be lowered as asked."""


class CompileError(PellucidError, RuntimeError):
    """Code generation or linking that failed."""


class OutOfMemoryError(PellucidError, MemoryError):
    """More memory than the system gives."""


class MissingExtraError(PellucidError, ImportError):
    """An optional dependency that is not installed."""


def did_you_mean(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """A `did you mean ...?` hint for an unknown name, or an empty string.

    Args:
        name: what was given.
        known: names there are.
        prefix: what all names begin with; the rest is compared.
    """
    rests = [k.removeprefix(prefix) for k in known]
    close = difflib.get_close_matches(name.removeprefix(prefix), rests, n=1)
    return f"did you mean {prefix + close[0]!r}?" if close else ""
