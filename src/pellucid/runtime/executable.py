"""A compiled program, loaded: NumPy arrays in, NumPy arrays out, one native call in between.

Enters: `Compiled`. What the cache has is loaded without compiling. Leaves: an `Executable`, which
holds the linked code, the arena for temporaries and the table of pointers that the code reads.

The time between the caller and the code counts for small programs. So the table is kept: an array
that was passed at the same place in the call before (parameters, optimiser state) is recognised by
identity and costs nothing more, and only fresh arrays are checked and their pointers written.
"""

from __future__ import annotations

import ctypes
import hashlib
import threading
import weakref
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.codegen.llvm import compile_ir, render_entry
from pellucid.compile import Compiled
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.core.log import get_logger
from pellucid.core.meanwhile import NO_COLLECTION
from pellucid.core.size import Sizes, value_of
from pellucid.runtime.buffer import array_maker, data_pointer, default_allocator
from pellucid.runtime.cache import Cache, open_cache
from pellucid.runtime.constants import place_constants
from pellucid.runtime.dump import dump_program
from pellucid.runtime.host import HostFunctions
from pellucid.runtime.native import PARALLEL_FOR, Library, link, pool_library
from pellucid.runtime.pool import max_threads, start_pool
from pellucid.runtime.program import Port, Program, make_program
from pellucid.runtime.watch import watched_entry

LOG = get_logger("runtime.executable")
STORED_CONSTANT_BYTES = 256 << 20  # programs with more constants are compiled again per process

Array = NDArray[Any]


class Arena:
    """Memory for temporaries; it grows, and never shrinks.

    Blocks that are too small by now are kept: direct calls may know their addresses. Each is at
    least twice as large as the one before, so that all of them are no more than twice the last.

    Attributes:
        block: the latest.
    """

    def __init__(self) -> None:
        self.block = default_allocator().block(1)
        self._blocks = [self.block]
        self._nbytes = 1

    def reserve(self, nbytes: int) -> int:
        """The address of so many bytes, at least; it may be another one than before."""
        if nbytes > self._nbytes:
            self._nbytes = max(nbytes, 2 * self._nbytes)
            self.block = default_allocator().block(self._nbytes)
            self._blocks.append(self.block)
        return ctypes.addressof(self.block)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A program's code in this process, and the memory it works in, one run at a time.

    Attributes:
        program: what was loaded.
        cached: whether it came from the cache.
        library: the linked code.
        constants: arrays where the code reads them, by slot.
        arena: memory for temporaries.
        lock: held while the program runs.
        busy: 1 while it runs: its temporaries are in use.
    """

    program: Program
    cached: bool
    library: Library
    constants: Mapping[int, Array]
    arena: Arena
    lock: threading.RLock
    busy: ctypes.c_int64


def load(compiled: Compiled) -> Loaded:
    """Bring a program into this process.

    Raises:
        CompileError: a pass or a kernel failed.
    """
    program, cached = load_program(compiled, open_cache(compiled.config))
    constants = place_constants(program.constants)
    library, lock, busy = _link(program), threading.RLock(), ctypes.c_int64(0)
    return Loaded(program, cached, library, constants, Arena(), lock, busy)


class Executable:
    """A loaded program. Safe to call from several threads, one of which runs at a time.

    Attributes:
        compiled: where it comes from; the stages that were not needed run when asked for.
        program: calls, ports and memory plan.
        library: the linked code.
        cached: True if the program came from the cache.
        watched: True if its calls are counted, so that none may go past `run`.
        table: the addresses that the code works with, by slot.
        lock: held while the program runs.
        busy: 1 while it runs from here: its table and its temporaries are in use.
        hosts: the functions of the host it calls; None where there are none.
    """

    def __init__(self, compiled: Compiled, within: Loaded | None = None) -> None:
        self.compiled = compiled
        with NO_COLLECTION:
            loaded = within or load(compiled)
        self.program, self.cached = loaded.program, loaded.cached
        self.library, self._arena = loaded.library, loaded.arena
        self._constants = loaded.constants
        entry = self.library.function(self.program.entry, ctypes.c_void_p)
        self._entry = watched_entry(compiled, entry)
        self.watched = self._entry is not entry
        self._profiled: Callable[..., None] | None = None
        self.lock = loaded.lock
        self._twin: Executable | None = None
        self.table = (ctypes.c_int64 * max(1, self.program.slots))()
        self.busy = loaded.busy
        self._address = ctypes.addressof(self.table)
        self._inputs = _Inputs(self.program, self.table)
        self._outputs = [
            (port.slot, array_maker(port.shape, port.numpy), self.program.donated.get(k))
            for k, port in enumerate(self.program.outputs)
        ]
        self.hosts: HostFunctions | None = None
        if any(call.host is not None for call in self.program.calls):
            self.hosts = HostFunctions(self.program.calls, compiled)
        self._sizes: Sizes = {}
        self.place_memory()

    def set_sizes(self, sizes: Sizes) -> None:
        """Tell the code its open sizes."""
        self._sizes = sizes
        for dim, slot in self.program.sizes if sizes else ():
            self.table[slot] = sizes[dim.name]
        for number, slot in self.program.numbers if sizes else ():
            self.table[slot] = value_of(number, sizes)

    def run(
        self,
        inputs: Sequence[Array],
        outputs: Sequence[Array] | None = None,
        keep: Callable[[list[Array]], object] | None = None,
    ) -> list[Array]:
        """The program's outputs for these inputs.

        Args:
            inputs: arrays of the graph's input types. One that is not C-contiguous is copied. A
                donated one is overwritten, and comes back as the output that took its memory.
            outputs: C-contiguous arrays to write into; fresh ones by default. At the place of a
                donated output anything may stand.
            keep: is given the outputs once the program has run, also where an exception from a
                signal handler (Ctrl-C) comes between; it may then be called twice.

        Raises:
            ShapeError, DTypeError: an array does not have its port's type.
            ArgumentError: the number of arrays is wrong, or an output cannot be written into.
            Exception: what a function of the host raised; donated arrays are as before.
        """
        with self.lock:
            if self.busy.value:
                return self._again().run(inputs, outputs, keep)
            self.busy.value = 1
            try:
                results = self._bind(inputs, outputs)
                self._enter(results, keep)
            finally:
                self.busy.value = 0
            return results

    def _enter(self, results: list[Array], keep: Callable[[list[Array]], object] | None) -> None:
        try:
            # Python handles signals when the program has returned, so what is raised in here finds
            # all outputs written, unless a function of the host failed
            self._entry(self._address)
            if self.hosts is not None:
                self.hosts.end()
            if keep is not None:
                keep(results)
        except BaseException:
            if keep is not None and not (self.hosts is not None and self.hosts.failed):
                keep(results)
            raise

    def _again(self) -> Executable:
        """The same program with memory of its own, for a call that comes while this thread prepares
        one: from a signal handler, or from whatever runs when an object dies.
        """
        if self._twin is None:
            again = load(self.compiled)
            self._twin = Executable(self.compiled, replace(again, program=self.program))
            self._twin.set_sizes(self._sizes)
        return self._twin

    def run_profiled(self, inputs: Sequence[Array]) -> tuple[list[Array], NDArray[np.int64]]:
        """`run`, and start and end of each call in nanoseconds of one clock, shape (calls, 2)."""
        times = np.zeros((len(self.program.calls), 2), np.int64)
        with self.lock:
            if self.busy.value:
                return self._again().run_profiled(inputs)
            self.busy.value = 1
            try:
                if self._profiled is None:
                    self._profiled = self._link_profiled()
                results = self._bind(inputs, None)
                self._profiled(self._address, data_pointer(times))
                if self.hosts is not None:
                    self.hosts.end()
            finally:
                self.busy.value = 0
            return results, times

    def _bind(self, inputs: Sequence[Array], outputs: Sequence[Array] | None) -> list[Array]:
        """Write the pointers; returns the arrays that will hold the outputs."""
        taken = self._inputs.bind(inputs)
        if outputs is not None:
            results = self._given_outputs(taken, outputs)
        else:
            results = self._fresh_outputs(taken)
        if self.hosts is not None:
            self.hosts.begin((self._arena.block, self._constants, taken, results))
        return results

    def _fresh_outputs(self, taken: Sequence[Array]) -> list[Array]:
        table = self.table
        results: list[Array] = []
        for slot, make, donor in self._outputs:
            if donor is None:
                array = make()
                table[slot] = data_pointer(array)
            else:
                array = taken[donor]
            results.append(array)
        return results

    def _given_outputs(self, taken: Sequence[Array], outputs: Sequence[Array]) -> list[Array]:
        name = self.program.name
        if len(outputs) != len(self._outputs):
            raise ArgumentError(
                name, f"makes {len(self._outputs)} outputs", operands={"outputs": len(outputs)}
            )
        results: list[Array] = []
        for k, (slot, _, donor) in enumerate(self._outputs):
            array = outputs[k] if donor is None else taken[donor]
            if donor is None:
                check_array(name, f"output {k}", array, self.program.outputs[k])
                used = [*taken, *results]
                if not (array.flags.c_contiguous and array.flags.writeable) or any(
                    np.may_share_memory(array, other) for other in used
                ):
                    raise ArgumentError(
                        name,
                        "an output must be C-contiguous, writeable and apart from all other arrays",
                        operands={"output": k},
                    )
                self.table[slot] = data_pointer(array)
            results.append(array)
        return results

    def place_memory(self) -> None:
        """Pointers that stay: temporaries and scratch in the arena, constants."""
        base = self._arena.reserve(self.program.plan.peak)
        for slot in range(self.program.slots):
            self.table[slot] = base  # slots of no bytes still get an address
        for slot, offset in self.program.plan.offsets().items():
            self.table[slot] = base + offset
        if self.hosts is not None:
            for slot, address in self.hosts.addresses.items():
                self.table[slot] = address
        for slot, array in self._constants.items():
            self.table[slot] = data_pointer(array)
        self.set_sizes(self._sizes)

    def _link_profiled(self) -> Callable[..., None]:
        calls = [call.arguments for call in self.program.calls]
        symbol = f"{self.program.entry}_profiled"
        code = compile_ir(
            render_entry(
                calls,
                symbol,
                True,
                self.program.flow,
                dict(self.program.numbers),
                self.program.ahead,
            ),
            self.compiled.target,
        )
        called = [*calls, *self.program.ahead]
        kernels = {call.symbol: self.library.addresses[call.symbol] for call in called}
        return link([code], [symbol], kernels).function(symbol, ctypes.c_void_p, ctypes.c_void_p)


class _Inputs:
    """The input side of the table: which array stands at each place, and its pointer."""

    def __init__(self, program: Program, table: ctypes.Array[ctypes.c_int64]) -> None:
        self.name, self.ports, self.table = program.name, program.inputs, table
        self.dtypes = [port.numpy for port in program.inputs]
        self.donors = frozenset(program.donated.values())
        self._seen: list[Callable[[], Array | None]] = [_nothing] * len(program.inputs)
        self._spans: list[tuple[int, int]] = []  # donated memory, start and end, in order

    def bind(self, inputs: Sequence[Array]) -> Sequence[Array]:
        """Write the pointers of what is new; returns the inputs, copied where that was needed."""
        seen = self._seen
        if len(inputs) != len(seen):
            raise ArgumentError(
                self.name, f"takes {len(seen)} inputs", operands={"inputs": len(inputs)}
            )
        fresh = [k for k, array in enumerate(inputs) if seen[k]() is not array]
        if not fresh:
            return inputs
        taken = list(inputs)
        if self.donors and not self.donors.isdisjoint(fresh):
            self._accept_donated(taken)
            fresh = [k for k in range(len(taken)) if k not in self.donors]
        for k in fresh:
            self._accept(k, taken)
        return taken

    def _accept(self, k: int, taken: list[Array]) -> None:
        """Check input `k`, copy it if need be, write its pointer."""
        array = taken[k]
        self._seen[k] = _nothing
        if isinstance(array, np.generic):  # a scalar that NumPy made of an array without axes
            taken[k] = array = np.asarray(array)
        if array.shape != self.ports[k].shape or array.dtype is not self.dtypes[k]:
            check_array(self.name, f"input {k}", array, self.ports[k])
        if not array.flags.c_contiguous or (self._spans and self._overlaps(array)):
            taken[k] = array = array.copy(order="C")
        else:
            self._seen[k] = weakref.ref(array)
        self.table[self.ports[k].slot] = data_pointer(array)

    def _accept_donated(self, taken: list[Array]) -> None:
        """The donated inputs, all of them anew: writeable, and no byte given away twice."""
        self._spans = []
        for k in sorted(self.donors):
            if not taken[k].flags.writeable:
                taken[k] = taken[k].copy(order="C")
            self._accept(k, taken)
            self._spans = sorted([*self._spans, _span(taken[k])])

    def _overlaps(self, array: Array) -> bool:
        """True when memory that is given away holds part of `array`."""
        start, end = _span(array)
        after = bisect_right(self._spans, (end - 1, 1 << 64))
        return start < end and after > 0 and self._spans[after - 1][1] > start


def load_program(compiled: Compiled, cache: Cache) -> tuple[Program, bool]:
    """The program from the cache, or made and put there; and whether it was there.

    Raises:
        CompileError: a pass or a kernel failed.
    """
    key = hashlib.sha256(f"{compiled.key} {max_threads()} threads".encode()).hexdigest()
    if compiled.config.dump:
        dump_program(compiled, compiled.config.dump)
    stored = cache.get(key)
    if stored is not None:
        return Program.from_bytes(stored), True
    program = make_program(compiled, max_threads(), cache)
    LOG.debug("%s: compiled, seconds by stage %s", program.name, compiled.seconds)
    if sum(a.nbytes for a in program.constants.values()) <= STORED_CONSTANT_BYTES:
        cache.put(key, program.to_bytes())
    return program, False


def check_array(op: str, what: str, array: Array, port: Port) -> None:
    """Check an array against its port.

    Raises:
        ArgumentError: not an array.
        ShapeError, DTypeError: of another shape or dtype.
    """
    if not isinstance(array, np.ndarray):
        raise ArgumentError(op, f"{what} must be a NumPy array", operands={"it": type(array)})
    if array.shape != port.shape:
        raise ShapeError(op, f"{what} must have shape {port.shape}", operands={"it": array.shape})
    if array.dtype != port.numpy:
        raise DTypeError(op, f"{what} must have dtype {port.dtype}", operands={"it": array.dtype})


def _link(program: Program) -> Library:
    """Link all objects; the pool is started for those that have parallel loops."""
    name = PARALLEL_FOR.encode()
    imports = {}
    if any(name in data for data in program.objects.values()):
        start_pool()
        imports[PARALLEL_FOR] = pool_library().addresses[PARALLEL_FOR]
    return link(program.objects.values(), list(program.objects), imports)


def _nothing() -> None:
    return None


def _span(array: Array) -> tuple[int, int]:
    start = data_pointer(array)
    return start, start + array.nbytes
