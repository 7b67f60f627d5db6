"""The elementwise record maker, and the arithmetic every derivative is written with.

An elementwise op's Jacobian is diagonal, so one function per operand, its partial, gives both directions: it scales a
cotangent for the vjp and a tangent for the jvp. Partials are ops functions, so derivatives can be differentiated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.graph.ir import Attrs, Value, emit
from pellucid.graph.op import Op, Site
from pellucid.loop.compute import Index, Lowering, Pointwise, Readers
from pellucid.loop.ir import Call, Expr
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.pointwise import (
    FLOAT,
    NUMERIC,
    Infer,
    Samples,
    elementwise_samples,
    elementwise_type,
    in_numpy,
    output_cost,
)
from pellucid.ops.promotion import Operand, refuse_bool, unify
from pellucid.ops.shared import Types

Partial = Callable[[Site, Value], Value]
Partials = tuple[Partial | None, ...]


def elementwise_op(
    *,
    name: str,
    doc: str,
    infer: Infer,
    reference: Callable[..., NDArray[Any]],
    partials: Partials | None,
    samples: Samples,
    function: str = "",
    flops: int = 1,
) -> Op:
    """A record whose output element depends on the input elements at its own index only.

    Args:
        name: the record's name.
        doc: its doc.
        infer: its type rule.
        reference: its meaning in NumPy.
        partials: per operand, `partial(site, g)` = g times the derivative, or None where it is zero or there is none;
            `None` for ops without derivatives.
        samples: its test cases.
        function: the loop function, where it is not called like the record.
        flops: operations per element, for the cost.
    """

    def batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
        pairs = zip(site.inputs, batched, strict=True)
        full = [v if b else broadcast_to(v, (size, *v.shape)) for v, b in pairs]
        return (emit(op, *full, **site.attrs),)

    def lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
        def body(index: Index, readers: Readers) -> Expr:
            args = tuple(read(index) for read in readers)
            return Call(function or name, args, outputs[0].dtype)

        return Pointwise(body=body, elementwise=True)

    op = Op(
        name=name,
        doc=doc,
        infer=infer,
        reference=reference,
        vjp=None if partials is None else _vjp(partials),
        jvp=None if partials is None else _jvp(partials),
        batch=batch,
        lower=lower,
        cost=output_cost(flops),
        samples=samples,
    )
    return op


def _vjp(partials: Partials) -> Callable[..., Sequence[Value | None]]:
    def vjp(site: Site, g: Value) -> Sequence[Value | None]:
        pairs = zip(site.inputs, partials, strict=True)
        return [p(site, g) if p and x.dtype.is_float else None for x, p in pairs]

    return vjp


def _jvp(partials: Partials) -> Callable[..., Sequence[Value | None]]:
    def jvp(site: Site, *tangents: Value | None) -> Sequence[Value | None]:
        total: Value | None = None
        for partial, tangent in zip(partials, tangents, strict=True):
            if partial is not None and tangent is not None:
                term = partial(site, tangent)
                total = term if total is None else emit(ADD, total, term)
        return (total,)

    return jvp


def arithmetic_function(op: Op, name: str, x: Operand, y: Operand) -> Value:
    """Apply a binary record after promotion and broadcasting; bools are refused."""
    values = unify(name, x, y)
    refuse_bool(name, values)
    return emit(op, *values)


def add(x: Operand, y: Operand) -> Value:
    """`x + y`, broadcast and promoted."""
    return arithmetic_function(ADD, "add", x, y)


def subtract(x: Operand, y: Operand) -> Value:
    """`x - y`, broadcast and promoted."""
    return arithmetic_function(SUB, "subtract", x, y)


def multiply(x: Operand, y: Operand) -> Value:
    """`x * y`, broadcast and promoted."""
    return arithmetic_function(MUL, "multiply", x, y)


def divide(x: Operand, y: Operand) -> Value:
    """`x / y`; integers are divided as float32."""
    return emit(DIV, *unify("divide", x, y, to_float=True))


def negative(x: Operand) -> Value:
    """`-x`; unsigned integers wrap around."""
    values = unify("negative", x)
    refuse_bool("negative", values)
    return emit(NEG, *values)


def square(x: Operand) -> Value:
    """`x * x`."""
    return multiply(x, x)


def reciprocal(x: Operand) -> Value:
    """`1 / x`; integers as float32."""
    return divide(1, x)


def _identity(site: Site, g: Value) -> Value:
    return g


def _negated(site: Site, g: Value) -> Value:
    return negative(g)


def _div_by_denominator(site: Site, g: Value) -> Value:
    # d(a/b)/db = -(a/b)/b, from the output so that no a/b² can overflow
    return negative(divide(multiply(g, site.outputs[0]), site.inputs[1]))


ADD: Op = elementwise_op(
    name="add",
    doc="a + b; integers wrap around.",
    infer=elementwise_type("add", NUMERIC),
    reference=in_numpy(np.add),
    partials=(_identity, _identity),
    samples=elementwise_samples(2, NUMERIC),
)
SUB: Op = elementwise_op(
    name="sub",
    doc="a - b; integers wrap around.",
    infer=elementwise_type("sub", NUMERIC),
    reference=in_numpy(np.subtract),
    partials=(_identity, _negated),
    samples=elementwise_samples(2, NUMERIC),
)
MUL: Op = elementwise_op(
    name="mul",
    doc="a * b; integers wrap around.",
    infer=elementwise_type("mul", NUMERIC),
    reference=in_numpy(np.multiply),
    partials=(
        lambda site, g: multiply(g, site.inputs[1]),
        lambda site, g: multiply(g, site.inputs[0]),
    ),
    samples=elementwise_samples(2, NUMERIC),
)
DIV: Op = elementwise_op(
    name="div",
    doc="a / b on floats.",
    infer=elementwise_type("div", FLOAT),
    reference=in_numpy(np.divide),
    partials=(lambda site, g: divide(g, site.inputs[1]), _div_by_denominator),
    samples=elementwise_samples(2, FLOAT, 0.5, 2.0),
)
NEG: Op = elementwise_op(
    name="neg",
    doc="-a; unsigned integers wrap around.",
    infer=elementwise_type("neg", NUMERIC),
    reference=in_numpy(np.negative),
    partials=(_negated,),
    samples=elementwise_samples(1, NUMERIC),
)

RECORDS: tuple[Op, ...] = (ADD, SUB, MUL, DIV, NEG)
