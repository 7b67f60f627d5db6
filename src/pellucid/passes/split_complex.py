"""Complex arithmetic as arithmetic of real and imaginary parts, which loops can hold.

`y = mul(a, b)  ->  y.re = a.re * b.re - a.im * b.im;  y.im = a.re * b.im + a.im * b.re`

Between nodes that have a rule (`complex_rules.py`) parts stay apart, so that they fuse as all real
values do. Only what comes from outside (inputs, nodes that run by their reference) is taken apart,
which moves nothing: parts are read two elements apart; and only what leaves is put together again.
"""

from __future__ import annotations

from pellucid import ops
from pellucid.graph.ir import Graph, Node, Value
from pellucid.graph.prune import prune
from pellucid.ops.movement import slice_axis
from pellucid.ops.pairs import VIEWS, interleave, view_as_complex, view_as_real
from pellucid.passes.access import has_complex
from pellucid.passes.complex_functions import Parts
from pellucid.passes.complex_rules import Split, rule_of
from pellucid.passes.rewrite import keep_node, map_bodies, start


class _Splitter:
    """A new version of a graph, with the forms in which each old value is there so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.builder, self.whole = start(graph)
        self.parts: dict[Value, Parts] = {}

    def run(self) -> Graph:
        with self.builder:
            for node in self.graph.nodes:
                self.builder.source = node.source
                self._node(node)
            self.builder.source = None
            outputs = [self._whole(v) for v in self.graph.outputs]
        return prune(self.builder.finish(outputs))

    def _node(self, node: Node) -> None:
        rule = rule_of(node) if has_complex(node) else None
        if rule is None:
            made = keep_node(self.builder, node, tuple(map(self._whole, node.inputs)))
            self.whole.update(zip(node.outputs, made, strict=True))
            return
        results = rule(node, [self._split(v) for v in node.inputs])
        for value, result in zip(node.outputs, results, strict=True):
            if isinstance(result, Parts):
                self.parts[value] = result
            else:
                self.whole[value] = result

    def _split(self, value: Value) -> Split:
        """The value as rules want it: complex ones in parts."""
        if not value.dtype.is_complex:
            return self.whole[value]
        if value not in self.parts:
            pairs = view_as_real(self.whole[value])
            self.parts[value] = Parts(*(self._part(pairs, k) for k in (0, 1)))
        return self.parts[value]

    def _part(self, pairs: Value, k: int) -> Value:
        return ops.reshape(slice_axis(pairs, pairs.rank - 1, k, k + 1), pairs.shape[:-1])

    def _whole(self, value: Value) -> Value:
        """The value in one piece, as it was."""
        if value not in self.whole:
            self.whole[value] = view_as_complex(interleave(*self.parts[value]))
        return self.whole[value]


def run(graph: Graph) -> Graph:
    """`graph` with complex numbers in parts wherever a node that has a rule reads or makes them."""
    graph = map_bodies(graph, run)
    if not any(map(_is_split, graph.nodes)):
        return graph
    return _Splitter(graph).run()


def _is_split(node: Node) -> bool:
    """Whether the pass changes a node; a constant alone is no reason."""
    if node.op.name in VIEWS or node.op.name == "constant" or not has_complex(node):
        return False
    return rule_of(node) is not None
