"""Runs generated code in the tests' own process, without the runtime layer."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from pellucid.codegen.llvm import compile_ir, kernel_scratch_bytes, render_kernel
from pellucid.codegen.llvm_pool import pool_ir
from pellucid.core.target import Target
from pellucid.loop.ir import Kernel

_NAMES = itertools.count()
_COMPILER: list[Any] = []  # one per process: making one takes longer than a compile


@dataclass
class Library:
    """Linked code; owns the pages its functions lie in."""

    tracker: Any

    def function(self, name: str, *types: Any, result: Any = None) -> Any:
        call: Any = ctypes.CFUNCTYPE(result, *types)(self.tracker[name])
        call.library = self
        return call


def link(objects: Sequence[bytes], exports: Sequence[str]) -> Library:
    if not _COMPILER:
        machine = llvm.Target.from_default_triple().create_target_machine(
            opt=1, reloc="pic", codemodel="small", jit=True
        )
        _COMPILER.append(llvm.create_lljit_compiler(machine, use_jit_link=True))
    builder = llvm.JITLibraryBuilder().add_current_process()
    for data in objects:
        builder.add_object_img(data)
    for name in exports:
        builder.export_symbol(name)
    return Library(builder.link(_COMPILER[0], f"test{next(_NAMES)}"))


def aligned_bytes(count: int) -> NDArray[np.uint8]:
    block = np.full(count + 64, 0xA5, np.uint8)
    start = -block.ctypes.data % 64
    return block[start : start + count]


def run(
    kernel: Kernel, target: Target, *arrays: NDArray[Any], threads: int = 4, level: int = 1
) -> None:
    """Compiles and runs a kernel in place on its arrays."""
    text = render_kernel(kernel, target, "tested")
    objects = [compile_ir(text, target, level)]
    exports = ["tested"]
    if "@pellucid_parallel_for" in text:
        objects.append(compile_ir(pool_ir(), target))
        exports += ["pellucid_pool_start", "pellucid_pool_stop"]
    library = link(objects, exports)
    shared, private = kernel_scratch_bytes(kernel)
    pointers = [a.ctypes.data for a in arrays]
    if shared or private:
        scratch = aligned_bytes(shared + threads * private)
        pointers.append(scratch.ctypes.data)
    call = library.function("tested", *[ctypes.c_void_p] * len(pointers))
    if len(exports) > 1:
        library.function("pellucid_pool_start", ctypes.c_int64)(threads - 1)
    try:
        call(*pointers)
    finally:
        if len(exports) > 1:
            library.function("pellucid_pool_stop")()
