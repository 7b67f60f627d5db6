"""A transformer block as an ONNX model, written out in ONNX's primitive operators."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from pellucid.bench.onnx_models import OnnxGraph
from pellucid.bench.row import Array


def block_model(weights: Mapping[str, Array], x: Sequence[int], heads: int) -> bytes:
    """The block of nanoGPT on `[B, T, C]`, causal, from weights under nanoGPT's names."""
    graph = _Block(weights, tuple(x), heads)
    first = graph.add("Add", "x", graph.attend(graph.norm("ln_1", "x")))
    hidden = graph.add("Gelu", graph.dense("mlp.c_fc", graph.norm("ln_2", first)))
    return graph.finish(x, graph.add("Add", first, graph.dense("mlp.c_proj", hidden)))


class _Block(OnnxGraph):
    def __init__(self, weights: Mapping[str, Array], shape: Sequence[int], heads: int) -> None:
        super().__init__()
        self.weights, self.shape, self.heads = weights, shape, heads

    def norm(self, name: str, x: str) -> str:
        """A layer norm."""
        parts = [self.constant(f"{name}.{p}", self.weights[f"{name}.{p}"]) for p in _PARTS]
        return self.add("LayerNormalization", x, *parts, axis=-1, epsilon=1e-5)

    def dense(self, name: str, x: str) -> str:
        """A linear layer; its weights are stored as the product reads them."""
        turned = np.ascontiguousarray(self.weights[f"{name}.weight"].T)
        product = self.add("MatMul", x, self.constant(f"{name}.weight", turned))
        bias = self.constant(f"{name}.bias", self.weights[f"{name}.bias"])
        return self.add("Add", product, bias)

    def attend(self, x: str) -> str:
        """Causal self-attention."""
        batch, time, width = self.shape
        each = width // self.heads
        split = self.constant("split", np.array([batch, time, 3, self.heads, each], np.int64))
        joint = self.add("Reshape", self.dense("attn.c_attn", x), split)
        turned = self.add("Transpose", joint, perm=[2, 0, 3, 1, 4])
        q, k, v = (
            self.add("Gather", turned, self.constant(f"at{i}", np.array(i, np.int64)), axis=0)
            for i in range(3)
        )
        scale = self.constant("scale", np.array(1 / math.sqrt(each), np.float32))
        scores = self.add("Mul", self.add("MatMul", q, self._turned(k)), scale)
        hidden = np.triu(np.full((time, time), -np.inf, np.float32), 1)
        masked = self.add("Add", scores, self.constant("mask", hidden))
        mixed = self.add("MatMul", self.add("Softmax", masked, axis=-1), v)
        back = self.add("Transpose", mixed, perm=[0, 2, 1, 3])
        whole = self.constant("whole", np.array(self.shape, np.int64))
        return self.dense("attn.c_proj", self.add("Reshape", back, whole))

    def _turned(self, keys: str) -> str:
        return self.add("Transpose", keys, perm=[0, 1, 3, 2])


_PARTS = ("weight", "bias")
