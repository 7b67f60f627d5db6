"""Convolutions that pad for themselves: which do, and the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid import ops
from pellucid.core.dtype import DType, bfloat16, float32, int32
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Attrs, Graph, GraphBuilder, TensorType, emit
from pellucid.graph.verifier import verify
from pellucid.ops.conv import CONV2D_KERNEL_GRAD
from pellucid.passes import absorb_padding

Shape = tuple[int, ...]


def _graph(
    x: Shape, w: Shape, padding: int, groups: int, stride: int = 1, dtype: DType = float32
) -> Graph:
    with GraphBuilder("g") as builder:
        image = builder.input(TensorType(x, dtype), "x")
        kernel = builder.input(TensorType(w, dtype), "w")
        made = ops.conv2d(image, kernel, padding=padding, groups=groups, stride=stride)
        return builder.finish([made])


def _names(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes]


@pytest.mark.parametrize("dtype", [float32, bfloat16, int32], ids=str)
@pytest.mark.parametrize(
    ("x", "w", "padding", "stride"),
    [((2, 5, 9, 7), (5, 1, 3, 3), 1, 1), ((1, 3, 8, 8), (3, 1, 5, 5), 2, 2)],
)
def test_single_channels_pad_for_themselves(
    x: Shape, w: Shape, padding: int, stride: int, dtype: DType
) -> None:
    graph = _graph(x, w, padding, x[1], stride, dtype)
    after = absorb_padding.run(graph)
    verify(after)
    assert _names(after) == ["conv2d_padded"]
    assert absorb_padding.run(after) is after
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-4, 5, v.shape).astype(v.dtype.numpy) for v in graph.inputs]
    for a, b in zip(interpret(graph, *inputs), interpret(after, *inputs), strict=True):
        np.testing.assert_array_equal(b, a)


@pytest.mark.parametrize("dtype", [float32, bfloat16, int32], ids=str)
def test_their_kernels_gradients_do_too(dtype: DType) -> None:
    with GraphBuilder("g") as builder:
        image = builder.input(TensorType((2, 3, 7, 6), dtype), "x")
        g = builder.input(TensorType((2, 3, 4, 3), dtype), "g")
        wide = ops.pad(image, (0, 0, 1, 1), (0, 0, 1, 1))
        attrs: Attrs = {"kernel": (3, 3), "stride": (2, 2), "dilation": (1, 1), "groups": 3}
        graph = builder.finish([emit(CONV2D_KERNEL_GRAD, wide, g, **attrs)])
    after = absorb_padding.run(graph)
    verify(after)
    assert _names(after) == ["conv2d_padded_kernel_grad"]
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-4, 5, v.shape).astype(v.dtype.numpy) for v in graph.inputs]
    for a, b in zip(interpret(graph, *inputs), interpret(after, *inputs), strict=True):
        np.testing.assert_array_equal(b, a)


@pytest.mark.parametrize(
    ("x", "w", "padding", "groups"),
    [
        ((1, 4, 6, 6), (4, 4, 3, 3), 1, 1),
        ((1, 1, 6, 6), (8, 1, 3, 3), 1, 1),
        ((1, 3, 6, 6), (6, 1, 3, 3), 1, 3),
        ((1, 4, 6, 6), (4, 1, 3, 3), 0, 4),
        ((0, 4, 6, 6), (4, 1, 3, 3), 1, 4),
        ((1, 2, 9, 9), (2, 1, 9, 9), 1, 2),
    ],
)
def test_what_stays(x: Shape, w: Shape, padding: int, groups: int) -> None:
    graph = _graph(x, w, padding, groups)
    assert absorb_padding.run(graph) is graph


def test_other_paddings_stay() -> None:
    def made(value: float, interior: int, channels: int) -> Graph:
        with GraphBuilder("g") as builder:
            image = builder.input(TensorType((1, 4, 6, 6), float32), "x")
            kernel = builder.input(TensorType((4 + channels, 1, 3, 3), float32), "w")
            ends = (0, channels, 1, 1)
            wide = ops.pad(image, ends, (0, 0, 1, 1), interior=(0, 0, 0, interior), value=value)
            return builder.finish([ops.conv2d(wide, kernel, groups=4 + channels)])

    assert _names(absorb_padding.run(made(0.0, 0, 0))) == ["conv2d_padded"]
    for graph in (made(1.0, 0, 0), made(1.0, 1, 0), made(0.0, 0, 1)):
        assert absorb_padding.run(graph) is graph


@pytest.mark.parametrize("sizes", [(6, 6), (7, 5), (4, 9)])
@pytest.mark.parametrize(("taps", "step"), [(3, 2), (5, 2), (3, 3), (1, 2), (4, 4)])
def test_zeros_between_pixels_are_left_out(sizes: tuple[int, int], taps: int, step: int) -> None:
    holes = (0, 0, step - 1, step - 1)
    with GraphBuilder("g") as builder:
        image = builder.input(TensorType((2, 3, *sizes), float32), "x")
        kernel = builder.input(TensorType((3, 1, taps, taps), float32), "w")
        wide = ops.pad(image, (0, 0, 1, 0), (0, 0, taps, taps), interior=holes)
        graph = builder.finish([ops.conv2d(wide, kernel, groups=3)])
    after = absorb_padding.run(graph)
    verify(after)
    assert _names(after)[0] == "conv2d_spread"
    assert "pad" not in _names(after)
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-4, 5, v.shape).astype(np.float32) for v in graph.inputs]
    for a, b in zip(interpret(graph, *inputs), interpret(after, *inputs), strict=True):
        np.testing.assert_array_equal(b, a)


def test_far_pixels_keep_their_zeros() -> None:
    with GraphBuilder("g") as builder:
        image = builder.input(TensorType((1, 2, 3, 3), float32), "x")
        kernel = builder.input(TensorType((2, 1, 3, 3), float32), "w")
        wide = ops.pad(image, (0,) * 4, (0, 0, 2, 2), interior=(0, 0, 5, 5))
        graph = builder.finish([ops.conv2d(wide, kernel, groups=2)])
    assert absorb_padding.run(graph) is graph
