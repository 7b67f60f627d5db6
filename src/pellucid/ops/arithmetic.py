"""Arithmetic: the records that almost every derivative is written with, and their functions."""

from __future__ import annotations

from pellucid.graph.ir import Value, emit
from pellucid.graph.op import Op, Site
from pellucid.ops.pointwise import ADD, elementwise_op
from pellucid.ops.promotion import Operand, refuse_bool, unify


def add(x: Operand, y: Operand) -> Value:
    """`x + y`, broadcast and promoted."""
    return apply_numeric(ADD, "add", x, y)


def subtract(x: Operand, y: Operand) -> Value:
    """`x - y`, broadcast and promoted."""
    return apply_numeric(SUB, "subtract", x, y)


def multiply(x: Operand, y: Operand) -> Value:
    """`x * y`, broadcast and promoted."""
    return apply_numeric(MUL, "multiply", x, y)


def divide(x: Operand, y: Operand) -> Value:
    """`x / y`; integers are divided as float32."""
    return emit(DIV, *unify("divide", x, y, to_float=True))


def negative(x: Operand) -> Value:
    """`-x`; unsigned integers wrap around."""
    return apply_numeric(NEG, "negative", x)


def positive(x: Operand) -> Value:
    """`+x`: the numbers themselves."""
    values = unify("positive", x)
    refuse_bool("positive", values)
    return values[0]


def square(x: Operand) -> Value:
    """`x * x`."""
    return apply_numeric(MUL, "square", x, x)


def reciprocal(x: Operand) -> Value:
    """`1 / x`; integers as float32."""
    return divide(1, x)


def apply_numeric(op: Op, name: str, *operands: Operand) -> Value:
    """Apply a record after promotion and broadcasting.

    Args:
        op: the record.
        name: the public function's name, for messages.
        *operands: Values or Python scalars.

    Raises:
        DTypeError: the operands are bools, or have no common dtype.
        ShapeError: the shapes do not broadcast.
    """
    values = unify(name, *operands)
    refuse_bool(name, values)
    return emit(op, *values)


def _identity(site: Site, g: Value) -> Value:
    return g


def _negated(site: Site, g: Value) -> Value:
    return negative(g)


def _times_left(site: Site, g: Value) -> Value:
    return multiply(g, site.inputs[0])


def _times_right(site: Site, g: Value) -> Value:
    return multiply(g, site.inputs[1])


def _over_right(site: Site, g: Value) -> Value:
    return divide(g, site.inputs[1])


def _by_divisor(site: Site, g: Value) -> Value:
    # d(a/b)/db = -(a/b)/b, from the output so that no b * b can overflow
    return negative(divide(multiply(g, site.outputs[0]), site.inputs[1]))


SUB: Op = elementwise_op("sub", (_identity, _negated))
MUL: Op = elementwise_op("mul", (_times_right, _times_left))
DIV: Op = elementwise_op("div", (_over_right, _by_divisor), low=0.5)
NEG: Op = elementwise_op("neg", (_negated,))

RECORDS: tuple[Op, ...] = (ADD, SUB, MUL, DIV, NEG)
