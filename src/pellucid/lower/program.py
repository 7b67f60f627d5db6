"""A lowered program: kernels in the order they run, and the memory they touch.

Enters from `graph_to_loop.py`; leaves to `schedule/` (each kernel by itself) and `runtime/`, which
gives slots addresses. Holds no decisions of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from pellucid.graph.ir import TensorType
from pellucid.graph.op import Cost
from pellucid.loop.compute import HostCall, Recipe
from pellucid.loop.ir import Kernel
from pellucid.lower.flow import Branch, Loop, Step, leaves

Role = Literal["input", "output", "constant", "temp", "view"]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BufferSlot:
    """One piece of memory. Values that are the same bytes under another shape share a slot.

    `type` is the graph input's or output's own for those roles; `value` is set for constants only.
    A `view` has no memory of its own: loops point it at other slots' (`flow.py`).
    """

    id: int
    type: TensorType
    role: Role
    value: NDArray[Any] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelCall:
    """One kernel, or one function of the host, applied to slots.

    Attributes:
        kernel: the nest; its parameters may see a slot under another shape of the same size. Where
            `host` is set it has no statements: its parameters say what the function takes.
        args: slot ids, one per kernel parameter.
        nodes: names of the graph values this kernel computes.
        sources: the user's lines it comes from, each once, in order.
        cost: operations of its nodes, and bytes of its arguments each moved once.
        inplace: `(output position, input position)` pairs within `args` that may share memory: each
            output element is computed from, of that input, only the element it replaces.
        recipe: schedules the nest; by default the package's own do.
        host: what runs instead of a nest; where it fails, the program ends.
        host_key: what finds it again in the graph as recorded (`hosts.py`).
    """

    kernel: Kernel
    args: tuple[int, ...]
    nodes: tuple[str, ...]
    sources: tuple[str, ...]
    cost: Cost
    inplace: tuple[tuple[int, int], ...] = ()
    recipe: Recipe | None = None
    host: HostCall | None = None
    host_key: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoweredProgram:
    """Slots, the calls in the order of their steps, and which slots are the program's inputs and
    outputs, in order.
    """

    name: str
    slots: tuple[BufferSlot, ...]
    steps: tuple[Step, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def __str__(self) -> str:
        """The steps: each call with the slots it reads and writes, in its branches and loops."""
        return "\n".join([f"program {self.name}", *_lines(self.steps, "  ")])

    @property
    def calls(self) -> tuple[KernelCall, ...]:
        """All calls, also those in branches and loops."""
        return tuple(leaves(self.steps))


def _lines(steps: Iterable[Step], indent: str) -> Iterator[str]:
    """Steps as text, one call a line."""
    for step in steps:
        if isinstance(step, Branch):
            for k, branch in enumerate(step.branches):
                yield f"{indent}{'if' if k == 0 else 'elif'} slot {step.index} is {k}:"
                yield from _lines(branch, indent + "  ")
        elif isinstance(step, Loop):
            yield f"{indent}loop{_turns(step)}:"
            for carry in step.carries:
                ends = f"{carry.start} -> {carry.end}"
                yield f"{indent}  carry {carry.read} -> {carry.written}, {ends}"
            for row in step.slices:
                yield f"{indent}  row {row.part} of {row.whole}{', written' * row.written}"
            yield from _lines(step.cond, indent + "  ")
            if step.test is not None:
                yield f"{indent}  leave unless slot {step.test}"
            yield from _lines(step.body, indent + "  ")
        else:
            count = len(step.args) - step.kernel.outputs
            read, made = step.args[:count], step.args[count:]
            yield f"{indent}{step.kernel.name}: {_slots(read)} -> {_slots(made)}"


def _turns(loop: Loop) -> str:
    most = "" if loop.length is None else f" {loop.length} times"
    if loop.count is not None:
        most = f" as often as slot {loop.count} says, at most{most}"
    return most + (", from the last row" if loop.reverse else "")


def _slots(slots: Sequence[int]) -> str:
    return ", ".join(map(str, slots))
