"""What every pass is made of: walk a graph, rebuild what a rule wants changed, drop what died.

A rule sees one node and its inputs in the graph being built, so that it can look up at producers
that are already rewritten. It returns the values that stand for the node's outputs, or None to keep
the node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from types import MappingProxyType

from pellucid.core.errors import VerifyError
from pellucid.graph.ir import Attr, Attrs, Graph, GraphBuilder, Node, Value, current_builder
from pellucid.graph.prune import prune

Rule = Callable[[Node, tuple[Value, ...]], Sequence[Value] | None]
Run = Callable[[Graph], Graph]

ROUNDS = 50  # a rule set that has not settled by then would not settle at all


def copy_node(
    builder: GraphBuilder, node: Node, inputs: Sequence[Value], attrs: Attrs | None = None
) -> tuple[Value, ...]:
    """Append `node` with other inputs of the same types, so that no type rule has to run."""
    made = Node(node.op, tuple(inputs), node.attrs if attrs is None else attrs, node.source)
    made.outputs = tuple(
        Value(v.type, made, i, builder.unique(v.name)) for i, v in enumerate(node.outputs)
    )
    builder.nodes.append(made)
    return made.outputs


def start(graph: Graph) -> tuple[GraphBuilder, dict[Value, Value]]:
    """A builder for a new version of `graph` with the same inputs, and the map from old values."""
    builder = GraphBuilder(graph.name)
    builder.inputs.extend(graph.inputs)
    for value in graph.inputs:
        builder.unique(value.name)
    return builder, {v: v for v in graph.inputs}


def keep_node(builder: GraphBuilder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    """Append `node` itself where its operands are the same values, else a copy.

    Finished nodes never change, so that versions of a graph can share them. Only for walks that
    meet each node once.
    """
    if any(a is not b for a, b in zip(inputs, node.inputs, strict=True)):
        return copy_node(builder, node, inputs)
    for value in node.outputs:
        builder.unique(value.name)
    builder.nodes.append(node)
    return node.outputs


def _adopt(builder: GraphBuilder, mark: int, node: Node, made: Sequence[Value]) -> None:
    """Nodes a rule emitted get the source line of the node they replace; results keep its names.

    Raises:
        VerifyError: the rule gave a value of another type.
    """
    fresh = set(builder.nodes[mark:])
    for new in fresh:
        new.source = node.source
    for old, value in zip(node.outputs, made, strict=True):
        if old.type != value.type:
            raise VerifyError(
                node.op.name,
                "a rewrite must keep the type",
                operands={"before": old, "after": value},
                source=node.source,
            )
        if value.node in fresh:
            value.name = builder.unique(old.name)


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """One walk of `rule` over `graph`; `graph` itself where the rule never fired."""
    builder, env = start(graph)
    fired = False
    with builder:
        for node in graph.nodes:
            inputs = tuple(env[v] for v in node.inputs)
            mark = len(builder.nodes)
            made = rule(node, inputs)
            if made is None:
                made = keep_node(builder, node, inputs)
            else:
                fired = True
                _adopt(builder, mark, node, made)
            env.update(zip(node.outputs, made, strict=True))
    if not fired:
        return graph
    return prune(builder.finish([env[v] for v in graph.outputs]))


def rewrite_until_stable(graph: Graph, rule_for: Callable[[Graph], Rule]) -> Graph:
    """Walk again until nothing changes; `rule_for` makes each walk's rule, from use counts say."""
    for _ in range(ROUNDS):
        after = rewrite(graph, rule_for(graph))
        if after is graph:
            break
        graph = after
    return graph


def use_counts(graph: Graph) -> Counter[Value]:
    """How often each value is read by a node or returned."""
    counts = Counter(v for node in graph.nodes for v in node.inputs)
    counts.update(graph.outputs)
    return counts


def _map_attr(attr: Attr, run: Run) -> Attr:
    """`attr` with `run` applied to the graphs in it; the same object where none of them changed."""
    if isinstance(attr, Graph):
        return run(attr)
    if isinstance(attr, tuple):
        parts = tuple(_map_attr(part, run) for part in attr)
        return attr if all(a is b for a, b in zip(attr, parts, strict=True)) else parts
    return attr


def _has_graph(attr: Attr) -> bool:
    if isinstance(attr, tuple):
        return any(isinstance(part, (tuple, Graph)) and _has_graph(part) for part in attr)
    return isinstance(attr, Graph)


def map_bodies(graph: Graph, run: Run) -> Graph:
    """`graph` with `run` applied to the graphs in its nodes' attributes (branches, loop bodies)."""
    if not any(_has_graph(attr) for node in graph.nodes for attr in node.attrs.values()):
        return graph

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        attrs = {name: _map_attr(attr, run) for name, attr in node.attrs.items()}
        if all(attrs[name] is node.attrs[name] for name in attrs):
            return None
        return copy_node(current_builder(), node, inputs, MappingProxyType(attrs))

    return rewrite(graph, rule)
