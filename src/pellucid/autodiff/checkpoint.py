"""Calls: nodes whose body is a graph. `call` keeps a nested program together; `checkpoint` also
forgets what it computed.

The gradient of `checkpoint` runs its body again from its inputs, behind `barrier`, so that no pass
can merge the second run with the first and its intermediate values live only during the backward
run (openmlsys FE-8). Source: Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016. Both
are primitives because a composite cannot keep its nodes apart.

`passes/inline_calls.py` puts bodies in place before lowering; the reference interprets them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, cast

from numpy.typing import NDArray

from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.common import call_used, is_zero
from pellucid.autodiff.forward import tangent_graph
from pellucid.autodiff.reverse import vjp_graph
from pellucid.core.dtype import float32
from pellucid.core.errors import LoweringError, VerifyError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import (
    Attr,
    Attrs,
    Graph,
    GraphBuilder,
    Node,
    TensorType,
    Value,
    emit_all,
)
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.graph.prune import reachable
from pellucid.graph.stats import graph_cost
from pellucid.ops import multiply, sin
from pellucid.ops.identity import barrier


def call(body: Graph, *args: Value) -> tuple[Value, ...]:
    """Run `body` on `args`, as one node of the current program."""
    return emit_all(CALL, *args, body=body)


def checkpoint(body: Graph, *args: Value, kept: tuple[int, ...] = ()) -> tuple[Value, ...]:
    """Run `body` on `args`; a gradient through it keeps `args` and the outputs at places `kept`
    only, and computes the rest again.
    """
    return emit_all(CHECKPOINT, *args, body=body, kept=kept)


def _body(attrs: Attrs) -> Graph:
    return cast("Graph", attrs["body"])


def infer_body(*types: TensorType, body: Graph, **attrs: Attr) -> tuple[TensorType, ...]:
    """The types of a body's outputs, if these are the types of its inputs."""
    expected = tuple(v.type for v in body.inputs)
    if types != expected:
        raise VerifyError(
            "call",
            f"{body.name} takes ({', '.join(map(str, expected))})",
            operands={"it": f"({', '.join(map(str, types))})"},
        )
    return tuple(v.type for v in body.outputs)


def run_body(*arrays: NDArray[Any], body: Graph, **attrs: Attr) -> tuple[NDArray[Any], ...]:
    """What a body gives for these arrays."""
    return interpret(body, *arrays)


def lower_body(
    inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs
) -> NoReturn:
    """Refuse: nodes with bodies are inlined before."""
    raise LoweringError("call", f"{_body(attrs).name} must be inlined before lowering")


def cost_of_body(inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs) -> Cost:
    """What running the body costs."""
    return graph_cost(_body(attrs))


def wanted_places(site: Site) -> list[int]:
    """Places of the inputs whose gradient is wanted."""
    flags = site.wanted or (True,) * len(site.inputs)
    return [i for i, v in enumerate(site.inputs) if flags[i] and v.dtype.is_inexact]


def arrived(cotangents: Sequence[Value | None]) -> dict[int, Value]:
    """The cotangents that are not known to be zero, by the output's place."""
    return {i: c for i, c in enumerate(cotangents) if c is not None and not is_zero(c)}


def in_place(site: Site, wanted: Sequence[int], gradients: Sequence[Value]) -> list[Value | None]:
    """One gradient per input, from those of the wanted ones."""
    found = dict(zip(wanted, gradients, strict=True))
    return [found.get(i) for i in range(len(site.inputs))]


def _call_vjp(site: Site, *cotangents: Value | None) -> list[Value | None]:
    wanted, seeds = wanted_places(site), arrived(cotangents)
    if not seeds:
        return [None] * len(site.inputs)
    body = vjp_graph(_body(site.attrs), wanted, tuple(seeds))
    operands = [*site.inputs, *site.outputs, *seeds.values()]
    return in_place(site, wanted, call_used(CALL, body, operands))


def _checkpoint_vjp(site: Site, *cotangents: Value | None) -> list[Value | None]:
    """The body runs again inside the gradient's call, on operands behind barriers."""
    wanted, seeds = wanted_places(site), arrived(cotangents)
    if not seeds:
        return [None] * len(site.inputs)
    kept = cast("tuple[int, ...]", site.attrs["kept"])
    forward = _body(site.attrs)
    graph = vjp_graph(forward, wanted, tuple(seeds), kept)
    body = compute_late(graph, graph.inputs[len(graph.inputs) - len(seeds) :])
    body = Graph(f"{forward.name}_remat_vjp", body.inputs, body.nodes, body.outputs)
    fenced = [barrier(v) for v in (*site.inputs, *(site.outputs[i] for i in kept))]
    return in_place(site, wanted, call_used(CALL, body, [*fenced, *seeds.values()]))


def read_again(
    body: Graph, wrt: Sequence[int], candidates: Sequence[Value]
) -> tuple[list[Value], Graph]:
    """Which of these values a backward run reads where it has them all, and that run's graph.

    Args:
        body: the forward program.
        wrt: places of float inputs.
        candidates: values of it.

    Returns:
        The values, and `inputs..., candidates..., cotangents... -> gradients...`.
    """
    outputs = tuple(dict.fromkeys((*body.outputs, *candidates)))
    place = {v: i for i, v in enumerate(outputs)}
    whole = Graph(body.name, body.inputs, body.nodes, outputs)
    seeded = sorted({place[v] for v in body.outputs if v.dtype.is_inexact})
    graph = vjp_graph(whole, wrt, seeded, [place[v] for v in candidates])
    read = {v for node in graph.nodes for v in node.inputs} | {*graph.outputs}
    given = graph.inputs[len(body.inputs) :]
    return [v for v, g in zip(candidates, given, strict=False) if g in read], graph


def compute_late(graph: Graph, cotangents: Sequence[Value]) -> Graph:
    """The graph with every node that no cotangent reaches just before the first that needs it.

    What is computed again then lives only while the backward run is near it.
    """
    backward = reachable(graph.nodes, cotangents)
    place = {node: i for i, node in enumerate(graph.nodes)}
    done: set[Node] = set()
    order: list[Node] = []

    def bring(values: Sequence[Value]) -> None:
        needed: set[Node] = set()
        todo = [v.node for v in values if v.node is not None]
        while todo:
            node = todo.pop()
            if node not in done and node not in needed:
                needed.add(node)
                todo += [v.node for v in node.inputs if v.node is not None]
        order.extend(sorted(needed, key=place.__getitem__))
        done.update(needed)

    for node in graph.nodes:
        if not backward.isdisjoint(node.outputs):
            bring(node.outputs)
    bring(graph.outputs)
    return Graph(graph.name, graph.inputs, tuple(order), graph.outputs)


def _jvp(op: Op, site: Site, tangents: Sequence[Value | None], **attrs: Attr) -> list[Value | None]:
    body = tangent_graph(_body(site.attrs), [t is not None for t in tangents])
    given = [t for t in tangents if t is not None]
    made = iter(emit_all(op, *site.inputs, *given, body=body, **attrs))
    return [next(made) if v.dtype.is_inexact else None for v in site.outputs]


def _batch(op: Op, site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    attrs = {**site.attrs, "body": batch_graph(_body(site.attrs), batched, size)}
    return emit_all(op, *site.inputs, **attrs)


def _samples(**attrs: Attr) -> list[Sample]:
    types = (TensorType((3,), float32), TensorType((3,), float32))
    with GraphBuilder("sample") as builder:
        x, y = (builder.input(t, name) for t, name in zip(types, "xy", strict=True))
        body = builder.finish([multiply(sin(x), y), sin(y)])
    return [Sample(types, {"body": body, **attrs})]


CALL: Op = Op(
    name="call",
    doc="Its body applied to its inputs: a nested program, as of `jit` in `jit`.",
    infer=infer_body,
    reference=run_body,
    vjp=_call_vjp,
    jvp=lambda site, *tangents: _jvp(CALL, site, tangents),
    batch=lambda site, batched, size: _batch(CALL, site, batched, size),
    lower=lower_body,
    cost=cost_of_body,
    samples=_samples,
)

CHECKPOINT: Op = Op(
    name="checkpoint",
    doc=(
        "Its body applied to its inputs; the gradient keeps those and the outputs at places"
        " `kept`, and runs the rest again."
    ),
    infer=infer_body,
    reference=run_body,
    vjp=_checkpoint_vjp,
    jvp=lambda site, *tangents: _jvp(CHECKPOINT, site, tangents, kept=()),
    batch=lambda site, batched, size: _batch(CHECKPOINT, site, batched, size),
    lower=lower_body,
    cost=cost_of_body,
    samples=lambda: _samples(kept=(1,)),
)

RECORDS: tuple[Op, ...] = (CALL, CHECKPOINT)
