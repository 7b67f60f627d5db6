"""Attention, composed of products and a softmax or as one kernel, whichever is faster."""

from __future__ import annotations

import math

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import broadcast_shapes
from pellucid.core.size import is_static
from pellucid.graph.ir import Value
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.casting import astype
from pellucid.ops.contraction import matmul
from pellucid.ops.flash_attention import attention_scores, flash_attention
from pellucid.ops.layout import reshape
from pellucid.ops.normalization import masked_softmax, softmax
from pellucid.ops.promotion import common_dtype
from pellucid.ops.shared import accumulator

FEWEST_QUERIES = 16  # that fill vectors


def scaled_dot_product_attention(
    query: Value,
    key: Value,
    value: Value,
    mask: Value | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
) -> Value:
    """`softmax(query @ key.T * scale + mask) @ value` (Vaswani et al. 2017).

    Args:
        query: `[..., L, E]`.
        key: `[..., S, E]`.
        value: `[..., S, D]`.
        mask: broadcasts to `[..., L, S]`; bool (True: takes part) or float (added to the scores).
        is_causal: position i sees positions up to i only; excludes `mask`.
        scale: `1 / sqrt(E)` unless given.

    Returns:
        `[..., L, D]`. A row from which the mask hides all keys is 0, as PyTorch's.

    Raises:
        ShapeError: an operand has fewer than two axes, or sizes do not match.
        ArgumentError: both `mask` and `is_causal` are given.
    """
    if value.rank < 2:
        raise _misshapen(query, key, value)
    if _pays(query, key, value):
        _check(query, key, mask, is_causal)
        return _flash(query, key, value, mask, is_causal, _scale(query, scale))
    return matmul(attention_weights(query, key, mask, is_causal=is_causal, scale=scale), value)


def _pays(query: Value, key: Value, value: Value) -> bool:
    """Whether blocks beat the composition: enough queries for vectors, which lie along them."""
    if min(query.rank, key.rank) < 2 or any(v.type.size == 0 for v in (query, key, value)):
        return False
    floats = all(v.dtype.is_float and v.dtype.bits > 8 for v in (query, key, value))
    known = is_static(query.shape, key.shape, value.shape)  # its loops are in blocks of known sizes
    return floats and known and query.shape[-2] >= FEWEST_QUERIES


def _flash(  # as the caller has them
    query: Value, key: Value, value: Value, mask: Value | None, causal: bool, scale: float
) -> Value:
    """The primitive on operands of one dtype and equal leading axes."""
    dtype = common_dtype("attention", (query, key, value))
    wide = accumulator(dtype)
    leads = [v.shape[:-2] for v in (query, key, value, mask) if v is not None]
    lead = broadcast_shapes("attention", *leads)
    q, k, v = (broadcast_to(astype(x, wide), (*lead, *x.shape[-2:])) for x in (query, key, value))
    if mask is not None:
        seen = mask if mask.dtype.kind == "bool" else astype(mask, wide)
        mask = reshape(seen, (1,) * (len(lead) + 2 - seen.rank) + seen.shape)
    return astype(flash_attention(q, k, v, mask, causal=causal, scale=scale), dtype)


def attention_weights(
    query: Value,
    key: Value,
    mask: Value | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
) -> Value:
    """`softmax(query @ key.T * scale + mask)`, `[..., L, S]`; as `scaled_dot_product_attention`."""
    _check(query, key, mask, is_causal)
    how = _scale(query, scale)
    scores = attention_scores(query, key, mask, causal=is_causal, scale=how)
    # causal rows see their first key: only a mask can hide all
    return softmax(scores) if mask is None else masked_softmax(scores)


def _check(query: Value, key: Value, mask: Value | None, is_causal: bool) -> None:
    if min(query.rank, key.rank) < 2 or query.shape[-1] != key.shape[-1]:
        raise _misshapen(query, key)
    if is_causal and mask is not None:
        raise ArgumentError("attention", "takes either a mask or is_causal", fix="drop one of them")


def _scale(query: Value, scale: float | None) -> float:
    if scale is not None:
        return scale
    return 1.0 / math.sqrt(max(1, query.shape[-1]))  # no features: all scores are 0


def _misshapen(*operands: Value) -> ShapeError:
    names = {n: v.type for n, v in zip(("query", "key", "value"), operands, strict=False)}
    rule = "needs [..., L, E], [..., S, E] and [..., S, D]"
    return ShapeError("attention", rule, operands=names)
