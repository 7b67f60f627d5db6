"""Compute equal things once: one node per op, inputs and attributes.

`a = exp(x); b = exp(x); c = add(a, b)  ->  a = exp(x); c = add(a, a)`

Operands of commutative ops are compared in any order. `barrier` nodes are never merged: keeping two
computations apart is what they are for.
"""

from __future__ import annotations

from collections.abc import Hashable

from pellucid.core.dtype import DType
from pellucid.graph.ir import ArrayAttr, Attr, Graph, Node, Value
from pellucid.graph.key import graph_key
from pellucid.passes.rewrite import keep_node, map_bodies, start

COMMUTATIVE = frozenset({"add", "mul", "eq", "ne", "and", "or", "xor"})
KEPT_APART = frozenset({"barrier"})


def _attr_key(attr: Attr) -> Hashable:
    """Equal for attributes that mean the same; `1`, `1.0`, `True` differ, so do `0.0`, `-0.0`."""
    if isinstance(attr, tuple):
        return tuple(_attr_key(part) for part in attr)
    if isinstance(attr, Graph):
        return graph_key(attr)
    if isinstance(attr, (DType, ArrayAttr)):
        return attr
    return type(attr).__name__, repr(attr)


def _key(node: Node, inputs: tuple[Value, ...]) -> Hashable:
    operands = [id(v) for v in inputs]
    if node.op.name in COMMUTATIVE:
        operands.sort()
    attrs = tuple((name, _attr_key(node.attrs[name])) for name in sorted(node.attrs))
    return node.op, tuple(operands), attrs


def _merge(graph: Graph) -> Graph:
    builder, env = start(graph)
    seen: dict[Hashable, tuple[Value, ...]] = {}
    merged = False
    for node in graph.nodes:
        inputs = tuple(env[v] for v in node.inputs)
        key = id(node) if node.op.name in KEPT_APART else _key(node, inputs)
        merged |= key in seen
        if key not in seen:
            seen[key] = keep_node(builder, node, inputs)
        env.update(zip(node.outputs, seen[key], strict=True))
    return builder.finish([env[v] for v in graph.outputs]) if merged else graph


def run(graph: Graph) -> Graph:
    """`graph` with each repeated node replaced by its first occurrence, in nested graphs too."""
    return _merge(map_bodies(graph, run))
