"""`ratio`: a quotient that is 0 where its numerator is, whatever the denominator.

Derivatives of eigenvectors and singular vectors divide by gaps between eigenvalues. Where a gap is
0 the derivative exists only if nothing depends on it, and then the numerator is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import bool_, float32, float64
from pellucid.core.errors import DTypeError
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import Index, Lowering, Pointwise, Readers, host_lowering
from pellucid.loop.ir import Call, Const, Expr, select
from pellucid.ops.arithmetic import multiply, negative, subtract
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.parts import conj
from pellucid.ops.pointwise import check_equal_shapes, output_cost
from pellucid.ops.promotion import unify
from pellucid.ops.shared import Array, Types


def ratio(x: Value, y: Value) -> Value:
    """`x / y`, 0 where `x` is 0 even if `y` is; broadcast and promoted.

    Gradient: that of the quotient; finite where `x` and the cotangents are 0.
    """
    return emit(RATIO, *unify("ratio", x, y, to_float=True))


def _infer(x: TensorType, y: TensorType) -> TensorType:
    check_equal_shapes("ratio", (x, y))
    if x.dtype != y.dtype or not x.dtype.is_inexact:
        raise DTypeError("ratio", "operands need one float dtype", operands={"x": x, "y": y})
    return x


def _reference(x: Array, y: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.where(x == 0, x.dtype.type(0), x / y)


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    dtype = outputs[0].dtype
    if dtype.is_complex:
        return host_lowering(_reference)(inputs, outputs, attrs)

    def body(index: Index, readers: Readers) -> Expr:
        x, y = (read(index) for read in readers)
        zero = Const(0.0, dtype)
        return select(Call("eq", (x, zero), bool_), zero, Call("div", (x, y), dtype))

    return Pointwise(body=body, elementwise=True)


def _vjp(site: Site, g: Value) -> Sequence[Value | None]:
    y, (made,) = conj(site.inputs[1]), site.outputs
    wanted = not site.wanted or site.wanted[1]
    return [ratio(g, y), negative(ratio(multiply(g, conj(made)), y)) if wanted else None]


def _jvp(site: Site, tx: Value | None, ty: Value | None) -> Sequence[Value | None]:
    y, (made,) = site.inputs[1], site.outputs
    first = None if tx is None else ratio(tx, y)
    if ty is None:
        return [first]
    second = ratio(multiply(made, ty), y)
    return [negative(second) if first is None else subtract(first, second)]


def _batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    pairs = zip(site.inputs, batched, strict=True)
    return [emit(RATIO, *[v if b else broadcast_to(v, (size, *v.shape)) for v, b in pairs])]


def _samples() -> Sequence[Sample]:
    special = np.array([0.0, -0.0, 1.0, 0.0, np.nan]), np.array([0.0, 2.0, 0.0, np.nan, 0.0])
    pairs = np.array([1 + 2j, 0, 3j, 0]), np.array([2 - 1j, 2, 1j, -1j])
    return [
        Sample((TensorType((3, 5), float64),) * 2, low=0.5),
        Sample((TensorType((), float32),) * 2, low=0.5),
        Sample((TensorType((0, 4), float32),) * 2),
        Sample(special),
        Sample(pairs),
    ]


RATIO: Op = Op(
    name="ratio",
    doc=(
        "`x / y`, 0 where `x` is. Primitive: composed of `where` and `div`, the derivative of an"
        " `x` that happens to be 0 would be 0."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=_batch,
    lower=_lower,
    cost=output_cost(2),
    samples=_samples,
)

RECORDS: tuple[Op, ...] = (RATIO,)
