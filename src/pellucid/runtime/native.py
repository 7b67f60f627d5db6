"""Object files to callable functions: LLVM's in-process linker (LLJIT).

Enters: object files by symbol. Leaves: a `Library` that knows its symbols' addresses and makes
functions of them. The memory of linked code belongs to LLVM and goes when the library is dropped,
so every function made from it holds it.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import llvmlite.binding as llvm

from pellucid.codegen.llvm import compile_ir, host_target
from pellucid.codegen.llvm_pool import pool_ir
from pellucid.core.errors import CompileError

PARALLEL_FOR = "pellucid_parallel_for"
POOL_START, POOL_STOP, POOL_THREADS = (
    "pellucid_pool_start",
    "pellucid_pool_stop",
    "pellucid_pool_threads",
)


_DROPPED: SimpleQueue[list[Any]] = SimpleQueue()


@dataclass(frozen=True, slots=True, eq=False)
class Library:
    """Linked code. `tracker` holds LLVM's handle: as long as it lives, the addresses are good."""

    addresses: Mapping[str, int]
    tracker: list[Any]

    def __del__(self, drop: Callable[[list[Any]], None] = _DROPPED.put) -> None:
        # LLVM takes a while, and a Ctrl-C that came meanwhile would be lost: Python ignores what is
        # raised in finalisers. Signals are handled in the main thread, so another one lets go.
        # (A default argument, because at the process's end the module's names are gone.)
        drop(self.tracker)

    def function(self, symbol: str, *arguments: Any, result: Any = None) -> Callable[..., Any]:
        """The function `symbol` as a Python callable, which keeps the library alive.

        The interpreter's lock is released while it runs.

        Args:
            symbol: an exported symbol.
            arguments: ctypes types of its parameters.
            result: ctypes type of what it returns; None for nothing.
        """
        function = ctypes.CFUNCTYPE(result, *arguments)(self.addresses[symbol])
        function.library = self  # type: ignore[attr-defined]  # ctypes functions take attributes
        return function


@functools.cache
def _linker() -> llvm.LLJIT:
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(),
        features=llvm.get_host_cpu_features().flatten(),
        opt=1,
        reloc="pic",
        codemodel="small",
        jit=True,
    )
    return llvm.create_lljit_compiler(machine, use_jit_link=True)


@functools.cache
def _start_releasing() -> None:
    """Let a thread free the code of libraries that were dropped."""

    def release() -> None:
        while True:
            _DROPPED.get().clear()

    threading.Thread(target=release, name="pellucid-release", daemon=True).start()


_LOCK = threading.RLock()
_NAMES = itertools.count()


def link(
    objects: Iterable[bytes],
    exports: Sequence[str],
    imports: Mapping[str, int] | None = None,
) -> Library:
    """Link object files with each other, the C library and `imports`.

    Args:
        objects: object files for this machine.
        exports: symbols whose addresses are wanted.
        imports: addresses of further symbols the objects use.

    Raises:
        CompileError: a symbol is missing or an object file does not fit.
    """
    builder = llvm.JITLibraryBuilder()
    for data in objects:
        builder.add_object_img(data)
    builder.add_current_process()
    for symbol, address in (imports or {}).items():
        builder.import_symbol(symbol, address)
    for symbol in exports:
        builder.export_symbol(symbol)
    _start_releasing()
    with _LOCK:
        try:
            tracker = builder.link(_linker(), f"pellucid{next(_NAMES)}")
        except RuntimeError as error:
            raise CompileError(
                "link", f"cannot link: {error}", operands={"exports": list(exports)}
            ) from error
    return Library({symbol: tracker[symbol] for symbol in exports}, [tracker])


@functools.cache
def pool_library() -> Library:
    """The thread pool's code: compiled and linked once, kept for the life of the process."""
    code = compile_ir(pool_ir(), host_target())
    return link([code], [PARALLEL_FOR, POOL_START, POOL_STOP, POOL_THREADS])
