"""Safe rules on bools, comparisons, `where` and casts: the result has the same bits."""

from __future__ import annotations

from typing import cast

from pellucid import ops
from pellucid.core.dtype import DType
from pellucid.graph.ir import Node, Value
from pellucid.passes.match import filled, is_bool, is_number, made_by, operand
from pellucid.passes.rules_arithmetic import Operands

# explicit mantissa bits and largest exponent: what a float dtype can hold
_MANTISSA = {
    "float64": 52, "float32": 23, "float16": 10, "bfloat16": 7,
    "float8_e4m3fn": 3, "float8_e5m2": 2,
}  # fmt: skip
_EXPONENT = {
    "float64": 1023, "float32": 127, "float16": 15, "bfloat16": 127,
    "float8_e4m3fn": 8, "float8_e5m2": 15,
}  # fmt: skip


def and_rule(node: Node, operands: Operands) -> Value | None:
    """`x & x -> x`; `x & True -> x`; `x & False -> False`; with bits, -1 and 0."""
    for x, y in (operands, operands[::-1]):
        if x is y or is_bool(y, True) or (y.dtype.kind == "int" and is_number(y, -1)):
            return x
        if is_bool(y, False) or (y.dtype.is_integer and is_number(y, 0)):
            return y
    return None


def or_rule(node: Node, operands: Operands) -> Value | None:
    """`x | x -> x`; `x | False -> x`; `x | True -> True`; with bits, 0 and -1."""
    for x, y in (operands, operands[::-1]):
        if x is y or is_bool(y, False) or (y.dtype.is_integer and is_number(y, 0)):
            return x
        if is_bool(y, True) or (y.dtype.kind == "int" and is_number(y, -1)):
            return y
    return None


def xor_rule(node: Node, operands: Operands) -> Value | None:
    """`x ^ x -> 0`; `x ^ 0 -> x`; `x ^ True -> not x`."""
    for x, y in (operands, operands[::-1]):
        if is_bool(y, False) or (y.dtype.is_integer and is_number(y, 0)):
            return x
        if is_bool(y, True):
            return ops.logical_not(x)
    x, y = operands
    return filled(x, 0) if x is y else None


_OPPOSITE = {"lt": ops.greater_equal, "le": ops.greater, "gt": ops.less_equal, "ge": ops.less}


def not_rule(node: Node, operands: Operands) -> Value | None:
    """`not(not(x)) -> x`; `not(a == b) -> a != b`; `not(a < b) -> a >= b` where there is no NaN."""
    (x,) = operands
    if (inner := operand(x, "not")) is not None:
        return inner
    if (made := made_by(x, "eq", "ne")) is not None:
        flipped = ops.not_equal if made.op.name == "eq" else ops.equal
        return flipped(*made.inputs)
    made = made_by(x, *_OPPOSITE)
    if made is not None and not made.inputs[0].dtype.is_float:
        return _OPPOSITE[made.op.name](*made.inputs)
    return None


def where_rule(node: Node, operands: Operands) -> Value | None:
    """`where(True, a, b) -> a`; `where(c, a, a) -> a`; `where(not c, a, b) -> where(c, b, a)`."""
    cond, a, b = operands
    if a is b or is_bool(cond, True):
        return a
    if is_bool(cond, False):
        return b
    if (inner := operand(cond, "not")) is not None:
        return ops.where(inner, b, a)
    if is_bool(a, True) and is_bool(b, False):
        return cond
    if is_bool(a, False) and is_bool(b, True):
        return ops.logical_not(cond)
    return None


def holds(wide: DType, narrow: DType) -> bool:
    """Whether every value of `narrow` survives a cast to `wide` and back."""
    if wide == narrow or narrow.kind == "bool":
        return True
    if wide.is_complex or narrow.is_complex:
        return wide.is_complex and holds(wide.real, narrow.real)
    if wide.is_float and narrow.is_float:
        more_digits = _MANTISSA[wide.name] >= _MANTISSA[narrow.name]
        return more_digits and _EXPONENT[wide.name] >= _EXPONENT[narrow.name]
    if narrow.is_float or wide.kind == "bool":
        return False
    digits = narrow.bits - (narrow.kind == "int")
    if wide.is_float:
        return digits <= _MANTISSA[wide.name] + 1 and digits <= _EXPONENT[wide.name]
    room = wide.bits - (wide.kind == "int")
    return (wide.kind == "int" or narrow.kind == "uint") and digits <= room


def cast_rule(node: Node, operands: Operands) -> Value | None:
    """`cast(x, own) -> x`; `cast(cast(x, wide), t) -> cast(x, t)` where `wide` loses nothing."""
    (x,) = operands
    target = cast("DType", node.attrs["dtype"])
    if target == x.dtype:
        return x
    inner = operand(x, "cast")
    if inner is None or not holds(x.dtype, inner.dtype):
        return None
    # a float in the middle saturates on its way to an integer, where integers wrap around
    wraps = inner.dtype.is_integer and x.dtype.is_float and target.is_integer
    return None if wraps and not holds(target, inner.dtype) else ops.astype(inner, target)
