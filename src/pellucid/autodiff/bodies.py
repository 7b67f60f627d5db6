"""What the records of control flow share: graphs cut out of graphs, and what a backward run saves.

Enters: the body of a branch or a loop. Leaves: other bodies, made of its nodes. Emits nothing into
the current builder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from pellucid.autodiff.batching import examples_differ
from pellucid.autodiff.common import copy_node
from pellucid.autodiff.reverse import active_values, dict_of_sums, pull_back
from pellucid.core.errors import LoweringError, VerifyError
from pellucid.graph.ir import Attrs, Graph, GraphBuilder, Node, TensorType, Value, inline
from pellucid.graph.prune import prune, reachable
from pellucid.loop.compute import Loops, Lowering
from pellucid.loop.ir import Buffer

CHEAP = frozenset({
    "add", "sub", "mul", "div", "neg", "abs", "sign", "max", "min", "where", "eq", "ne", "lt", "le",
    "gt", "ge", "and", "or", "xor", "not", "isnan", "isinf", "cast", "reshape", "broadcast_to",
    "transpose", "slice", "pad", "concatenate", "constant", "iota", "stop_gradient", "barrier",
})  # fmt: skip
"""Ops that a backward run rather does again than reads their results from memory."""
MOST_SOURCES = 8
"""Values that one is made of again at most."""


def types_of(values: Iterable[Value]) -> tuple[TensorType, ...]:
    """Their types."""
    return tuple(v.type for v in values)


def check_operands(op: str, body: Graph, types: Sequence[TensorType]) -> None:
    """Refuse operands that are not of the types of the body's inputs.

    Raises:
        VerifyError: with both lists of types.
    """
    expected = types_of(body.inputs)
    if tuple(types) != expected:
        operands = {
            "it": f"({', '.join(map(str, types))})",
            "the body": f"({', '.join(map(str, expected))})",
        }
        raise VerifyError(op, f"{body.name} does not take these operands", operands=operands)


def no_lowering(
    inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs
) -> Lowering:
    """The lowering rule of control flow: its steps are the program's (`lower/control.py`), so that
    there are statements nobody can have.
    """
    return Loops(build=_refuse)


def _refuse(inputs: tuple[Buffer, ...], outputs: tuple[Buffer, ...]) -> NoReturn:
    raise LoweringError("control flow", "a branch or loop around calls is no kernel")


def reordered(graph: Graph, inputs: Sequence[int], outputs: Sequence[int], name: str = "") -> Graph:
    """The graph with its inputs in another order, and these of its outputs."""
    with GraphBuilder(name or graph.name) as builder:
        chosen = [graph.inputs[i] for i in inputs]
        made = dict(zip(inputs, [builder.input(v.type, v.name) for v in chosen], strict=True))
        results = inline(graph, [made[i] for i in range(len(graph.inputs))])
        return prune(builder.finish([results[k] for k in outputs]))


def extract(
    nodes: Sequence[Node], inputs: Sequence[Value], outputs: Sequence[Value], name: str
) -> Graph:
    """The graph from some values of a program to others, of as few of its nodes as that takes.

    Args:
        nodes: the program's, in order.
        inputs: values that are given.
        outputs: values that are asked for; each depends on nothing but the inputs.
        name: the new graph's.
    """
    with GraphBuilder(name) as builder:
        env = {v: builder.input(v.type, v.name) for v in inputs}
        return builder.finish(copy_needed(builder, nodes, outputs, env))


def copy_needed(
    builder: GraphBuilder, nodes: Sequence[Node], outputs: Sequence[Value], env: dict[Value, Value]
) -> list[Value]:
    """Copy as few nodes of a program as some of its values take; these values in the builder.

    Args:
        builder: where to.
        nodes: the program's, in order.
        outputs: values that are asked for.
        env: what is given in the builder, by value of the program; extended.
    """
    needed = set(outputs) - set(env)
    kept = []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.outputs):
            kept.append(node)
            needed.update(v for v in node.inputs if v not in env)
    given = dict(env)
    for node in reversed(kept):
        copy_node(builder, node, env)
        env.update({v: given[v] for v in node.outputs if v in given})
    return [env[v] for v in outputs]


def is_zero(value: Value) -> bool:
    """Whether a value was made as zeros, for want of anything else."""
    node = value.node
    while node is not None and node.op.name in ("broadcast_to", "reshape"):
        node = node.inputs[0].node
    if node is None or node.op.name != "constant":
        return False
    array = getattr(node.attrs["value"], "array", None)
    return array is not None and array.size == 1 and not array.any()


def active_carries(
    body: Graph, carries: Sequence[int], outputs: Sequence[int], active: set[int]
) -> set[int]:
    """Which of a loop's carries depend on active inputs, by way of any number of steps.

    Args:
        body: one step.
        carries: the inputs that are carries.
        outputs: the outputs that become them.
        active: inputs that are active at the start, by place.

    Returns:
        The places of all active inputs.
    """
    active = set(active)
    while True:
        reached = active_values(body.nodes, [body.inputs[i] for i in sorted(active)])
        more = {
            i
            for i, k in zip(carries, outputs, strict=True)
            if body.outputs[k] in reached and body.inputs[i].dtype.is_inexact
        } - active
        if not more:
            return active
        active |= more


def batched_carries(
    body: Graph, carries: Sequence[int], outputs: Sequence[int], batched: set[int]
) -> set[int]:
    """As `active_carries`, for what has a batch axis."""
    batched, different = set(batched), examples_differ(body)
    while True:
        reached = reachable(body.nodes, [*(body.inputs[i] for i in sorted(batched)), *different])
        pairs = zip(carries, outputs, strict=True)
        more = {i for i, k in pairs if body.outputs[k] in reached} - batched
        if not more:
            return batched
        batched |= more


@dataclass(frozen=True, slots=True)
class Split:
    """A step and its gradient, cut where the backward run begins.

    Attributes:
        forward: the step, which also returns what is saved, behind its own outputs.
        saved: how many values that is.
        backward: from inputs of the step, then saved values, then cotangents, to gradients.
        reads: the step's inputs that the backward graph starts with, by place.
        gradients: per wanted input, which output of the backward graph is its gradient; None where
            none flows.
    """

    forward: Graph
    saved: int
    backward: Graph
    reads: tuple[int, ...]
    gradients: tuple[int | None, ...]


def split_gradient(
    body: Graph,
    wanted: Sequence[int],
    given: Sequence[int],
    constants: Sequence[int],
    slices: Sequence[int] = (),
) -> Split:
    """Cut a step's gradient in two: what runs forward and saves, and what runs backward.

    Saved is what the gradient needs and cannot make again at little cost from inputs that are there
    anyway.

    Args:
        body: the step.
        wanted: inputs whose gradient is asked for, by place.
        given: outputs that have a cotangent, by place.
        constants: inputs that are the same in all steps, by place; what is made of nothing else is
            made again.
        slices: other inputs that the backward run can read without their being saved, by place.
    """
    with GraphBuilder(f"{body.name}_joint") as builder:
        inputs = [builder.input(v.type, v.name) for v in body.inputs]
        outputs = inline(body, inputs)
        steps = list(builder.nodes)
        names = [f"d_{body.outputs[k].name}" for k in given]
        cotangents = [builder.input(outputs[k].type, n) for k, n in zip(given, names, strict=True)]
        sums = dict_of_sums([outputs[k] for k in given], cotangents)
        found = pull_back(steps, {}, sums, [inputs[i] for i in wanted])
        nodes = tuple(builder.nodes)
    kept = [g for g in found if g is not None]
    cut = _Cut(nodes, set(cotangents), {inputs[i] for i in constants}, {inputs[i] for i in slices})
    saved = cut.saved(kept)
    starts = [*(inputs[i] for i in (*constants, *slices)), *saved, *cotangents]
    read = frontier(nodes, kept, starts)
    reads = tuple(i for i in (*constants, *slices) if inputs[i] in read)
    starts = [*(inputs[i] for i in reads), *saved, *cotangents]
    places = iter(range(len(kept)))
    return Split(
        forward=extract(nodes, inputs, [*outputs, *saved], f"{body.name}_forward"),
        saved=len(saved),
        backward=extract(nodes, starts, kept, f"{body.name}_backward"),
        reads=reads,
        gradients=tuple(None if g is None else next(places) for g in found),
    )


class _Cut:
    """Where the forward and the backward run of one step part."""

    def __init__(
        self, nodes: Sequence[Node], cotangents: set[Value], same: set[Value], free: set[Value]
    ) -> None:
        self.nodes = nodes
        self.tainted = reachable(nodes, cotangents)
        self.leaves: dict[Value, frozenset[Value]] = {v: frozenset() for v in same | free}
        for node in nodes:
            if self.tainted.isdisjoint(node.outputs):
                same |= {v for v in node.outputs if same.issuperset(node.inputs)}
                self._add(node, same)

    def _add(self, node: Node, same: set[Value]) -> None:
        """What a node's results can be made of, at little cost."""
        sources = [self.leaves.get(v, frozenset({v})) for v in node.inputs]
        union = frozenset().union(*sources)
        for value in node.outputs:
            if value in same:
                self.leaves[value] = frozenset()
            elif node.op.name in CHEAP and len(union) <= MOST_SOURCES:
                self.leaves[value] = union
            else:
                self.leaves[value] = frozenset({value})

    def saved(self, gradients: Sequence[Value]) -> list[Value]:
        """What is kept for the gradients, in the order it is made."""
        untainted = [v for n in self.nodes for v in n.outputs if v not in self.tainted]
        inputs = {v for n in self.nodes for v in n.inputs if v.node is None} - self.tainted
        found = frontier(self.nodes, gradients, [*inputs, *untainted])
        kept = {v for v in found if self.leaves.get(v, True)}
        order = {v: k for k, v in enumerate([*sorted(inputs, key=lambda v: v.index), *untainted])}
        for value in sorted(kept, key=order.__getitem__, reverse=True):
            sources = self.leaves.get(value, frozenset({value}))
            others = kept - {value}
            if sum(v.type.nbytes for v in sources - others) <= value.type.nbytes:
                kept = others | sources
        return sorted(kept, key=order.__getitem__)


def frontier(nodes: Sequence[Node], outputs: Iterable[Value], stops: Iterable[Value]) -> set[Value]:
    """Which of `stops` one meets first on the way up from the outputs."""
    stop, needed = set(stops), set(outputs)
    for node in reversed(nodes):
        asked = needed.intersection(node.outputs) - stop
        if asked:
            needed.update(node.inputs)
    return needed & stop
