"""Functions with derivatives of the user's own: nodes that hold them as graphs.

A rule was recorded when the function was: `custom_vjp` holds the program, the program that also
leaves what its backward rule reads (residuals), and that rule; `custom_jvp` holds the program and
the map from tangents to tangents. Each rule is linear in what it moves, so that its transpose
serves the other mode, and it is a graph, so that everything can be differentiated, batched and
compiled again. Primitives, because a composite has the derivative of its parts.

`passes/inline_calls.py` puts the programs in place before lowering.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from pellucid import ops
from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.checkpoint import (
    CALL,
    arrived,
    cost_of_body,
    in_place,
    infer_body,
    lower_body,
    run_body,
    wanted_places,
)
from pellucid.autodiff.common import call_used, zeros_of
from pellucid.autodiff.forward import tangent_graph
from pellucid.autodiff.linear import transpose_graph
from pellucid.autodiff.reverse import vjp_graph
from pellucid.core.dtype import float32
from pellucid.core.errors import GradientError
from pellucid.graph.ir import Attr, Attrs, Graph, GraphBuilder, TensorType, Value, emit_all, inline
from pellucid.graph.op import Op, Sample, Site


class VjpGraphs(NamedTuple):
    """The parts of a function with a backward rule.

    Attributes:
        primal: `arguments..., captured... -> results...`.
        body: the same inputs `-> results..., residuals...`.
        left: `arguments..., captured..., results... -> residuals...`: how residuals move.
        rule: `captured..., residuals..., cotangents of the float results... -> gradients of the
            float arguments...`; linear in the cotangents.
    """

    primal: Graph
    body: Graph
    left: Graph
    rule: Graph


def custom_vjp(
    name: str, graphs: VjpGraphs, arguments: int, args: Sequence[Value]
) -> tuple[Value, ...]:
    """Emit a function with a backward rule.

    Args:
        name: what errors call it.
        graphs: its parts.
        arguments: how many of the inputs are arguments; the others were read from outside.
        args: the inputs.

    Returns:
        Results, then residuals.
    """
    return emit_all(
        CUSTOM_VJP, *args, body=graphs.body, primal=graphs.primal, left=graphs.left,
        rule=graphs.rule, arguments=arguments, name=name,
    )  # fmt: skip


def custom_jvp(
    name: str, body: Graph, rule: Graph, arguments: int, args: Sequence[Value]
) -> tuple[Value, ...]:
    """Emit a function with a forward rule.

    Args:
        name: what errors call it.
        body: `arguments..., captured... -> results...`.
        rule: `arguments..., captured..., results..., tangents of the float arguments... -> tangents
            of the float results...`; linear in the tangents.
        arguments: how many of the inputs are arguments; the others were read from outside.
        args: the inputs.

    Returns:
        The results.
    """
    return emit_all(CUSTOM_JVP, *args, body=body, rule=rule, arguments=arguments, name=name)


def custom_end(name: str, body: Graph, args: Sequence[Value]) -> tuple[Value, ...]:
    """Emit a function that its own rule calls, as deep as such calls are followed."""
    return emit_all(CUSTOM_END, *args, body=body, name=name)


def _graph(attrs: Attrs, name: str) -> Graph:
    return cast("Graph", attrs[name])


def _arguments(site: Site) -> int:
    return cast("int", site.attrs["arguments"])


def _floats(values: Sequence[Value]) -> list[int]:
    return [i for i, v in enumerate(values) if v.dtype.is_inexact]


def _refuse_captured(site: Site, moved: Sequence[int]) -> None:
    """A rule says nothing of what the function read beside its arguments."""
    captured = [i for i in moved if i >= _arguments(site)]
    if captured:
        value = site.inputs[captured[0]]
        raise GradientError(
            str(site.attrs["name"]),
            "a derivative is wanted for a tensor that the function reads from outside, and its"
            " custom rule covers its arguments only",
            operands={value.name: value.type},
            fix="pass the tensor as an argument, or wrap it in stop_gradient",
        )


def _refuse_bent(site: Site, rule: str, moved: str, instead: str) -> GradientError:
    return GradientError(
        str(site.attrs["name"]),
        f"{rule} is not linear in the {moved}, so the other mode cannot be made of it",
        fix=instead,
    )


# ------------------------------------------------------------------------------------ custom_vjp


def _vjp_of_vjp(site: Site, *cotangents: Value | None) -> list[Value | None]:
    """By the rule where a result matters; residuals have the derivative of their program."""
    wanted, count = wanted_places(site), _results(site)
    seeds = arrived(cotangents)
    gradients: list[Value | None] = [None] * len(site.inputs)
    if any(i >= count for i in seeds):
        gradients = _through_residuals(site, wanted, seeds)
    if any(i < count for i in seeds):
        _refuse_captured(site, wanted)
        given = [_tangent(v, seeds.get(i)) for i, v in enumerate(site.outputs[:count])]
        given = [v for v in given if v.dtype.is_inexact]
        operands = [*site.inputs[_arguments(site) :], *site.outputs[count:], *given]
        made = call_used(CALL, _graph(site.attrs, "rule"), operands)
        for i, g in zip(_floats(site.inputs[: _arguments(site)]), made, strict=True):
            gradients[i] = _plus(gradients[i], g)
    return gradients


def _through_residuals(
    site: Site, wanted: list[int], seeds: dict[int, Value]
) -> list[Value | None]:
    """Gradients by way of the residuals; what reaches results that they read goes to `seeds`."""
    count, inputs = _results(site), len(site.inputs)
    rest = [i for i in seeds if i >= count]
    by_results = _floats(site.outputs[:count])
    places = [*wanted, *(inputs + i for i in by_results)]
    graph = vjp_graph(_graph(site.attrs, "left"), places, [i - count for i in rest])
    operands = [*site.inputs, *site.outputs, *(seeds[i] for i in rest)]
    made = call_used(CALL, graph, operands)
    read = _reads(_graph(site.attrs, "left"), range(inputs, inputs + count))
    for i, g in zip(by_results, made[len(wanted) :], strict=True):
        if i in read:
            seeds[i] = _plus(seeds.get(i), g)
    return in_place(site, wanted, made[: len(wanted)])


def _reads(graph: Graph, places: range) -> set[int]:
    """Which of these inputs a graph's nodes or outputs read, counted from the first of them."""
    read = {v for node in graph.nodes for v in node.inputs} | {*graph.outputs}
    return {i - places.start for i in places if graph.inputs[i] in read}


def _plus(a: Value | None, b: Value) -> Value:
    return b if a is None else ops.add(a, b)


def _results(site: Site) -> int:
    return len(_graph(site.attrs, "primal").outputs)


def _jvp_of_vjp(site: Site, *tangents: Value | None) -> list[Value | None]:
    moved = [i for i, t in enumerate(tangents) if t is not None]
    _refuse_captured(site, moved)
    count, arguments = _results(site), _arguments(site)
    rule = _graph(site.attrs, "rule")
    others = len(site.inputs) - arguments + len(site.outputs) - count
    forward = transpose_graph(rule, range(others, len(rule.inputs)))
    if forward is None:
        raise _refuse_bent(
            site, "its backward rule", "cotangents", "write the rule as custom_jvp, for both modes"
        )
    floats = _floats(site.inputs[:arguments])
    pushed = [_tangent(site.inputs[i], tangents[i]) for i in floats]
    operands = [*site.inputs[arguments:], *site.outputs[count:], *pushed]
    made: list[Value | None] = [None] * len(site.outputs)
    for i, t in zip(_floats(site.outputs[:count]), call_used(CALL, forward, operands), strict=True):
        made[i] = t
    moving = [t is not None for t in tangents] + [t is not None for t in made[:count]]
    graph = tangent_graph(_graph(site.attrs, "left"), moving)
    given = [t for t in (*tangents, *made[:count]) if t is not None]
    residuals = call_used(CALL, graph, [*site.inputs, *site.outputs[:count], *given])
    for i, t in zip(_floats(site.outputs[count:]), residuals, strict=True):
        made[count + i] = t
    return made


def _tangent(value: Value, tangent: Value | None) -> Value:
    return zeros_of(value.type) if tangent is None else tangent


def _batch_vjp(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    primal, body, left, rule = (_graph(site.attrs, n) for n in VjpGraphs._fields)
    arguments, count = _arguments(site), _results(site)
    rest = len(rule.inputs) - (len(site.inputs) - arguments)
    shared = [not batched[i] for i in _floats(site.inputs[:arguments])]
    graphs = VjpGraphs(
        batch_graph(primal, batched, size),
        batch_graph(body, batched, size),
        batch_graph(left, (*batched, *(True,) * count), size),
        _summed(batch_graph(rule, (*batched[arguments:], *(True,) * rest), size), shared),
    )
    return custom_vjp(str(site.attrs["name"]), graphs, arguments, site.inputs)


def _summed(graph: Graph, shared: Sequence[bool]) -> Graph:
    """Outputs marked as shared by all examples, added up over them."""
    with GraphBuilder(graph.name) as builder:
        made = inline(graph, [builder.input(v.type, v.name) for v in graph.inputs])
        outputs = [ops.sum(v, axis=0) if s else v for v, s in zip(made, shared, strict=True)]
        return builder.finish(outputs)


# ------------------------------------------------------------------------------------ custom_jvp


def _jvp_of_jvp(site: Site, *tangents: Value | None) -> list[Value | None]:
    _refuse_captured(site, [i for i, t in enumerate(tangents) if t is not None])
    floats = _floats(site.inputs[: _arguments(site)])
    pushed = [_tangent(site.inputs[i], tangents[i]) for i in floats]
    made = call_used(CALL, _graph(site.attrs, "rule"), [*site.inputs, *site.outputs, *pushed])
    found = dict(zip(_floats(site.outputs), made, strict=True))
    return [found.get(i) for i in range(len(site.outputs))]


def _vjp_of_jvp(site: Site, *cotangents: Value | None) -> list[Value | None]:
    if not arrived(cotangents):
        return [None] * len(site.inputs)
    _refuse_captured(site, wanted_places(site))
    rule = _graph(site.attrs, "rule")
    held = len(site.inputs) + len(site.outputs)
    back = transpose_graph(rule, range(held, len(rule.inputs)))
    if back is None:
        raise _refuse_bent(
            site, "its forward rule", "tangents", "keep every tangent a sum of linear terms"
        )
    given = [c for c in cotangents if c is not None]
    gradients = call_used(CALL, back, [*site.inputs, *site.outputs, *given])
    return in_place(site, _floats(site.inputs[: _arguments(site)]), gradients)


def _batch_jvp(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    body, rule = _graph(site.attrs, "body"), _graph(site.attrs, "rule")
    floats = _floats(site.inputs[: _arguments(site)])
    flags = (*batched, *(True,) * len(site.outputs), *(batched[i] for i in floats))
    return custom_jvp(
        str(site.attrs["name"]), batch_graph(body, batched, size), batch_graph(rule, flags, size),
        _arguments(site), site.inputs,
    )  # fmt: skip


def _batch_end(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    body = batch_graph(_graph(site.attrs, "body"), batched, size)
    return custom_end(str(site.attrs["name"]), body, site.inputs)


# --------------------------------------------------------------------------------------- records

_TYPE = TensorType((3,), float32)


def _sample_graph(name: str, inputs: str, outputs: int) -> Graph:
    """A program that returns products of its inputs with one of them."""
    with GraphBuilder(name) as builder:
        values = [builder.input(_TYPE, n) for n in inputs]
        return builder.finish([ops.multiply(values[0], v) for v in values[-outputs:]])


def _vjp_samples() -> list[Sample]:
    attrs: dict[str, Attr] = {
        "primal": _sample_graph("primal", "xy", 1), "body": _sample_graph("body", "xy", 2),
        "left": _sample_graph("left", "xyz", 1), "rule": _sample_graph("rule", "cr", 2),
        "arguments": 2, "name": "sample",
    }  # fmt: skip
    return [Sample((_TYPE, _TYPE), attrs)]


def _jvp_samples() -> list[Sample]:
    attrs: dict[str, Attr] = {
        "body": _sample_graph("body", "xy", 1), "rule": _sample_graph("rule", "xyruv", 1),
        "arguments": 2, "name": "sample",
    }  # fmt: skip
    return [Sample((_TYPE, _TYPE), attrs)]


CUSTOM_VJP: Op = Op(
    name="custom_vjp",
    doc="A function with a backward rule of its own; the last outputs are what that rule reads.",
    infer=infer_body,
    reference=run_body,
    vjp=_vjp_of_vjp,
    jvp=_jvp_of_vjp,
    batch=_batch_vjp,
    lower=lower_body,
    cost=cost_of_body,
    samples=_vjp_samples,
)

CUSTOM_JVP: Op = Op(
    name="custom_jvp",
    doc="A function with a forward rule of its own.",
    infer=infer_body,
    reference=run_body,
    vjp=_vjp_of_jvp,
    jvp=_jvp_of_jvp,
    batch=_batch_jvp,
    lower=lower_body,
    cost=cost_of_body,
    samples=_jvp_samples,
)

CUSTOM_END: Op = Op(
    name="custom_end",
    doc="A function that its own rule calls, so deep in rules of rules that it has no derivative.",
    infer=infer_body,
    reference=run_body,
    vjp=None,
    jvp=None,
    batch=_batch_end,
    lower=lower_body,
    cost=cost_of_body,
    samples=lambda: [Sample((_TYPE, _TYPE), {"body": _sample_graph("body", "xy", 1), "name": "f"})],
)

RECORDS: tuple[Op, ...] = (CUSTOM_VJP, CUSTOM_JVP, CUSTOM_END)
