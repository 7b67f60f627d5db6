"""Which nodes matter: removal of those that no output needs.

Enters: nodes and the values wanted. Leaves: the nodes that lead to them. All ops are pure, so an
unused one may go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pellucid.graph.ir import Graph, Node, Value


def live_nodes(nodes: Sequence[Node], wanted: Iterable[Value]) -> list[Node]:
    """The nodes that the wanted values depend on, in their order."""
    needed = set(wanted)
    kept = []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.outputs):
            needed.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def prune(graph: Graph) -> Graph:
    """The graph without dead nodes; the same object where there are none.

    before: `a = sin(x); b = cos(x); return b` -> after: `b = cos(x); return b`. Inputs all stay.
    """
    kept = live_nodes(graph.nodes, graph.outputs)
    if len(kept) == len(graph.nodes):
        return graph
    return Graph(graph.name, graph.inputs, tuple(kept), graph.outputs)


def reachable(nodes: Sequence[Node], start: Iterable[Value]) -> set[Value]:
    """All values that depend on the starting ones, these included."""
    found = set(start)
    for node in nodes:
        if not found.isdisjoint(node.inputs):
            found.update(node.outputs)
    return found
