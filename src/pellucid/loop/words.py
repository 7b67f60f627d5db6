"""Words of narrow numbers, and sums of their products: what dot-product instructions compute.

A *word* is an int32 that holds four 8-bit or two 16-bit numbers, the first in its lowest bits.
`pack4` and `pack2` make words, the `dot` functions multiply the numbers of two words pairwise and
add the products up. Sums of integers wrap modulo 2**32; nothing saturates. `dot2b` multiplies
bfloat16 numbers exactly and adds the two products in float32; a machine's instruction may round the
sum it is added to twice and may take subnormal numbers (below 2**-126) for zero.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def pack(*parts: Array) -> Array:
    """The bits of equal-width numbers, 32 together, as int32; the first are the lowest."""
    bits = 32 // len(parts)
    word = np.zeros((), np.uint32)
    for place, part in enumerate(parts):
        raw = np.ascontiguousarray(part).view(np.dtype(f"u{bits // 8}")).reshape(np.shape(part))
        word = word | (raw.astype(np.uint32) << np.uint32(bits * place))
    return np.asarray(word).view(np.int32)


def _numbers(words: Array, bits: int, *, signed: bool) -> list[Array]:
    """The numbers of each word as int64, lowest first."""
    wide = np.asarray(words).astype(np.int64)
    parts = [(wide >> (bits * place)) & ((1 << bits) - 1) for place in range(32 // bits)]
    half = 1 << (bits - 1)
    return [(p ^ half) - half for p in parts] if signed else parts


def _dot(a: list[Array], b: list[Array]) -> Array:
    total = np.asarray(sum(x * y for x, y in zip(a, b, strict=True)))
    return total.astype(np.uint32).view(np.int32)


def dot4s(a: Array, b: Array) -> Array:
    """Four products of int8 with int8."""
    return _dot(_numbers(a, 8, signed=True), _numbers(b, 8, signed=True))


def dot4u(a: Array, b: Array) -> Array:
    """Four products of uint8 with int8."""
    return _dot(_numbers(a, 8, signed=False), _numbers(b, 8, signed=True))


def dot2s(a: Array, b: Array) -> Array:
    """Two products of int16 with int16."""
    return _dot(_numbers(a, 16, signed=True), _numbers(b, 16, signed=True))


def dot2b(a: Array, b: Array) -> Array:
    """Two products of bfloat16 with bfloat16, in float32."""
    x, y = np.asarray(a).view(np.uint32), np.asarray(b).view(np.uint32)
    mask, shift = np.uint32(0xFFFF0000), np.uint32(16)
    high = (x & mask).view(np.float32) * (y & mask).view(np.float32)
    low = (x << shift).view(np.float32) * (y << shift).view(np.float32)
    return np.asarray(high + low)
