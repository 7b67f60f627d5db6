"""Export a function as one C99 file and its header.

Enters: a function of tensors, or a module, and example arguments. Leaves: two files and a `CExport`
that says what is in them. Does not compile: that is `build.py`'s.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pellucid.core.errors import ArgumentError
from pellucid.deploy.freeze import freeze
from pellucid.deploy.layout import identifier, lay_out
from pellucid.deploy.text import C_WORDS, Port, header_text, ports, source_text
from pellucid.runtime.memory_plan import MemoryPlan

_LONGEST = 100  # letters of a name; file systems take 255 bytes with what is added


@dataclass(frozen=True, kw_only=True, slots=True)
class CExport:
    """What was exported, and where to.

    Attributes:
        name: the prefix of everything the header declares; the function is `name_run`.
        source: the C file.
        header: its header.
        inputs: in the order of `name_run`'s parameters: names and types.
        outputs: those that follow.
        weight_bytes: constants, as stored by the compiled program.
        arena_bytes: the static memory for intermediate results.
        kernels: distinct functions that compute.
        calls: how often they are called in one run.
        digest: of the two files' text; a later export to the same name has another.
        memory: where every intermediate result lives in the arena, and when.
    """

    name: str
    source: Path
    header: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weight_bytes: int
    arena_bytes: int
    kernels: int
    calls: int
    digest: str = field(repr=False)
    memory: MemoryPlan = field(repr=False)

    @property
    def source_bytes(self) -> int:
        """Size of the C file."""
        return self.source.stat().st_size


def export_c(
    fn: Callable[..., Any],
    *example_args: Any,
    name: str = "model",
    folder: str | Path = ".",
    schedule: bool = True,
) -> CExport:
    """Write `fn` as `folder/name.c` and `folder/name.h`: C99, no heap, no libraries but math.

    Tensors and arrays among the arguments become the C function's inputs, of exactly these shapes
    and dtypes; other arguments are fixed. A module runs in evaluation mode. Parameters, buffers and
    tensors from outside become constants. The same program gives the same text, byte for byte.

    Args:
        fn: any function of tensors that `jit` could compile, or a `Module`.
        *example_args: what to call it with; only shapes and dtypes count.
        name: a C identifier; the files' name and the prefix of what they declare.
        folder: where to; made if it is missing.
        schedule: loops tiled for vectors and caches, several times faster; without, the plainest
            loops and the smallest arena, for tiny machines and for reading.

    Returns:
        Paths, types and sizes.

    Raises:
        ArgumentError: `name` is no C identifier or too long, `folder` cannot be written, an
            argument or result is empty or no tensor, or the function writes state.
        DTypeError: float16, bfloat16 or float8, which C99 does not have, with the line it is on.
        TraceError: the function cannot be recorded (see `jit`).
        LoweringError: an operator has no form as loops.
    """
    _check_name(name)
    target = _folder(folder)
    frozen = freeze(fn, example_args, name)
    layout = lay_out(frozen, schedule=schedule)
    taken: set[str] = set()
    inputs = ports(frozen.inputs, [v.type for v in frozen.graph.inputs], taken)
    outputs = ports(frozen.outputs, [v.type for v in frozen.graph.outputs], taken)
    source, header = target / f"{name}.c", target / f"{name}.h"
    texts = {
        source: source_text(name, inputs, outputs, layout),
        header: header_text(name, inputs, outputs, layout),
    }
    _write_all(texts)
    return CExport(
        name=name,
        source=source,
        header=header,
        inputs=inputs,
        outputs=outputs,
        weight_bytes=sum(w.array.nbytes for w in layout.weights.values()),
        arena_bytes=layout.plan.peak,
        kernels=len(layout.kernels),
        calls=len(layout.calls),
        digest=digest_of(*(text.encode() for text in texts.values())),
        memory=layout.plan,
    )


def digest_of(source: bytes, header: bytes) -> str:
    """What tells one export's two files from another's."""
    return hashlib.sha256(hashlib.sha256(source).digest() + header).hexdigest()


def _check_name(name: str) -> None:
    good = isinstance(name, str) and name.isidentifier() and identifier(name) == name
    if good and len(name) > _LONGEST:
        rule = f"name must have at most {_LONGEST} characters: files are named after it"
        raise ArgumentError("export_c", rule, operands={"length": len(name)})
    if not good or name in C_WORDS:
        raise ArgumentError(
            "export_c", "name must be a C identifier, and no word of C or C++",
            operands={"name": repr(name)}, fix="use letters, digits and _, such as 'digits_cnn'",
        )  # fmt: skip


def _folder(folder: str | Path) -> Path:
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> ArgumentError:
    return ArgumentError(
        "export_c", "cannot write here", operands={"folder": path, "error": error.strerror or error}
    )


def _write_all(texts: Mapping[Path, str]) -> None:
    """All files or none: written beside their places, then moved; undone if a move fails."""
    before = {path: path.read_bytes() if path.is_file() else None for path in texts}
    parts = {path: path.with_name(f".{path.name}.part") for path in texts}
    try:
        for path, part in parts.items():
            part.write_text(texts[path], encoding="ascii", newline="\n")
        for path, part in parts.items():
            part.replace(path)
    except BaseException as error:
        for path, data in before.items():
            _restore(path, data)
        if isinstance(error, OSError):
            raise _unwritable(next(iter(texts)).parent, error) from None
        raise
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)


def _restore(path: Path, data: bytes | None) -> None:
    if data is not None:
        path.write_bytes(data)
    elif path.is_file():
        path.unlink()
