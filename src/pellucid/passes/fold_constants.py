"""Compute now what does not depend on any input.

`a = constant(2.0); b = constant(3.0); c = mul(a, b)  ->  c = constant(6.0)`

The record's NumPy reference does the computing. A result is kept only if it is small: not above
`LIMIT_BYTES`, and no larger than its operands unless within `GROWTH_BYTES`, since reading a big
literal costs more than making it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid import ops
from pellucid.core.size import is_static
from pellucid.graph.ir import Graph, Node, Value
from pellucid.passes.match import constant_array
from pellucid.passes.rewrite import map_bodies, rewrite

LIMIT_BYTES = 1 << 28
GROWTH_BYTES = 1 << 10
KEPT = frozenset(
    {"constant", "iota", "random_bits", "barrier", "broadcast_to", "scan", "while_loop"}
)
"""Never folded: literals, what loops get for free (positions, repetition), random numbers, loops,
which may run long, and `barrier`, whose whole meaning is that nothing is moved across it."""


def _small(node: Node, inputs: Sequence[Value]) -> bool:
    if not is_static(tuple(v.shape for v in node.outputs)):
        return False
    out = sum(v.type.nbytes for v in node.outputs)
    held = sum(v.type.nbytes for v in inputs if constant_array(v) is not None)
    return out <= LIMIT_BYTES and out <= max(GROWTH_BYTES, held)


def _known_array(value: Value) -> NDArray[Any] | None:
    """A literal's array, or a repeated literal's as a view."""
    array, node = constant_array(value), value.node
    if array is None and node is not None and node.op.name == "broadcast_to":
        source = constant_array(node.inputs[0])
        known = source is not None and is_static(value.shape)
        return None if source is None or not known else np.broadcast_to(source, value.shape)
    return array


def _compute(node: Node, arrays: Sequence[NDArray[Any]]) -> list[Value]:
    with np.errstate(all="ignore"):
        result = node.op.reference(*arrays, **node.attrs)
    results = result if isinstance(result, tuple) else (result,)
    return [ops.constant(np.asarray(r)) for r in results]


def _fold(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name in KEPT or not inputs or not _small(node, inputs):
        return None
    arrays = [_known_array(v) for v in inputs]
    if not any(constant_array(v) is not None for v in inputs):
        return None  # repetition alone costs loops nothing
    known = [a for a in arrays if a is not None]
    return _compute(node, known) if len(known) == len(arrays) else None


def run(graph: Graph) -> Graph:
    """`graph` with every small node of literals replaced by a literal, chains included."""
    return rewrite(map_bodies(graph, run), _fold)
