"""Reductions, transposes, gathers and scatters, running sums, top-k: work that memory bounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.bench.adapters import jax_call, numpy_call, onnxruntime_call, ours, torch_call
from pellucid.bench.onnx_models import operator_model
from pellucid.bench.peers import load
from pellucid.bench.row import Array, Candidate, Goal, Race, Row, Setting
from pellucid.nn import functional as F

Fn = Callable[..., Any]
VOCABULARY, WIDTH, TOKENS = 50257, 512, 32768


@dataclass(frozen=True, kw_only=True, slots=True)
class _Function:
    """One function in each framework's terms.

    Attributes:
        inputs: makes the arrays.
        ours: Pellucid.
        numpy: NumPy; None where it has no such function.
        torch: PyTorch.
        jax: JAX.
        onnx: an operator and its attributes, whose constants follow the first array; or nothing.
        constants: of that operator.
    """

    inputs: Callable[[], list[Array]]
    ours: Fn
    numpy: Fn | None = None
    torch: Fn
    jax: Fn
    onnx: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: tuple[Array, ...] = ()


def _uniform(*shape: int) -> Callable[[], list[Array]]:
    """Positive numbers, so that sums are large beside their rounding."""
    return lambda: [np.random.default_rng(0).random(shape, np.float32)]


def _distinct(rows: int, size: int) -> Callable[[], list[Array]]:
    """Rows without equal elements, whose order frameworks leave open."""

    def make() -> list[Array]:
        rng = np.random.default_rng(0)
        return [np.stack([rng.permutation(size).astype(np.float32) for _ in range(rows)])]

    return make


def _reduce(shape: tuple[int, ...], axis: int | None, name: str = "sum") -> _Function:
    axes = tuple(range(len(shape))) if axis is None else (axis,)
    op = {"sum": "ReduceSum", "max": "ReduceMax"}[name]
    return _Function(
        inputs=_uniform(*shape),
        ours=lambda x: getattr(pl, name)(x, axis=axis),
        numpy=lambda x: getattr(np, name)(x, axis=axis),
        torch=lambda x: getattr(load("torch"), "amax" if name == "max" else name)(x, axes),
        jax=lambda x: getattr(x, name)(axis),
        onnx=op,
        attributes={"keepdims": 0},
        constants=(np.array(axes, np.int64),),
    )


def _transpose(shape: tuple[int, ...], order: tuple[int, ...]) -> _Function:
    return _Function(
        inputs=_uniform(*shape),
        ours=lambda x: pl.permute_dims(x, order),
        numpy=lambda x: np.ascontiguousarray(x.transpose(order)),
        torch=lambda x: x.permute(order).contiguous(),
        jax=lambda x: x.transpose(order),
        onnx="Transpose",
        attributes={"perm": list(order)},
    )


def _table() -> list[Array]:
    rng = np.random.default_rng(0)
    table = rng.standard_normal((VOCABULARY, WIDTH), np.float32)
    return [table, rng.integers(0, VOCABULARY, TOKENS)]


def _gradients() -> list[Array]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal((TOKENS, WIDTH), np.float32), _table()[1]]


def _scatter(g: Any, tokens: Any) -> Any:
    table = pl.zeros((VOCABULARY, WIDTH))
    return pl.vjp(lambda w: F.embedding(tokens, w), table)[1](g)[0]


def _numpy_scatter(g: Array, tokens: Array) -> Array:
    table = np.zeros((VOCABULARY, WIDTH), np.float32)
    np.add.at(table, tokens, g)
    return table


def _jax_scatter(g: Any, tokens: Any) -> Any:
    return load("jax").numpy.zeros((VOCABULARY, WIDTH), g.dtype).at[tokens].add(g)


def _torch_scatter(g: Any, tokens: Any) -> Any:
    backward = load("torch").ops.aten.embedding_dense_backward
    return backward(g, tokens, VOCABULARY, -1, False)


def _running(axis: int) -> _Function:
    return _Function(
        inputs=_uniform(4096, 4096),
        ours=lambda x: pl.cumsum(x, axis=axis),
        numpy=lambda x: np.cumsum(x, axis),
        torch=lambda x: x.cumsum(axis),
        jax=lambda x: x.cumsum(axis),
        onnx="CumSum",
        constants=(np.array(axis, np.int64),),
    )


FUNCTIONS = {
    "sum rows 4096x4096": _reduce((4096, 4096), 1),
    "sum columns 4096x4096": _reduce((4096, 4096), 0),
    "sum all 16M": _reduce((1 << 24,), None),
    "max rows 4096x4096": _reduce((4096, 4096), 1, "max"),
    "max columns 4096x4096": _reduce((4096, 4096), 0, "max"),
    "sum middle 64x256x1024": _reduce((64, 256, 1024), 1),
    "transpose 4096x4096": _transpose((4096, 4096), (1, 0)),
    "transpose 64x512x512": _transpose((64, 512, 512), (0, 2, 1)),
    "transpose nchw-nhwc 32x64x56": _transpose((32, 64, 56, 56), (0, 2, 3, 1)),
    "transpose heads 16x512x12x64": _transpose((16, 512, 12, 64), (0, 2, 1, 3)),
    "embedding gather 32768x512": _Function(
        inputs=_table,
        ours=lambda w, tokens: F.embedding(tokens, w),
        numpy=lambda w, tokens: w[tokens],
        torch=lambda w, tokens: load("torch").nn.functional.embedding(tokens, w),
        jax=lambda w, tokens: w[tokens],
    ),
    "embedding scatter 32768x512": _Function(
        inputs=_gradients,
        ours=_scatter,
        numpy=_numpy_scatter,
        torch=_torch_scatter,
        jax=_jax_scatter,
    ),
    "cumsum rows 4096x4096": _running(1),
    "cumsum columns 4096x4096": _running(0),
    "top-16 1024x8192": _Function(
        inputs=_distinct(1024, 8192),
        ours=lambda x: pl.top_k(x, 16),
        torch=lambda x: tuple(x.topk(16)),
        jax=lambda x: load("jax").lax.top_k(x, 16),
    ),
}


def _make(made: _Function) -> Callable[[Setting], Race]:
    def make(_: Setting) -> Race:
        arrays = made.inputs()
        candidate, work = ours(made.ours, *arrays)
        peers: dict[str, Callable[[], Candidate]] = {
            "torch": lambda: torch_call(made.torch, *arrays),
            "jax": lambda: jax_call(made.jax, *arrays),
        }
        if (plain := made.numpy) is not None:
            peers["numpy"] = lambda: numpy_call(plain, *arrays)
        if made.onnx:
            peers["onnxruntime"] = lambda: onnxruntime_call(
                operator_model(made.onnx, arrays[0], *made.constants, **made.attributes),
                x=arrays[0],
            )
        return Race(ours=candidate, load=work, peers=peers)

    return make


ROWS = tuple(
    Row(name=name, group="movement", goal=Goal(ratio=1.2), make=_make(made))
    for name, made in FUNCTIONS.items()
)
