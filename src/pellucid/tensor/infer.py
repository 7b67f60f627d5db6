"""What a function returns for arguments of given types, found without running it on data.

The function is recorded on tensors that have a type and no contents. Sizes may be names
(`f32[batch, 784]`): then the result holds for all sizes for which the decisions that the function
took on the way hold.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.core.errors import PellucidError
from pellucid.core.size import Decision, Dim, deciding, dims_of
from pellucid.core.source import is_ours
from pellucid.graph.ir import Graph, TensorType
from pellucid.tensor.dynamic import parse_type
from pellucid.tensor.signature import is_data
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.trace import open_trace
from pellucid.tensor.tree import flatten, leaf_names, unflatten


@dataclass(frozen=True, slots=True)
class Inferred:
    """The types of a function's results.

    Attributes:
        result: what the function returns, with a type at the place of each tensor.
        decisions: what has to hold of the sizes: where it does not, the function does something
            else.
        graph: what was recorded.
    """

    result: Any
    decisions: tuple[Decision, ...]
    graph: Graph

    def __str__(self) -> str:
        leaves, _ = flatten(self.result)
        names = leaf_names(self.result, "result")
        many = len(leaves) != 1 or names[0] != "result"
        lines = [f"{n}: {t}" if many else str(t) for n, t in zip(names, leaves, strict=True)]
        return "\n".join([*lines, *(f"where {d}" for d in self.decisions)])


def infer_shapes(
    fn: Callable[..., Any],
    types: Mapping[str, Any] | Sequence[Any] = (),
    dims: Sequence[int] = (),
) -> Inferred:
    """The types of a function's results for arguments of these types; nothing is computed.

    Args:
        fn: a function of tensors, or a module.
        types: by argument name, or in order: `"f32[batch, 784]"`, a `TensorType`, a tensor (for its
            type), a container of these, or a value that is passed as it is.
        dims: `pellucid.dim(...)` of names that have bounds.

    Raises:
        ShapeError, DTypeError: where the function is wrong for such arguments; the message has the
            line and the sizes by name.
        ArgumentError: a type cannot be read.
    """
    known = {d.name: d for d in dims_of(tuple(dims))}
    named = isinstance(types, Mapping)
    values = list(types.values()) if isinstance(types, Mapping) else list(types)
    given = [_typed(v, known) for v in values]
    names = list(types) if isinstance(types, Mapping) else _parameters(fn, len(given))
    with open_trace("inferred", "jit", Tensor.plain) as trace, deciding() as decisions:
        args = [_symbols(trace, n, v) for n, v in zip(names, given, strict=True)]
        try:
            made = fn(**dict(zip(names, args, strict=True))) if named else fn(*args)
        except PellucidError as error:
            raise _located(error) from None
        leaves, structure = flatten(made)
        outputs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        traced = trace.finish(outputs, len(trace.arguments))
    described = [leaf.type if isinstance(leaf, Tensor) else leaf for leaf in leaves]
    return Inferred(unflatten(structure, described), tuple(decisions), traced.graph)


def _located(error: PellucidError) -> PellucidError:
    if not error.source:
        error.source = _line_of(error)
        error.rename(error.op)
    return error


def _line_of(error: BaseException) -> str:
    """The innermost of the user's lines in a traceback: `file.py:12`."""
    found, trace = "", error.__traceback__
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if not is_ours(path):
            found = f"{path.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _parameters(fn: Callable[..., Any], count: int) -> list[str]:
    try:
        names = list(inspect.signature(fn).parameters)
    except (TypeError, ValueError):
        names = []
    return [names[i] if i < len(names) else f"argument_{i}" for i in range(count)]


def _typed(value: Any, dims: dict[str, Dim]) -> Any:
    """The value with types where text and tensors were."""
    leaves, structure = flatten(value)
    return unflatten(structure, [_type_of(leaf, dims) for leaf in leaves])


def _type_of(leaf: Any, dims: dict[str, Dim]) -> Any:
    if isinstance(leaf, str):
        return parse_type(leaf, dims)
    if isinstance(leaf, (Tensor, np.ndarray)) and is_data(leaf):
        return (leaf if isinstance(leaf, Tensor) else Tensor(leaf)).type
    return leaf


def _symbols(trace: Any, name: str, value: Any) -> Any:
    leaves, structure = flatten(value)
    made = [trace.argument(v, name) if isinstance(v, TensorType) else v for v in leaves]
    return unflatten(structure, made)
