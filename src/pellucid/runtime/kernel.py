"""One kernel as a function of arrays, just as it is: for trying schedules out and measuring them.

Enters: a kernel. Leaves: a callable. No passes, no recipe, no memory plan, no cache: programs run
through `executable.py`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.codegen.kernel import Scratch
from pellucid.codegen.llvm import compile_ir, host_target, render_kernel
from pellucid.codegen.llvm_kernel import kernel_scratch_bytes
from pellucid.core.errors import ArgumentError
from pellucid.core.target import Target
from pellucid.loop.ir import Kernel
from pellucid.runtime.buffer import data_pointer, default_allocator
from pellucid.runtime.native import PARALLEL_FOR, link, pool_library
from pellucid.runtime.pool import get_num_threads, start_pool

_SYMBOL = "kernel"


def load_kernel(kernel: Kernel, target: Target | None = None) -> Callable[..., None]:
    """Machine code for a kernel: call it with one array per parameter, inputs then outputs.

    Args:
        kernel: what to compile, with the schedule it has.
        target: the machine to compile for; it must be able to run here. This one by default.

    Returns:
        A function that writes the output arrays in place. It raises `ArgumentError` for arrays that
        are not C-contiguous or not of their parameter's shape and dtype.

    Raises:
        CompileError: the code was refused.
    """
    machine = host_target() if target is None else target
    code = compile_ir(render_kernel(kernel, machine, _SYMBOL), machine)
    start_pool()
    library = link([code], [_SYMBOL], {PARALLEL_FOR: pool_library().addresses[PARALLEL_FOR]})
    scratch = Scratch(*kernel_scratch_bytes(kernel))
    count = len(kernel.params) + (1 if any(scratch) else 0)
    function = library.function(_SYMBOL, *[ctypes.c_void_p] * count)

    def run(*arrays: NDArray[Any]) -> None:
        _check(kernel, arrays)
        pointers = [data_pointer(array) for array in arrays]
        if any(scratch):
            working = default_allocator().block(scratch.nbytes(get_num_threads()))
            pointers.append(ctypes.addressof(working))
        function(*pointers)

    return run


def _check(kernel: Kernel, arrays: tuple[NDArray[Any], ...]) -> None:
    if len(arrays) != len(kernel.params):
        operands = {"count": len(arrays)}
        raise ArgumentError(kernel.name, f"takes {len(kernel.params)} arrays", operands=operands)
    for buffer, array in zip(kernel.params, arrays, strict=True):
        given = np.asarray(array)
        fits = given.shape == buffer.shape and given.dtype == buffer.dtype.numpy
        if not fits or given is not array or not array.flags.c_contiguous:
            raise ArgumentError(
                kernel.name,
                f"{buffer.name} must be C-contiguous {buffer.dtype.short}{list(buffer.shape)}",
                operands={"it": f"{given.dtype}{list(given.shape)}"},
            )
