"""Comparisons, logic and bits, which have no derivatives; and `where`, which chooses."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

import numpy as np

from pellucid.core.dtype import bfloat16, bool_, float16, float32, float64
from pellucid.core.shape import broadcast_shapes
from pellucid.graph.ir import Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.casting import astype
from pellucid.ops.create import full, zeros_like
from pellucid.ops.pointwise import elementwise_op
from pellucid.ops.promotion import (
    Operand,
    as_value,
    broadcast_all,
    common_dtype,
    refuse_complex,
    unify,
)


def _compare(op: Op, name: str, x: Operand, y: Operand) -> Value:
    if isinstance(x, Value) and _side(x, y):
        return full(x.shape, _ORDERS[op.name](0, _side(x, y)))
    if isinstance(y, Value) and _side(y, x):
        return full(y.shape, _ORDERS[op.name](_side(y, x), 0))
    values = unify(name, x, y)
    if op.name not in ("eq", "ne"):
        refuse_complex(name, *values)
    return emit(op, *values)


_ORDERS: dict[str, Callable[[int, int], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt,
    "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip


def _side(x: Value, number: Operand) -> int:
    """1 or -1 if a Python int is above or below all that the integers of `x` can be, else 0."""
    if not x.dtype.is_integer or isinstance(number, Value) or type(number) is not int:
        return 0
    info = np.iinfo(x.dtype.name)
    return (number > info.max) - (number < info.min)


def _bitwise(op: Op, name: str, x: Operand, y: Operand) -> Value:
    return emit(op, *unify(name, x, y))


def equal(x: Operand, y: Operand) -> Value:
    """`x == y` as bool; NaN equals nothing."""
    return _compare(EQ, "equal", x, y)


def not_equal(x: Operand, y: Operand) -> Value:
    """`x != y` as bool."""
    return _compare(NE, "not_equal", x, y)


def less(x: Operand, y: Operand) -> Value:
    """`x < y` as bool."""
    return _compare(LT, "less", x, y)


def less_equal(x: Operand, y: Operand) -> Value:
    """`x <= y` as bool."""
    return _compare(LE, "less_equal", x, y)


def greater(x: Operand, y: Operand) -> Value:
    """`x > y` as bool."""
    return _compare(GT, "greater", x, y)


def greater_equal(x: Operand, y: Operand) -> Value:
    """`x >= y` as bool."""
    return _compare(GE, "greater_equal", x, y)


def _logical(op: Op, name: str, *operands: Operand) -> Value:
    values = [astype(unify(name, x)[0], bool_) for x in operands]
    return emit(op, *broadcast_all(name, values))


def logical_and(x: Operand, y: Operand) -> Value:
    """Both true; numbers count as `!= 0`."""
    return _logical(AND, "logical_and", x, y)


def logical_or(x: Operand, y: Operand) -> Value:
    """At least one true; numbers count as `!= 0`."""
    return _logical(OR, "logical_or", x, y)


def logical_xor(x: Operand, y: Operand) -> Value:
    """Exactly one true; numbers count as `!= 0`."""
    return _logical(XOR, "logical_xor", x, y)


def logical_not(x: Operand) -> Value:
    """True where `x` is false or 0."""
    return _logical(NOT, "logical_not", x)


def bitwise_and(x: Operand, y: Operand) -> Value:
    """Bits set in both; logical on bool."""
    return _bitwise(AND, "bitwise_and", x, y)


def bitwise_or(x: Operand, y: Operand) -> Value:
    """Bits set in either; logical on bool."""
    return _bitwise(OR, "bitwise_or", x, y)


def bitwise_xor(x: Operand, y: Operand) -> Value:
    """Bits set in exactly one; logical on bool."""
    return _bitwise(XOR, "bitwise_xor", x, y)


def bitwise_invert(x: Operand) -> Value:
    """All bits flipped; logical on bool."""
    return emit(NOT, *unify("bitwise_invert", x))


def bitwise_left_shift(x: Operand, y: Operand) -> Value:
    """`x << y`; 0 where `y` is the width or more (or negative)."""
    return _bitwise(SHL, "bitwise_left_shift", x, y)


def bitwise_right_shift(x: Operand, y: Operand) -> Value:
    """`x >> y`, keeping the sign; where `y` is the width or more: 0, or -1 for negative `x`."""
    return _bitwise(SHR, "bitwise_right_shift", x, y)


def isnan(x: Operand) -> Value:
    """True where `x` is NaN; never for integers and bools."""
    return _float_test(ISNAN, "isnan", x)


def isinf(x: Operand) -> Value:
    """True where `x` is +inf or -inf; never for integers and bools."""
    return _float_test(ISINF, "isinf", x)


def isfinite(x: Operand) -> Value:
    """True where `x` is neither NaN nor infinite."""
    return logical_not(logical_or(isnan(x), isinf(x)))


def _float_test(op: Op, name: str, x: Operand) -> Value:
    (value,) = unify(name, x)
    return emit(op, value) if value.dtype.is_inexact else full(value.shape, False)


def where(condition: Operand, x: Operand, y: Operand) -> Value:
    """`x` where the condition holds, else `y`; broadcast, `x` and `y` promoted.

    Where only a condition is at hand, as in `numpy.where(condition)`, use `nonzero`.

    Gradient: reaches only the side chosen. A side whose own derivative is infinite where it is not
    chosen still gives 0 * inf = NaN upstream; make its operand safe with another `where`.
    """
    x_value, y_value = (as_value("where", v, common_dtype("where", (x, y))) for v in (x, y))
    cond = astype(unify("where", condition)[0], bool_)
    shape = broadcast_shapes("where", cond.shape, x_value.shape, y_value.shape)
    return emit(WHERE, *(broadcast_to(v, shape) for v in (cond, x_value, y_value)))


def _take_first(site: Site, g: Value) -> Value:
    return where(site.inputs[0], g, zeros_like(g))


def _take_second(site: Site, g: Value) -> Value:
    return where(site.inputs[0], zeros_like(g), g)


_SPECIAL = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.5])


def _special_samples() -> Sequence[Sample]:
    return [Sample((_SPECIAL.astype(d.numpy),)) for d in (float32, float64, float16, bfloat16)]


def _nan_samples() -> Sequence[Sample]:
    return [Sample((_SPECIAL, _SPECIAL[::-1].copy()))]


def _shift_samples() -> Sequence[Sample]:
    values, amounts = [-128, -1, 1, 127, 5], [7, 8, -1, 100, 0]
    return [Sample((np.array(values, np.int8), np.array(amounts, np.int8)))]


EQ: Op = elementwise_op("eq", None, samples=_nan_samples)
NE: Op = elementwise_op("ne", None, samples=_nan_samples)
LT: Op = elementwise_op("lt", None, samples=_nan_samples)
LE: Op = elementwise_op("le", None, samples=_nan_samples)
GT: Op = elementwise_op("gt", None, samples=_nan_samples)
GE: Op = elementwise_op("ge", None, samples=_nan_samples)

AND: Op = elementwise_op("and", None, low=0, high=12)
OR: Op = elementwise_op("or", None, low=0, high=12)
XOR: Op = elementwise_op("xor", None, low=0, high=12)
NOT: Op = elementwise_op("not", None, low=0, high=12)
SHL: Op = elementwise_op("shl", None, low=0, high=12, samples=_shift_samples)
SHR: Op = elementwise_op("shr", None, low=0, high=12, samples=_shift_samples)

ISNAN: Op = elementwise_op("isnan", None, samples=_special_samples)
ISINF: Op = elementwise_op("isinf", None, samples=_special_samples)

WHERE: Op = elementwise_op("where", (None, _take_first, _take_second), scalar_function="select")

RECORDS: tuple[Op, ...] = (
    EQ, NE, LT, LE, GT, GE, AND, OR, XOR, NOT, SHL, SHR, ISNAN, ISINF, WHERE,
)  # fmt: skip
