"""Winograd's form: which convolutions get it, and the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

import pellucid as pl
from pellucid import ops
from pellucid.core.dtype import DType, float32, float64
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, TensorType
from pellucid.graph.verifier import verify
from pellucid.nn import functional as F
from pellucid.passes import group_fusion, transform_convolutions
from pellucid.passes.transform_convolutions import best_gradient_tile, best_tile

RNG = np.random.default_rng(0)
Shape = tuple[int, ...]


def _graph(
    x: Shape, w: Shape, attrs: dict[str, int], *, literal: bool, dtype: DType = float32
) -> Graph:
    with GraphBuilder("g") as builder:
        image = builder.input(TensorType(x, dtype), "x")
        if literal:
            kernel = ops.constant(RNG.normal(size=w).astype(dtype.numpy))
        else:
            kernel = builder.input(TensorType(w, dtype), "w")
        return builder.finish([ops.conv2d(image, kernel, **attrs)])


def _names(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes]


@pytest.mark.parametrize("literal", [False, True])
@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize(
    ("x", "w"), [((2, 32, 28, 27), (32, 32, 3, 3)), ((1, 16, 33, 35), (48, 16, 3, 3))]
)
def test_large_images_get_it(x: Shape, w: Shape, padding: int, literal: bool) -> None:
    graph = _graph(x, w, {"padding": padding}, literal=literal)
    after = transform_convolutions.run(graph)
    verify(after)
    names = _names(after)
    assert "conv2d_winograd" in names
    assert "pad" not in names
    assert ("winograd_weights" in names) is not literal
    assert transform_convolutions.run(after) is after
    inputs = [RNG.normal(size=v.shape).astype(np.float32) for v in graph.inputs]
    for a, b in zip(interpret(graph, *inputs), interpret(after, *inputs), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-5 * np.abs(a).max())


@pytest.mark.parametrize(
    ("x", "w", "dtype", "attrs"),
    [
        ((1, 32, 28, 28), (32, 32, 3, 3), float32, {"stride": 2}),
        ((1, 32, 28, 28), (32, 32, 3, 3), float32, {"dilation": 2}),
        ((1, 64, 28, 28), (32, 32, 3, 3), float32, {"groups": 2}),
        ((1, 32, 28, 28), (32, 32, 1, 1), float32, {}),
        ((1, 32, 28, 28), (32, 32, 5, 5), float32, {}),
        ((1, 32, 28, 28), (32, 32, 3, 3), float64, {}),
        ((1, 3, 28, 28), (32, 3, 3, 3), float32, {}),  # three channels fill no vector
        ((1, 32, 28, 28), (10, 32, 3, 3), float32, {}),
        ((0, 32, 28, 28), (32, 32, 3, 3), float32, {}),
        ((1, 512, 4, 4), (512, 512, 3, 3), float32, {}),  # transforming weights would not pay
    ],
)
def test_what_stays(x: Shape, w: Shape, dtype: DType, attrs: dict[str, int]) -> None:
    graph = _graph(x, w, attrs, literal=False, dtype=dtype)
    assert transform_convolutions.run(graph) is graph


def test_a_pad_that_is_no_border_of_zeros_stays() -> None:
    with GraphBuilder("g") as builder:
        image = builder.input(TensorType((1, 32, 28, 28), float32), "x")
        kernel = ops.constant(RNG.normal(size=(32, 32, 3, 3)).astype(np.float32))
        ones = ops.pad(image, (0, 0, 1, 1), (0, 0, 1, 1), value=1.0)
        graph = builder.finish([ops.conv2d(ones, kernel)])
    after = transform_convolutions.run(graph)
    assert {"pad", "conv2d_winograd"} <= set(_names(after))


def test_larger_tiles_for_larger_images() -> None:
    assert best_tile(1, 64, (64, 56, 56), known=True) == 4
    assert best_tile(1, 32, (32, 2, 2), known=True) in (0, 2)
    assert best_tile(1, 64, (7, 56, 56), known=True) == 0


def test_what_follows_joins_it() -> None:
    """Bias, residual and activation happen where the results are stored."""
    with GraphBuilder("g") as builder:
        image, rest = (builder.input(TensorType((1, 32, 28, 28), float32)) for _ in range(2))
        bias = builder.input(TensorType((32,), float32))
        kernel = ops.constant(RNG.normal(size=(32, 32, 3, 3)).astype(np.float32))
        y = ops.add(ops.conv2d(image, kernel, padding=1), ops.reshape(bias, (1, -1, 1, 1)))
        graph = builder.finish([ops.relu(ops.add(y, rest))])
    after = group_fusion.run(transform_convolutions.run(graph))
    (fused,) = (n for n in after.nodes if n.op.name == "fused")
    body = fused.attrs["body"]
    assert isinstance(body, Graph)
    assert {"conv2d_winograd", "add", "where"} <= set(_names(body))


def test_operands_made_by_movement_lie_in_memory() -> None:
    """Statements read their operands as they lie: a transpose before them is a kernel."""
    with GraphBuilder("g") as builder:
        image = builder.input(TensorType((1, 28, 28, 32), float32))
        kernel = ops.constant(RNG.normal(size=(32, 32, 3, 3)).astype(np.float32))
        turned = ops.transpose(ops.relu(image), (0, 3, 1, 2))
        graph = builder.finish([ops.relu(ops.conv2d(turned, kernel, padding=1))])
    after = group_fusion.run(transform_convolutions.run(graph))
    verify(after)
    x = RNG.normal(size=(1, 28, 28, 32)).astype(np.float32)
    (a,), (b,) = interpret(graph, x), interpret(after, x)
    np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-3)


def test_a_gradient_reads_the_weights_of_the_layer() -> None:
    """Their exchange and reversal are part of their transform."""

    def gradient(x: pl.Tensor, w: pl.Tensor, g: pl.Tensor) -> pl.Tensor:
        back: pl.Tensor = pl.vjp(lambda x: F.conv2d(x, w, padding=1), x)[1](g)[0]
        return back

    x, w = pl.randn(1, 48, 28, 28), pl.randn(32, 48, 3, 3)
    graph = pl.jit(gradient).lower(x, w, pl.randn(1, 32, 28, 28)).passes.graph
    (made,) = (n for n in graph.nodes if n.op.name == "winograd_weights")
    assert made.attrs["exchanged"] is True
    assert {n.op.name for n in graph.nodes} <= {"reshape", "winograd_weights", "conv2d_winograd"}


@pytest.mark.parametrize("padding", [0, 1])
def test_gradients_of_kernels_too(padding: int) -> None:
    def gradient(x: pl.Tensor, w: pl.Tensor, g: pl.Tensor) -> pl.Tensor:
        back: pl.Tensor = pl.vjp(lambda w: F.conv2d(x, w, padding=padding), w)[1](g)[0]
        return back

    x, w = pl.randn(3, 48, 21, 22), pl.randn(32, 48, 3, 3)
    g = pl.randn(3, 32, 19 + 2 * padding, 20 + 2 * padding)
    graph = pl.jit(gradient).lower(x, w, g).passes.graph
    assert {n.op.name for n in graph.nodes} == {"winograd_kernel_grad", "reshape"}
    arrays = [v.numpy() for v in (x, w, g)]
    single = pl.jit(gradient)(x, w, g).numpy()
    double = pl.jit(gradient)(*(pl.Tensor(a.astype(np.float64)) for a in arrays)).numpy()
    assert np.abs(single - double).max() < 5e-6 * np.abs(double).max()


def test_gradients_over_few_tiles_stay() -> None:
    assert best_gradient_tile(1, 256, (256, 7, 7)) == 0
    assert best_gradient_tile(1, 3, (64, 56, 56)) == 0
    assert best_gradient_tile(1, 64, (64, 56, 56)) == 4


def test_training_agrees_with_float64() -> None:
    """Forward, and both gradients, of which the input's is such a convolution again."""
    x, w = RNG.normal(size=(2, 32, 19, 22)), RNG.normal(size=(48, 32, 3, 3)) / 17

    def loss(x: pl.Tensor, w: pl.Tensor) -> pl.Tensor:
        return (F.conv2d(x, w, padding=1) ** 2).sum()

    gradient = pl.jit(pl.grad(loss, argnums=(0, 1)))
    single = gradient(pl.Tensor(x.astype(np.float32)), pl.Tensor(w.astype(np.float32)))
    double = gradient(pl.Tensor(x), pl.Tensor(w))
    for a, b in zip(single, double, strict=True):
        wide = b.numpy()
        assert np.abs(a.numpy() - wide).max() < 5e-6 * np.abs(wide).max()


def test_gradients_of_kernels_whose_sums_outgrow_the_caches_stay() -> None:
    assert best_gradient_tile(4, 256, (256, 14, 14)) == 4  # 9 MB of sums
    assert best_gradient_tile(4, 384, (384, 13, 13)) == 2
    assert best_gradient_tile(8, 512, (512, 7, 7)) == 0
