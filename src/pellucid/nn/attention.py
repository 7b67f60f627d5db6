"""Multi-head attention with PyTorch's parameters."""

from __future__ import annotations

import numpy as np

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.nn import functional as F
from pellucid.nn import init
from pellucid.nn.layers import Linear, empty_parameter
from pellucid.nn.module import Module
from pellucid.tensor.tensor import Tensor


class MultiheadAttention(Module):
    """Attention in `num_heads` subspaces at once (Vaswani et al. 2017).

    Args:
        embed_dim: E, the width of queries, keys, values and the result.
        num_heads: divides E.
        dropout: share of the attention weights to drop in training.
        bias: whether the projections have biases.
        batch_first: inputs are `[N, L, E]` instead of `[L, N, E]`.

    Parameters: `in_proj_weight` `[3 E, E]`, `in_proj_bias` `[3 E]`, `out_proj.weight` `[E, E]` and
    `out_proj.bias` `[E]`.

    Raises:
        ArgumentError: the heads do not divide E.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        batch_first: bool = False,
    ) -> None:
        if num_heads < 1 or embed_dim % num_heads:
            operands: dict[str, object] = {"embed_dim": embed_dim, "num_heads": num_heads}
            raise ArgumentError(
                "MultiheadAttention", "heads must divide the width", operands=operands
            )
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.batch_first = batch_first
        self.in_proj_weight = empty_parameter(3 * embed_dim, embed_dim)
        self.in_proj_bias = empty_parameter(3 * embed_dim) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        init.xavier_uniform_(self.in_proj_weight)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def forward(  # noqa: PLR0913, PLR0917  # PyTorch's parameters in PyTorch's order
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from each query to the keys.

        Args:
            query: `[L, N, E]`, or `[N, L, E]` with `batch_first`.
            key: `[S, N, E]`, likewise.
            value: `[S, N, E]`, likewise.
            key_padding_mask: bools `[N, S]`, true where a key is to be ignored.
            need_weights: whether to return the attention weights.
            attn_mask: `[L, S]` or `[N * heads, L, S]`: bools, true where attention is not
                allowed, or floats added to the scores.
            average_attn_weights: return the mean over the heads.
            is_causal: position `i` attends to positions up to `i` only.

        Returns:
            The result, of the query's shape, and the weights: None, `[N, L, S]`, or
            `[N, heads, L, S]`. A query from which masks hide all keys has weights 0, and as result
            the output's bias, whether or not weights are wanted.

        Raises:
            ShapeError: the widths or batches differ.
        """
        if not self.batch_first:
            query, key, value = (t.transpose(0, 1) for t in (query, key, value))
        self._check(query, key, value)
        q, k, v = self._project(query, key, value)
        mask = self._mask(q, k, key_padding_mask, attn_mask)
        if is_causal and mask is not None:
            ahead = Tensor(np.triu(np.ones((q.shape[2], k.shape[2]), np.bool_), 1))
            mask, is_causal = mask + _added(ahead, q), False
        p = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            weights = F.dropout(F.attention_weights(q, k, mask, is_causal), p, p > 0)
            mixed = weights @ v
        else:
            mixed = F.scaled_dot_product_attention(q, k, v, mask, p, is_causal)
        result = self.out_proj(mixed.transpose(1, 2).reshape(query.shape))
        if not self.batch_first:
            result = result.transpose(0, 1)
        if weights is not None and average_attn_weights:
            weights = weights.mean(axis=1)
        return result, weights

    def _check(self, query: Tensor, key: Tensor, value: Tensor) -> None:
        fits = all(t.ndim == 3 and t.shape[2] == self.embed_dim for t in (query, key, value))
        if not fits or key.shape != value.shape or key.shape[0] != query.shape[0]:
            operands = {"query": query.shape, "key": key.shape, "value": value.shape}
            rule = f"inputs must be three axes with one batch size and width {self.embed_dim}"
            raise ShapeError("MultiheadAttention", rule, operands=operands)

    def _project(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values as `[N, heads, L, E / heads]`."""
        if query is key and key is value:
            joint = F.linear(query, self.in_proj_weight, self.in_proj_bias)
            parts = [joint[..., i * self.embed_dim : (i + 1) * self.embed_dim] for i in range(3)]
        else:
            parts = [self._project_one(t, i) for i, t in enumerate((query, key, value))]
        return tuple(self._split(t) for t in parts)

    def _project_one(self, x: Tensor, i: int) -> Tensor:
        rows = slice(i * self.embed_dim, (i + 1) * self.embed_dim)
        bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
        return F.linear(x, self.in_proj_weight[rows], bias)

    def _split(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        heads = x.reshape(batch, length, self.num_heads, width // self.num_heads)
        return heads.transpose(1, 2)

    def _mask(
        self, q: Tensor, k: Tensor, padding: Tensor | None, attn_mask: Tensor | None
    ) -> Tensor | None:
        """What attention may look at as floats to add, `[N, heads, L, S]` or broadcast to it."""
        mask = None
        if attn_mask is not None:
            mask = _added(attn_mask, q)
            if mask.ndim == 3:
                mask = mask.reshape(q.shape[0], self.num_heads, q.shape[2], k.shape[2])
        if padding is None:
            return mask
        ignored = _added(padding, q).reshape(q.shape[0], 1, 1, k.shape[2])
        return ignored if mask is None else mask + ignored

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.embed_dim}, {self.num_heads}"


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """Minus infinity where a bool mask is true, else 0; float masks as they are."""
    return F.masked_out(mask, like.dtype) if mask.dtype.kind == "bool" else mask


def causal_mask(length: int) -> Tensor:
    """Bools `[length, length]`, true where attention would look ahead."""
    return Tensor(np.triu(np.ones((length, length), np.bool_), 1))
