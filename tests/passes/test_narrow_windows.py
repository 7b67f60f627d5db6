"""Slices above convolutions and paddings: the same numbers, and less of them computed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid import ops
from pellucid.core.dtype import float32
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value
from pellucid.graph.verifier import verify
from pellucid.ops.conv import emit_conv
from pellucid.passes import narrow_windows

Shape = tuple[int, ...]


def _names(graph: Graph) -> list[str]:
    return [n.op.name for n in graph.nodes]


def _check(graph: Graph) -> Graph:
    after = narrow_windows.run(graph)
    verify(after)
    assert narrow_windows.run(after) is after
    rng = np.random.default_rng(0)
    inputs = [rng.integers(-4, 5, v.shape).astype(np.float32) for v in graph.inputs]
    for a, b in zip(interpret(graph, *inputs), interpret(after, *inputs), strict=True):
        np.testing.assert_array_equal(b, a)
    return after


def _sliced(start: Shape, stop: Shape, *, twice: bool = False) -> Graph:
    with GraphBuilder("g") as builder:
        image = builder.input(TensorType((3, 2, 6, 6), float32), "x")
        kernel = builder.input(TensorType((4, 2, 3, 3), float32), "w")
        wide = ops.pad(image, (0, 0, 2, 2), (0, 0, 2, 2))
        y = emit_conv(wide, kernel, (1, 1), (1, 1), 1)
        outputs = [ops.slice_(y, start, stop)]
        return builder.finish([*outputs, y] if twice else outputs)


def test_the_edge_of_a_padded_gradient_is_not_computed() -> None:
    after = _check(_sliced((0, 0, 1, 1), (3, 4, 7, 7)))
    assert _names(after) == ["pad", "conv2d"]
    assert after.nodes[0].attrs["low"] == (0, 0, 1, 1)


def test_what_stays() -> None:
    channels = _sliced((0, 1, 1, 1), (3, 3, 7, 7))
    shared = _sliced((0, 0, 1, 1), (3, 4, 7, 7), twice=True)
    assert narrow_windows.run(channels) is channels
    assert narrow_windows.run(shared) is shared


def test_some_images_and_a_corner() -> None:
    _check(_sliced((1, 0, 0, 5), (2, 4, 2, 8)))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_slice_of_a_padding(data: st.DataObject) -> None:
    def draw(least: int, most: int) -> int:
        return data.draw(st.integers(least, most))

    def make(x: Value) -> Value:
        low, high = ((draw(0, 3), draw(0, 3)) for _ in range(2))
        wide = ops.pad(x, low, high, value=draw(-1, 1))
        start = [draw(0, max(0, n - 1)) for n in wide.shape]
        return ops.slice_(wide, start, [draw(a, n) for a, n in zip(start, wide.shape, strict=True)])

    with GraphBuilder("g") as builder:
        x = builder.input(TensorType((draw(1, 4), draw(0, 4)), float32), "x")
        graph = builder.finish([make(x)])
    _check(graph)


@pytest.mark.parametrize(("stride", "dilation"), [((2, 1), (1, 2)), ((3, 2), (1, 1))])
def test_strides_and_holes(stride: tuple[int, int], dilation: tuple[int, int]) -> None:
    with GraphBuilder("g") as builder:
        image = builder.input(TensorType((2, 3, 14, 13), float32), "x")
        kernel = builder.input(TensorType((4, 3, 3, 2), float32), "w")
        y = emit_conv(image, kernel, stride, dilation, 1)
        n, o, rows, columns = y.shape
        graph = builder.finish([ops.slice_(y, (0, 0, 1, 2), (n, o, rows, columns - 1))])
    assert _names(_check(graph)) == ["slice", "conv2d"]


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_any_slice_of_a_padding_with_holes(data: st.DataObject) -> None:
    def draw(most: int) -> int:
        return data.draw(st.integers(0, most))

    low, high, holes = (draw(2), draw(2)), (draw(2), draw(2)), (draw(1), 1)
    with GraphBuilder("g") as builder:
        image = builder.input(TensorType((3, 4), float32), "x")
        wide = ops.pad(image, low, high, interior=holes)
        start = [draw(n - 1) for n in wide.shape]
        stop = [a + 1 + draw(n - a - 1) for a, n in zip(start, wide.shape, strict=True)]
        graph = builder.finish([ops.slice_(wide, start, stop)])
    after = _check(graph)
    inside = all(a <= b for a, b in zip(start, low, strict=True)) and all(
        n - t <= b for n, t, b in zip(wide.shape, stop, high, strict=True)
    )
    assert not inside or "slice" not in _names(after)
