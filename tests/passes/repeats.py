"""Random programs of equal, and of almost equal, layers, as training steps: forward, backward and
update.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.graph.ir import Graph
from pellucid.nn import functional as F

Arrays = list[Any]
Step = Callable[[Any, Any], Any]

WIDTH = 6


def _normed(h: Any, w: Any) -> Any:
    centred = h - h.mean(-1, keepdims=True)
    return centred * pl.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5) * w[0]


STEPS: tuple[Step, ...] = (
    lambda h, w: pl.tanh(h @ w),
    lambda h, w: h + F.softmax(h @ w) @ w.T,
    lambda h, w: h @ w + h,
    lambda h, w: pl.exp(-h * h) * w[1],
    lambda h, w: F.gelu(h + w[2]) @ w,
    lambda h, w: F.relu(h) * 0.5 + w.sum(0),
    lambda h, w: (h.T @ h) @ w * 0.01 + h[:WIDTH],
    lambda h, w: pl.where(w[0] > 0.0, h, h * 0.1),
    _normed,
)


def random_layer(rng: np.random.Generator) -> tuple[Step, ...]:
    """Some steps, each with weights of its own."""
    return tuple(STEPS[int(k)] for k in rng.integers(0, len(STEPS), rng.integers(1, 5)))


def training_step(
    forward: Callable[[Any, Any], Any], weights: Sequence[Any], x: Any, rate: float = 0.1
) -> Graph:
    """The graph of one step of gradient descent with momentum; returns loss, weights, momenta."""

    def step(x: Any, weights: Any, momenta: Any) -> Any:
        loss, slopes = pl.value_and_grad(lambda w: (forward(x, w) ** 2).mean())(weights)
        momenta = [m * 0.9 + s for m, s in zip(momenta, slopes, strict=True)]
        return loss, [w - m * rate for w, m in zip(weights, momenta, strict=True)], momenta

    return pl.jit(step).lower(x, list(weights), [w * 0 for w in weights]).graph


def arrays_for(graph: Graph, seed: int = 0) -> Arrays:
    """Inputs for a graph of floats."""
    rng = np.random.default_rng(seed)
    return [
        rng.uniform(-1, 1, v.shape).astype(v.dtype.numpy)
        if v.dtype.is_float
        else rng.integers(0, 5, v.shape).astype(v.dtype.numpy)
        for v in graph.inputs
    ]


def weights_of(count: int, dtype: str = "float64") -> list[Any]:
    """Square weights; their values do not matter to the graph."""
    rng = np.random.default_rng(1)
    return [pl.Tensor(rng.uniform(-1, 1, (WIDTH, WIDTH)).astype(dtype)) for _ in range(count)]


def batch(dtype: str = "float64") -> Any:
    """Rows to put in."""
    return pl.Tensor(np.random.default_rng(2).uniform(-1, 1, (WIDTH, WIDTH)).astype(dtype))


def random_training_step(seed: int) -> Graph:
    """A random layer several times over, sometimes with another before, between or after."""
    rng = np.random.default_rng(seed)
    layer, odd = random_layer(rng), random_layer(rng)
    kinds = [layer] * int(rng.integers(4, 9))
    for _ in range(int(rng.integers(0, 3))):
        kinds.insert(int(rng.integers(0, len(kinds) + 1)), odd)
    tied = rng.random() < 0.2
    taken = [w for kind in kinds for w in range(len(kind))]
    weights = weights_of(1 if tied else len(taken))

    def forward(h: Any, weights: Any) -> Any:
        left = iter(weights if not tied else [weights[0]] * len(taken))
        extra = 0.0
        for k, kind in enumerate(kinds):
            for step in kind:
                h = step(h, next(left))
            if k == 2 and seed % 5 == 0:
                extra = h.sum()
        return h + extra

    return training_step(forward, weights, batch())
