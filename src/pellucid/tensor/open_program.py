"""A recorded function whose sizes are open, as something that runs for any of them.

Enters: a compilation whose graph has named sizes. Leaves: one loaded program, with the sizes among
its arguments; or, where a kernel cannot be made without knowing the sizes, one program per size.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

from pellucid.compile import Compiled, compile_graph
from pellucid.core.errors import PellucidError
from pellucid.core.log import get_logger
from pellucid.core.size_input import solve
from pellucid.graph.sizes import bind_graph
from pellucid.runtime.executable import Executable
from pellucid.runtime.open_executable import OpenExecutable
from pellucid.tensor.box import Array
from pellucid.tensor.program import Program, program_for

_MOST_SIZES = 64  # programs of one function, each for sizes of its own, that are kept
_LOG = get_logger("tensor")


class OpenProgram:
    """Runs a graph with named sizes.

    Args:
        compiled: what `compile_graph` made of it.

    Attributes:
        one: the program for all sizes, if there is one.
        reason: why there is none.
        sizes_made: how many programs of known sizes were made instead.
    """

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled
        self.graph = compiled.graph
        self.one: OpenExecutable | None = None
        self.reason = ""
        self.sizes_made = 0
        self._shapes = [v.shape for v in self.graph.inputs]
        self._by_sizes: OrderedDict[tuple[int, ...], Executable] = OrderedDict()
        self._lock = threading.Lock()
        try:
            self.one = OpenExecutable(compiled)
        except (PellucidError, TypeError) as error:
            self.reason = str(error).partition("\n")[0]
            _LOG.info("%s: one program per size: %s", self.graph.name, self.reason)

    def run(
        self, inputs: Sequence[Array], keep: Callable[[list[Array]], object] | None = None
    ) -> list[Array]:
        """The outputs for these inputs, as `Executable.run` gives them."""
        if self.one is not None:
            return self.one.run(inputs, keep)
        return self._for_sizes(inputs).run(inputs, keep=keep)

    def executable_for(self, inputs: Sequence[Array]) -> Executable:
        """The one program with the sizes of these inputs, or the program for them."""
        if self.one is not None:
            return self.one.executable_for(inputs)
        return self._for_sizes(inputs)

    def tape(self, inputs: Sequence[Array]) -> Program:
        """The program that gradients follow, for the sizes of these inputs."""
        return program_for(bind_graph(self.graph, solve(self._shapes, [a.shape for a in inputs])))

    def lines(self) -> list[str]:
        """What there is, for a report."""
        if self.one is not None:
            shared = self.one.program.shared
            return ["    one program for all sizes", *(f"    shared {part}" for part in shared)]
        return [f"    one program per size, because {self.reason}"]

    def _for_sizes(self, inputs: Sequence[Array]) -> Executable:
        sizes = solve(self._shapes, [a.shape for a in inputs])
        key = tuple(sizes[name] for name in sorted(sizes))
        with self._lock:
            made = self._by_sizes.get(key)
            if made is None:
                graph = bind_graph(self.graph, sizes)
                again = compile_graph(
                    graph, config=self.compiled.config, donate=self.compiled.donated
                )
                made = self._by_sizes[key] = Executable(again)
                self.sizes_made += 1
                if len(self._by_sizes) > _MOST_SIZES:
                    self._by_sizes.popitem(last=False)
            self._by_sizes.move_to_end(key)
            return made
