"""Which values of a function to keep for its backward run, so that they fit into so many bytes and
as little as possible is computed again.

Enters: a recorded graph. Leaves: values of it. A value that the backward run needs is kept, or its
node runs again, and then needs its operands. With a price per byte the cheapest choice is a minimum
cut: between "needed" and "runs again" an edge costs the value's bytes, behind "runs again" one
costs the node's operations. The price is raised until what is kept fits; room that is left is
filled by what saves most operations per byte, evenly along the program where values are alike.
Source: Jain et al., Checkmate (2020), for the problem; Picard, Maximal Closure of a Graph (1976),
for the cut.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pellucid.autodiff.checkpoint import read_again
from pellucid.core.errors import GradientError
from pellucid.graph.ir import Graph, Node, Value
from pellucid.graph.stats import node_cost
from pellucid.passes.min_cut import ENDLESS, SINK, SOURCE, Network

PRICES = 24  # rounds of bisection; prices go from nothing to 2**40 operations per byte
SCALE = 1 << 20
FREE = frozenset({"constant", "iota", "checkpoint_name", "barrier"})  # never worth a byte


@dataclass(frozen=True, slots=True)
class Program:
    """A recorded function as the choice sees it.

    Attributes:
        graph: the function.
        wrt: places of its float inputs.
        required: values that the backward run reads.
        flops: per node, its operations.
    """

    graph: Graph
    wrt: tuple[int, ...]
    required: tuple[Value, ...]
    flops: dict[Node, int]

    @staticmethod
    def of(graph: Graph) -> Program:
        """Look at a graph; one without a derivative requires nothing."""
        wrt = tuple(i for i, v in enumerate(graph.inputs) if v.dtype.is_inexact)
        made = [v for node in graph.nodes for v in node.outputs]
        try:
            required = tuple(read_again(graph, wrt, made)[0])
        except GradientError:
            required = ()
        return Program(graph, wrt, required, {n: node_cost(n).flops for n in graph.nodes})

    def again(self, kept: Collection[Value]) -> list[Node]:
        """The nodes that run again if these values are kept, in their order."""
        needed, kept = set(self.required), set(kept)
        found = []
        for node in reversed(self.graph.nodes):
            if any(v in needed and v not in kept for v in node.outputs):
                found.append(node)
                needed.update(node.inputs)
        return found[::-1]

    def flops_again(self, kept: Collection[Value]) -> int:
        """Their operations."""
        return sum(self.flops[n] for n in self.again(kept))

    def used(self, kept: Collection[Value]) -> list[Value]:
        """Those that something reads, if all are kept: what follows, or the backward run."""
        needed = {*self.required, *(v for n in self.again(kept) for v in n.inputs)}
        return [v for n in self.graph.nodes for v in n.outputs if v in kept and v in needed]

    def inputs_read(self, kept: Collection[Value]) -> set[Value]:
        """The inputs that a backward run reads, directly or to compute again."""
        candidates = list(kept)
        try:
            _, graph = read_again(self.graph, self.wrt, candidates)
        except GradientError:
            return set()
        read = {v for node in graph.nodes for v in node.inputs} | {*graph.outputs}
        pairs = zip(self.graph.inputs, graph.inputs, strict=False)
        return {a for a, b in pairs if b in read}


def choose(program: Program, room: int) -> list[Value]:
    """The values to keep, of at most `room` bytes together."""
    best: list[Value] = cut(program, 0.0)
    if total(best) <= room:
        return best
    low, high, best = 0.0, 40.0, []  # powers of two of the price
    for _ in range(PRICES):
        middle = (low + high) / 2
        found = cut(program, 2.0**middle - 1.0)
        if total(found) <= room:
            best, high = found, middle
        else:
            low = middle
    return fill(program, best, room)


def total(values: Collection[Value]) -> int:
    """Their bytes."""
    return sum(v.type.nbytes for v in values)


def cut(program: Program, price: float) -> list[Value]:
    """The best choice where a byte costs `price` operations."""
    network = Network()
    nodes = program.again(())
    again = {node: network.vertex() for node in nodes}
    need = {v: network.vertex() for node in nodes for v in node.outputs}
    for value in program.required:
        if value in need:
            network.edge(SOURCE, need[value], ENDLESS)
    for node in nodes:
        network.edge(again[node], SINK, program.flops[node] * SCALE + 1)
        for value in node.outputs:
            cost = ENDLESS if node.op.name in FREE else int(value.type.nbytes * price * SCALE)
            network.edge(need[value], again[node], max(cost, 1))
        for value in node.inputs:
            if value in need:
                network.edge(again[node], need[value], ENDLESS)
    side = network.cut()
    kept = [v for v, vertex in need.items() if vertex in side and again[_node(v)] not in side]
    return program.used(kept)


def _node(value: Value) -> Node:
    node = value.node
    if node is None:
        raise ValueError("an input has no node")
    return node


def fill(program: Program, kept: Sequence[Value], room: int) -> list[Value]:
    """Keep more while there is room: what saves most per byte first."""
    chosen = list(kept)
    while True:
        left = room - total(chosen)
        gains = _gains(program, chosen)
        fitting = {v: g for v, g in gains.items() if 0 < v.type.nbytes <= left and g > 0}
        if not fitting:
            return chosen
        best = max(g / v.type.nbytes for v, g in fitting.items())
        alike = [v for v, g in fitting.items() if g / v.type.nbytes >= best * (1 - 1e-9)]
        smallest = min(v.type.nbytes for v in alike)
        alike = [v for v in alike if v.type.nbytes == smallest]
        chosen = program.used([*chosen, *_evenly(alike, left // smallest)])


def _evenly(values: Sequence[Value], most: int) -> list[Value]:
    """So many of them, at equal distances."""
    if most >= len(values):
        return list(values)
    return [values[round((i + 1) * len(values) / (most + 1)) - 1] for i in range(most)]


def _gains(program: Program, kept: Sequence[Value]) -> dict[Value, int]:
    """For each value that is computed again, the operations that keeping it would save."""
    nodes = program.again(kept)
    uses: dict[Value, int] = dict.fromkeys(program.required, 1)
    for node in nodes:
        for value in dict.fromkeys(node.inputs):
            uses[value] = uses.get(value, 0) + 1
    running, held = set(nodes), set(kept)
    return {
        v: _saved(program, v, uses, running, held)
        for node in nodes
        if node.op.name not in FREE
        for v in node.outputs
        if uses.get(v, 0)
    }


def _saved(
    program: Program, value: Value, uses: dict[Value, int], running: set[Node], kept: set[Value]
) -> int:
    """The operations of nodes that run for this value alone."""
    lost: dict[Value, int] = {value: uses[value]}
    gone: set[Node] = set()
    todo = [_node(value)]
    saved = 0
    while todo:
        node = todo.pop()
        read = (v for v in node.outputs if v not in kept and uses.get(v, 0) > lost.get(v, 0))
        if node in gone or node not in running or any(True for _ in read):
            continue
        gone.add(node)
        saved += program.flops[node]
        for v in dict.fromkeys(node.inputs):
            lost[v] = lost.get(v, 0) + 1
            if v.node is not None and v not in kept and lost[v] >= uses.get(v, 0):
                todo.append(v.node)
    return saved
