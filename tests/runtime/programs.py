"""Small graphs that the runtime's tests compile."""

from __future__ import annotations

from pathlib import Path

from pellucid import ops
from pellucid.core.config import Config
from pellucid.core.dtype import float32
from pellucid.graph.ir import Graph, GraphBuilder, TensorType


def config_in(folder: Path) -> Config:
    return Config(cache_dir=folder, threads=2)


def affine(n: int = 8, name: str = "affine") -> Graph:
    """`x + w`, `x * w` on vectors."""
    builder = GraphBuilder(name)
    with builder:
        x, w = (builder.input(TensorType((n,), float32), hint) for hint in "xw")
        return builder.finish([ops.add(x, w), ops.multiply(x, w)])


def train_step(rows: int = 64) -> Graph:
    """A loss and the weights after one step: inputs x [rows, 20], w [20, 5]."""
    builder = GraphBuilder("train_step")
    with builder:
        x = builder.input(TensorType((rows, 20), float32), "x")
        w = builder.input(TensorType((20, 5), float32), "w")
        y = ops.tanh(ops.matmul(x, w))
        step = ops.matmul(ops.transpose(x, (1, 0)), y)
        new = ops.subtract(w, ops.multiply(0.125, step))
        return builder.finish([ops.sum(y), new])


def chain(length: int, n: int = 1000) -> Graph:
    """Reductions that cannot all be fused, so that temporaries lie in the arena."""
    builder = GraphBuilder("chain")
    with builder:
        x = builder.input(TensorType((n, n), float32), "x")
        value = x
        for _ in range(length):
            value = ops.matmul(value, x)
            value = ops.multiply(value, 0.001)
        return builder.finish([value])
