"""Ops that their nodes spell out: a body, and where wanted derivatives other than the body's.

A node of a composite op has the attribute `body`, and maybe `vjp` and `jvp`, all graphs. The other
derivative, where one is given, is its transpose: both are the same linear map. Batching batches the
graphs, so that derivatives of a batch are those of its examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from numpy.typing import NDArray

from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.checkpoint import CALL
from pellucid.autodiff.common import zeros_of
from pellucid.autodiff.linear import transpose_graph
from pellucid.core.errors import GradientError, LoweringError, VerifyError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Attrs, Graph, GraphBuilder, TensorType, Value, emit_all, inline
from pellucid.graph.op import Composite, Site
from pellucid.graph.prune import prune
from pellucid.graph.stats import graph_cost
from pellucid.ops import sum


def composite_op(name: str, doc: str) -> Composite:
    """A new op whose nodes say what they do: `emit_all(op, *inputs, body=..., vjp=..., jvp=...)`.

    The graph `vjp` goes from inputs, outputs and cotangents of inexact outputs to gradients of
    inexact inputs; `jvp` from inputs, outputs and tangents of inexact inputs to tangents of inexact
    outputs. Both may be left out.
    """
    op = Composite(
        name=name,
        doc=doc,
        infer=_infer,
        reference=_reference,
        vjp=_vjp,
        jvp=_jvp,
        batch=lambda site, batched, size: _batch(op, site, batched, size),
        lower=_lower,
        cost=lambda inputs, outputs, attrs: graph_cost(_graph(attrs, "body")),
        samples=lambda: [],
    )
    return op


def transposed(graph: Graph, fixed: int) -> Graph:
    """The transpose of what is linear in its last inputs.

    Args:
        graph: `(fixed inputs..., linear inputs...) -> outputs`, all but the fixed ones inexact.
        fixed: the number of the former.

    Returns:
        `(fixed inputs..., cotangents of outputs...) -> cotangents of the linear inputs`.

    Raises:
        GradientError: it is not linear in them.
    """
    made = transpose_graph(graph, range(fixed, len(graph.inputs)))
    if made is None:
        raise GradientError(
            graph.name, "the derivative rule is not linear in what it is given, so that the other"
            " mode cannot be made of it", fix="give both vjp and jvp",
        )  # fmt: skip
    return made


def _graph(attrs: Mapping[str, Any], name: str) -> Graph:
    graph = attrs.get(name)
    if not isinstance(graph, Graph):
        raise VerifyError("composite", f"the attribute {name} must be a graph")
    return graph


def _infer(*types: TensorType, body: Graph, **rules: Graph) -> tuple[TensorType, ...]:
    if types != tuple(v.type for v in body.inputs):
        raise VerifyError(
            body.name,
            f"its body takes ({', '.join(str(v.type) for v in body.inputs)})",
            operands={"it": f"({', '.join(map(str, types))})"},
        )
    return tuple(v.type for v in body.outputs)


def _reference(*arrays: NDArray[Any], body: Graph, **rules: Graph) -> tuple[NDArray[Any], ...]:
    return interpret(body, *arrays)


def _lower(inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs) -> NoReturn:
    name = _graph(attrs, "body").name
    raise LoweringError("composite", f"{name} must be inlined before lowering")


def _vjp(site: Site, *cotangents: Value | None) -> Sequence[Value | None]:
    attrs, given = site.attrs, [c for c in cotangents if c is not None]
    if "vjp" in attrs:
        rule = _graph(attrs, "vjp")
    elif "jvp" in attrs:
        rule = transposed(_graph(attrs, "jvp"), len(site.inputs) + len(site.outputs))
    elif CALL.vjp is not None:
        return CALL.vjp(site, *cotangents)
    made = iter(inline(rule, [*site.inputs, *site.outputs, *given]))
    return [next(made) if v.dtype.is_inexact else None for v in site.inputs]


def _jvp(site: Site, *tangents: Value | None) -> Sequence[Value | None]:
    attrs, pairs = site.attrs, zip(site.inputs, tangents, strict=True)
    if "jvp" in attrs:
        rule = _graph(attrs, "jvp")
    elif "vjp" in attrs:
        rule = transposed(_graph(attrs, "vjp"), len(site.inputs) + len(site.outputs))
    elif CALL.jvp is not None:
        return CALL.jvp(site, *tangents)
    given = [zeros_of(v.type) if t is None else t for v, t in pairs if v.dtype.is_inexact]
    made = iter(inline(rule, [*site.inputs, *site.outputs, *given]))
    return [next(made) if v.dtype.is_inexact else None for v in site.outputs]


def _batch(op: Composite, site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    attrs = {"body": batch_graph(_graph(site.attrs, "body"), batched, size)}
    outputs = (True,) * len(site.outputs)
    inexact = [b for b, v in zip(batched, site.inputs, strict=True) if v.dtype.is_inexact]
    if "vjp" in site.attrs:
        rule = _graph(site.attrs, "vjp")
        cotangents = len(rule.inputs) - len(batched) - len(outputs)
        many = batch_graph(rule, (*batched, *outputs, *(True,) * cotangents), size)
        attrs["vjp"] = _summed(many, inexact)
    if "jvp" in site.attrs:
        attrs["jvp"] = batch_graph(_graph(site.attrs, "jvp"), (*batched, *outputs, *inexact), size)
    return emit_all(op, *site.inputs, **attrs)


def _summed(graph: Graph, batched: Sequence[bool]) -> Graph:
    """Gradients of what all examples share are the sum of theirs."""
    with GraphBuilder(graph.name) as builder:
        made = inline(graph, [builder.input(v.type, v.name) for v in graph.inputs])
        pairs = zip(made, batched, strict=True)
        return prune(builder.finish([v if b else sum(v, axis=0) for v, b in pairs]))
