"""From what a user passes to what a primitive takes: scalars to constants, one dtype, one shape."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from pellucid.core.dtype import DType, Scalar, default_dtype, float32, promote, scalar_dtype
from pellucid.core.errors import ArgumentError, DTypeError
from pellucid.core.shape import broadcast_shapes
from pellucid.core.size import Size
from pellucid.graph.ir import Value
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.casting import astype
from pellucid.ops.create import scalar as scalar_constant
from pellucid.ops.sizes import size_value

Operand = Value | Scalar


def common_dtype(op: str, operands: Sequence[Operand]) -> DType:
    """The array API's result dtype: arrays promote, Python scalars follow where they can.

    Raises:
        ArgumentError: an operand is neither a Value nor a Python scalar.
        DTypeError: two arrays have no common dtype.
    """
    result: DType | None = None
    for operand in operands:
        if isinstance(operand, Value):
            result = operand.dtype if result is None else promote(result, operand.dtype, op)
        elif not isinstance(operand, bool | int | float | complex | Size):
            rule = "takes graph values and Python scalars"
            raise ArgumentError(op, rule, operands={"it": type(operand).__name__})
    scalars = [1 if isinstance(x, Size) else x for x in operands if not isinstance(x, Value)]
    for scalar in scalars:
        result = default_dtype(scalar) if result is None else scalar_dtype(result, scalar)
    if result is None:
        raise ArgumentError(op, "takes at least one operand")
    return result


def as_value(op: str, operand: Operand, dtype: DType) -> Value:
    """A Value of this dtype: a cast, or a rank-0 constant.

    Raises:
        DTypeError: a Python int does not fit the integer dtype.
    """
    if isinstance(operand, Value):
        return astype(operand, dtype)
    if isinstance(operand, Size):
        return size_value(operand, dtype)
    return scalar_constant(operand, dtype, op=op)


def broadcast_all(op: str, values: Sequence[Value]) -> tuple[Value, ...]:
    """The values broadcast to their common shape; unchanged where they have it."""
    shape = broadcast_shapes(op, *(v.shape for v in values))
    return tuple(broadcast_to(v, shape) for v in values)


def unify(op: str, *operands: Operand, to_float: bool = False) -> tuple[Value, ...]:
    """Operands of one dtype and one shape, ready for a primitive.

    Args:
        op: the function's name, for messages.
        *operands: Values or Python scalars.
        to_float: integers and bools become float32 (complex stays), as for `divide` and `exp`.
    """
    dtype = common_dtype(op, operands)
    if to_float and not dtype.is_inexact:
        dtype = float32
    return broadcast_all(op, [as_value(op, x, dtype) for x in operands])


def floating(op: str, x: Operand) -> Value:
    """`x` as a float Value: floats unchanged, integers and bools as float32."""
    (value,) = unify(op, x, to_float=True)
    return value


def refuse_complex(op: str, *values: Value) -> None:
    """Refuse complex operands of a function of real numbers.

    Raises:
        DTypeError: an operand is complex.
    """
    if builtins.any(v.dtype.is_complex for v in values):
        operands: dict[str, object] = {n: v.type for n, v in zip("abcdefgh", values, strict=False)}
        fix = "take abs(x), real(x) or imag(x) first"
        raise DTypeError(op, "takes real numbers", operands=operands, fix=fix)


def refuse_bool(op: str, values: Sequence[Value]) -> None:
    """Refuse bool operands of an arithmetic function.

    Raises:
        DTypeError: the (common) dtype is bool.
    """
    if builtins.any(v.dtype.kind == "bool" for v in values):
        operands: dict[str, object] = {n: v.type for n, v in zip("abcdefgh", values, strict=False)}
        fix = "cast one operand to int64 with .astype, or use logical_and, logical_or, logical_xor"
        raise DTypeError(op, "takes numbers, not bool", operands=operands, fix=fix)
