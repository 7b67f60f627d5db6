"""Attention of 8 heads of 64, forward and with gradients, causal and full."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.bench.adapters import jax_call, ours, torch_call
from pellucid.bench.peers import load
from pellucid.bench.row import Array, Goal, Race, Row, Setting
from pellucid.nn import functional as F

TOKENS = (128, 256, 512, 1024, 2048, 4096)
HEADS, WIDTH = 8, 64


def _arrays(tokens: int) -> list[Array]:
    """Queries, keys, values and a gradient of the result, `[1, heads, tokens, width]`."""
    rng = np.random.default_rng(tokens)
    return [rng.standard_normal((1, HEADS, tokens, WIDTH), np.float32) for _ in range(4)]


def _jax_attention(q: Any, k: Any, v: Any, causal: bool) -> Any:
    """JAX has the heads behind the tokens."""
    jax = load("jax")
    turned = (jax.numpy.swapaxes(a, 1, 2) for a in (q, k, v))
    return jax.numpy.swapaxes(jax.nn.dot_product_attention(*turned, is_causal=causal), 1, 2)


def _forward(tokens: int, causal: bool) -> Race:
    q, k, v, _ = _arrays(tokens)

    def attend(q: Any, k: Any, v: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def torch_attend(q: Any, k: Any, v: Any) -> Any:
        attention = load("torch").nn.functional.scaled_dot_product_attention
        return attention(q, k, v, is_causal=causal)

    candidate, work = ours(attend, q, k, v)
    return Race(
        ours=candidate,
        load=work,
        peers={
            "torch": lambda: torch_call(torch_attend, q, k, v),
            "jax": lambda: jax_call(lambda q, k, v: _jax_attention(q, k, v, causal), q, k, v),
        },
    )


def _both(tokens: int, causal: bool) -> Race:
    """The result and the gradients of queries, keys and values."""
    arrays = _arrays(tokens)

    def ours_both(q: Any, k: Any, v: Any, g: Any) -> Any:
        def attend(q: Any, k: Any, v: Any) -> Any:
            return F.scaled_dot_product_attention(q, k, v, is_causal=causal)

        y, pull = pl.vjp(attend, q, k, v)
        return y, *pull(g)

    def torch_both(q: Any, k: Any, v: Any, g: Any) -> Any:
        torch = load("torch")
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return y, *torch.autograd.grad(y, (q, k, v), g)

    def jax_both(q: Any, k: Any, v: Any, g: Any) -> Any:
        y, pull = load("jax").vjp(lambda q, k, v: _jax_attention(q, k, v, causal), q, k, v)
        return y, *pull(g)

    candidate, work = ours(ours_both, *arrays)
    return Race(
        ours=candidate,
        load=work,
        peers={
            "torch": lambda: torch_call(torch_both, *arrays, grad=(0, 1, 2)),
            "jax": lambda: jax_call(jax_both, *arrays),
        },
    )


def _row(tokens: int, causal: bool, both: bool) -> Row:
    what = f"{'causal' if causal else 'full'} {'fwd+bwd' if both else 'fwd'}"
    make: Callable[[int, bool], Race] = _both if both else _forward

    def prepare(_: Setting) -> Race:
        return make(tokens, causal)

    goal = Goal(peers={"torch": 1.5})
    return Row(name=f"attention {tokens} {what}", group="attention", goal=goal, make=prepare)


ROWS = tuple(
    _row(tokens, causal, both)
    for both in (False, True)
    for causal in (True, False)
    for tokens in TOKENS
)
