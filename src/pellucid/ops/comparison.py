"""Comparisons, logic and bits: bool and integer results, no derivatives; and `where`, which chooses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import DType, as_dtype, bool_, float32, float64, int32
from pellucid.core.errors import DTypeError
from pellucid.core.shape import Shape, broadcast_shapes
from pellucid.graph.ir import TensorType, Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.ops.arithmetic import elementwise_op
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.casting import astype
from pellucid.ops.create import full, zeros_like
from pellucid.ops.pointwise import (
    ANY,
    BITS,
    FLOAT,
    INTEGER,
    Kinds,
    check_equal,
    elementwise_samples,
    elementwise_type,
    in_numpy,
)
from pellucid.ops.promotion import Operand, as_value, broadcast_all, common_dtype, unify


def _compare(op: Op, name: str, x: Operand, y: Operand) -> Value:
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
    return _compare(AND, "bitwise_and", x, y)


def bitwise_or(x: Operand, y: Operand) -> Value:
    """Bits set in either; logical on bool."""
    return _compare(OR, "bitwise_or", x, y)


def bitwise_xor(x: Operand, y: Operand) -> Value:
    """Bits set in exactly one; logical on bool."""
    return _compare(XOR, "bitwise_xor", x, y)


def bitwise_invert(x: Operand) -> Value:
    """All bits flipped; logical on bool."""
    return emit(NOT, *unify("bitwise_invert", x))


def bitwise_left_shift(x: Operand, y: Operand) -> Value:
    """`x << y`; 0 where `y` is the width or more (or negative)."""
    return _compare(SHL, "bitwise_left_shift", x, y)


def bitwise_right_shift(x: Operand, y: Operand) -> Value:
    """`x >> y`, keeping the sign; where `y` is the width or more: 0, or -1 for negative `x`."""
    return _compare(SHR, "bitwise_right_shift", x, y)


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
    return emit(op, value) if value.dtype.is_float else full(value.shape, False)


def where(condition: Operand, x: Operand, y: Operand) -> Value:
    """`x` where the condition holds, else `y`; broadcast, `x` and `y` promoted.

    Gradient: flows only to the side chosen; the other gets exact zeros, also where its own derivative is NaN or inf
    upstream of the choice it does not (guard the operand itself for that).
    """
    x_value, y_value = (as_value("where", v, common_dtype("where", (x, y))) for v in (x, y))
    cond = astype(unify("where", condition)[0], bool_)
    shape = broadcast_shapes("where", cond.shape, x_value.shape, y_value.shape)
    return emit(WHERE, *(broadcast_to(v, shape) for v in (cond, x_value, y_value)))


def _take_first(site: Site, g: Value) -> Value:
    return where(site.inputs[0], g, zeros_like(g))


def _take_second(site: Site, g: Value) -> Value:
    return where(site.inputs[0], zeros_like(g), g)


def _infer_where(cond: TensorType, x: TensorType, y: TensorType) -> TensorType:
    if cond.dtype.kind != "bool":
        raise DTypeError("where", "the condition must be bool", operands={"cond": cond})
    check_equal("where", (x, y))
    check_equal("where", (TensorType(cond.shape, x.dtype), x))
    return x


def _where_reference(cond: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
    return np.where(cond, x, y).astype(x.dtype, copy=False)


def _where_samples() -> tuple[Sample, ...]:
    cases: tuple[tuple[Shape, DType], ...] = (
        ((3, 5), float64), ((), float32), ((0,), float32), ((7,), int32), ((4,), bool_),
    )  # fmt: skip
    return tuple(Sample((TensorType(s, bool_), *(TensorType(s, d),) * 2)) for s, d in cases)


def _shift(fn: Callable[..., Any], fill: Callable[..., Any]) -> Callable[..., NDArray[Any]]:
    """NumPy's shift is undefined past the width: there the result is `fill(a)`."""

    def reference(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        bits = a.dtype.itemsize * 8
        outside = (b < 0) | (b >= bits)
        shifted = fn(a, np.where(outside, 0, b).astype(b.dtype))
        return np.asarray(np.where(outside, fill(a), shifted)).astype(a.dtype)

    return reference


def _comparison(name: str, fn: Callable[..., Any], sign: str) -> Op:
    return elementwise_op(
        name=name,
        doc=f"a {sign} b as bool; comparisons with NaN follow IEEE 754.",
        infer=elementwise_type(name, ANY, bool_),
        reference=in_numpy(fn),
        partials=None,
        samples=elementwise_samples(2, ANY),
    )


def _bit_op(name: str, fn: Callable[..., Any], doc: str, kinds: Kinds = BITS, arity: int = 2) -> Op:
    return elementwise_op(
        name=name,
        doc=doc,
        infer=elementwise_type(name, kinds),
        reference=fn,
        partials=None,
        samples=elementwise_samples(arity, kinds, 0, 12),
    )


def _float_predicate(name: str, fn: Callable[..., Any], doc: str) -> Op:
    return elementwise_op(
        name=name,
        doc=doc,
        infer=elementwise_type(name, FLOAT, bool_),
        reference=in_numpy(fn),
        partials=None,
        samples=_special_samples,
    )


def _special_samples() -> tuple[Sample, ...]:
    values = np.array([0.0, -0.0, np.nan, np.inf, -np.inf, 1.5])
    dtypes = (float32, float64, as_dtype("bfloat16"), as_dtype("float16"))
    return tuple(Sample((values.astype(d.numpy),)) for d in dtypes)


EQ: Op = _comparison("eq", np.equal, "==")
NE: Op = _comparison("ne", np.not_equal, "!=")
LT: Op = _comparison("lt", np.less, "<")
LE: Op = _comparison("le", np.less_equal, "<=")
GT: Op = _comparison("gt", np.greater, ">")
GE: Op = _comparison("ge", np.greater_equal, ">=")

AND: Op = _bit_op("and", np.bitwise_and, "Bits set in both; logical on bool.")
OR: Op = _bit_op("or", np.bitwise_or, "Bits set in either; logical on bool.")
XOR: Op = _bit_op("xor", np.bitwise_xor, "Bits set in exactly one; logical on bool.")
NOT: Op = _bit_op("not", np.invert, "All bits flipped; logical on bool.", arity=1)
SHL: Op = _bit_op(
    "shl",
    _shift(np.left_shift, np.zeros_like),
    "a << b; 0 where b is negative or at least the width.",
    INTEGER,
)
SHR: Op = _bit_op(
    "shr",
    _shift(np.right_shift, lambda a: np.where(a < 0, -1, 0)),
    "a >> b, arithmetic for signed; 0 (or -1 for negative a) where b is negative or at least the width.",
    INTEGER,
)
ISNAN: Op = _float_predicate("isnan", np.isnan, "True where a is NaN.")
ISINF: Op = _float_predicate("isinf", np.isinf, "True where a is an infinity.")

WHERE: Op = elementwise_op(
    name="where",
    doc="x where cond holds, else y. Both sides are evaluated.",
    infer=_infer_where,
    reference=_where_reference,
    partials=(None, _take_first, _take_second),
    samples=_where_samples,
    function="select",
)

RECORDS: tuple[Op, ...] = (
    EQ, NE, LT, LE, GT, GE, AND, OR, XOR, NOT, SHL, SHR, ISNAN, ISINF, WHERE,
)  # fmt: skip
