"""Batching: the program for one example becomes the program for many, without a loop.

Enters: a `Graph`. Leaves: a `Graph` whose batched inputs and all outputs have a new leading axis.
How an op takes a batch is its record's `batch` rule; a node none of whose operands is batched runs
once, as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    if len(batched) != len(graph.inputs) or size < 0:
        raise ArgumentError(
            "vmap", f"{graph.name} takes {len(graph.inputs)} inputs and a size >= 0",
            operands={"batched": tuple(batched), "size": size},
        )  # fmt: skip
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
        flags = [True] * len(graph.outputs) if outputs is None else outputs
        results = [
            _spread(v, env, spread, size) if flag else env[v]
            for v, flag in zip(graph.outputs, flags, strict=True)
        ]
        return prune(builder.finish(results))


def batched_type(value: Value, size: int, is_batched: bool) -> TensorType:
    """The value's type, with a leading axis of `size` if batched."""
    return TensorType((size, *value.shape), value.dtype) if is_batched else value.type


def _batch_node(
    builder: GraphBuilder, node: Node, env: dict[Value, Value], spread: set[Value], size: int
) -> None:
    flags = tuple(v in spread for v in node.inputs)
    if not any(flags):
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
