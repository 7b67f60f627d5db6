"""One kernel of a program by itself: candidates' code made, checked against the rule's, and timed.

Enters: a kernel as lowered and which of its parameters share memory. Leaves: times. Arrays are made
up: positive random floats, of which no sum cancels, no root fails and no quotient explodes; zeros
for whole numbers (which may be indices). Results are compared with those of the schedule that the
rules give, to a tolerance that fits sums in another order.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.codegen.kernel import CompiledKernel, KernelObject
from pellucid.compile import PackCall
from pellucid.core.target import Target
from pellucid.loop.ir import Buffer, Kernel
from pellucid.runtime.buffer import data_pointer, default_allocator
from pellucid.runtime.constants import pack_constants
from pellucid.runtime.native import PARALLEL_FOR, link, pool_library
from pellucid.runtime.pool import get_num_threads, start_pool
from pellucid.schedule.choice import RULES, Choice

Array = NDArray[Any]
_SYMBOL = "candidate"
_TOLERANCE = 1e-4  # of the largest element


class KernelBench:
    """Arrays for a kernel, and the results that every schedule of it must give.

    Args:
        kernel: as lowered.
        target: the machine to compile for, this one.
        constants: names of the parameters whose contents never change.
        shared: for each output that is made in an input's memory, that input; both by position
            among the parameters.
    """

    def __init__(
        self,
        kernel: Kernel,
        target: Target,
        constants: Collection[str] = (),
        shared: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self.kernel, self.target, self.shared = kernel, target, shared
        self.constants = frozenset(constants)
        rng = np.random.default_rng(0)
        self._inputs = len(kernel.params) - kernel.outputs
        self._arrays = [_filled(b, rng) for b in kernel.params]
        self._expected: list[Array] | None = None

    def code(self, choice: Choice = RULES) -> KernelObject:
        """The object code that a choice gives.

        Raises:
            CompileError: it was refused.
        """
        return CompiledKernel(_SYMBOL, self.kernel, self.target, self.constants, choice).object

    def loaded(self, code: KernelObject) -> Callable[[], None]:
        """Code bound to the arrays, outputs where the program has them."""
        arrays = list(self._arrays)
        for output, source in self.shared.items():
            arrays[output] = arrays[source].reshape(arrays[output].shape)
        return _bound(code, arrays)

    def right(self, code: KernelObject) -> bool:
        """Whether code gives the results of the rules' schedule, on fresh inputs."""
        if self._expected is None:
            self._expected = self._results(self.code())
        return all(map(_close, self._results(code), self._expected))

    def _results(self, code: KernelObject) -> list[Array]:
        """The outputs, in memory of their own that was poisoned before."""
        rng = np.random.default_rng(0)
        arrays = [_filled(b, rng) for b in self.kernel.params]
        outputs = arrays[self._inputs :]
        for array in outputs:
            array.fill(np.nan if array.dtype.kind == "f" else 1)
        _bound(code, arrays)()
        return outputs


def _bound(code: KernelObject, arrays: Sequence[Array]) -> Callable[[], None]:
    start_pool()
    imports = {PARALLEL_FOR: pool_library().addresses[PARALLEL_FOR]}
    library = link([code.code], [_SYMBOL], imports)
    packs = [PackCall(pack, tuple(pack.sources), -1 - k) for k, pack in enumerate(code.packs)]
    packed = pack_constants(dict(enumerate(arrays)), packs)
    pointers = [data_pointer(packed[place]) for place in code.params]
    working: Any = None
    if any(code.scratch):
        working = default_allocator().block(code.scratch.nbytes(get_num_threads()))
        pointers.append(ctypes.addressof(working))
    function = library.function(_SYMBOL, *[ctypes.c_void_p] * len(pointers))
    held = [packed, working, library]

    def run() -> None:
        function(*pointers)

    run.__dict__["held"] = held  # they live as long as the function does
    return run


def _filled(buffer: Buffer, rng: np.random.Generator) -> Array:
    array = default_allocator().empty(buffer.shape, buffer.dtype.numpy)
    if array.dtype.kind in "fV":
        array[...] = rng.random(buffer.shape, np.float32) + 0.1
    else:
        array.fill(0)
    return array


def _close(got: Array, want: Array) -> bool:
    if got.dtype.kind not in "fV":
        return bool(np.array_equal(got, want))
    a, b = got.astype(np.float64), want.astype(np.float64)
    known = np.isfinite(b)
    if not np.array_equal(known, np.isfinite(a)):
        return False
    scale = np.abs(b[known]).max(initial=0.0)
    return bool(np.abs(a - b)[known].max(initial=0.0) <= _TOLERANCE * scale)
