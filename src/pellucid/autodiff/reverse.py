"""Reverse mode: from how much an output matters to how much each input does.

Enters: nodes or a `Graph`. Leaves: nodes that compute gradients, or a new `Graph`. The derivative
of each op is its record's `vjp` rule; this file only walks the program backwards, adds up and
leaves out what reaches nothing wanted.

The rule (openmlsys CG-5): a value's gradient is the sum, over the nodes that use it, of what their
vjp rules give. Only values that lie between `wrt` and the outputs get one. Source: Griewank and
Walther, Evaluating Derivatives, ch. 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pellucid.autodiff.common import check_differentiable, copy_node, zeros_of
from pellucid.core.errors import GradientError, VerifyError
from pellucid.graph.ir import Graph, GraphBuilder, Node, Value, current_builder
from pellucid.graph.op import Site
from pellucid.graph.prune import live_nodes, prune
from pellucid.ops import add

Env = Mapping[Value, Value]


def backward(
    nodes: Sequence[Node],
    outputs: Sequence[Value],
    cotangents: Sequence[Value | None],
    wrt: Sequence[Value],
) -> list[Value | None]:
    """Gradients of `sum(output * cotangent)` by the values `wrt`, emitted into the current builder.

    Args:
        nodes: the forward nodes, already in the builder, in order.
        outputs: values of those nodes (or of `wrt`).
        cotangents: per output a value of its type; `None` counts as zero.
        wrt: float values to differentiate by; inputs or intermediate ones.

    Returns:
        Per `wrt` value its gradient, of its type; `None` where no path leads to it.

    Raises:
        GradientError: a `wrt` value is not of a float dtype, or a gradient is needed through an op
            that has none.
    """
    return pull_back(nodes, {}, dict_of_sums(outputs, cotangents), wrt)


def dict_of_sums(
    outputs: Sequence[Value], cotangents: Sequence[Value | None]
) -> dict[Value, Value]:
    """Cotangents by value; a value returned twice gets the sum."""
    sums: dict[Value, Value] = {}
    for value, cotangent in zip(outputs, cotangents, strict=True):
        if cotangent is not None:
            _accumulate(sums, value, cotangent)
    return sums


def pull_back(
    nodes: Sequence[Node], env: Env, sums: dict[Value, Value], wrt: Sequence[Value]
) -> list[Value | None]:
    """`backward` on nodes of another graph, whose values `env` maps into the current builder.

    Args:
        nodes: the forward nodes.
        env: where each of their values is in the current builder; absent ones are there themselves.
        sums: cotangents in the builder by forward value; used up.
        wrt: forward values.
    """
    for value in wrt:
        check_differentiable(value)
    builder = current_builder()
    active = active_values(nodes, wrt)
    start, kept_source = len(builder.nodes), builder.source
    for node in reversed(nodes):
        if any(v in sums and v in active for v in node.outputs):
            builder.source = node.source
            _through(node, env, sums, active)
    builder.source = kept_source
    gradients = [sums.get(value) for value in wrt]
    # Rules give gradients for all their inputs; those that lead to nothing wanted go again.
    made = live_nodes(builder.nodes[start:], [g for g in gradients if g is not None])
    builder.nodes[start:] = made
    return gradients


def active_values(nodes: Sequence[Node], wrt: Sequence[Value]) -> set[Value]:
    """The float values that depend on `wrt` through float values only."""
    active = set(wrt)
    for node in nodes:
        if not active.isdisjoint(node.inputs):
            active.update(v for v in node.outputs if v.type.dtype.is_inexact)
    return active


def _through(node: Node, env: Env, sums: dict[Value, Value], active: set[Value]) -> None:
    """Add to each active operand's sum what this node's rule gives it."""
    if node.op.vjp is None:
        raise GradientError(
            node.op.name,
            "has no derivative, and a gradient is needed through it",
            operands={v.name: v.type for v in node.inputs},
            source=node.source,
            fix="wrap its operand in stop_gradient if the gradient is not wanted",
        )
    wanted = tuple(v in active for v in node.inputs)
    site = Site(_at(env, node.inputs), _at(env, node.outputs), node.attrs, wanted)
    gradients = node.op.vjp(site, *_cotangents(node, env, sums))
    if len(gradients) != len(node.inputs):
        raise _bad_rule(node, f"gave {len(gradients)} gradients for {len(node.inputs)} inputs")
    for value, gradient in zip(node.inputs, gradients, strict=True):
        if gradient is not None and value in active:
            if gradient.type != value.type:
                raise _bad_rule(node, f"gave {gradient.type} for an input {value.type}")
            _accumulate(sums, value, gradient)


def _at(env: Env, values: Sequence[Value]) -> tuple[Value, ...]:
    return tuple(env.get(v, v) for v in values)


def _cotangents(node: Node, env: Env, sums: dict[Value, Value]) -> list[Value | None]:
    """Per output its cotangent, zeros where none arrived, `None` for one that is not float."""
    return [
        sums[v] if v in sums else zeros_of(v.type) if v.type.dtype.is_inexact else None
        for v in node.outputs
    ]


def _accumulate(sums: dict[Value, Value], value: Value, gradient: Value) -> None:
    sums[value] = add(sums[value], gradient) if value in sums else gradient


def _bad_rule(node: Node, rule: str) -> VerifyError:
    return VerifyError(node.op.name, f"the vjp rule {rule}", source=node.source)


def vjp_graph(
    graph: Graph,
    wrt: Sequence[int],
    seeded: Sequence[int] | None = None,
    given: Sequence[int] | None = None,
) -> Graph:
    """The graph of gradients, given what the forward run already computed.

    `inputs..., outputs..., cotangents... -> gradients...`: one cotangent per float output, one
    gradient per place in `wrt`, zeros where no path leads. A forward value that a rule needs is
    taken from the given outputs where it is one of them, else computed again from the inputs.

    Args:
        graph: the forward program.
        wrt: places of float inputs.
        seeded: places of the float outputs that have a cotangent; all by default.
        given: places of the outputs that are passed in; all by default.

    Raises:
        GradientError: as `backward`.
    """
    with GraphBuilder(f"{graph.name}_vjp") as builder:
        env = {v: builder.input(v.type, v.name) for v in graph.inputs}
        passed = graph.outputs if given is None else [graph.outputs[i] for i in given]
        inputs = [builder.input(v.type, v.name) for v in passed]
        known = {v: g for v, g in zip(passed, inputs, strict=True) if v not in env}
        cotangents = _cotangent_inputs(builder, graph, seeded)
        _copy_nodes(builder, graph.nodes, env, known)
        gradients = _gradients(graph, env, cotangents, wrt)
        return prune(builder.finish(gradients))


def value_and_vjp_graph(
    graph: Graph, wrt: Sequence[int], seeded: Sequence[int] | None = None
) -> Graph:
    """`inputs..., cotangents... -> outputs..., gradients...`: both runs as one program; arguments
    as of `vjp_graph`.
    """
    with GraphBuilder(f"{graph.name}_value_and_vjp") as builder:
        env = {v: builder.input(v.type, v.name) for v in graph.inputs}
        cotangents = _cotangent_inputs(builder, graph, seeded)
        _copy_nodes(builder, graph.nodes, env, {})
        gradients = _gradients(graph, env, cotangents, wrt)
        return prune(builder.finish([*(env[v] for v in graph.outputs), *gradients]))


def _cotangent_inputs(
    builder: GraphBuilder, graph: Graph, seeded: Sequence[int] | None = None
) -> list[Value | None]:
    wanted = range(len(graph.outputs)) if seeded is None else seeded
    return [
        builder.input(v.type, f"d_{v.name}") if i in wanted and v.type.dtype.is_inexact else None
        for i, v in enumerate(graph.outputs)
    ]


def _copy_nodes(
    builder: GraphBuilder, nodes: Sequence[Node], env: dict[Value, Value], known: Env
) -> None:
    """Emit the nodes again, extending `env`; values in `known` are taken from there."""
    for node in nodes:
        copy_node(builder, node, env)
        env.update({v: known[v] for v in node.outputs if v in known})


def _gradients(
    graph: Graph, env: Env, cotangents: Sequence[Value | None], wrt: Sequence[int]
) -> list[Value]:
    sums = dict_of_sums(graph.outputs, cotangents)
    targets = [graph.inputs[i] for i in wrt]
    found = pull_back(graph.nodes, env, sums, targets)
    return [zeros_of(v.type) if g is None else g for v, g in zip(targets, found, strict=True)]
