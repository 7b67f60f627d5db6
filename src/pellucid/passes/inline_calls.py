"""Put the bodies of nodes that hold them in their place, for later passes to see: of `call`,
`checkpoint`, `custom_vjp`, `custom_jvp` and composite ops.

`y = call(x, body=f)  ->  the nodes of f with x for its input`

Of `custom_vjp` it is the plain program where nothing reads what is left for the backward rule.

A checkpoint's recomputation stays separate: its gradient reads the body's inputs behind a
`barrier`, which no pass merges with anything.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

from pellucid.graph.ir import Graph, GraphBuilder, Node, Value
from pellucid.graph.op import Composite
from pellucid.graph.prune import prune
from pellucid.passes.rewrite import copy_node, map_bodies

INLINED = frozenset({"call", "checkpoint", "custom_end", "custom_jvp", "custom_vjp"})
NAMES = frozenset({"checkpoint_name"})
"""Nodes that only name a value; policies of `checkpoint` have looked at them by now."""


def _body(node: Node, read: Set[Value]) -> Graph | None:
    primal = node.attrs.get("primal")
    if node.op.name == "custom_vjp" and isinstance(primal, Graph):
        if read.isdisjoint(node.outputs[len(primal.outputs) :]):
            return primal
    body = node.attrs.get("body")
    return body if _is_inlined(node) and isinstance(body, Graph) else None


def _is_inlined(node: Node) -> bool:
    return node.op.name in INLINED or isinstance(node.op, Composite)


def _read(graph: Graph) -> set[Value]:
    return {v for node in graph.nodes for v in node.inputs} | {*graph.outputs}


def _place(builder: GraphBuilder, graph: Graph, args: Sequence[Value]) -> tuple[Value, ...]:
    """Append the nodes of `graph`, calls inside it likewise, with `args` for its inputs."""
    env = dict(zip(graph.inputs, args, strict=True))
    read = _read(graph)
    for node in graph.nodes:
        inputs = tuple(env[v] for v in node.inputs)
        if node.op.name in NAMES:
            env[node.outputs[0]] = inputs[0]
            continue
        body = _body(node, read)
        made = copy_node(builder, node, inputs) if body is None else _place(builder, body, inputs)
        env.update(zip(node.outputs, made, strict=False))  # a plain program leaves no residuals
    return tuple(env[v] for v in graph.outputs)


def run(graph: Graph) -> Graph:
    """`graph` without such nodes; inlined nodes keep their own source lines."""
    graph = prune(map_bodies(graph, run))
    if not any(_is_inlined(node) or node.op.name in NAMES for node in graph.nodes):
        return graph
    builder = GraphBuilder(graph.name)
    inputs = [builder.input(v.type, v.name) for v in graph.inputs]
    return builder.finish(_place(builder, graph, inputs))
