"""Write every form of a program as text files, for `PELLUCID_DUMP`.

Enters: `Compiled`. Leaves: a folder per program with the graph before and after passes, and per
kernel the naive nest, the scheduled one and the LLVM IR.
"""

from __future__ import annotations

from pathlib import Path

from pellucid.compile import Compiled
from pellucid.graph.printer import print_graph
from pellucid.loop.printer import print_kernel


def dump_program(compiled: Compiled, folder: Path) -> Path:
    """Write all forms under `folder`; returns the program's own folder in it."""
    own = folder / f"{compiled.graph.name}_{compiled.key[:12]}"
    own.mkdir(parents=True, exist_ok=True)
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
    for name, text in texts.items():
        (own / name).write_text(text.rstrip() + "\n", encoding="utf-8")
    return own
