"""What a graph depends on outside the package: the files of operator records of the user's own.

Two runs of a program may see different code under one op name; results stored between runs carry
this digest, so that an edited rule never meets the code compiled from the old one.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pellucid.graph.ir import Graph
from pellucid.graph.op import Op

_STARTED = time.time_ns()
_KNOWN = frozenset(
    ("pellucid", "numpy", "ml_dtypes", "scipy", "builtins", "functools", "_operator", "math", "")
)


def foreign_digest(graph: Graph) -> str:
    """A digest of the files outside the package that define the graph's ops; empty if none do.

    An op whose file cannot be read (typed at a prompt) gets a digest of this process only.
    """
    modules = sorted({m for op in set(_ops(graph)) for m in _modules(op)})
    if not modules:
        return ""
    return hashlib.sha256("\n".join(map(_file_digest, modules)).encode()).hexdigest()


def _ops(graph: Graph) -> Iterator[Op]:
    """Every node's op, nested graphs' too."""
    for node in graph.nodes:
        yield node.op
        for attr in node.attrs.values():
            if isinstance(attr, Graph):
                yield from _ops(attr)


def _modules(op: Op) -> set[str]:
    """The foreign modules that an op's rules, or functions caught in them, come from."""
    rules: list[Any] = [op.infer, op.reference, op.lower]
    for rule in list(rules):
        rules += [value for value in _caught(rule) if callable(value)]
    names = {getattr(rule, "__module__", None) or "" for rule in rules}
    return {name for name in names if name.split(".")[0] not in _KNOWN}


def _caught(rule: Any) -> Iterator[Any]:
    """What a function caught from around it; names that have no value yet are left out."""
    for cell in getattr(rule, "__closure__", None) or ():
        with suppress(ValueError):
            yield cell.cell_contents


def _file_digest(module: str) -> str:
    path = getattr(sys.modules.get(module), "__file__", None)
    try:
        return hashlib.sha256(Path(str(path)).read_bytes()).hexdigest()
    except OSError:
        return f"{module} of process {os.getpid()} at {_STARTED}"
