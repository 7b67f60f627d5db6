"""Unsigned integers that sort as elements do: what selection and radix sorting compare.

NaN is last whether ascending or descending, and -0.0 equals +0.0.
"""

from __future__ import annotations

from pellucid.core.dtype import DType, bool_, int64, uint8, uint16, uint32, uint64
from pellucid.loop.ir import Call, Expr, compare, const, select
from pellucid.ops.shared import cast_expr

_UNSIGNED = {8: uint8, 16: uint16, 32: uint32, 64: uint64}


def key_dtype(dtype: DType) -> DType:
    """The keys' dtype: as wide as the elements'."""
    return _UNSIGNED[max(8, dtype.bits)]


def sort_key(value: Expr, descending: bool) -> Expr:
    """The key of an element; lesser keys come first.

    The bits of a float that is not negative count up with it, those of a negative one down.
    """
    dtype = value.dtype
    kept = key_dtype(dtype)
    top = const(1 << (kept.bits - 1), kept)
    if dtype.kind in ("bool", "uint"):
        key = cast_expr(value, kept)
    elif dtype.is_integer:
        key = Call("xor", (Call("bitcast", (value,), kept), top), kept)
    else:
        zero = const(0.0, dtype)
        bits = Call("bitcast", (select(compare("eq", value, zero), zero, value),), kept)
        negative = Call("ge", (bits, top), bool_)
        key = select(negative, Call("not", (bits,), kept), Call("or", (bits, top), kept))
    if descending:
        key = Call("not", (key,), kept)
    if not dtype.is_float:
        return key
    return select(Call("isnan", (value,), bool_), const((1 << kept.bits) - 1, kept), key)


def key_digit(key: Expr, number: int) -> Expr:
    """Digit `number` of a key to the base 256, the least first, as an index."""
    shifted = key
    if number:
        shifted = Call("shr", (key, const(8 * number, key.dtype)), key.dtype)
    return Call("cast", (cast_expr(shifted, uint8),), int64)
