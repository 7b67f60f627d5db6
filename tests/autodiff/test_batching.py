"""Batching on graphs."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid import ops
from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.reverse import value_and_vjp_graph
from pellucid.core.errors import ArgumentError, TraceError, VerifyError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, Value, emit
from pellucid.graph.op import Op
from pellucid.graph.stats import op_counts
from pellucid.graph.verifier import verify
from tests.autodiff.numeric import Array, close, f64, trace
from tests.graph.records import ANY
from tests.random_graphs import assert_same_results, random_graph
from tests.random_maker import random_array


def looped(graph: Graph, arrays: list[Array], flags: list[bool], size: int) -> list[Array]:
    """What batching must equal: the graph run once per example."""
    runs = [
        interpret(graph, *(a[i] if b else a for a, b in zip(arrays, flags, strict=True)))
        for i in range(size)
    ]
    return [np.stack(column) for column in zip(*runs, strict=True)]


def model(x: Value, w: Value, b: Value) -> Value:
    powers = ops.exp(ops.add(ops.matmul(ops.expand_dims(x, axis=0), w), b))
    return ops.divide(powers, ops.sum(powers, axis=-1, keepdims=True))


@pytest.mark.parametrize("flags", [[True, False, False], [False, True, False], [True, True, True]])
@pytest.mark.parametrize("size", [1, 5])
def test_it_equals_a_loop(flags: list[bool], size: int) -> None:
    graph = trace(model, f64(3), f64(3, 2), f64(2))
    batched = batch_graph(graph, flags, size)
    verify(batched)
    rng = np.random.default_rng(0)
    arrays = [random_array(v.type, rng) for v in batched.inputs]
    close(interpret(batched, *arrays), looped(graph, arrays, flags, size), 1e-13)


def test_what_all_examples_share_is_computed_once_and_spread_at_the_end() -> None:
    graph = trace(lambda x, y: (ops.sin(ops.exp(x)), y), f64(3), f64(2))
    batched = batch_graph(graph, [False, True], 4)
    assert op_counts(batched) == {"exp": 1, "sin": 1, "broadcast_to": 1}
    assert [str(v.type) for v in batched.outputs] == ["f64[4, 3]", "f64[4, 2]"]


def test_an_empty_batch_has_empty_results() -> None:
    graph = trace(model, f64(3), f64(3, 2), f64(2))
    batched = batch_graph(graph, [True, False, False], 0)
    (result,) = interpret(batched, np.zeros((0, 3)), np.zeros((3, 2)), np.zeros(2))
    assert result.shape == (0, 1, 2)


def test_pi6_gradients_per_example() -> None:
    """`vmap(grad(f))` is the looped version."""

    def loss(w: Value, x: Value) -> Value:
        return ops.sum(ops.square(ops.tanh(ops.matmul(x, w))))

    graph = trace(loss, f64(3, 2), f64(4, 3))
    gradients = value_and_vjp_graph(graph, [0])
    flags = [False, True, False]
    batched = batch_graph(gradients, flags, 6)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 2)), rng.normal(size=(6, 4, 3)), np.array(1.0)]
    got = interpret(batched, *arrays)
    assert [a.shape for a in got] == [(6,), (6, 3, 2)]
    close(got, looped(gradients, arrays, flags, 6), 1e-13)


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_equal_a_loop(seed: int) -> None:
    graph = random_graph(seed, 10)
    rng = np.random.default_rng(seed)
    flags = [bool(rng.random() < 0.6) for _ in graph.inputs]
    flags[0] = True
    batched = batch_graph(graph, flags, 3)
    verify(batched)
    arrays = [random_array(v.type, rng) for v in batched.inputs]
    assert_same_results(graph, interpret(batched, *arrays), looped(graph, arrays, flags, 3))


def test_what_cannot_be_batched_is_refused() -> None:
    graph = trace(lambda x: emit(ANY, x), f64(3))
    with pytest.raises(TraceError, match=r"any_attrs: has no batching rule \(at"):
        batch_graph(graph, [True], 2)
    with pytest.raises(ArgumentError, match="f takes 1 inputs and a size >= 0"):
        batch_graph(graph, [True, True], 2)
    with pytest.raises(ArgumentError, match="got batched \\(True,\\) and size -1"):
        batch_graph(graph, [True], -1)


def test_a_rule_that_gives_the_wrong_type_is_caught() -> None:
    odd = Op(
        name="odd", doc="", infer=ANY.infer, reference=ANY.reference, vjp=None, jvp=None,
        batch=lambda site, batched, size: [ops.sum(site.inputs[0], axis=0)], lower=ANY.lower,
        cost=ANY.cost, samples=list,
    )  # fmt: skip
    with pytest.raises(VerifyError, match=r"odd: the batching rule gave f64\[3\], not f64\[2, 3\]"):
        batch_graph(trace(lambda x: emit(odd, x), f64(3)), [True], 2)
