"""Kernels in panels: which convolutions get them, and the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid import ops
from pellucid.core.dtype import DType, float16, float32, int32
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, TensorType
from pellucid.graph.verifier import verify
from pellucid.passes import eliminate_common_subexpressions, fold_constants, pack_kernels
from pellucid.passes.pack_kernels import panel_of

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
@pytest.mark.parametrize(
    ("x", "w", "attrs"),
    [
        ((2, 16, 14, 14), (32, 16, 3, 3), {}),
        ((1, 16, 15, 7), (48, 16, 3, 3), {"stride": 2}),
        ((2, 8, 9, 9), (64, 4, 3, 3), {"groups": 2, "dilation": 2}),
    ],
)
def test_narrow_images_get_panels(x: Shape, w: Shape, attrs: dict[str, int], literal: bool) -> None:
    graph = _graph(x, w, attrs, literal=literal)
    after = pack_kernels.run(graph)
    verify(after)
    assert "conv2d_packed" in _names(after)
    assert pack_kernels.run(after) is after
    inputs = [RNG.normal(size=v.shape).astype(np.float32) for v in graph.inputs]
    for a, b in zip(interpret(graph, *inputs), interpret(after, *inputs), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)
    if literal:
        assert _names(fold_constants.run(after)) == ["constant", "conv2d_packed"]


@pytest.mark.parametrize(
    ("x", "w", "dtype", "attrs"),
    [
        ((1, 3, 20, 64), (16, 3, 3, 3), float32, {}),  # rows fill vectors, sums are short
        ((1, 64, 9, 9), (10, 64, 3, 3), float32, {}),  # ten channels do not
        ((1, 32, 14, 14), (32, 1, 3, 3), float32, {"groups": 32}),  # one channel each
        ((1, 64, 3, 3), (512, 64, 3, 3), float32, {}),  # one pixel: packing would never pay
        ((1, 16, 14, 14), (32, 16, 3, 3), int32, {}),
        ((0, 16, 14, 14), (32, 16, 3, 3), float32, {}),
    ],
)
def test_what_stays(x: Shape, w: Shape, dtype: DType, attrs: dict[str, int]) -> None:
    graph = _graph(x, w, attrs, literal=False, dtype=dtype)
    assert pack_kernels.run(graph) is graph


def test_a_literal_kernel_is_packed_for_one_pixel_too() -> None:
    graph = _graph((1, 64, 3, 3), (512, 64, 3, 3), {}, literal=True)
    assert "conv2d_packed" in _names(pack_kernels.run(graph))


def test_half_precision_keeps_its_sums_wide() -> None:
    graph = _graph((1, 64, 9, 9), (32, 64, 3, 3), {}, literal=True, dtype=float16)
    after = pack_kernels.run(graph)
    assert "conv2d_packed" in _names(after)
    x = RNG.normal(size=(1, 64, 9, 9)).astype(np.float16)
    np.testing.assert_array_equal(interpret(after, x)[0], interpret(graph, x)[0])


def test_panels_divide_the_channels() -> None:
    assert [panel_of(n) for n in (16, 24, 32, 37, 64, 96, 144, 100, 10)] == [
        16, 24, 32, 0, 32, 32, 16, 25, 0,
    ]  # fmt: skip


def test_a_flipped_kernel_is_packed_as_it_lies() -> None:
    with GraphBuilder("g") as builder:
        image = builder.input(TensorType((1, 32, 14, 14), float32), "x")
        kernel = builder.input(TensorType((32, 32, 3, 2), float32), "w")
        graph = builder.finish([ops.conv2d(image, ops.flip(kernel, (2, 3)))])
    after = pack_kernels.run(graph)
    assert "slice" not in _names(after)
    assert after.nodes[-1].attrs["flipped"]
    inputs = [RNG.normal(size=v.shape).astype(np.float32) for v in graph.inputs]
    np.testing.assert_array_equal(interpret(after, *inputs)[0], interpret(graph, *inputs)[0])


def test_slices_of_taps_share_one_packed_kernel() -> None:
    steps = (((0, 0), (3, 3), (2, 2)), ((1, 2), (2, -1), (1, -2)))
    with GraphBuilder("g") as builder:
        image = builder.input(TensorType((1, 16, 9, 9), float32), "x")
        kernel = builder.input(TensorType((32, 16, 3, 3), float32), "w")
        made = []
        for start, stop, step in steps:
            ends = (0, 0, *start), (32, 16, *stop), (1, 1, *step)
            made.append(ops.conv2d(image, ops.slice_(kernel, *ends)))
        graph = builder.finish(made)
    after = pack_kernels.run(graph)
    verify(after)
    after = eliminate_common_subexpressions.run(after)
    assert _names(after).count("conv2d_packed") == 2
    assert _names(after).count("transpose") == 1
    inputs = [RNG.normal(size=v.shape).astype(np.float32) for v in graph.inputs]
    for a, b in zip(interpret(graph, *inputs), interpret(after, *inputs), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)
