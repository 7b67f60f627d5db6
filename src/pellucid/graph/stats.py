"""What a graph costs: operations and bytes counted from the records, and how long values live.

Enters: a `Graph`. Leaves: numbers. Nothing here is typed in by hand: FLOPs and bytes come from each
op's cost rule.
"""

from __future__ import annotations

from collections import Counter
from typing import cast

from pellucid.core.size import likely
from pellucid.graph.ir import Graph, Node, Value
from pellucid.graph.op import Cost


def node_cost(node: Node) -> Cost:
    """Operations and bytes of one node, after its op's cost rule."""
    inputs = [v.type for v in node.inputs]
    return node.op.cost(inputs, [v.type for v in node.outputs], node.attrs)


def graph_cost(graph: Graph) -> Cost:
    """The sum over all nodes, each reading and writing memory by itself."""
    return sum(map(node_cost, graph.nodes), Cost(0, 0))


def op_counts(graph: Graph) -> dict[str, int]:
    """How many nodes of each op, most frequent first; nested graphs count too."""
    counts: Counter[str] = Counter()
    _count(graph, counts)
    return dict(counts.most_common())


def _count(graph: Graph, counts: Counter[str]) -> None:
    for node in graph.nodes:
        counts[node.op.name] += 1
        for attr in node.attrs.values():
            if isinstance(attr, Graph):
                _count(attr, counts)


UNKNOWN_TURNS = 64
"""How often a loop of unknown length is taken to run."""


def node_runs(graph: Graph) -> int:
    """How many nodes run, each as often as the loops around it say."""
    return sum(map(_runs, graph.nodes))


def _runs(node: Node) -> int:
    bodies = [a for a in node.attrs.values() if isinstance(a, Graph)]
    if not bodies:
        return 1
    turns = node.attrs.get("length", node.attrs.get("max_steps", 1))
    times = UNKNOWN_TURNS if turns is None else likely(cast("int", turns))
    return 1 + times * sum(map(node_runs, bodies))


def io_bytes(graph: Graph) -> int:
    """Bytes of the inputs plus the outputs: what any implementation must at least touch."""
    return sum(v.type.nbytes for v in (*graph.inputs, *graph.outputs))


def last_uses(graph: Graph) -> list[tuple[Value, ...]]:
    """Per node, the values that nothing needs after it: not a later node, not the caller."""
    seen = set(graph.outputs)
    dying: list[tuple[Value, ...]] = []
    for node in reversed(graph.nodes):
        last = tuple(v for v in dict.fromkeys((*node.inputs, *node.outputs)) if v not in seen)
        seen.update(last)
        dying.append(last)
    return dying[::-1]


def live_bytes(graph: Graph) -> list[int]:
    """Bytes of all live values while each node runs: its operands, its results and what later nodes
    still need.

    Inputs are live from the start to their last use, outputs from their node to the end; no two
    values share memory. A node with a nested graph also counts that graph's own peak of
    intermediates.
    """
    live = sum(v.type.nbytes for v in {*graph.inputs})
    levels = []
    for node, dying in zip(graph.nodes, last_uses(graph), strict=True):
        live += sum(v.type.nbytes for v in node.outputs)
        levels.append(live + _nested_bytes(node))
        live -= sum(v.type.nbytes for v in dying)
    return levels


def _nested_bytes(node: Node) -> int:
    """Bytes nested graphs need at their peak beyond the node's own operands and results."""
    outside = sum(v.type.nbytes for v in {*node.inputs, *node.outputs})
    bodies = [a for a in node.attrs.values() if isinstance(a, Graph)]
    return max((max(0, peak_live_bytes(body) - outside) for body in bodies), default=0)


def peak_live_bytes(graph: Graph) -> int:
    """The most bytes live at once in node order: no memory plan for this order needs less."""
    return max(live_bytes(graph), default=sum(v.type.nbytes for v in {*graph.inputs}))
