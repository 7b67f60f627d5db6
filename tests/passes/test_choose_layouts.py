"""Layouts of whole graphs: the same numbers, the cheapest choice, conversions at its edges."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid import ops
from pellucid.core.dtype import float32
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, Node, TensorType, Value
from pellucid.graph.verifier import verify
from pellucid.ops.pooling import avg_pool2d, max_pool2d
from pellucid.passes import choose_layouts, fold_constants
from pellucid.passes.channels_last import has_last, images_of, is_image, reads_either
from pellucid.passes.layout_costs import of_conversion, of_convolution

Shape = tuple[int, ...]
RNG = np.random.default_rng(0)


def _literal(*shape: int) -> Value:
    return ops.constant((RNG.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32))


def _conv(x: Value, channels: int, taps: int = 1, stride: int = 1) -> Value:
    w = _literal(channels, x.shape[1], taps, taps)
    y = ops.conv2d(x, w, stride=stride, padding=taps // 2)
    return ops.add(y, _literal(channels, 1, 1))


def _single(x: Value, taps: int = 3, stride: int = 1) -> Value:
    w = _literal(x.shape[1], 1, taps, taps)
    return ops.conv2d(x, w, stride=stride, padding=taps // 2, groups=x.shape[1])


def _graph(make: Callable[[Value], Value], *shape: int) -> Graph:
    with GraphBuilder("g") as builder:
        return builder.finish([make(builder.input(TensorType(shape, float32), "x"))])


def _moves(graph: Graph) -> int:
    folded = fold_constants.run(graph)
    return sum(n.op.name == "transpose" for n in folded.nodes)


def _block(x: Value, wide: int, stride: int = 1) -> Value:
    y = ops.relu(_single(ops.relu(_conv(x, wide)), 3, stride))
    y = _conv(y, x.shape[1])
    return y if stride > 1 else ops.add(x, y)


def _same(graph: Graph, after: Graph) -> None:
    verify(after)
    x = RNG.normal(size=graph.inputs[0].shape).astype(np.float32)
    for a, b in zip(interpret(graph, x), interpret(after, x), strict=True):
        np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-4)


def test_a_mobile_network_is_converted_once_at_either_end() -> None:
    def network(x: Value) -> Value:
        y = ops.relu(_conv(x, 32, 3, 2))
        for stride in (1, 1, 2, 1):
            y = _block(y, 96, stride)
        return y

    graph = _graph(network, 1, 3, 32, 32)
    after = choose_layouts.run(graph)
    assert _moves(after) == 2
    assert {n.op.name for n in after.nodes} >= {"dot_general", "conv2d_last"}
    assert not any(n.op.name == "conv2d" for n in after.nodes)
    assert choose_layouts.run(after) is after
    _same(graph, after)


def test_a_network_that_ends_in_a_mean_is_converted_at_its_start_alone() -> None:
    def network(x: Value) -> Value:
        y = _block(_conv(x, 64), 384)
        gate = ops.sigmoid(_conv(ops.mean(y, (2, 3), keepdims=True), 64))
        return ops.mean(ops.multiply(_block(y, 384), gate), (2, 3))

    graph = _graph(network, 2, 32, 7, 7)
    after = choose_layouts.run(graph)
    assert _moves(after) <= 1
    _same(graph, after)


def test_pools_joins_and_slices_pass_the_layout_on() -> None:
    def network(x: Value) -> Value:
        y = _block(_conv(x, 64), 384)
        low = max_pool2d(y, (3, 3), stride=(1, 1), padding=((1, 1), (1, 1)))
        high = avg_pool2d(y, (3, 3), stride=(1, 1), padding=((1, 1), (1, 1)))
        both = ops.concatenate([low, high, y], 1)
        return _block(_conv(ops.slice_(both, (0, 8, 1, 0), (1, 72, 7, 7), (1, 1, 1, 2)), 64), 384)

    graph = _graph(network, 1, 32, 7, 7)
    after = choose_layouts.run(graph)
    assert _moves(after) <= 2
    assert not any(n.op.name == "conv2d" for n in after.nodes)
    _same(graph, after)


@pytest.mark.parametrize("kind", ["parameter", "groups", "integers", "empty"])
def test_what_stays(kind: str) -> None:
    def network(x: Value) -> Value:
        if kind == "groups":
            return ops.conv2d(x, _literal(32, 8, 1, 1), groups=4)
        if kind == "integers":
            w = ops.constant(np.ones((64, 32, 1, 1), np.int32))
            return ops.conv2d(ops.astype(x, "int32"), w)
        if kind == "empty":
            return _conv(ops.slice_(x, (0,) * 4, (0, *x.shape[1:])), 64)
        return ops.conv2d(x, ops.negative(ops.slice_(x, (0,) * 4, (32, 32, 1, 1))), groups=1)

    graph = _graph(network, 1 if kind != "parameter" else 32, 32, 7, 7)
    assert choose_layouts.run(graph) is graph


def test_one_convolution_does_not_pay_for_two_conversions() -> None:
    graph = _graph(lambda x: _conv(x, 16), 1, 16, 64, 64)
    assert choose_layouts.run(graph) is graph


def test_conversions_without_movement_are_reshapes() -> None:
    def network(x: Value) -> Value:
        return ops.mean(_block(_conv(x, 64), 384), (2, 3), keepdims=True)

    after = choose_layouts.run(_graph(network, 1, 32, 7, 7))
    moves = [n for n in fold_constants.run(after).nodes if n.op.name == "transpose"]
    assert all(n.inputs[0] in after.inputs or n.inputs[0].rank == 2 for n in moves)


def _price(graph: Graph, last: frozenset[Node]) -> int:
    """What a choice costs, added up by the definition."""
    total = sum(of_convolution(n)[n in last] for n in graph.nodes if n.op.name == "conv2d")
    values = [v for n in graph.nodes for v in n.outputs if n.op.name != "constant"]
    for value in (*graph.inputs, *values):
        if not is_image(value):
            continue
        mine = value.node in last
        readers = [n for n in graph.nodes if value in (images_of(n) if has_last(n) else n.inputs)]
        direct = [n for n in readers if reads_either(n)]
        if mine:
            others = any(n not in last for n in readers) or value in graph.outputs
            total += of_conversion(value) if others else 0
        else:
            total += sum(of_conversion(value, n) for n in direct if n in last)
            others = any(n in last for n in readers if n not in direct)
            total += of_conversion(value) if others else 0
    return total


@st.composite
def _networks(draw: st.DrawFn) -> Graph:
    with GraphBuilder("g") as builder:
        size = draw(st.integers(3, 9))
        shape = (draw(st.integers(1, 2)), draw(st.sampled_from([3, 16, 24, 32])), size, size)
        values = [builder.input(TensorType(shape, float32), "x")]
        for _ in range(draw(st.integers(1, 6))):
            x = draw(st.sampled_from(values[-2:]))
            channels = draw(st.sampled_from([8, 16, 40, 64]))
            match draw(st.sampled_from(["wide", "single", "taps", "relu", "pool", "turn", "join"])):
                case "wide":
                    values.append(_conv(x, channels))
                case "single":
                    values.append(_single(x, draw(st.sampled_from([2, 3]))))
                case "taps":
                    values.append(_conv(x, channels, 3))
                case "relu":
                    values.append(ops.relu(x))
                case "pool":
                    values.append(max_pool2d(x, (3, 3), stride=(1, 1), padding=((1, 1), (1, 1))))
                case "turn":
                    values.append(ops.transpose(x, (0, 1, 3, 2)))
                case "join":
                    values.append(ops.concatenate([x, x], 1))
        return builder.finish([values[-1]])


@settings(max_examples=60, deadline=None)
@given(graph=_networks())
def test_random_networks_keep_their_meaning_at_the_lowest_price(graph: Graph) -> None:
    after = choose_layouts.run(graph)
    _same(graph, after)
    assert choose_layouts.run(after) is after
    nodes = [n for n in graph.nodes if has_last(n)]
    chosen = choose_layouts.choose_last(graph)
    assert chosen <= frozenset(nodes)
    if len(nodes) <= 10:
        sides = itertools.chain.from_iterable(
            itertools.combinations(nodes, k) for k in range(len(nodes) + 1)
        )
        assert _price(graph, chosen) == min(_price(graph, frozenset(s)) for s in sides)
