"""One compiled form of a jitted function: what it was recorded as, and whether it still holds.

Enters: what recording left, and the program made of it. Leaves: the answers that a call wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pellucid.compile import Compiled
from pellucid.core.dtype import DType
from pellucid.core.errors import CompileError, DTypeError
from pellucid.core.size import Decision
from pellucid.core.size_input import solve
from pellucid.runtime.executable import Executable
from pellucid.tensor.box import Box
from pellucid.tensor.guards import EDITS, Guard
from pellucid.tensor.open_program import OpenProgram
from pellucid.tensor.program import Program
from pellucid.tensor.signature import Signature
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.trace import Traced, read_grad
from pellucid.tensor.tree import TreeDef


@dataclass(frozen=True, slots=True)
class Result:
    """Where a leaf of the result comes from: an output of the program."""

    index: int


@dataclass(frozen=True, slots=True)
class Recorded:
    """What running the Python function once left.

    Attributes:
        traced: the graph, and where its inputs and outputs live.
        result: the structure of what the function returned.
        leaves: what stands in it; tensors by their number.
        grads_seen: tensors whose gradient was looked at, and whether there was one.
        wants: tensors from outside, and whether they wanted a gradient.
        guards: Python names that are looked at before every run.
        narrow: tensor arguments that are Python ints and met integers of this narrower dtype.
        decisions: what was decided of sizes that are open.
    """

    traced: Traced
    result: TreeDef
    leaves: tuple[Any, ...]
    grads_seen: tuple[tuple[Box, bool], ...]
    wants: tuple[tuple[Box, bool], ...]
    guards: tuple[Guard, ...]
    narrow: tuple[tuple[int, DType], ...]
    decisions: tuple[Decision, ...] = ()


@dataclass(slots=True)
class Specialisation:
    """One compiled form of a jitted function.

    Attributes:
        signature: the arguments it is for.
        recorded: what it was made from.
        compiled: the program's forms.
        runner: the native program; for open sizes, the programs.
        tape: the program that gradients follow, if they can reach it.
        open_tape: gradients can reach it, through a program for the sizes of the call.
        views: this form with a program for known sizes, which direct calls run.
        edits: when the attributes in `recorded.traced.reads` were last found unchanged.
        runs: how often it was run after its arguments were read in Python.
    """

    signature: Signature
    recorded: Recorded
    compiled: Compiled
    runner: Executable | OpenProgram
    tape: Program | None
    edits: int
    runs: int = 0
    open_tape: bool = False
    views: dict[Executable, Specialisation] = field(default_factory=dict)

    def leaves(self, results: Sequence[Box]) -> list[Any]:
        """The leaves of what the function returns."""
        return [results[v.index] if isinstance(v, Result) else v for v in self.recorded.leaves]

    @property
    def executable(self) -> Executable:
        """The native program of known sizes.

        Raises:
            CompileError: the sizes are open.
        """
        if isinstance(self.runner, OpenProgram):
            raise CompileError(self.compiled.graph.name, "its sizes are open")
        return self.runner

    def holds(self, boxes: Sequence[Tensor]) -> bool:
        """Whether what was decided of open sizes while recording holds for these arguments."""
        decisions = self.recorded.decisions
        if not decisions:
            return True
        shapes = [v.shape for v in self.recorded.traced.graph.inputs[: len(boxes)]]
        sizes = solve(shapes, [b.shape for b in boxes])
        return all(d.holds(sizes) for d in decisions)

    def check_numbers(self, boxes: Sequence[Tensor]) -> None:
        """Refuse Python ints that do not fit the integers they met, as the same line does eagerly.

        Raises:
            DTypeError: one does not.
        """
        for i, dtype in self.recorded.narrow:
            info, value = np.iinfo(dtype.name), int(boxes[i].numpy())
            if not info.min <= value <= info.max:
                operands: dict[str, object] = {self.signature.tensor_names()[i]: value}
                rule = f"the int meets {dtype} and does not fit"
                fix = "cast the array to a wider dtype with .astype"
                raise DTypeError(self.compiled.graph.name, rule, operands=operands, fix=fix)

    def mismatch(self) -> str:
        """Why this program no longer fits the Python state it was made from; empty if it does."""
        return self._names_changed() or self._tensors_changed()

    def _names_changed(self) -> str:
        for guard in self.recorded.guards:
            if change := guard.changed():
                return change
        now = EDITS.count
        if now != self.edits:
            for guard in self.recorded.traced.reads:
                if change := guard.changed():
                    return change
            self.edits = now
        return ""

    def _tensors_changed(self) -> str:
        for box, wanted in self.recorded.wants:
            if box.requires_grad != wanted:
                return f"{type(box).__name__}.requires_grad: {wanted} -> {box.requires_grad}"
        for constant in self.recorded.traced.constants:
            if not constant.holds():
                return f"constant {constant}: changed in place"
        for box, seen in self.recorded.grads_seen:
            if (read_grad(box) is not None) != seen:
                name = getattr(box, "name", "") or str(box.type)
                change = "set -> None" if seen else "None -> set"
                return f"gradient of {name}: {change}"
        return ""
