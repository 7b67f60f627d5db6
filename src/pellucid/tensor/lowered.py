"""What a jitted function became: every layer's form as data, made when first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pellucid.compile import Compiled
from pellucid.core.shape import size_of
from pellucid.graph.ir import Graph
from pellucid.graph.op import Cost
from pellucid.graph.stats import graph_cost
from pellucid.loop.ir import Kernel
from pellucid.passes.manager import PassResult
from pellucid.runtime.executable import Executable
from pellucid.runtime.machine import known_limits, machine_limits
from pellucid.runtime.memory_plan import MemoryPlan
from pellucid.runtime.profiler import Profile, profile
from pellucid.runtime.trace import write_trace
from pellucid.schedule.trace import Step


class Lowered:
    """One compiled form of a function. Graphs, kernels and steps print as text.

    Args:
        compiled: what `compile_graph` returned, with dumps.
        inputs: arguments and captured state, as they were.

    Attributes:
        compiled: the compilation, for what is not here.
        inputs: arrays that `executable` can be run on.
    """

    def __init__(self, compiled: Compiled, inputs: Sequence[NDArray[Any]]) -> None:
        self.compiled, self.inputs = compiled, tuple(inputs)

    @property
    def graph(self) -> Graph:
        """The function as recorded."""
        return self.compiled.graph

    @property
    def passes(self) -> PassResult:
        """The graph after the passes, and what each did; `.table()` prints it."""
        return self.compiled.passes

    @property
    def loops(self) -> tuple[Kernel, ...]:
        """The distinct kernels as naive loop nests, in the order of their first call."""
        return tuple(k.kernel for k in self.compiled.kernels.values())

    @property
    def schedules(self) -> tuple[tuple[Step, ...], ...]:
        """For each of `loops`, the schedule's steps; the last is what is compiled."""
        return tuple(k.steps for k in self.compiled.kernels.values())

    @property
    def llvm(self) -> str:
        """LLVM IR of all kernels."""
        return self.compiled.ir

    @property
    def asm(self) -> str:
        """Assembly of all kernels for this machine."""
        return self.compiled.assembly

    @cached_property
    def executable(self) -> Executable:
        """The program, loaded on its own: it can be run and profiled without the function's state.

        Raises:
            CompileError: a pass or a kernel failed.
        """
        return Executable(self.compiled)

    @property
    def memory(self) -> MemoryPlan:
        """Where every temporary lives in the arena, with the peak beside the lower bound."""
        return self.executable.program.plan

    def profile(self, repeats: int = 20, *, measure: bool = False) -> Profile:
        """Each kernel's median time over runs on copies of the inputs, beside the machine's limits.

        Args:
            repeats: runs to take medians over.
            measure: measure the limits first where they are not known; that takes some seconds.
        """
        limits = machine_limits() if measure else known_limits()
        return profile(self.executable, self.inputs, repeats, limits)

    def write_trace(self, path: str | Path) -> None:
        """Profile, and write the last run as a trace for Perfetto (ui.perfetto.dev) or Chrome.

        Raises:
            OSError: the file cannot be written.
        """
        write_trace(Path(path), self.executable.program, self.profile().times)

    @property
    def cost(self) -> Cost:
        """Operations and bytes of the optimised graph, counted from it."""
        return graph_cost(self.compiled.passes.graph)

    def __repr__(self) -> str:
        nodes, kernels = len(self.graph.nodes), len(self.loops)
        sizes = sum(size_of(v.shape) * v.dtype.itemsize for v in self.graph.inputs)
        return (
            f"Lowered({self.graph.name}: {nodes} nodes, {kernels} kernels, {sizes:,} input bytes)"
        )
