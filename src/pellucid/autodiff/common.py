"""What the transforms share: checks, zeros, copies. Emits into the current builder."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.errors import GradientError
from pellucid.graph.ir import (
    ArrayAttr,
    Attr,
    Graph,
    GraphBuilder,
    Node,
    TensorType,
    Value,
    emit_all,
)
from pellucid.graph.op import Op
from pellucid.ops import zeros

_MOVES = frozenset({"broadcast_to", "reshape", "transpose"})  # zeros stay zeros


def zeros_of(type: TensorType) -> Value:
    """A zero constant of this type in the current builder."""
    return zeros(type.shape, dtype=type.dtype)


def is_zero(value: Value) -> bool:
    """Whether a value is known to be nothing but zeros, as cotangents are that never arrived."""
    node = value.node
    while node is not None and node.op.name in _MOVES:
        node = node.inputs[0].node
    if node is None or node.op.name != "constant":
        return False
    held = node.attrs["value"]
    return isinstance(held, ArrayAttr) and not held.array.any()


def call_used(op: Op, body: Graph, args: Sequence[Value], **attrs: Attr) -> tuple[Value, ...]:
    """Emit a node that runs `body` on those of `args` that it reads: what is not handed over need
    not be kept, and nothing seems to depend on it.
    """
    read = {v for node in body.nodes for v in node.inputs} | {*body.outputs}
    places = [i for i, v in enumerate(body.inputs) if v in read]
    inner = body if len(places) == len(args) else with_inputs(body, places)
    return emit_all(op, *(args[i] for i in places), body=inner, **attrs)


def with_inputs(graph: Graph, places: Sequence[int]) -> Graph:
    """The graph with these of its inputs only, in this order; no node may read another one."""
    builder = GraphBuilder(graph.name)
    chosen = [graph.inputs[i] for i in places]
    env = {v: builder.input(v.type, v.name) for v in chosen}
    for node in graph.nodes:
        copy_node(builder, node, env)
    return builder.finish([env[v] for v in graph.outputs])


def check_differentiable(value: Value) -> None:
    """Refuse what has no derivative.

    Raises:
        GradientError: the value is not of a float dtype.
    """
    if not value.type.dtype.is_inexact:
        raise GradientError(
            "grad",
            "only floating-point values have gradients",
            operands={value.name: value.type},
            fix="cast it to float32 first, or leave it out",
        )


def copy_node(builder: GraphBuilder, node: Node, env: dict[Value, Value]) -> None:
    """Emit the node again on its operands in `env`; `env` then has its outputs too."""
    hints = [v.name for v in node.outputs]
    operands = [env[v] for v in node.inputs]
    made = builder.emit(node.op, operands, node.attrs, node.source, hints)
    env.update(zip(node.outputs, made, strict=True))
