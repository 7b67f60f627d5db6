"""Scales and shifts go into literal weights: what folds, what must not, and the same numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid import ops
from pellucid.core.dtype import DType, bfloat16, float32, float64
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value, emit
from pellucid.graph.verifier import verify
from pellucid.ops.contraction import DOT_GENERAL
from pellucid.ops.conv import emit_conv
from pellucid.passes import fold_scales

RNG = np.random.default_rng(0)


def _literal(*shape: int, dtype: DType = float32) -> Value:
    return ops.constant(RNG.normal(size=shape).astype(dtype.numpy))


def _graph(shape: tuple[int, ...], fn: Callable[[Value], Value], dtype: DType = float32) -> Graph:
    with GraphBuilder("g") as builder:
        x = builder.input(TensorType(shape, dtype), "x")
        return builder.finish([fn(x)])


def _ops(graph: Graph) -> list[str]:
    quiet = ("constant", "broadcast_to")
    return [n.op.name for n in graph.nodes if n.op.name not in quiet]


def _check(graph: Graph, left: list[str], tolerance: float = 1e-5) -> None:
    after = fold_scales.run(graph)
    verify(after)
    assert _ops(after) == left
    x = RNG.normal(size=graph.inputs[0].shape).astype(graph.inputs[0].dtype.numpy)
    for a, b in zip(interpret(graph, x), interpret(after, x), strict=True):
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance * np.abs(a).max())
    assert fold_scales.run(after) is after


def _batch_norm(y: Value, channels: int, axis: int = 1, dtype: DType = float32) -> Value:
    shape = [1] * y.rank
    shape[axis] = channels
    m, s, g, b = (_literal(*shape, dtype=dtype) for _ in range(4))
    return ops.add(ops.multiply(ops.multiply(ops.subtract(y, m), s), g), b)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_batch_norm_behind_a_convolution(groups: int) -> None:
    def fn(x: Value) -> Value:
        y = emit_conv(x, _literal(12, 6 // groups, 3, 2), (2, 1), (1, 1), groups)
        return _batch_norm(y, 12)

    _check(_graph((2, 6, 9, 7), fn), ["conv2d", "add"])


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_batch_norm_before_a_convolution(groups: int) -> None:
    def fn(x: Value) -> Value:
        return emit_conv(_batch_norm(x, 6), _literal(12, 6 // groups, 3, 2), (2, 1), (2, 1), groups)

    _check(_graph((2, 6, 9, 7), fn), ["conv2d", "add"])


def test_only_the_scale_goes_through_padding() -> None:
    def fn(x: Value) -> Value:
        y = ops.pad(_batch_norm(x, 3), (0, 0, 1, 1), (0, 0, 1, 0))
        return emit_conv(y, _literal(4, 3, 2, 2), (1, 1), (1, 1), 1)

    graph = _graph((1, 3, 4, 5), fn)
    _check(graph, ["sub", "mul", "mul", "add", "pad", "conv2d"])  # the shift stands in the way
    scaled = _graph((1, 3, 4, 5), lambda x: emit_conv(
        ops.pad(ops.multiply(x, _literal(3, 1, 1)), (0, 0, 1, 1), (0, 0, 1, 0)),
        _literal(4, 3, 2, 2), (1, 1), (1, 1), 1))  # fmt: skip
    _check(scaled, ["pad", "conv2d"])


def test_norms_around_a_product() -> None:
    def fn(x: Value) -> Value:
        y = ops.add(ops.multiply(x, _literal(6)), _literal(6))
        y = emit(DOT_GENERAL, y, _literal(6, 4), contract=((2,), (0,)), batch=((), ()))
        return ops.divide(ops.subtract(_literal(4), y), _literal(4))

    _check(_graph((2, 3, 6), fn), ["dot_general", "add"])


def test_weights_on_the_left_with_a_batch() -> None:
    def fn(x: Value) -> Value:
        w = _literal(5, 2, 4, 3)
        y = emit(DOT_GENERAL, w, x, contract=((0,), (2,)), batch=((1,), (0,)))  # [2, 4, 3, 7]
        return ops.add(ops.multiply(y, _literal(2, 4, 1, 1)), _literal(2, 1, 3, 1))

    _check(_graph((2, 7, 5), fn), ["dot_general", "add"])


def test_what_differs_along_other_axes_stays() -> None:
    def fn(x: Value) -> Value:
        y = emit_conv(x, _literal(4, 3, 1, 1), (1, 1), (1, 1), 1)
        return ops.multiply(y, _literal(1, 4, 1, 5))

    _check(_graph((1, 3, 2, 5), fn), ["conv2d", "mul"])


def test_shifts_of_different_axes_do_not_grow_together() -> None:
    def fn(x: Value) -> Value:
        y = emit(DOT_GENERAL, x, _literal(3, 4), contract=((1,), (0,)), batch=((), ()))
        return ops.multiply(ops.add(ops.add(y, _literal(4)), _literal(5, 1)), _literal(4))

    _check(_graph((5, 3), fn), ["dot_general", "add", "add", "mul"])


def test_a_bias_stays_where_it_is() -> None:
    def fn(x: Value) -> Value:
        for _ in range(2):
            y = emit(DOT_GENERAL, x, _literal(4, 4), contract=((1,), (0,)), batch=((), ()))
            x = ops.add(y, _literal(4))
        return x

    graph = _graph((2, 4), fn)
    assert fold_scales.run(graph) is graph


def test_what_is_read_elsewhere_is_not_folded() -> None:
    with GraphBuilder("g") as builder:
        x = builder.input(TensorType((2, 3), float32), "x")
        y = emit(DOT_GENERAL, x, _literal(3, 4), contract=((1,), (0,)), batch=((), ()))
        shifted = ops.add(y, _literal(4))
        graph = builder.finish([ops.multiply(shifted, _literal(4)), ops.tanh(y)])
    assert fold_scales.run(graph) is graph


def test_weights_that_are_inputs_or_narrow_stay() -> None:
    with GraphBuilder("g") as builder:
        x = builder.input(TensorType((2, 3), float32), "x")
        w = builder.input(TensorType((3, 4), float32), "w")
        y = emit(DOT_GENERAL, x, w, contract=((1,), (0,)), batch=((), ()))
        graph = builder.finish([ops.multiply(y, _literal(4))])
    assert fold_scales.run(graph) is graph
    narrow = _graph((2, 3), lambda v: ops.multiply(
        emit(DOT_GENERAL, v, _literal(3, 4, dtype=bfloat16), contract=((1,), (0,)),
             batch=((), ())), _literal(4, dtype=bfloat16)), bfloat16)  # fmt: skip
    assert fold_scales.run(narrow) is narrow


@pytest.mark.parametrize("factor", [np.inf, np.nan, 3e38])
def test_what_would_not_be_finite_stays(factor: float) -> None:
    def fn(x: Value) -> Value:
        w = ops.constant(np.full((3, 4), 2, np.float32))
        y = emit(DOT_GENERAL, x, w, contract=((1,), (0,)), batch=((), ()))
        return ops.multiply(y, ops.constant(np.full(4, factor, np.float32)))

    graph = _graph((2, 3), fn)
    assert fold_scales.run(graph) is graph


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_random_chains_of_steps_keep_the_numbers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, c, o = (int(v) for v in rng.integers(1, 6, 3))
    binary = (ops.add, ops.subtract, ops.multiply, ops.divide)

    def steps(y: Value, axis: int) -> Value:
        for _ in range(rng.integers(0, 4)):
            shape = [1] * y.rank
            for a in range(y.rank):
                if a == axis or rng.random() < 0.1:
                    shape[a] = y.shape[a]
            k = ops.constant(rng.uniform(0.5, 2, shape))
            fn = binary[rng.integers(4)]
            y = fn(y, k) if rng.random() < 0.7 or fn is ops.divide else fn(k, y)
        return y

    def fn(x: Value) -> Value:
        y = steps(x, 1)
        if rng.random() < 0.3:
            y = ops.pad(y, (0, 0, 1, 0), (0, 0, 0, 1))
        w = ops.constant(rng.normal(size=(o, c, 2, 2)))
        y = steps(emit_conv(y, w, (1, 2), (1, 1), 1), 1)
        y = ops.reshape(y, (n, -1))
        v = ops.constant(rng.normal(size=(y.shape[1], 3)))
        return steps(emit(DOT_GENERAL, steps(y, 1), v, contract=((1,), (0,)), batch=((), ())), 1)

    graph = _graph((n, c, 4, 5), fn, float64)
    after = fold_scales.run(graph)
    verify(after)
    x = rng.normal(size=(n, c, 4, 5))
    for a, b in zip(interpret(graph, x), interpret(after, x), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9 * np.abs(a).max(initial=1))
