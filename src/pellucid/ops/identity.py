"""Identities with a side meaning: `barrier` holds off passes, `stop_gradient` derivatives;
`checkpoint_name` names a value.
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.dtype import bool_, float32, float64, int32
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Op, Sample
from pellucid.loop.compute import Index, Lowering, Pointwise, Readers
from pellucid.loop.ir import Expr
from pellucid.ops.shared import Types, no_cost


def barrier(x: Value) -> Value:
    """`x`, behind a fence: no pass merges what is computed on its two sides.

    Gradient: the cotangent, unchanged.
    """
    return emit(BARRIER, x)


def stop_gradient(x: Value) -> Value:
    """`x` as if it were a constant: no gradient flows through."""
    return emit(STOP_GRADIENT, x)


def checkpoint_name(x: Value, name: str) -> Value:
    """`x`, under a name that a checkpoint's policy can ask for."""
    return emit(CHECKPOINT_NAME, x, name=name)


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    def body(idx: Index, readers: Readers) -> Expr:
        return readers[0](idx)

    return Pointwise(body=body, elementwise=True, views=True)


def _samples() -> Sequence[Sample]:
    cases = (((3, 5), float32), ((), float64), ((0, 2), int32), ((7,), bool_))
    return [Sample((TensorType(shape, dtype),)) for shape, dtype in cases]


BARRIER: Op = Op(
    name="barrier",
    doc=(
        "The identity that no pass merges or moves work across. Primitive: that it means nothing is"
        " what makes it useful; `checkpoint` recomputes behind it."
    ),
    infer=lambda x: x,
    reference=lambda x: x,
    vjp=lambda site, g: [g],
    jvp=lambda site, t: [t],
    batch=lambda site, batched, size: [barrier(site.inputs[0])],
    lower=_lower,
    cost=no_cost,
    samples=_samples,
)

STOP_GRADIENT: Op = Op(
    name="stop_gradient",
    doc="The identity whose derivative is zero.",
    infer=lambda x: x,
    reference=lambda x: x,
    vjp=lambda site, g: [None],
    jvp=lambda site, t: [None],
    batch=lambda site, batched, size: [stop_gradient(site.inputs[0])],
    lower=_lower,
    cost=no_cost,
    samples=_samples,
)

CHECKPOINT_NAME: Op = Op(
    name="checkpoint_name",
    doc=(
        "The identity under a name. Primitive: that it means nothing but its name is what makes it"
        " useful; policies of `checkpoint` look for it."
    ),
    infer=lambda x, *, name: x,
    reference=lambda x, name: x,
    vjp=lambda site, g: [g],
    jvp=lambda site, t: [t],
    batch=lambda site, batched, size: [emit(CHECKPOINT_NAME, site.inputs[0], **site.attrs)],
    lower=_lower,
    cost=no_cost,
    samples=lambda: [Sample((TensorType((3, 5), float32),), {"name": "x"})],
)

RECORDS: tuple[Op, ...] = (BARRIER, STOP_GRADIENT, CHECKPOINT_NAME)
