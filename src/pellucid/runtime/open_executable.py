"""A program with its sizes among its arguments: there is none yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pellucid.compile import Compiled
from pellucid.core.errors import LoweringError
from pellucid.runtime.program import Program


class OpenExecutable:
    """A loaded program for any sizes."""

    program: Program

    def __init__(self, compiled: Compiled) -> None:
        raise LoweringError(compiled.graph.name, "kernels want to know all sizes")

    def run(
        self, inputs: Sequence[Any], keep: Callable[[list[Any]], object] | None = None
    ) -> list[Any]:
        """The outputs."""
        raise LoweringError(self.program.name, "kernels want to know all sizes")
