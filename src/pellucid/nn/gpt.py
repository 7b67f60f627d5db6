"""A GPT: nanoGPT's model with nanoGPT's parameter names, so that its weights load both ways.

Shape suffixes: B batch, T time, C channels, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.nn import functional as F
from pellucid.nn import init
from pellucid.nn.activation import GELU
from pellucid.nn.checkpoint import Array
from pellucid.nn.containers import ModuleList
from pellucid.nn.layers import Dropout, Embedding, Linear
from pellucid.nn.module import Module
from pellucid.nn.normalization import LayerNorm
from pellucid.tensor.random import Generator, default_generator
from pellucid.tensor.tensor import Tensor, no_grad


@dataclass(frozen=True, kw_only=True, slots=True)
class GPTConfig:
    """Sizes of a GPT.

    Attributes:
        vocab_size: V, tokens there are.
        block_size: the longest T.
        n_layer: blocks.
        n_head: attention heads per block; divides `n_embd`.
        n_embd: C.
        dropout: share of activations to drop in training.
        bias: whether linear layers and norms have biases.
    """

    vocab_size: int
    block_size: int = 64
    n_layer: int = 4
    n_head: int = 4
    n_embd: int = 128
    dropout: float = 0.0
    bias: bool = False


class CausalSelfAttention(Module):
    """Every position attends to itself and those before it."""

    def __init__(self, config: GPTConfig) -> None:
        if config.n_embd % config.n_head:
            operands: dict[str, object] = {"n_embd": config.n_embd, "n_head": config.n_head}
            raise ArgumentError("GPT", "n_head must divide n_embd", operands=operands)
        self.n_head, self.dropout = config.n_head, config.dropout
        self.c_attn = Linear(config.n_embd, 3 * config.n_embd, config.bias)
        self.c_proj = Linear(config.n_embd, config.n_embd, config.bias)
        self.resid_dropout = Dropout(config.dropout)

    def forward(self, x_BTC: Tensor) -> Tensor:  # shape suffix
        """`[B, T, C]` to `[B, T, C]`."""
        batch, time, width = x_BTC.shape
        joint = self.c_attn(x_BTC)
        heads = (batch, time, self.n_head, width // self.n_head)
        q, k, v = (
            joint[..., i * width : (i + 1) * width].reshape(heads).transpose(1, 2) for i in range(3)
        )
        p = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=p, is_causal=True)
        y_BTC = self.c_proj(mixed.transpose(1, 2).reshape(batch, time, width))  # shape suffix
        return self.resid_dropout(y_BTC)  # type: ignore[no-any-return]  # a Tensor


class MLP(Module):
    """Two linear layers, four times as wide between them."""

    def __init__(self, config: GPTConfig) -> None:
        self.c_fc = Linear(config.n_embd, 4 * config.n_embd, config.bias)
        self.gelu = GELU()
        self.c_proj = Linear(4 * config.n_embd, config.n_embd, config.bias)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, C]` to `[B, T, C]`."""
        return self.dropout(self.c_proj(self.gelu(self.c_fc(x))))  # type: ignore[no-any-return]  # a Tensor


class Block(Module):
    """Attention, then an MLP, each behind a norm and beside a residual."""

    def __init__(self, config: GPTConfig) -> None:
        self.ln_1 = LayerNorm(config.n_embd, bias=config.bias)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, C]` to `[B, T, C]`."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))  # type: ignore[no-any-return]  # a Tensor


class Transformer(Module):
    """Embeddings, blocks and the last norm: tokens `[B, T]` to `[B, T, C]`."""

    def __init__(self, config: GPTConfig) -> None:
        self.wte = Embedding(config.vocab_size, config.n_embd)
        self.wpe = Embedding(config.block_size, config.n_embd)
        self.drop = Dropout(config.dropout)
        self.h = ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = LayerNorm(config.n_embd, bias=config.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """`[B, T]` integers to `[B, T, C]`."""
        x = self.drop(self.wte(tokens) + self.wpe.weight[: tokens.shape[1]])
        for block in self.h:
            x = block(x)
        return self.ln_f(x)  # type: ignore[no-any-return]  # a Tensor


class GPT(Module):
    """A decoder-only transformer language model; the output layer shares the token embedding.

    Args:
        config: its sizes.

    Source: Radford et al., Language Models are Unsupervised Multitask Learners (2019); layout and
    names after nanoGPT.
    """

    def __init__(self, config: GPTConfig) -> None:
        self.config = config
        self.transformer = Transformer(config)
        self.lm_head = Linear(config.n_embd, config.vocab_size, bias=False)
        self.apply(_initialise)
        residual_std = 0.02 / math.sqrt(2 * max(config.n_layer, 1))
        for name, cell in self.named_parameters():
            if name.endswith("c_proj.weight"):
                init.normal_(cell, 0.0, residual_std)
        self.transformer.wte.weight = self.lm_head.weight

    def forward(
        self, tokens: Tensor, targets: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Next-token logits, and the loss where targets are given.

        Args:
            tokens: integers `[B, T]`, T up to `block_size`.
            targets: the next tokens `[B, T]`; -1 where there is none.

        Returns:
            Logits `[B, T, V]` and the mean cross entropy, or without targets the logits of the last
            position `[B, 1, V]` and None.

        Raises:
            ShapeError: T is larger than `block_size`, or `tokens` has not two axes.
        """
        if tokens.ndim != 2 or tokens.shape[1] > self.config.block_size:
            rule = f"tokens must be [B, T] with T up to {self.config.block_size}"
            raise ShapeError("GPT", rule, operands={"tokens": tokens.shape})
        x = self.transformer(tokens)
        if targets is None:
            return self.lm_head(x[:, -1:]), None
        logits = self.lm_head(x)
        flat = logits.reshape(-1, self.config.vocab_size)
        return logits, F.cross_entropy(flat, targets.reshape(-1), ignore_index=-1)

    def generate(  # how to sample, keyword-only
        self,
        tokens: Tensor,
        max_new_tokens: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: Generator | None = None,
    ) -> Tensor:
        """Continue `tokens`, one sampled token at a time.

        Every step runs the model on the last `block_size` tokens, padded to that length, so that
        all steps have one shape and a jitted model compiles once.

        Args:
            tokens: integers `[B, T]`, T at least 1.
            max_new_tokens: how many to add.
            temperature: divides the logits; 0 takes the likeliest token.
            top_k: sample among so many likeliest tokens only.
            generator: where random numbers come from.

        Returns:
            Integers `[B, T + max_new_tokens]`.

        Raises:
            ArgumentError: `temperature` is negative, or there is no token to start from.
        """
        if temperature < 0 or tokens.ndim != 2 or tokens.shape[1] == 0:
            operands = {"temperature": temperature, "tokens": tokens.shape}
            rule = "needs [B, T >= 1] tokens and a temperature >= 0"
            raise ArgumentError("generate", rule, operands=operands)
        result = tokens.numpy().astype(np.int64)
        source = generator or default_generator
        for _ in range(max_new_tokens):
            logits = self._next_logits(result)
            chosen = _sample(logits, temperature, top_k, source)
            result = np.concatenate([result, chosen[:, None]], axis=1)
        return Tensor(result)

    def _next_logits(self, tokens: Array) -> Array:
        """The logits after the last token, `[B, V]`; what is padded lies after it, unseen."""
        window = tokens[:, -self.config.block_size :]
        padded = np.zeros((len(tokens), self.config.block_size), np.int64)
        padded[:, : window.shape[1]] = window
        with no_grad():
            hidden = self.transformer(Tensor(padded))
            logits = self.lm_head(hidden[:, window.shape[1] - 1])
        return np.asarray(logits.numpy(), np.float64)


def _initialise(module: Module) -> None:
    if isinstance(module, (Linear, Embedding)):
        init.normal_(module.weight, 0.0, 0.02)
    if isinstance(module, Linear) and module.bias is not None:
        init.zeros_(module.bias)


def _sample(
    logits: Array,
    temperature: float,
    top_k: int | None,
    source: Generator,
) -> Array:
    """One token per row, drawn from the softmax of the logits by the inverse of its sum."""
    if temperature == 0:
        return np.asarray(logits.argmax(axis=1))
    scaled = logits / temperature
    if top_k is not None:
        least = np.sort(scaled, axis=1)[:, -min(top_k, scaled.shape[1])]
        scaled = np.where(scaled < least[:, None], -np.inf, scaled)
    weights = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    sums = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)
    drawn = source.uniform((len(logits), 1)).numpy()
    return np.asarray(np.minimum((sums <= drawn).sum(axis=1), logits.shape[1] - 1))
