"""Fusion: put the nodes that share loops into one `fused` node, which becomes one kernel.

`y = relu(x @ w + b)` -> `y = fused(x, w, b)`: the sum and the activation happen where the product's
element is stored, and neither intermediate touches memory. Groups are elementwise chains,
reductions with their row-wise neighbours (softmax, layer norm), and contractions with their
epilogue; what may join what is decided in `fusion_plan.py`. The fused node keeps its nodes in a
graph of its own, so that it verifies, prints and interprets like everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from pellucid.core.errors import LoweringError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Attrs, Graph, GraphBuilder, Node, TensorType, Value
from pellucid.graph.op import Cost, Op
from pellucid.graph.prune import prune
from pellucid.graph.stats import node_cost
from pellucid.loop.compute import Lowering
from pellucid.passes.fusion_plan import Group, Planner
from pellucid.passes.fusion_remake import remake_cheap_values
from pellucid.passes.rewrite import copy_node, map_bodies

_NAME_PARTS = 3


def _body(attrs: Attrs) -> Graph:
    body = attrs["body"]
    if not isinstance(body, Graph):
        raise LoweringError("fused", "its body must be a graph", operands={"body": body})
    return body


def _infer(*inputs: TensorType, body: Graph, kind: str) -> tuple[TensorType, ...]:
    return tuple(v.type for v in body.outputs)


def _reference(*arrays: NDArray[Any], body: Graph, kind: str) -> tuple[NDArray[Any], ...]:
    return interpret(body, *arrays)


def _lower(inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs) -> Lowering:
    raise LoweringError("fused", "a group is lowered as a whole, by lower_graph")


def _cost(inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs) -> Cost:
    flops = sum(node_cost(n).flops for n in _body(attrs).nodes)
    return Cost(flops, sum(t.nbytes for t in (*inputs, *outputs)))


FUSED: Op = Op(
    name="fused",
    doc=(
        "Nodes that run as one kernel: `body` is their graph, `kind` is elementwise, rows or"
        " contraction. Made by fusion only; derivatives and batching are taken before."
    ),
    infer=_infer,
    reference=_reference,
    vjp=None,
    jvp=None,
    batch=None,
    lower=_lower,
    cost=_cost,
    samples=lambda: [],
)


def run(graph: Graph) -> Graph:
    """The graph with its groups as `fused` nodes; the same graph where no two nodes share loops.

    Each group's intermediates cost no memory traffic any more: the bytes of the graph fall by what
    they were written and read.
    """
    graph = map_bodies(graph, run)
    planner = Planner(prune(graph))
    planner.grow()
    remake_cheap_values(planner)
    groups = [g for g in planner.groups() if _is_worth_it(g)]
    return _Rebuild(planner, groups).graph() if groups else graph


def _is_worth_it(group: Group) -> bool:
    return sum(n.op.name != "constant" for n in group.nodes) > 1


class _Rebuild:
    """Copies a graph with each group in one node."""

    def __init__(self, planner: Planner, groups: Sequence[Group]) -> None:
        self.source, self.classes = planner.graph, planner.classes
        self.builder = GraphBuilder(self.source.name)
        self.env: dict[Value, Value] = {}
        self.groups = {n: g for g in groups for n in g.solids}

    def graph(self) -> Graph:
        """The new graph: a group stands where its last node stood, or earlier where needed."""
        for value in self.source.inputs:
            self.env[value] = self.builder.input(value.type, value.name)
        for node in self.source.nodes:
            group = self.groups.get(node)
            if group is not None and node is group.solids[-1]:
                self._make(group.outputs[0])
            elif group is None and self.classes[node] in ("solid", "fixed"):
                self._make(node.outputs[0])
        for output in self.source.outputs:
            self._make(output)
        return prune(self.builder.finish([self.env[v] for v in self.source.outputs]))

    def _make(self, value: Value) -> None:
        """Emit what computes `value`, its operands first; iterative, since programs are deep."""
        stack = [value]
        while stack:
            top = stack[-1]
            missing = [] if top in self.env else self._missing(top)
            if missing:
                stack.extend(reversed(missing))
                continue
            stack.pop()
            if top not in self.env and top.node is not None:
                self._emit(top.node)

    def _missing(self, value: Value) -> list[Value]:
        node = value.node
        if node is None:
            return []
        group = self.groups.get(node)
        needed = node.inputs if group is None else group.inputs
        return [v for v in dict.fromkeys(needed) if v not in self.env]

    def _emit(self, node: Node) -> None:
        group = self.groups.get(node)
        if group is None:
            made = copy_node(self.builder, node, [self.env[v] for v in node.inputs])
            self.env.update(zip(node.outputs, made, strict=True))
            return
        body = _group_body(group)
        made = self.builder.emit(
            FUSED,
            [self.env[v] for v in group.inputs],
            {"body": body, "kind": group.kind},
            node.source,
            [v.name for v in group.outputs],
        )
        self.env.update(zip(group.outputs, made, strict=True))


def _group_body(group: Group) -> Graph:
    loud = [n.op.name for n in group.solids]
    name = "_".join(dict.fromkeys(loud[:_NAME_PARTS]))
    builder = GraphBuilder(name)
    env = {v: builder.input(v.type, v.name) for v in group.inputs}
    for node in group.nodes:
        made = copy_node(builder, node, [env[v] for v in node.inputs])
        env.update(zip(node.outputs, made, strict=True))
    return builder.finish([env[v] for v in group.outputs])
