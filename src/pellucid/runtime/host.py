"""Functions on the host that a program calls: their addresses in its table, and their failures.

Enters: a program's calls, as lowered. Leaves: `HostFunctions`, which holds what the machine code
calls (`codegen/llvm_host.py` says how) and raises what went wrong in it. A call that fails ends the
program, and the state it was to update is as before.

Arrays that a Python function gets are the program's own memory. They hold on to it, so that a
reference kept somewhere, a traceback's for one, never points to memory that is gone; what it shows
after the call is undefined.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.codegen.llvm_host import FAILED
from pellucid.compile import Compiled
from pellucid.core.errors import ArgumentError, DTypeError, LoweringError, ShapeError
from pellucid.graph.ir import TensorType
from pellucid.loop.compute import CFunction, HostFunction
from pellucid.loop.ir import Buffer
from pellucid.lower.hosts import find_host_calls
from pellucid.lower.program import KernelCall
from pellucid.runtime.buffer import data_pointer
from pellucid.runtime.program import ProgramCall

_Words = ctypes.c_int64 * 2  # address and status
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class HostFunctions:
    """The functions of one loaded program.

    Args:
        calls: the program's calls.
        compiled: where the functions are: in the graph as recorded, or else as lowered.

    Attributes:
        addresses: of each function's record, by slot of the program's table.
        may_fail: whether a call can end the program; else there is nothing to `begin` and `end`.
    """

    def __init__(self, calls: Sequence[ProgramCall], compiled: Compiled) -> None:
        mine = [c for c in calls if c.host is not None]
        found = find_host_calls(compiled.graph, {c.host_key for c in mine})
        if any(c.host_key not in found for c in mine):
            found = {c.host_key: c for c in compiled.lowered.calls}
        pairs = [(c, found[c.host_key]) for c in mine]
        self.may_fail = any(w.host is not None and w.host.may_fail for _, w in pairs)
        self._run = _Run()
        self._records = [_Record(call, self._run) for _, call in pairs]
        slots = [c.host for c, _ in pairs if c.host is not None]
        self.addresses = {
            s: ctypes.addressof(r.words) for s, r in zip(slots, self._records, strict=True)
        }

    def begin(self, memory: object) -> None:
        """A run begins, in which arrays hold on to `memory`."""
        self._run.memory, self._run.error = memory, None
        for record in self._records:
            record.words[1] = 0

    @property
    def failed(self) -> bool:
        """Whether a call has failed since the run began."""
        return any(record.words[1] for record in self._records)

    def end(self) -> None:
        """Let the memory go, and raise what a call raised.

        Raises:
            BaseException: what a Python function raised.
            ShapeError, DTypeError, ArgumentError: its results are not as stated.
            LoweringError: a C function returned another status than 0.
        """
        self._run.memory = None
        failed = next((r for r in self._records if r.words[1]), None)
        if failed is None:
            return
        error, self._run.error = self._run.error, None
        raise error or LoweringError(
            failed.name,
            "the function failed",
            operands={"status": failed.words[1]},
            source=", ".join(failed.sources),
        )


class _Run:
    """What a running program's functions share."""

    def __init__(self) -> None:
        self.memory: object = None
        self.error: BaseException | None = None


class _Record:
    """The two words that machine code reads, and what they point to."""

    def __init__(self, call: KernelCall, run: _Run) -> None:
        if call.host is None:
            raise LoweringError(call.kernel.name, "is no function of the host")
        self.name, self.sources = call.kernel.name, call.sources
        function = call.host.run
        self.words = _Words()
        if isinstance(function, CFunction):
            self._kept: Any = function
            self.words[0] = function.address
        else:
            status = ctypes.c_int64.from_buffer(self.words, ctypes.sizeof(ctypes.c_int64))
            self._kept = _CALLBACK(_callback(function, call, status, run))
            self.words[0] = ctypes.cast(self._kept, ctypes.c_void_p).value or 0


def c_caller(
    function: CFunction, arrays: int
) -> Callable[[Sequence[NDArray[Any]], Sequence[NDArray[Any]]], None]:
    """A C function for Python, called as compiled programs call it: with inputs and outputs.

    Inputs that are not C-contiguous are copied; outputs must be.

    Args:
        function: what to call.
        arrays: the number of inputs and outputs together.

    Raises:
        LoweringError: later, when it is called: it returns another status than 0.
    """
    kinds = [ctypes.c_int64 if isinstance(n, int) else ctypes.c_double for n in function.numbers]
    pointers = [ctypes.c_void_p] * (arrays + (function.workspace > 0))
    result = ctypes.c_int if function.status else None
    run = ctypes.CFUNCTYPE(result, *pointers, *kinds)(function.address)

    def call(inputs: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]]) -> None:
        held = [a if a.flags.c_contiguous else np.ascontiguousarray(a) for a in inputs]
        held += outputs
        if function.workspace:
            held.append(np.empty(function.workspace, np.uint8))
        status = run(*[data_pointer(a) for a in held], *function.numbers)
        if function.status and status:
            operands = {"status": status}
            raise LoweringError(function.name, "the function failed", operands=operands)

    return call


def _callback(
    function: HostFunction, call: KernelCall, status: ctypes.c_int64, run: _Run
) -> Callable[[int], None]:
    """What machine code calls with the address of an array of addresses."""
    params, name = call.kernel.params, call.kernel.name
    inputs = len(params) - call.kernel.outputs
    views = [_viewer(buffer, writeable=k >= inputs) for k, buffer in enumerate(params)]
    places = ctypes.c_void_p * len(params)

    def callback(address: int) -> None:
        try:
            pairs = zip(views, places.from_address(address), strict=True)
            arrays = [view(at, run.memory) for view, at in pairs]
            with np.errstate(all="ignore"):
                results = function(arrays[:inputs])
            check_results(name, results, params[inputs:])
            for result, target in zip(results, arrays[inputs:], strict=True):
                np.copyto(target, result)
            status.value = 0
        except BaseException as error:  # raised again when the program has ended
            status.value, run.error = FAILED, error

    return callback


def _viewer(buffer: Buffer, *, writeable: bool) -> Callable[[int, object], NDArray[Any]]:
    """From an address to the array there, which holds on to what it is given."""
    shape, dtype = buffer.shape, buffer.dtype.numpy
    nbytes = buffer.nbytes
    block = ctypes.c_char * nbytes

    def view(address: int, memory: object) -> NDArray[Any]:
        if not nbytes:
            return np.empty(shape, dtype)
        place = block.from_address(address)
        place.memory = memory  # type: ignore[attr-defined]  # ctypes arrays take attributes
        array: NDArray[Any] = np.ndarray(shape, dtype, place)  # type: ignore[arg-type]  # any buffer will do
        array.flags.writeable = writeable
        return array

    return view


def check_results(
    name: str, results: Sequence[Any], outputs: Sequence[Buffer | TensorType]
) -> None:
    """Check what a function of the host returned against what it should.

    Raises:
        ShapeError, DTypeError, ArgumentError: another shape, dtype or number of arrays.
    """
    if not isinstance(results, (tuple, list)) or len(results) != len(outputs):
        given = len(results) if isinstance(results, (tuple, list)) else type(results).__name__
        raise ArgumentError(
            name, f"its function must return {len(outputs)} arrays", operands={"it": given}
        )
    for k, (result, buffer) in enumerate(zip(results, outputs, strict=True)):
        array = np.asarray(result)
        if array.shape != buffer.shape:
            rule = f"output {k} must have shape {buffer.shape}"
            raise ShapeError(name, rule, operands={"it": array.shape})
        if array.dtype != buffer.dtype.numpy:
            rule = f"output {k} must have dtype {buffer.dtype.name}"
            raise DTypeError(name, rule, operands={"it": array.dtype})
