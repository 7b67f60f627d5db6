"""BE-1, BE-2: which nodes share a kernel, what that saves, and that the meaning stays."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid import ops
from pellucid.autodiff.reverse import backward
from pellucid.core.dtype import float32, int64
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value
from pellucid.graph.stats import graph_cost, op_counts
from pellucid.graph.verifier import verify
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.passes import group_fusion
from tests.lower.execution import agree, build, random_arrays, run_program
from tests.random_graphs import assert_same_results, random_graph, random_inputs


def f(*shape: int) -> TensorType:
    return TensorType(shape, float32)


def fused(graph: Graph) -> Graph:
    """The graph after fusion, checked for its form and its meaning."""
    after = group_fusion.run(graph)
    verify(after)
    arrays = random_arrays(graph)
    want = interpret(graph, *arrays)
    agree(interpret(after, *arrays), want)
    agree(run_program(lower_graph(after), arrays), want)
    return after


def kernels(graph: Graph) -> list[str]:
    return [c.kernel.name for c in lower_graph(graph).calls]


def layer_norm(x: Value, weight: Value, bias: Value) -> Value:
    return ops.layer_norm(x, weight=weight, bias=bias)


@pytest.mark.parametrize(
    ("make", "types"),
    [
        (ops.softmax, [f(6, 40)]),
        (ops.log_softmax, [f(6, 40)]),
        (layer_norm, [f(2, 3, 40), f(40), f(40)]),
        (lambda x, y: ops.exp(ops.multiply(ops.add(x, y), 2.0)), [f(3, 4), f(4)]),
        (lambda x, w, b: ops.relu(ops.add(ops.matmul(x, w), b)), [f(5, 7), f(7, 6), f(6)]),
        (lambda x, w: ops.matmul(ops.transpose(x), ops.transpose(w)), [f(7, 5), f(6, 7)]),
        (lambda x: ops.sum(ops.multiply(x, x), axis=0), [f(6, 5)]),
        (lambda x: ops.transpose(ops.exp(x)), [f(6, 5)]),
    ],
)
def test_one_kernel(make: Callable[..., Value], types: list[TensorType]) -> None:
    assert len(kernels(fused(build(make, *types)))) == 1


def test_bytes_fall_by_the_intermediates() -> None:
    graph = build(lambda x: ops.exp(ops.tanh(ops.negative(x))), f(64, 32))
    saved = graph_cost(graph).bytes - graph_cost(fused(graph)).bytes
    assert saved == 2 * 2 * 64 * 32 * 4  # two values written and read
    assert graph_cost(fused(graph)).flops == graph_cost(graph).flops


def test_a_value_needed_outside_is_stored_as_well() -> None:
    after = fused(build(lambda x, w: [(y := ops.matmul(x, w)), ops.relu(y)], f(4, 5), f(5, 6)))
    assert op_counts(after)["fused"] == 1
    assert len(after.nodes[0].outputs) == 2


def test_an_optimiser_update_is_one_kernel() -> None:
    def adam(p: Value, m: Value, v: Value, g: Value) -> list[Value]:
        m = ops.add(ops.multiply(m, 0.9), ops.multiply(g, 0.1))
        v = ops.add(ops.multiply(v, 0.99), ops.multiply(ops.multiply(g, g), 0.01))
        step = ops.divide(m, ops.add(ops.sqrt(ops.abs(v)), 1e-3))
        return [ops.subtract(p, ops.multiply(step, 0.1)), m, v]

    after = fused(build(adam, *[f(4, 5)] * 4))
    assert len(after.nodes) == 1
    (call,) = lower_graph(after).calls
    outputs_over = {o for o, i in call.inplace}
    assert outputs_over == {4, 5, 6}


def test_contractions_are_not_computed_twice() -> None:
    def make(x: Value, w: Value) -> list[Value]:
        y = ops.matmul(x, w)
        return [ops.exp(y), ops.sum(y, axis=0), ops.transpose(y)]

    after = fused(build(make, f(4, 5), f(5, 6)))
    assert op_counts(after)["dot_general"] == 1


def test_barriers_hold() -> None:
    graph = build(
        lambda x: ops.exp(ops.barrier(ops.negative(x))),
        f(
            4,
        ),
    )
    assert op_counts(fused(graph)) == {"neg": 1, "barrier": 1, "exp": 1}


def test_no_group_waits_for_itself() -> None:
    def make(x: Value, w: Value) -> Value:
        y = ops.exp(x)
        return ops.add(y, ops.matmul(y, w))  # y -> matmul -> add and y -> add

    fused(build(make, f(4, 4), f(4, 4)))


def mlp_step() -> Graph:
    shapes = [f(9, 12), f(9), f(5, 9), f(5)]
    with GraphBuilder("step") as builder:
        x, labels = builder.input(f(6, 12)), builder.input(TensorType((6,), int64))
        params = [builder.input(t) for t in shapes]
        h = ops.relu(ops.add(ops.matmul(x, ops.transpose(params[0])), params[1]))
        logits = ops.add(ops.matmul(h, ops.transpose(params[2])), params[3])
        loss = ops.cross_entropy(logits, labels)
        one = ops.ones_like(loss)
        grads = backward(list(builder.nodes), [loss], [one], params)
        new = [
            ops.subtract(p, ops.multiply(g, 0.1))
            for p, g in zip(params, grads, strict=True)
            if g is not None
        ]
    return builder.finish([loss, *new])


def test_a_training_step_is_a_handful_of_kernels() -> None:
    graph = mlp_step()
    after = fused(graph)
    products = [n for n in kernels(after) if n.startswith("dot_general")]
    assert len(products) == 5  # two forward, one to the hidden layer, two to the weights
    assert len(kernels(after)) <= 12
    assert graph_cost(after).bytes < graph_cost(graph).bytes / 2


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_meaning_stays(seed: int) -> None:
    graph = random_graph(seed, 14)
    arrays = random_inputs(graph, seed)
    after = group_fusion.run(graph)
    verify(after)
    assert_same_results(graph, interpret(after, *arrays), interpret(graph, *arrays))


def test_fusing_is_deterministic() -> None:
    graph = mlp_step()
    assert kernels(group_fusion.run(graph)) == kernels(group_fusion.run(graph))
