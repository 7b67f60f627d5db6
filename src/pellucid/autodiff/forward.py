"""Forward mode: from how the inputs move to how the outputs do, in the same order as the program
itself.

Enters: a `Graph`. Leaves: a `Graph` that also computes tangents. The derivative of each op is its
record's `jvp` rule; a node none of whose operands moves gets no rule at all. Source: Griewank and
Walther, Evaluating Derivatives, ch. 3.
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.autodiff.common import check_differentiable, copy_node, zeros_of
from pellucid.core.errors import ArgumentError, GradientError, VerifyError
from pellucid.graph.ir import Graph, GraphBuilder, Node, Value
from pellucid.graph.op import Site
from pellucid.graph.prune import prune

Tangents = dict[Value, Value]


def jvp_graph(graph: Graph, active: Sequence[bool]) -> Graph:
    """The program and its directional derivative.

    `inputs..., tangents of the active inputs... -> outputs..., tangents of the float outputs...`; a
    tangent has its value's type. Costs about as much again as the program, whatever the number of
    outputs.

    Args:
        graph: the program.
        active: per input whether it moves; those that do must be float.

    Raises:
        GradientError: an active input is not float, or a tangent is needed through an op that has
            no derivative.
    """
    return _jvp(graph, active, with_outputs=True)


def tangent_graph(graph: Graph, active: Sequence[bool]) -> Graph:
    """As `jvp_graph`, but leaves the outputs themselves out."""
    return _jvp(graph, active, with_outputs=False)


def _jvp(graph: Graph, active: Sequence[bool], *, with_outputs: bool) -> Graph:
    if len(active) != len(graph.inputs):
        raise ArgumentError(
            "jvp", f"{graph.name} takes {len(graph.inputs)} inputs", operands={"active": active}
        )
    with GraphBuilder(f"{graph.name}_jvp") as builder:
        env = {v: builder.input(v.type, v.name) for v in graph.inputs}
        tangents: Tangents = {}
        for value in (v for v, moves in zip(graph.inputs, active, strict=True) if moves):
            check_differentiable(value)
            tangents[value] = builder.input(value.type, f"t_{value.name}")
        for node in graph.nodes:
            copy_node(builder, node, env)
            _push(builder, node, env, tangents)
        builder.source = None
        moved = [v for v in graph.outputs if v.type.dtype.is_inexact]
        outputs = [env[v] for v in graph.outputs] if with_outputs else []
        outputs += [tangents[v] if v in tangents else zeros_of(v.type) for v in moved]
        return prune(builder.finish(outputs))


def _push(builder: GraphBuilder, node: Node, env: dict[Value, Value], tangents: Tangents) -> None:
    """Add the tangents of this node's float outputs, where any operand has one."""
    moves = any(v in tangents for v in node.inputs)
    if not moves or not any(v.type.dtype.is_inexact for v in node.outputs):
        return
    if node.op.jvp is None:
        raise GradientError(
            node.op.name,
            "has no derivative, and a tangent is needed through it",
            operands={v.name: v.type for v in node.inputs},
            source=node.source,
            fix="wrap its operand in stop_gradient if the derivative is not wanted",
        )
    builder.source = node.source
    site = Site(tuple(env[v] for v in node.inputs), tuple(env[v] for v in node.outputs), node.attrs)
    results = node.op.jvp(site, *(tangents.get(v) for v in node.inputs))
    for value, tangent in zip(node.outputs, results, strict=True):
        if tangent is not None and value.type.dtype.is_inexact:
            if tangent.type != value.type:
                raise VerifyError(
                    node.op.name,
                    f"the jvp rule gave {tangent.type} for an output {value.type}",
                    source=node.source,
                )
            tangents[value] = tangent
