"""Safe arithmetic rules: the result has the same bits, up to the payload of a NaN.

Each takes a node and its operands in the new graph and returns the value to use instead, or None.
`simplify_algebra` lists them by op.
"""

from __future__ import annotations

import math

from pellucid import ops
from pellucid.core.dtype import DType
from pellucid.graph.ir import Node, Value, emit
from pellucid.passes.match import combined, filled, is_number, made_by, number, operand

Operands = tuple[Value, ...]


def _zero_that_adds_nothing(value: Value) -> bool:
    """`x + 0` is `x`; for floats only with -0.0, because -0.0 + 0.0 is 0.0."""
    return is_number(value, -0.0 if value.dtype.is_float else 0)


def add_rule(node: Node, operands: Operands) -> Value | None:
    """`x + 0 -> x`; `x + -y -> x - y`."""
    for x, y in (operands, operands[::-1]):
        if _zero_that_adds_nothing(y):
            return x
    for x, y in (operands, operands[::-1]):
        if (negated := operand(y, "neg")) is not None:
            return ops.subtract(x, negated)
    return None


def reassociated(node: Node, operands: Operands) -> Value | None:
    """`(x + a) + b -> x + (a + b)` for repeated numbers `a` and `b`; likewise products."""
    for outer, b in (operands, operands[::-1]):
        inner = made_by(outer, node.op.name)
        if inner is None:
            continue
        for x, a in (inner.inputs, inner.inputs[::-1]):
            both = combined(node.op, a, b)
            if both is not None:
                return emit(node.op, x, both)
    return None


def reassociate_integers(node: Node, operands: Operands) -> Value | None:
    """`reassociated` where it is exact: integers wrap around."""
    return reassociated(node, operands) if operands[0].dtype.is_integer else None


def subtract_rule(node: Node, operands: Operands) -> Value | None:
    """`x - 0 -> x`; `-0.0 - x -> -x`; `x - -y -> x + y`; `x - x -> 0` for integers."""
    x, y = operands
    if is_number(y, 0):
        return x
    if _zero_that_adds_nothing(x):
        return ops.negative(y)
    if (negated := operand(y, "neg")) is not None:
        return ops.add(x, negated)
    return filled(x, 0) if x is y and x.dtype.is_integer else None


def multiply_rule(node: Node, operands: Operands) -> Value | None:
    """`x*1 -> x`; `x*-1 -> -x`; `-x * -y -> x*y`; `-x * c -> x * -c`; integers: `x*0 -> 0`."""
    for x, y in (operands, operands[::-1]):
        if is_number(y, 1):
            return x
        if is_number(y, -1):
            return ops.negative(x)
        if x.dtype.is_integer and is_number(y, 0):
            return filled(x, 0)
    x, y = operands
    a, b = operand(x, "neg"), operand(y, "neg")
    if a is not None and b is not None:
        return ops.multiply(a, b)
    for negated, other in ((a, y), (b, x)):
        c = number(other)
        if negated is not None and c is not None and other.dtype.is_float:
            return ops.multiply(negated, filled(other, -c))
    return None


# of bfloat16 and float32 both, 2**-126; float8 is left alone
_SMALLEST_NORMAL = {
    "float16": 2.0**-14, "bfloat16": 2.0**-126, "float32": 2.0**-126, "float64": 2.0**-1022,
}  # fmt: skip


def exact_reciprocal(c: float, dtype: DType) -> float | None:
    """`1 / c` where multiplying by it is exact: `c` a power of two, both normal numbers."""
    smallest = _SMALLEST_NORMAL.get(dtype.name)
    if smallest is None or c == 0 or not math.isfinite(c) or abs(math.frexp(c)[0]) != 0.5:
        return None
    return 1 / c if smallest <= abs(c) <= 1 / smallest else None


def divide_rule(node: Node, operands: Operands) -> Value | None:
    """`x/1 -> x`; `-x / -y -> x/y`; `x/c -> x * (1/c)` for powers of two, where it is exact."""
    x, y = operands
    if is_number(y, 1):
        return x
    a, b = operand(x, "neg"), operand(y, "neg")
    if a is not None and b is not None:
        return ops.divide(a, b)
    c = number(y) if x.dtype.is_float else None
    inverse = None if c is None else exact_reciprocal(c, x.dtype)
    return None if inverse is None else ops.multiply(x, filled(y, inverse))


def floor_divide_rule(node: Node, operands: Operands) -> Value | None:
    """`x // 1 -> x` for integers."""
    x, y = operands
    return x if x.dtype.is_integer and is_number(y, 1) else None


def remainder_rule(node: Node, operands: Operands) -> Value | None:
    """`x % 1 -> 0` for integers."""
    x, y = operands
    return filled(x, 0) if x.dtype.is_integer and is_number(y, 1) else None


def power_rule(node: Node, operands: Operands) -> Value | None:
    """Small whole exponents as products: `x ** 2 -> x * x`, also 0, 1, 3, 4 and, for floats, -1.

    Cubes and fourth powers round twice, which is within the 2 ulp that `pow` itself is good for;
    not so below 32 bits, where `pow` rounds a wider result once.
    """
    x, y = operands
    exponent = number(y)
    if exponent in (3.0, 4.0) and x.dtype.is_float and x.dtype.bits < 32:
        return None
    match exponent:
        case 0.0:
            return filled(x, 1)
        case 1.0:
            return x
        case 2.0:
            return ops.multiply(x, x)
        case 3.0:
            return ops.multiply(ops.multiply(x, x), x)
        case 4.0:
            square = ops.multiply(x, x)
            return ops.multiply(square, square)
        case -1.0 if x.dtype.is_float:
            return ops.divide(filled(x, 1), x)
    return None


def negative_rule(node: Node, operands: Operands) -> Value | None:
    """`-(-x) -> x`; `-(x - y) -> y - x` for integers (floats: -(0.0) and 0.0 differ)."""
    (x,) = operands
    if (inner := operand(x, "neg")) is not None:
        return inner
    difference = made_by(x, "sub")
    if difference is not None and x.dtype.is_integer:
        return ops.subtract(difference.inputs[1], difference.inputs[0])
    return None


def absolute_rule(node: Node, operands: Operands) -> Value | None:
    """`abs(abs(x)) -> abs(x)`; `abs(-x) -> abs(x)`, but where -x wraps: unsigned."""
    (x,) = operands
    if made_by(x, "abs") is not None:
        return x
    inner = operand(x, "neg")
    return None if inner is None or x.dtype.kind == "uint" else ops.abs(inner)


def extremum_rule(node: Node, operands: Operands) -> Value | None:
    """`max(x, x) -> x`, and `min`."""
    x, y = operands
    return x if x is y else None


def rounding_rule(node: Node, operands: Operands) -> Value | None:
    """`floor(ceil(x)) -> ceil(x)`, as any two of floor, ceil, round, trunc: whole already."""
    (x,) = operands
    return x if made_by(x, "floor", "ceil", "round", "trunc") is not None else None
