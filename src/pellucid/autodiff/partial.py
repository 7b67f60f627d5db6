"""A program cut in two: what can run before some of its inputs are known, and the rest.

Enters: a `Graph` and the inputs that come later. Leaves: the graph of everything that does not wait
for them, and the graph of what does, which reads what the first one left. So a derivative is taken
at a point once and applied to many directions. Source: Radul et al., You Only Linearize Once
(2022).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from pellucid.autodiff.bodies import extract
from pellucid.graph.ir import Graph, Value
from pellucid.graph.prune import live_nodes, reachable

MOVES = frozenset({"broadcast_to", "constant", "iota", "reshape", "transpose"})
"""Ops that are rather done again than their results kept."""


class Halves(NamedTuple):
    """The two programs.

    Attributes:
        first: `early inputs... -> outputs that do not wait..., residuals...`.
        second: `some early inputs..., residuals..., late inputs... -> the other outputs...`.
        reads: which of the early inputs the second reads, by place among them.
        residuals: how many values the first leaves for it.
    """

    first: Graph
    second: Graph
    reads: tuple[int, ...]
    residuals: int


def halves(graph: Graph, late: Collection[int], waiting: Sequence[int]) -> Halves:
    """Cut a program.

    Args:
        graph: the program.
        late: places of the inputs that come later.
        waiting: places of the outputs that may wait for them; no other one depends on them.
    """
    later = [v for i, v in enumerate(graph.inputs) if i in late]
    early = [v for i, v in enumerate(graph.inputs) if i not in late]
    wanted = [graph.outputs[i] for i in waiting]
    moved = reachable(graph.nodes, later)
    needed = dict.fromkeys(v for v in wanted if v not in moved)
    for node in live_nodes(graph.nodes, wanted):
        if not moved.isdisjoint(node.outputs):
            needed.update(dict.fromkeys(v for v in node.inputs if v not in moved))
    sources = dict.fromkeys(s for v in needed for s in _sources(v))
    kept = [v for v in sources if v not in early]
    reads = tuple(i for i, v in enumerate(early) if v in sources)
    outputs = [v for i, v in enumerate(graph.outputs) if i not in waiting]
    first = extract(graph.nodes, early, [*outputs, *kept], graph.name)
    given = [*(early[i] for i in reads), *kept, *later]
    second = extract(graph.nodes, given, wanted, f"{graph.name}_rest")
    return Halves(first, second, reads, len(kept))


def _sources(value: Value) -> list[Value]:
    """What a value is made of by moving elements only."""
    if value.node is None or value.node.op.name not in MOVES:
        return [value]
    return [s for v in value.node.inputs for s in _sources(v)]
