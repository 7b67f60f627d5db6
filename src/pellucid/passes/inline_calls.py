"""Put the bodies of `call` and `checkpoint` nodes in their place, for later passes to see.

`y = call(x, body=f)  ->  the nodes of f with x for its input`

A checkpoint's recomputation stays separate: its gradient reads the body's inputs behind a
`barrier`, which no pass merges with anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.graph.ir import Graph, GraphBuilder, Node, Value
from pellucid.passes.rewrite import copy_node, map_bodies

INLINED = frozenset({"call", "checkpoint"})


def _body(node: Node) -> Graph | None:
    body = node.attrs.get("body")
    return body if node.op.name in INLINED and isinstance(body, Graph) else None


def _place(builder: GraphBuilder, graph: Graph, args: Sequence[Value]) -> tuple[Value, ...]:
    """Append the nodes of `graph`, calls inside it likewise, with `args` for its inputs."""
    env = dict(zip(graph.inputs, args, strict=True))
    for node in graph.nodes:
        inputs = tuple(env[v] for v in node.inputs)
        body = _body(node)
        made = copy_node(builder, node, inputs) if body is None else _place(builder, body, inputs)
        env.update(zip(node.outputs, made, strict=True))
    return tuple(env[v] for v in graph.outputs)


def run(graph: Graph) -> Graph:
    """`graph` without `call` and `checkpoint` nodes; inlined nodes keep their own source lines."""
    graph = map_bodies(graph, run)
    if all(_body(node) is None for node in graph.nodes):
        return graph
    builder = GraphBuilder(graph.name)
    inputs = [builder.input(v.type, v.name) for v in graph.inputs]
    return builder.finish(_place(builder, graph, inputs))
