"""Unsigned integers that sort as elements do: what selection and radix sorting compare.

NaN is last whether ascending or descending.
"""

from __future__ import annotations

import numpy as np

from pellucid.core.dtype import DType, as_dtype, bool_, int64, uint8, uint16, uint32, uint64
from pellucid.loop.ir import Call, Expr, compare, const, select
from pellucid.ops.shared import Array, cast_expr

_UNSIGNED = {8: uint8, 16: uint16, 32: uint32, 64: uint64}


def key_dtype(dtype: DType) -> DType:
    """The keys' dtype: as wide as the elements'."""
    return _UNSIGNED[max(8, dtype.bits)]


def sort_key(value: Expr, descending: bool) -> Expr:
    """The key of an element; lesser keys come first, zeros have one key."""
    if not value.dtype.is_float:
        return value_key(value, descending)
    zero = const(0.0, value.dtype)
    return value_key(select(compare("eq", value, zero), zero, value), descending)


def value_key(value: Expr, descending: bool) -> Expr:
    """The key of an element, from which `key_value` has it back; -0.0 is less than 0.0.

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
        bits = Call("bitcast", (value,), kept)
        negative = Call("ge", (bits, top), bool_)
        key = select(negative, Call("not", (bits,), kept), Call("or", (bits, top), kept))
    if descending:
        key = Call("not", (key,), kept)
    if not dtype.is_float:
        return key
    return select(Call("isnan", (value,), bool_), const((1 << kept.bits) - 1, kept), key)


def key_value(key: Expr, dtype: DType, descending: bool) -> Expr:
    """The element that a key stands for; the greatest key is a NaN either way."""
    kept = key.dtype
    top = const(1 << (kept.bits - 1), kept)
    if descending:
        key = Call("not", (key,), kept)
    if dtype.kind in ("bool", "uint"):
        return cast_expr(key, dtype)
    turned = Call("xor", (key, top), kept)
    if dtype.is_integer:
        return Call("bitcast", (turned,), dtype)
    positive = Call("ge", (key, top), bool_)
    return Call("bitcast", (select(positive, turned, Call("not", (key,), kept)),), dtype)


def keys_of(x: Array, descending: bool) -> Array:
    """`value_key` of every element of an array."""
    kept = key_dtype(as_dtype(x.dtype)).numpy
    bits, top = np.ascontiguousarray(x).view(kept), kept.type(1 << (8 * kept.itemsize - 1))
    kind = as_dtype(x.dtype).kind
    if kind == "int":
        bits = bits ^ top
    elif kind == "float":
        bits = np.where(bits >= top, ~bits, bits | top)
    keys = ~bits if descending else bits
    return (
        np.where(np.isnan(x), np.array((1 << 8 * kept.itemsize) - 1, kept), keys)
        if kind == "float"
        else keys
    )


def values_of(keys: Array, dtype: DType, descending: bool) -> Array:
    """`key_value` of every key of an array."""
    top = keys.dtype.type(1 << (8 * keys.dtype.itemsize - 1))
    keys = ~keys if descending else keys
    if dtype.kind == "int":
        keys = keys ^ top
    elif dtype.is_float:
        keys = np.where(keys >= top, keys ^ top, ~keys)
    return np.ascontiguousarray(keys).view(dtype.numpy)


def key_digit(key: Expr, number: int) -> Expr:
    """Digit `number` of a key to the base 256, the least first, as an index."""
    shifted = key
    if number:
        shifted = Call("shr", (key, const(8 * number, key.dtype)), key.dtype)
    return Call("cast", (cast_expr(shifted, uint8),), int64)
