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
from pellucid.autodiff.forward import tangent_graph
from pellucid.autodiff.reverse import value_and_vjp_graph, vjp_graph
from pellucid.core.dtype import float32
from pellucid.core.errors import LoweringError, VerifyError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Attrs, Graph, GraphBuilder, TensorType, Value, emit_all
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.graph.prune import prune
from pellucid.graph.stats import graph_cost
from pellucid.ops import multiply, sin
from pellucid.ops.identity import barrier


def call(body: Graph, *args: Value) -> tuple[Value, ...]:
    """Run `body` on `args`, as one node of the current program."""
    return emit_all(CALL, *args, body=body)


def checkpoint(body: Graph, *args: Value) -> tuple[Value, ...]:
    """Run `body` on `args`; a gradient through it keeps only `args` and runs the body again."""
    return emit_all(CHECKPOINT, *args, body=body)


def _body(attrs: Attrs) -> Graph:
    return cast("Graph", attrs["body"])


def _infer(*types: TensorType, body: Graph) -> tuple[TensorType, ...]:
    expected = tuple(v.type for v in body.inputs)
    if types != expected:
        raise VerifyError(
            "call",
            f"{body.name} takes ({', '.join(map(str, expected))})",
            operands={"it": f"({', '.join(map(str, types))})"},
        )
    return tuple(v.type for v in body.outputs)


def _reference(*arrays: NDArray[Any], body: Graph) -> tuple[NDArray[Any], ...]:
    return interpret(body, *arrays)


def _lower(inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs) -> NoReturn:
    raise LoweringError("call", f"{_body(attrs).name} must be inlined before lowering")


def _cost(inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs) -> Cost:
    return graph_cost(_body(attrs))


def _wanted(site: Site) -> list[int]:
    """Places of the inputs whose gradient is wanted."""
    flags = site.wanted or (True,) * len(site.inputs)
    return [i for i, v in enumerate(site.inputs) if flags[i] and v.dtype.is_inexact]


def _in_place(site: Site, wanted: list[int], gradients: Sequence[Value]) -> list[Value | None]:
    found = dict(zip(wanted, gradients, strict=True))
    return [found.get(i) for i in range(len(site.inputs))]


def _call_vjp(site: Site, *cotangents: Value | None) -> list[Value | None]:
    wanted = _wanted(site)
    body = vjp_graph(_body(site.attrs), wanted)
    given = [c for c in cotangents if c is not None]
    return _in_place(site, wanted, call(body, *site.inputs, *site.outputs, *given))


def _checkpoint_vjp(site: Site, *cotangents: Value | None) -> list[Value | None]:
    """The body runs again inside the gradient's call, on operands behind barriers."""
    wanted = _wanted(site)
    forward = _body(site.attrs)
    both = value_and_vjp_graph(forward, wanted)
    outputs = both.outputs[len(forward.outputs) :]
    body = prune(Graph(f"{forward.name}_remat_vjp", both.inputs, both.nodes, outputs))
    given = [c for c in cotangents if c is not None]
    return _in_place(site, wanted, call(body, *map(barrier, site.inputs), *given))


def _jvp(op: Op, site: Site, tangents: Sequence[Value | None]) -> list[Value | None]:
    body = tangent_graph(_body(site.attrs), [t is not None for t in tangents])
    given = [t for t in tangents if t is not None]
    made = iter(emit_all(op, *site.inputs, *given, body=body))
    return [next(made) if v.dtype.is_inexact else None for v in site.outputs]


def _batch(op: Op, site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    return emit_all(op, *site.inputs, body=batch_graph(_body(site.attrs), batched, size))


def _samples() -> list[Sample]:
    types = (TensorType((3,), float32), TensorType((3,), float32))
    with GraphBuilder("sample") as builder:
        x, y = (builder.input(t, name) for t, name in zip(types, "xy", strict=True))
        body = builder.finish([multiply(sin(x), y), sin(y)])
    return [Sample(types, {"body": body})]


CALL: Op = Op(
    name="call",
    doc="Its body applied to its inputs: a nested program, as of `jit` in `jit`.",
    infer=_infer,
    reference=_reference,
    vjp=_call_vjp,
    jvp=lambda site, *tangents: _jvp(CALL, site, tangents),
    batch=lambda site, batched, size: _batch(CALL, site, batched, size),
    lower=_lower,
    cost=_cost,
    samples=_samples,
)

CHECKPOINT: Op = Op(
    name="checkpoint",
    doc="Its body applied to its inputs; the gradient keeps those only and runs it again.",
    infer=_infer,
    reference=_reference,
    vjp=_checkpoint_vjp,
    jvp=lambda site, *tangents: _jvp(CHECKPOINT, site, tangents),
    batch=lambda site, batched, size: _batch(CHECKPOINT, site, batched, size),
    lower=_lower,
    cost=_cost,
    samples=_samples,
)

RECORDS: tuple[Op, ...] = (CALL, CHECKPOINT)
