"""Compile an exported program with the system's C compiler, load it, and run it on arrays.

Enters: a `CExport`. Leaves: a `CProgram`, for checking the export against Python on this machine;
elsewhere one compiles the two files like any others.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import as_dtype
from pellucid.core.errors import ArgumentError, CompileError, DTypeError, ShapeError
from pellucid.core.log import get_logger
from pellucid.deploy.export import CExport, digest_of
from pellucid.deploy.text import Port
from pellucid.tensor.tensor import Tensor

LOG = get_logger("deploy.build")
COMPILERS = ("cc", "gcc", "clang")
_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")


def find_compiler() -> str | None:
    """The C compiler to use: `$CC` if that is set and exists, else `cc`, `gcc` or `clang`.

    Returns:
        A command (with arguments, if `$CC` has some), or None where there is none.

    Raises:
        ArgumentError: `$CC` has a quote without its other one.
    """
    chosen = os.environ.get("CC", "").strip()
    if chosen and shutil.which(_words("find_compiler", "$CC", chosen)[0]):
        return chosen
    found = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    if chosen:
        instead = f"taking {found}" if found else f"and there is no {', '.join(COMPILERS)}"
        LOG.warning("$CC is %r, which is not there; %s", chosen, instead)
    return found


def _words(op: str, name: str, command: str) -> list[str]:
    """The program and its arguments."""
    try:
        words = shlex.split(command, posix=sys.platform != "win32")
    except ValueError as error:
        words, rule = [], f"{name} cannot be split into words ({error})"
    else:
        rule = f"{name} has no program"
    if not words:
        raise ArgumentError(op, rule, operands={name: repr(command)})
    return words


class CProgram:
    """An exported program, compiled and loaded. Safe to call from several threads: one runs at a
    time, since the program has one arena.

    Attributes:
        export: what it was compiled from.
        library: the shared library.
        command: how it was compiled.
    """

    def __init__(self, export: CExport, library: Path, command: Sequence[str]) -> None:
        self.export, self.library, self.command = export, library, tuple(command)
        # a name without a folder would be looked for where the system keeps its libraries
        self._run = getattr(ctypes.CDLL(str(library.resolve())), f"{export.name}_run")
        count = len(export.inputs) + len(export.outputs)
        self._run.argtypes, self._run.restype = [ctypes.c_void_p] * count, ctypes.c_int
        self._lock = threading.Lock()

    def run(self, *arrays: NDArray[Any] | Tensor) -> list[NDArray[Any]]:
        """The outputs for these inputs, as fresh arrays.

        Args:
            *arrays: one per input, of its shape and dtype.

        Raises:
            ArgumentError: the number of arrays is wrong.
            ShapeError, DTypeError: an array does not have its input's type.
        """
        ports = self.export.inputs
        if len(arrays) != len(ports):
            rule = f"takes {len(ports)} arrays"
            raise ArgumentError(self.export.name, rule, operands={"count": len(arrays)})
        inputs = [_checked(self.export.name, p, a) for p, a in zip(ports, arrays, strict=True)]
        outputs = [np.empty(p.type.shape, p.type.dtype.numpy) for p in self.export.outputs]
        with self._lock:
            failed = self._run(*(a.ctypes.data for a in (*inputs, *outputs)))
        if failed:
            raise CompileError(self.export.name, f"the C program returned {failed}")
        return outputs

    def __call__(self, *arrays: NDArray[Any] | Tensor) -> list[NDArray[Any]]:
        """`run`."""
        return self.run(*arrays)


def _checked(op: str, port: Port, given: NDArray[Any] | Tensor) -> NDArray[Any]:
    array = given.numpy() if isinstance(given, Tensor) else np.asarray(given)
    if array.shape != port.type.shape:
        operands = {"expected": port.type, "shape": array.shape}
        raise ShapeError(op, f"{port.name} has another shape", operands=operands)
    if array.dtype != port.type.dtype.numpy:
        raise DTypeError(
            op, f"{port.name} has another dtype",
            operands={"expected": port.type, "dtype": as_dtype(array.dtype)},
            fix=f"use .astype({port.type.dtype.name!r})",
        )  # fmt: skip
    return np.ascontiguousarray(array).reshape(array.shape)


def compile_c(
    export: CExport, *, compiler: str | None = None, flags: Sequence[str] = ("-O2",)
) -> CProgram:
    """Compile an export to a shared library beside its source, and load it.

    Args:
        export: what `export_c` returned.
        compiler: a command that takes gcc's options; by default what `find_compiler` finds.
        flags: options for it, besides those that a shared library takes.

    Raises:
        ArgumentError: the files are not the ones that were exported, or the compiler is no command.
        CompileError: there is no compiler, or it fails; with what it said. Or what it made
            cannot be loaded.
    """
    command = find_compiler() if compiler is None else compiler
    if command is None:
        raise CompileError(
            "compile_c", f"there is no C compiler: $CC is not set, and none of "
            f"{', '.join(COMPILERS)} is on the PATH",
            fix="install one (Debian: apt install gcc, Fedora: dnf install gcc, macOS: "
            "xcode-select --install, Windows: MSYS2's mingw-w64-gcc), or set CC",
        )  # fmt: skip
    position_independent = () if sys.platform == "win32" else ("-fPIC",)
    head = [*_words("compile_c", "compiler", command), "-std=c99", *flags]
    head += ["-shared", *position_independent]
    _check_files(export)
    # another name for another program: a loaded library is never replaced, only joined
    digest = hashlib.sha256("\n".join([*head, export.digest]).encode()).hexdigest()[:12]
    library = export.source.with_name(f"{export.name}_{digest}{_SUFFIX}")
    run = _build(head, export, library)
    try:
        return CProgram(export, library, run)
    except OSError as error:
        with contextlib.suppress(OSError):
            library.unlink()
        raise CompileError("compile_c", f"{library} cannot be loaded ({error})") from None


def _check_files(export: CExport) -> None:
    """The files must be this export's: with others, arrays would not fit what the program takes."""
    try:
        found = digest_of(export.source.read_bytes(), export.header.read_bytes())
    except OSError as error:
        raise _changed(export, f"cannot be read ({error.strerror or error})") from None
    if found != export.digest:
        raise _changed(export, "were changed or exported again since this export was made")


def _changed(export: CExport, what: str) -> ArgumentError:
    rule = f"{export.source} and {export.header.name} {what}"
    fix = "use what the last export_c returned, or give each export a name or folder of its own"
    return ArgumentError("compile_c", rule, fix=fix)


def _build(head: Sequence[str], export: CExport, library: Path) -> list[str]:
    """Compile to a temporary file, then move it into place."""
    source = export.source
    with tempfile.TemporaryDirectory(dir=source.parent, prefix=".build-") as folder:
        made = Path(folder) / library.name
        command = [*head, str(source), "-o", str(made), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise _failed(command, str(error)) from None
        if done.returncode:
            raise _failed(command, (done.stderr or done.stdout).strip()[-4000:])
        _check_files(export)  # nor were they while the compiler read them
        if not library.exists():
            made.replace(library)
    return [*head, str(source), "-o", str(library), "-lm"]


def _failed(command: Sequence[str], said: str) -> CompileError:
    return CompileError("compile_c", f"{shlex.join(command)} failed:\n{said}\n")
