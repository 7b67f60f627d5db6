"""Attention as a composition: what a fused kernel must agree with."""

from __future__ import annotations

import math

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add, multiply
from pellucid.ops.casting import astype
from pellucid.ops.comparison import greater_equal, where
from pellucid.ops.contraction import matmul
from pellucid.ops.create import iota
from pellucid.ops.layout import swapaxes
from pellucid.ops.normalization import masked_softmax, softmax


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
    return matmul(attention_weights(query, key, mask, is_causal=is_causal, scale=scale), value)


def attention_weights(
    query: Value,
    key: Value,
    mask: Value | None = None,
    *,
    is_causal: bool = False,
    scale: float | None = None,
) -> Value:
    """`softmax(query @ key.T * scale + mask)`, `[..., L, S]`; as `scaled_dot_product_attention`."""
    if min(query.rank, key.rank) < 2 or query.shape[-1] != key.shape[-1]:
        raise _misshapen(query, key)
    if is_causal and mask is not None:
        raise ArgumentError("attention", "takes either a mask or is_causal", fix="drop one of them")
    factor = 1.0 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = multiply(matmul(query, swapaxes(key, -1, -2)), factor)
    if is_causal:
        pair = scores.shape[-2:]
        scores = where(greater_equal(iota(pair, 0), iota(pair, 1)), scores, -math.inf)
    elif mask is not None and mask.dtype.kind == "bool":
        scores = where(mask, scores, -math.inf)
    elif mask is not None:
        scores = add(scores, astype(mask, scores.dtype))
    # causal rows see their first key: only a mask can hide all
    return softmax(scores) if mask is None else masked_softmax(scores)


def _misshapen(*operands: Value) -> ShapeError:
    names = {n: v.type for n, v in zip(("query", "key", "value"), operands, strict=False)}
    rule = "needs [..., L, E], [..., S, E] and [..., S, D]"
    return ShapeError("attention", rule, operands=names)
