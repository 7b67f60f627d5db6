"""One loaded program for any sizes: what changes with them is a table of pointers and a plan.

Enters: a compilation whose graph has open sizes. Leaves: an `OpenExecutable`. The code is linked
once, and all sizes share the memory for temporaries, which grows to what the largest so far wants.
For each size there is an `Executable` with that code: a table of pointers, and offsets as they come
out for it. They are made when a size is first met, in less than a millisecond, and kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from pellucid.compile import Compiled
from pellucid.core.errors import ArgumentError, LoweringError
from pellucid.core.meanwhile import NO_COLLECTION
from pellucid.core.size_input import solve
from pellucid.runtime.executable import Executable, load

Array = NDArray[Any]
_MOST_SIZES = 1024  # that are kept; each takes a few kilobytes


class OpenExecutable:
    """A loaded program for any sizes. Safe to call from several threads, one of which runs.

    Attributes:
        compiled: where it comes from.
        program: calls, ports with open sizes, and the memory plan for likely ones.
        cached: True if the program came from the cache.
    """

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled
        with NO_COLLECTION:
            self._loaded = load(compiled)
        self.program, self.cached = self._loaded.program, self._loaded.cached
        self._shapes = [port.shape for port in self.program.inputs]
        told = solve(self._shapes, self._shapes)
        for dim, _ in self.program.sizes:
            if dim.name not in told:
                raise LoweringError(self.program.name, f"no input tells the size {dim}")
        self._by_sizes: OrderedDict[tuple[int, ...], tuple[Executable, object]] = OrderedDict()

    def run(
        self, inputs: Sequence[Array], keep: Callable[[list[Array]], object] | None = None
    ) -> list[Array]:
        """The program's outputs for these inputs; see `Executable.run`.

        Raises:
            ShapeError, DTypeError: an array does not have its port's type.
            ArgumentError: the number of arrays is wrong.
        """
        with self._loaded.lock:
            return self.executable_for(inputs).run(inputs, keep=keep)

    def executable_for(self, inputs: Sequence[Array]) -> Executable:
        """The program for the sizes of these inputs, ready to run.

        Raises:
            ArgumentError: the number of arrays is wrong.
        """
        if len(inputs) != len(self._shapes):
            raise ArgumentError(
                self.program.name,
                f"takes {len(self._shapes)} inputs",
                operands={"inputs": len(inputs)},
            )
        sizes = solve(self._shapes, [array.shape for array in inputs])
        key = tuple(sizes.values())
        found = self._by_sizes.get(key)
        if found is None:
            found = self._add(key, sizes)
        executable, block = found
        if block is not self._loaded.arena.block:  # it has grown, and lies elsewhere
            executable.place_memory()
            self._by_sizes[key] = executable, self._loaded.arena.block
        self._by_sizes.move_to_end(key)
        return executable

    def _add(self, key: tuple[int, ...], sizes: dict[str, int]) -> tuple[Executable, object]:
        loaded = replace(self._loaded, program=self.program.bound(sizes))
        executable = Executable(self.compiled, loaded)
        executable.set_sizes(sizes)
        if len(self._by_sizes) >= _MOST_SIZES:
            self._by_sizes.popitem(last=False)
        self._by_sizes[key] = executable, self._loaded.arena.block
        return self._by_sizes[key]
