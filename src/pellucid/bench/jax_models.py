"""The benchmark's training steps in JAX: plain functions of weights under PyTorch's names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pellucid.bench.layers import Clip, Conv, Dense, Flat, Layer, Layers, MaxPool
from pellucid.bench.peers import load
from pellucid.core.errors import ArgumentError

Weights = Mapping[str, Any]


def apply_layers(layers: Layers, weights: Weights, x: Any) -> Any:
    """The network's result; for training, of those layers that the trained models have."""
    for i, layer in enumerate(layers):
        x = _apply(layer, str(i), weights, x)
    return x


def _apply(layer: Layer, name: str, weights: Weights, x: Any) -> Any:
    jax = load("jax")
    match layer:
        case Dense():
            return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
        case Conv():
            pads = [(layer.padding, layer.padding)] * 2
            y = jax.lax.conv_general_dilated(
                x, weights[f"{name}.weight"], (layer.stride,) * 2, pads,
                dimension_numbers=("NCHW", "OIHW", "NCHW"), feature_group_count=layer.groups,
            )  # fmt: skip
            return y + weights[f"{name}.bias"][:, None, None]
        case Clip():
            return jax.nn.relu(x)
        case MaxPool(kernel, stride):
            window, steps = (1, 1, kernel, kernel), (1, 1, stride, stride)
            return jax.lax.reduce_window(x, -math.inf, jax.lax.max, window, steps, "VALID")
        case Flat():
            return x.reshape(len(x), -1)
    raise ArgumentError("bench", f"JAX has no {type(layer).__name__} here")


def apply_gpt(weights: Weights, tokens: Any, layers: int, heads: int) -> Any:
    """Logits of nanoGPT's model `[B, T, V]`, from weights under nanoGPT's names."""
    stem = "transformer."
    embedding = weights[f"{stem}wte.weight"]  # the output layer's as well
    x = embedding[tokens] + weights[f"{stem}wpe.weight"][: tokens.shape[1]]
    for i in range(layers):
        own = f"{stem}h.{i}."
        x = x + _attention(weights, f"{own}attn.", _norm(weights, f"{own}ln_1", x), heads)
        hidden = _dense(weights, f"{own}mlp.c_fc", _norm(weights, f"{own}ln_2", x))
        hidden = load("jax").nn.gelu(hidden, approximate=False)
        x = x + _dense(weights, f"{own}mlp.c_proj", hidden)
    return _norm(weights, f"{stem}ln_f", x) @ embedding.T


def _dense(weights: Weights, name: str, x: Any) -> Any:
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _norm(weights: Weights, name: str, x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    variance = (centred * centred).mean(-1, keepdims=True)
    scaled = centred * load("jax").lax.rsqrt(variance + 1e-5)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def _attention(weights: Weights, name: str, x: Any, heads: int) -> Any:
    jax = load("jax")
    batch, time, width = x.shape
    joint = _dense(weights, f"{name}c_attn", x).reshape(batch, time, 3, heads, width // heads)
    q, k, v = (joint[:, :, i] for i in range(3))
    mixed = jax.nn.dot_product_attention(q, k, v, is_causal=True)
    return _dense(weights, f"{name}c_proj", mixed.reshape(batch, time, width))


def jax_loss(logits: Any, targets: Any) -> Any:
    """Mean cross entropy over the last axis."""
    jax = load("jax")
    flat = jax.nn.log_softmax(logits.reshape(-1, logits.shape[-1]))
    return -jax.numpy.take_along_axis(flat, targets.reshape(-1, 1), 1).mean()


def jax_step(loss_of: Any, lr: float) -> Any:
    """A jitted step of AdamW with PyTorch's settings: `(state, x, y) -> (state, loss)`; the state
    is weights, both moments and a count, and is donated.
    """
    jax = load("jax")
    jnp = jax.numpy

    def step(state: Any, x: Any, y: Any) -> Any:
        weights, first, second, count = state
        loss, grads = jax.value_and_grad(loss_of)(weights, x, y)
        count = count + 1
        tree = jax.tree_util.tree_map
        first = tree(lambda m, g: 0.9 * m + 0.1 * g, first, grads)
        second = tree(lambda v, g: 0.999 * v + 0.001 * g * g, second, grads)
        c1, c2 = 1 - 0.9**count, 1 - 0.999**count

        def update(w: Any, m: Any, v: Any) -> Any:
            return w * (1 - lr * 0.01) - lr * (m / c1) / (jnp.sqrt(v / c2) + 1e-8)

        return (tree(update, weights, first, second), first, second, count), loss

    return jax.jit(step, donate_argnums=(0,))


def jax_state(weights: Weights) -> Any:
    """A step's first state."""
    jnp = load("jax").numpy
    zeros = [{k: jnp.zeros(v.shape, v.dtype) for k, v in weights.items()} for _ in range(2)]
    return {k: jnp.array(v) for k, v in weights.items()}, *zeros, jnp.zeros((), jnp.float32)
