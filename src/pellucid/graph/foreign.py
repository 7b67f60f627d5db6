"""What a graph depends on outside the package: operator records of the user's own.

Two runs of a program may see different code under one op name; results stored between runs carry
this digest of the files that rules come from, and of the numbers, texts and arrays that they caught
from around them, so that an edited rule never meets the code compiled from the old one.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any

import numpy as np

from pellucid.graph.ir import Graph
from pellucid.graph.op import Op

_DATA = (bool, int, float, complex, str, bytes, np.ndarray, np.generic)
_STARTED = time.time_ns()
_KNOWN = frozenset(
    ("pellucid", "numpy", "ml_dtypes", "scipy", "builtins", "functools", "_operator", "math", "")
)


def foreign_digest(graph: Graph) -> str:
    """A digest of what defines the graph's ops outside the package; empty where nothing does.

    An op whose file cannot be read (typed at a prompt) gets a digest of this process only.
    """
    found = [(op.name, _ingredients(op)) for op in dict.fromkeys(_ops(graph))]
    foreign = [(name, made) for name, made in found if made.modules]
    if not foreign:
        return ""
    modules = sorted({m for _, made in foreign for m in made.modules})
    parts = [f"{name}: {', '.join(made.values)}" for name, made in foreign]
    return hashlib.sha256("\n".join([*map(_file_digest, modules), *parts]).encode()).hexdigest()


def _ops(graph: Graph) -> Iterator[Op]:
    """Every node's op, nested graphs' too."""
    for node in graph.nodes:
        yield node.op
        for attr in node.attrs.values():
            if isinstance(attr, Graph):
                yield from _ops(attr)


@dataclass(slots=True)
class _Ingredients:
    """The foreign modules that an op's rules come from, and the data they caught."""

    modules: set[str] = field(default_factory=set)
    values: list[str] = field(default_factory=list)


def _ingredients(op: Op) -> _Ingredients:
    """What the rules of an op are made of, functions caught in them included."""
    made = _Ingredients()
    seen: set[int] = set()
    todo: list[Any] = [op.infer, op.reference, op.lower]
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if callable(item) and not isinstance(item, type):
            module = getattr(item, "__module__", None) or ""
            if module.split(".")[0] not in _KNOWN:
                made.modules.add(module)
        elif isinstance(item, _DATA):
            made.values.append(_text(item))
        todo += reversed(list(_inside(item)))
    return made


def _inside(item: Any) -> Iterator[Any]:
    """What a function caught from around it, what is bound to a method, what a collection holds."""
    for cell in getattr(item, "__closure__", None) or ():
        with suppress(ValueError):  # a name that has no value yet
            yield cell.cell_contents
    if isinstance(item, FunctionType):
        yield from item.__defaults__ or ()
        yield from (item.__kwdefaults__ or {}).values()
    elif isinstance(item, MethodType):
        yield from (item.__func__, item.__self__)
    elif isinstance(item, functools.partial):
        yield from (item.func, *item.args, *item.keywords.values())
    elif isinstance(item, (tuple, list)):
        yield from item
    elif isinstance(item, Mapping):
        yield from (*item.keys(), *item.values())
    elif is_dataclass(item) and not isinstance(item, (type, Op)):
        yield from (getattr(item, f.name) for f in fields(item))


def _text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    return repr(value)


def _file_digest(module: str) -> str:
    path = getattr(sys.modules.get(module), "__file__", None)
    try:
        return hashlib.sha256(Path(str(path)).read_bytes()).hexdigest()
    except OSError:
        return f"{module} of process {os.getpid()} at {_STARTED}"
