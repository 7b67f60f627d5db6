"""A graph that can be run from Python: by NumPy references while small or new, by compiled code
when it pays.

Eager operations, the gradient tape and the function transforms all run through here.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.autodiff.reverse import vjp_graph
from pellucid.compile import compile_graph
from pellucid.core.config import current_config
from pellucid.core.errors import CompileError, LoweringError
from pellucid.core.log import get_logger
from pellucid.core.size import likely
from pellucid.graph.ir import Graph
from pellucid.graph.key import graph_key
from pellucid.graph.stats import graph_cost, node_runs
from pellucid.passes.access import runs_on_host
from pellucid.runtime.executable import Executable
from pellucid.tensor.box import Array

_LOG = get_logger("tensor")
_MOST_PROGRAMS = 4096

# When to compile is decided by estimates, not by a clock, so that a program's bits are the same in
# every run. Measured: compiling takes 14-30 ms, a NumPy call about 6 us and 0.1 ns per byte.
_COMPILE_NS = 20e6
_NODE_NS, _BYTE_NS, _FLOP_NS = 6000.0, 0.1, 0.01


class Program:
    """One graph, its derivative programs and, once worth it, its compiled form.

    Attributes:
        graph: what it computes.
        executable: the compiled form, once there is one.
    """

    __slots__ = ("_calls_left", "_is_view", "_references", "_vjps", "executable", "graph")

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._vjps: dict[tuple[tuple[int, ...], tuple[int, ...] | None], Program] = {}
        self.executable: Executable | None = None
        self._calls_left = _calls_worth_interpreting(graph)
        self._is_view = self._calls_left == math.inf  # nothing is computed: no warnings to silence
        made = [v for n in graph.nodes for v in n.outputs]
        slots = {v: i for i, v in enumerate((*graph.inputs, *made))}
        self._references = (
            [
                (n.op.reference, tuple(slots[v] for v in n.inputs), dict(n.attrs), len(n.outputs))
                for n in graph.nodes
            ],
            [(slots[v], v.dtype.numpy) for v in graph.outputs],
        )

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Outputs for these inputs (C-contiguous, of the graph's input types).

        Shapes: as `graph.inputs` and `graph.outputs` say. Outputs may share memory with inputs for
            pure views.
        """
        if self.executable is not None:
            return self.executable.run(arrays)
        if self._calls_left > 0:
            self._calls_left -= 1
            return self._interpret(arrays)
        return self._compile_and_run(arrays)

    def _compile_and_run(self, arrays: Sequence[Array]) -> list[Array]:
        if all(map(runs_on_host, self.graph.nodes)):  # compiled, it would do the same
            self._calls_left = math.inf
            return self._interpret(arrays)
        try:
            self.executable = Executable(compile_graph(self.graph))
        except (LoweringError, CompileError) as error:
            _LOG.info("%s stays interpreted: %s", self.graph.name, error)
            self._calls_left = math.inf
            return self._interpret(arrays)
        return self.executable.run(arrays)

    def _interpret(self, arrays: Sequence[Array]) -> list[Array]:
        if self._is_view:
            return self._interpret_loudly(arrays)
        with np.errstate(all="ignore"):
            return self._interpret_loudly(arrays)

    def _interpret_loudly(self, arrays: Sequence[Array]) -> list[Array]:
        references, outputs = self._references
        env: list[Any] = list(arrays)
        for reference, inputs, attrs, count in references:
            result = reference(*[env[i] for i in inputs], **attrs)
            if count == 1 and not isinstance(result, tuple):
                env.append(result)
            else:
                env.extend(result)
        return [_solid(env[i], dtype) for i, dtype in outputs]

    def vjp(self, wrt: tuple[int, ...], seeded: tuple[int, ...] | None = None) -> Program:
        """The program of gradients for the inputs `wrt`, from inputs, outputs and cotangents of
        the float outputs `seeded` (all by default).
        """
        program = self._vjps.get((wrt, seeded))
        if program is None:
            program = program_for(vjp_graph(self.graph, wrt, seeded))
            self._vjps[wrt, seeded] = program
        return program


def _calls_worth_interpreting(graph: Graph) -> float:
    """How many calls cost as much as compiling: what rents that long has lost at most its double.

    Views cost nothing and are never compiled; what moves very much is compiled at its first call.
    """
    cost = graph_cost(graph)
    flops, nbytes = likely(cost.flops), likely(cost.bytes)
    if not flops and not nbytes:
        return math.inf
    if nbytes >= current_config().eager_compile_bytes:
        return 0
    call_ns = _NODE_NS * node_runs(graph) + _BYTE_NS * nbytes + _FLOP_NS * flops
    return _COMPILE_NS // call_ns


def _solid(array: Any, dtype: np.dtype[Any]) -> Array:
    array = np.asarray(array, dtype=dtype)
    return array if array.flags.c_contiguous else np.array(array, order="C")


class _Programs:
    """Programs by graph structure, least recently used dropped first; safe between threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._by_key: OrderedDict[str, Program] = OrderedDict()

    def get(self, graph: Graph) -> Program:
        key = graph_key(graph)
        with self._lock:
            program = self._by_key.get(key)
            if program is None:
                program = self._by_key[key] = Program(graph)
                if len(self._by_key) > self._most:
                    self._by_key.popitem(last=False)
            self._by_key.move_to_end(key)
            return program


_PROGRAMS = _Programs(_MOST_PROGRAMS)


def program_for(graph: Graph) -> Program:
    """The program of this graph; graphs of equal structure share one, and its compiled form."""
    return _PROGRAMS.get(graph)
