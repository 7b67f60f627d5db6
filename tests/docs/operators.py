"""docs/operators.md, made from the catalogue: every record, then every function built on them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

import pellucid
from pellucid import ops
from pellucid.core.dtype import as_dtype
from pellucid.graph.ir import TensorType
from pellucid.graph.op import Op
from pellucid.ops import fft, linalg
from pellucid.ops.catalogue import CATALOGUE
from tests.docs.page import ROOT

OPERATORS = ROOT / "docs" / "operators.md"
_HEAD = """# Operators

Made from the catalogue by `python -m tests.docs.generate`; a test compares the two. [The page on
`ops`](layers/ops.md) says what a record is and how to add one.

## Records

The primitives: what a graph's nodes apply. *Reverse* and *forward* say whether the record has a
vjp and a jvp rule (a record without them lets no gradient through), *batch* whether `vmap` has a
rule for it. *Lowered as* is the form its lowering rule returns for its first test sample.
"""
_FUNCTIONS = """
## Functions

What programs are written with: they broadcast, promote dtypes, take Python scalars, and emit
records. Those marked *pl* are also functions of tensors in `pellucid`; `Tensor` has most of them as
methods.
"""
_LINALG = """
## `pellucid.linalg`

The array API's linear algebra, and a few functions besides, on tensors. A matrix is the last two
axes, the axes before them are a stack. [The page on `tensor`](layers/tensor.md#linear-algebra) has
examples.
"""
_FFT = """
## `pellucid.fft`

The array API's Fourier transforms, on tensors.
"""


def operators_page() -> str:
    """The whole page."""
    parts = [_HEAD]
    for module, records in _families():
        title = (inspect.getdoc(module) or "").split("\n")[0].rstrip(".")
        parts.append(f"### `ops/{module.__name__.rpartition('.')[2]}.py`\n\n{title}.\n")
        parts.append("| record | meaning | reverse | forward | batch | lowered as |")
        parts.append("|---|---|---|---|---|---|")
        parts += [_record_row(op) for op in records]
        parts.append("")
    parts += [_FUNCTIONS, "| function | | meaning |", "|---|---|---|"]
    parts += [_function_row(name) for name in sorted(_public())]
    for module, head in ((linalg, _LINALG), (fft, _FFT)):
        parts += [head, "| function | meaning |", "|---|---|"]
        parts += [_named_row(getattr(module, name)) for name in module.__all__]
    return "\n".join(parts) + "\n"


def _families() -> Iterator[tuple[ModuleType, list[Op]]]:
    """The modules that define records, and the records that are theirs; each record once."""
    seen: set[str] = set()
    for found in pkgutil.iter_modules(ops.__path__):
        module = importlib.import_module(f"pellucid.ops.{found.name}")
        records = [op for op in getattr(module, "RECORDS", ()) if op.name not in seen]
        if records and found.name != "catalogue":
            seen |= {op.name for op in records}
            yield module, records
    if missing := set(CATALOGUE) - seen:
        raise AssertionError(f"in the catalogue, but in no family module: {sorted(missing)}")


def _record_row(op: Op) -> str:
    sample = op.samples()[0]
    types = [_type(x) for x in sample.inputs]
    made = op.infer(*types, **sample.attrs)
    outputs = made if isinstance(made, tuple) else (made,)
    kind = type(op.lower(types, outputs, sample.attrs)).__name__
    marks = " | ".join("yes" if rule else "" for rule in (op.vjp, op.jvp, op.batch))
    return f"| `{op.name}` | {_cell(op.doc)} | {marks} | {kind} |"


def _type(value: TensorType | np.ndarray) -> TensorType:
    if isinstance(value, TensorType):
        return value
    return TensorType(value.shape, as_dtype(value.dtype))


def _public() -> list[str]:
    return [n for n in ops.__all__ if inspect.isfunction(getattr(ops, n))]


def _function_row(name: str) -> str:
    fn = getattr(ops, name)
    mark = "pl" if hasattr(pellucid, name) else ""
    return f"| {_call(fn)} | {mark} | {_meaning(fn)} |"


def _named_row(fn: Callable[..., Any]) -> str:
    return f"| {_call(fn)} | {_meaning(fn)} |"


def _meaning(fn: Callable[..., Any]) -> str:
    return _cell((inspect.getdoc(fn) or "").split("\n\n")[0])


def _call(fn: Callable[..., Any]) -> str:
    """The function with the names of its parameters."""
    parameters = inspect.signature(fn).parameters.values()
    signature = ", ".join(
        f"*{p.name}" if p.kind is p.VAR_POSITIONAL else p.name for p in parameters
    )
    return f"`{fn.__name__}({signature})`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
