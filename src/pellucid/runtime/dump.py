"""Write every form of a program as text files, for `PELLUCID_DUMP`.

Enters: `Compiled`. Leaves: a folder per program with the graph before and after passes, and per
kernel the naive nest, the scheduled one and the LLVM IR.
"""

from __future__ import annotations

from pathlib import Path

from pellucid.compile import Compiled
from pellucid.core.errors import ArgumentError
from pellucid.graph.printer import print_graph
from pellucid.loop.printer import print_kernel


def dump_program(compiled: Compiled, folder: Path) -> Path:
    """Write all forms under `folder`; returns the program's own folder in it.

    Raises:
        ArgumentError: the folder cannot be written.
    """
    own = folder / f"{compiled.graph.name}_{compiled.key[:12]}"
    try:
        own.mkdir(parents=True, exist_ok=True)
        for name, text in _texts(compiled).items():
            (own / name).write_text(text.rstrip() + "\n", encoding="utf-8")
    except OSError as error:
        operands = {"folder": folder, "error": error.strerror or error}
        rule = "the folder of PELLUCID_DUMP cannot be written"
        raise ArgumentError("dump", rule, operands=operands) from None
    return own


def _texts(compiled: Compiled) -> dict[str, str]:
    """What is written, by file name."""
    texts = {
        "graph.txt": print_graph(compiled.graph),
        "optimized.txt": print_graph(compiled.passes.graph),
        "passes.txt": compiled.passes.table(changed_only=False),
    }
    for number, kernel in enumerate(compiled.kernels.values()):
        name = f"kernel_{number:03}_{kernel.kernel.name}"
        texts[f"{name}.naive.txt"] = print_kernel(kernel.kernel)
        texts[f"{name}.scheduled.txt"] = print_kernel(kernel.scheduled)
        texts[f"{name}.ll"] = kernel.ir
    return texts
