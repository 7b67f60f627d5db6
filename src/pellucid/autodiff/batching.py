"""Batching: the program for one example becomes the program for many, without a loop.

Enters: a `Graph`. Leaves: a `Graph` whose batched inputs and all outputs have a new leading axis.
How an op takes a batch is its record's `batch` rule; a node none of whose operands is batched runs
once, as it was. Nodes that work across the examples (`collective.py`) see the new axis here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextvars import ContextVar

from pellucid.autodiff.collective import AXIS_INDEX, ELIMINATIONS, eliminate, mentions
from pellucid.autodiff.common import copy_node
from pellucid.core.errors import ArgumentError, TraceError, VerifyError
from pellucid.graph.ir import Graph, GraphBuilder, Node, TensorType, Value
from pellucid.graph.op import Site
from pellucid.graph.prune import prune
from pellucid.ops import broadcast_to


def batch_graph(
    graph: Graph, batched: Sequence[bool], size: int, outputs: Sequence[bool] | None = None
) -> Graph:
    """The program over `size` examples at once; every output is batched, at axis 0.

    before: `(x: f32[3], w: f32[3]) -> f32[]` -> after, with x batched: `(x: f32[8, 3], w: f32[3])
    -> f32[8]`.

    Args:
        graph: the program for one example.
        batched: per input whether it has one element per example, at a new axis 0; else all
            examples share it.
        size: the number of examples.
        outputs: per output whether it is to be batched; one that is not must be the same for all.

    Raises:
        ArgumentError: as many flags as inputs must be given, and a size of at least 0.
        TraceError: an op has no batching rule.
    """
    shared = [] if outputs is None else [i for i, flag in enumerate(outputs) if not flag]
    made, flags = batch_some(graph, batched, size, axis=_AXIS.get(), shared=shared)
    if any(flags[i] for i in shared):
        raise VerifyError(graph.name, "an output that all examples share depends on the example")
    return made


def batch_some(
    graph: Graph,
    batched: Sequence[bool],
    size: int,
    *,
    axis: str | None = None,
    shared: Collection[int] = (),
) -> tuple[Graph, tuple[bool, ...]]:
    """As `batch_graph`, but outputs may stay without the batch axis.

    Args:
        graph: the program for one example.
        batched: per input whether it has one element per example.
        size: the number of examples.
        axis: the batch axis's name, for nodes that work across it.
        shared: places of outputs that get no batch axis where all examples give the same.

    Returns:
        The program, and per output whether it has the batch axis.
    """
    if len(batched) != len(graph.inputs) or size < 0:
        raise ArgumentError(
            "vmap", f"{graph.name} takes {len(graph.inputs)} inputs and a size >= 0",
            operands={"batched": tuple(batched), "size": size},
        )  # fmt: skip
    token = _AXIS.set(axis)
    try:
        with GraphBuilder(f"{graph.name}_batched") as builder:
            env: dict[Value, Value] = {}
            spread: set[Value] = set()
            for value, is_batched in zip(graph.inputs, batched, strict=True):
                env[value] = builder.input(batched_type(value, size, is_batched), value.name)
                spread.update([value] if is_batched else [])
            for node in graph.nodes:
                builder.source = node.source
                _batch_node(builder, node, env, spread, size)
            builder.source = None
            flags = tuple(i not in shared or v in spread for i, v in enumerate(graph.outputs))
            outputs = [
                _spread(v, env, spread, size) if flag else env[v]
                for v, flag in zip(graph.outputs, flags, strict=True)
            ]
            return prune(builder.finish(outputs)), flags
    finally:
        _AXIS.reset(token)


_AXIS: ContextVar[str | None] = ContextVar("pellucid_axis", default=None)
"""The axis that is being batched, for the graphs inside nodes."""


def examples_differ(graph: Graph) -> list[Value]:
    """Values that differ between examples although nothing that is batched leads to them."""
    axis = _AXIS.get()
    if axis is None:
        return []
    nodes = [n for n in graph.nodes if n.op not in ELIMINATIONS or n.op is AXIS_INDEX]
    return [v for node in nodes if mentions(node, axis) for v in node.outputs]


def batched_type(value: Value, size: int, is_batched: bool) -> TensorType:
    """The value's type, with a leading axis of `size` if batched."""
    return TensorType((size, *value.shape), value.dtype) if is_batched else value.type


def _batch_node(
    builder: GraphBuilder, node: Node, env: dict[Value, Value], spread: set[Value], size: int
) -> None:
    flags = tuple(v in spread for v in node.inputs)
    axis = _AXIS.get()
    across = axis is not None and mentions(node, axis)
    if across and node.op in ELIMINATIONS:
        (value,), inputs = node.outputs, [env[v] for v in node.inputs]
        env[value], is_batched = eliminate(node, inputs, any(flags), size)
        spread.update([value] if is_batched else [])
        return
    if not any(flags) and not across:
        copy_node(builder, node, env)
        return
    if node.op.batch is None:
        raise TraceError(node.op.name, "has no batching rule", source=node.source)
    site = Site(tuple(env[v] for v in node.inputs), node.outputs, node.attrs)
    made = node.op.batch(site, flags, size)
    for value, result in zip(node.outputs, made, strict=True):
        expected = batched_type(value, size, True)
        if result.type != expected:
            raise VerifyError(
                node.op.name, f"the batching rule gave {result.type}, not {expected}",
                source=node.source,
            )  # fmt: skip
        env[value] = result
        spread.add(value)


def _spread(value: Value, env: dict[Value, Value], spread: set[Value], size: int) -> Value:
    """The value with its batch axis, repeated if all examples share it."""
    made = env[value]
    return made if value in spread else broadcast_to(made, (size, *made.shape))
