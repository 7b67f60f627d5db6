"""Every record, and composites with their gradients, compiled for this machine, against NumPy.

Records are compiled alone; composites show that what is fused keeps its meaning, at edges too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from pellucid import ops
from pellucid.autodiff.reverse import value_and_vjp_graph
from pellucid.compile import compile_graph
from pellucid.core.config import current_config
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph
from pellucid.runtime.executable import Executable
from tests.ops.records import Array, Case, agree, arrays_of, each_case, sample_graph, trace, type_of

NO_CACHE = dataclasses.replace(current_config(), cache=False)
RNG = np.random.default_rng(0)
INF, NAN = np.inf, np.nan


def _native(graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    return Executable(compile_graph(graph, config=NO_CACHE)).run(arrays)


@each_case
def test_compiled_record_agrees_with_reference(case: Case) -> None:
    graph, arrays = sample_graph(case), arrays_of(case.sample)
    agree(_native(graph, arrays), interpret(graph, *arrays), 2)


def _f32(*shape: int, scale: float = 1.0) -> Array:
    return np.asarray(RNG.normal(size=shape) * scale, np.float32)


def _rows(*rows: list[float]) -> Array:
    return np.array(rows, np.float32)


COMPOSITES: dict[str, tuple[Callable[..., Any], list[Array]]] = {
    "softmax": (ops.softmax, [_f32(7, 33)]),
    "softmax of rows": (lambda x: ops.softmax(x, 0), [_f32(7, 33)]),
    "softmax of infinities": (ops.softmax, [_rows([-INF, 0, 1], [NAN, 0, 1], [-INF] * 3)]),
    "log_softmax": (ops.log_softmax, [_f32(7, 33)]),
    "logsumexp": (lambda x: ops.logsumexp(x, 1), [_rows([1, 2, 3], [100, -100, 0])]),
    "layer_norm": (ops.layer_norm, [_f32(5, 6, 40), _f32(40), _f32(40)]),
    "layer_norm f16": (ops.layer_norm, [_f32(5, 40).astype(np.float16)]),
    "rms_norm": (ops.rms_norm, [_f32(5, 40), _f32(40)]),
    "group_norm": (
        lambda x, w, b: ops.group_norm(x, 2, w, b),
        [_f32(3, 6, 5, 5), _f32(6), _f32(6)],
    ),
    "batch_norm": (
        lambda x, w, b: ops.batch_norm(x, *ops.batch_moments(x), w, b),
        [_f32(3, 6, 5, 5), _f32(6), _f32(6)],
    ),
    "gelu": (ops.gelu, [_f32(100)]),
    "gelu by tanh": (lambda x: ops.gelu(x, "tanh"), [_f32(100)]),
    "silu": (ops.silu, [_f32(100, scale=30)]),
    "softplus": (ops.softplus, [_f32(100, scale=30)]),
    "elu": (ops.elu, [_f32(100, scale=10)]),
    "cross_entropy": (ops.cross_entropy, [_f32(9, 11), RNG.integers(0, 11, 9)]),
    "cross_entropy, smoothed": (
        lambda x, y: ops.cross_entropy(x, y, label_smoothing=0.1),
        [_f32(3, 11), np.array([0, -100, 10])],
    ),
    "bce_with_logits": (ops.bce_with_logits, [_f32(9, scale=50), abs(_f32(9))]),
    "huber_loss": (ops.huber_loss, [_f32(30), _f32(30)]),
    "matmul": (ops.matmul, [_f32(4, 17, 9), _f32(9, 21)]),
    "matmul, broadcast": (ops.matmul, [_f32(4, 1, 17, 9), _f32(3, 9, 21)]),
    "einsum": (
        lambda a, b, c: ops.einsum("bqhd,bkhd,bkhe->bqhe", a, b, c),
        [_f32(2, 3, 4, 5), _f32(2, 6, 4, 5), _f32(2, 6, 4, 3)],
    ),
    "attention": (
        lambda q, k, v: ops.scaled_dot_product_attention(q, k, v, is_causal=True),
        [_f32(2, 3, 8, 5), _f32(2, 3, 8, 5), _f32(2, 3, 8, 5)],
    ),
    "var": (lambda x: ops.var(x, (0, 2)), [_f32(3, 4, 5)]),
    "prod": (lambda x: ops.prod(x, 1), [_rows([1, 0, 2], [0, 0, 3], [1, 2, 3])]),
    "cumprod": (lambda x: ops.cumprod(x, 1), [_rows([1, 0, 2, 0, 3])]),
    "max": (lambda x: ops.max(x, 1), [_rows([1, 3, 3], [2, 1, 0])]),
    "argmax": (lambda x: ops.argmax(x, 1), [_rows([1, 3, 3], [2, NAN, NAN], [-INF] * 3)]),
    "argmin of all": (ops.argmin, [_f32(4, 5)]),
    "hypot": (ops.hypot, [_f32(9), _f32(9)]),
    "logaddexp": (ops.logaddexp, [_f32(9), _f32(9)]),
    "trace": (lambda x: ops.trace(x, 1), [_f32(3, 4, 5)]),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_compiled_composite_and_gradient_agree(name: str) -> None:
    fn, arrays = COMPOSITES[name]
    graph = trace(fn, *(type_of(a) for a in arrays))
    agree(_native(graph, arrays), interpret(graph, *arrays), 5)
    if not graph.outputs[0].dtype.is_float:
        return
    places = [i for i, v in enumerate(graph.inputs) if v.dtype.is_float]
    both = value_and_vjp_graph(graph, places)
    cotangent = np.asarray(_f32(*graph.outputs[0].shape), graph.outputs[0].dtype.numpy)
    given = [*arrays, cotangent]
    agree(_native(both, given), interpret(both, *given), 20)
