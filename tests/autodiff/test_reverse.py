"""Reverse mode on graphs."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from pellucid import ops
from pellucid.autodiff.forward import jvp_graph
from pellucid.autodiff.reverse import backward, value_and_vjp_graph, vjp_graph
from pellucid.core.dtype import float32, int32
from pellucid.core.errors import GradientError, VerifyError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value, emit
from pellucid.graph.op import Op, Site
from pellucid.graph.stats import op_counts
from pellucid.graph.verifier import verify
from tests.autodiff.numeric import Array, close, f64, fill, numeric_vjp, trace
from tests.graph.records import ANY, TWICE

F3 = f64(3)


def gradient(fn: Any, *arrays: Array) -> tuple[Array, ...]:
    """Gradients of the sum of a one-output function by all its arguments."""
    graph = trace(fn, *(f64(*a.shape) for a in arrays))
    both = value_and_vjp_graph(graph, range(len(arrays)))
    verify(both)
    return interpret(both, *arrays, np.ones(graph.outputs[0].shape))[1:]


def test_fe6_the_books_example() -> None:
    def f(x: Value, y: Value) -> Value:
        return ops.subtract(ops.add(ops.log(x), ops.multiply(x, y)), ops.sin(y))

    graph = trace(f, f64(), f64())
    point = np.array(2.0), np.array(5.0)
    value, dx, dy = interpret(value_and_vjp_graph(graph, [0, 1]), *point, np.array(1.0))
    assert value == pytest.approx(11.652, abs=1e-3)
    assert [float(dx), float(dy)] == [pytest.approx(5.5), pytest.approx(1.716, abs=1e-3)]
    # one reverse run gives the whole row; forward mode needs one run per column
    columns = [interpret(jvp_graph(graph, flags), *point, np.array(1.0))[1]
               for flags in ([True, False], [False, True])]  # fmt: skip
    assert columns == [pytest.approx(5.5), pytest.approx(1.716, abs=1e-3)]


def test_the_second_and_third_derivative_of_sin() -> None:
    graph = trace(ops.sin, f64())
    point = np.linspace(-3, 3, 7)
    for order, expected in ((1, np.cos), (2, lambda x: -np.sin(x)), (3, lambda x: -np.cos(x))):
        graph = derivative(graph)
        assert len(graph.inputs) == 1
        got = [interpret(graph, x)[0] for x in point]
        np.testing.assert_allclose(got, expected(point), atol=1e-12, err_msg=str(order))


def derivative(graph: Graph) -> Graph:
    """The derivative of a function of one scalar, as a function of that scalar."""
    with GraphBuilder("derivative") as builder:
        x = builder.input(graph.inputs[0].type, "x")
        env = {graph.inputs[0]: x}
        for node in graph.nodes:
            made = builder.emit(node.op, [env[v] for v in node.inputs], node.attrs)
            env.update(zip(node.outputs, made, strict=True))
        y = env[graph.outputs[0]]
        (dx,) = backward(list(builder.nodes), [y], [ops.ones_like(y)], [x])
        assert dx is not None
        return builder.finish([dx])


def test_gradients_of_a_value_used_many_times_add_up() -> None:
    x = np.array([0.5, 1.0, 2.0])
    (dx,) = gradient(lambda v: ops.add(ops.multiply(v, v), ops.multiply(v, 3.0)), x)
    np.testing.assert_allclose(dx, 2 * x + 3)


def test_broadcasting_sums_and_matmul() -> None:
    graph = trace(
        lambda x, w, b: ops.tanh(ops.add(ops.matmul(x, w), b)), f64(4, 3), f64(3, 2), f64(2)
    )
    arrays = fill(graph, 0)
    cotangent = np.random.default_rng(1).normal(size=(4, 2))
    got = interpret(value_and_vjp_graph(graph, [0, 1, 2]), *arrays, cotangent)[1:]
    close(got, [numeric_vjp(graph, arrays, [cotangent], i) for i in range(3)])


def test_vjp_graph_uses_the_given_outputs_and_drops_the_rest() -> None:
    graph = trace(ops.exp, F3)
    back = vjp_graph(graph, [0])
    assert [v.type for v in back.inputs] == [F3, F3, F3]
    assert "exp" not in op_counts(back)
    given = [np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0]), np.ones(3)]
    np.testing.assert_array_equal(interpret(back, *given)[0], given[1])


def test_vjp_graph_recomputes_what_it_was_not_given_from_what_it_was() -> None:
    """Outputs exp(x) and sin(exp(x))^2: sin is computed again, from the given exp(x)."""

    def f(x: Value) -> tuple[Value, Value]:
        e = ops.exp(x)
        s = ops.sin(e)
        return e, ops.multiply(s, s)

    graph = trace(f, F3)
    back = vjp_graph(graph, [0])
    counts = op_counts(back)
    assert "exp" not in counts
    assert counts["sin"] == 1
    x = np.array([0.1, 0.2, 0.3])
    outputs = interpret(graph, x)
    got = interpret(back, x, *outputs, np.ones(3), np.ones(3))
    close(got, [numeric_vjp(graph, [x], [np.ones(3), np.ones(3)], 0)])


def test_zeros_where_no_path_leads_and_none_from_backward() -> None:
    graph = trace(lambda x, y: ops.sin(x), F3, f64(2))
    dy, dx = interpret(vjp_graph(graph, [1, 0]), np.zeros(3), np.zeros(2), np.zeros(3), np.ones(3))
    np.testing.assert_array_equal(dy, np.zeros(2))
    np.testing.assert_array_equal(dx, np.ones(3))
    with GraphBuilder() as builder:
        x, y = builder.input(F3, "x"), builder.input(F3, "y")
        z = ops.sin(x)
        assert backward(list(builder.nodes), [z], [z], [y]) == [None]
        assert backward(list(builder.nodes), [z], [None], [x]) == [None]
        assert len(builder.nodes) == 1


def test_outputs_that_are_inputs_or_repeat() -> None:
    graph = trace(lambda x: (x, ops.sin(x), x), F3)
    ones = np.ones(3)
    (dx,) = interpret(vjp_graph(graph, [0]), 0 * ones, ones, ones, ones, ones, 2 * ones, 3 * ones)
    np.testing.assert_allclose(dx, 6 * ones)


def test_gradients_by_intermediate_values() -> None:
    with GraphBuilder() as builder:
        x = builder.input(F3, "x")
        middle = ops.sin(x)
        y = ops.multiply(middle, middle)
        found = backward(list(builder.nodes), [y], [ops.ones_like(y)], [middle, x, y])
        graph = builder.finish([g for g in found if g is not None])
    x_value = np.array([0.1, 0.2, 0.3])
    by_middle, by_x, by_y = interpret(graph, x_value)
    np.testing.assert_allclose(by_middle, 2 * np.sin(x_value))
    np.testing.assert_allclose(by_x, np.sin(2 * x_value))
    np.testing.assert_array_equal(by_y, np.ones(3))


def test_cg5_two_matmuls_with_squared_error() -> None:
    """dW1 = X1^T (Y - L), dW = X^T (Y - L) W1^T exactly, and none by the data is computed."""

    def loss(x: Value, w: Value, w1: Value, target: Value) -> Value:
        error = ops.subtract(ops.matmul(ops.matmul(x, w), w1), target)
        return ops.multiply(ops.sum(ops.multiply(error, error)), 0.5)

    graph = trace(loss, f64(4, 3), f64(3, 5), f64(5, 2), f64(4, 2))
    rng = np.random.default_rng(0)
    x, w, w1, target = (rng.integers(-3, 4, v.shape).astype(float) for v in graph.inputs)
    both = value_and_vjp_graph(graph, [1, 2])
    _, dw, dw1 = interpret(both, x, w, w1, target, np.array(1.0))
    error = x @ w @ w1 - target
    np.testing.assert_array_equal(dw1, (x @ w).T @ error)
    np.testing.assert_array_equal(dw, x.T @ error @ w1.T)
    # two forward, one for each of dW, dW1 and dX1; dX is not among them
    assert op_counts(both)["dot_general"] == 5
    assert op_counts(value_and_vjp_graph(graph, [0, 1, 2]))["dot_general"] == 6
    assert op_counts(value_and_vjp_graph(graph, [2]))["dot_general"] == 3


def test_backward_leaves_no_dead_nodes_in_the_builder() -> None:
    """What a rule computes for nothing goes again."""

    def wasteful(site: Site, g: Value) -> list[Value]:
        ops.sin(g)
        return [ops.cos(g)]

    with GraphBuilder() as builder:
        x = builder.input(F3, "x")
        y = emit(rule(wasteful), x)
        backward(list(builder.nodes), [y], [x], [x])
        assert [n.op.name for n in builder.nodes] == ["odd", "cos"]


def test_integer_paths_carry_no_gradient() -> None:
    def f(x: Value) -> Value:
        steps = ops.astype(ops.astype(x, int32), x.dtype)
        return ops.multiply(steps, x)

    (dx,) = gradient(f, np.array([1.5, 2.5]))
    np.testing.assert_array_equal(dx, [1.0, 2.0])


def test_integer_outputs_have_no_cotangent() -> None:
    graph = trace(lambda x: (ops.sin(x), ops.astype(x, int32)), F3)
    back = vjp_graph(graph, [0])
    assert [str(v.type) for v in back.inputs] == ["f64[3]", "f64[3]", "i32[3]", "f64[3]"]


def test_a_gradient_by_an_integer_is_refused() -> None:
    graph = trace(lambda x, n: ops.sin(x), F3, TensorType((3,), int32))
    message = r"only floating-point values have gradients, got y i32\[3\]\. Fix: cast it"
    with pytest.raises(GradientError, match=message):
        vjp_graph(graph, [1])


def test_a_missing_rule_is_named_with_the_users_line_only_where_it_is_needed() -> None:
    graph = trace(lambda x, y: ops.multiply(emit(ANY, x), y), F3, F3)
    message = r"^any_attrs: has no derivative.*got x f64\[3\] \(at numeric\.py:\d+\)|test_reverse"
    with pytest.raises(GradientError, match=message):
        vjp_graph(graph, [0])
    assert len(vjp_graph(graph, [1]).outputs) == 1


def rule(vjp: Any) -> Op:
    return Op(
        name="odd", doc="", infer=ANY.infer, reference=ANY.reference, vjp=vjp, jvp=None, batch=None,
        lower=ANY.lower, cost=ANY.cost, samples=list,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("vjp", "message"),
    [
        (lambda site, g: [], "odd: the vjp rule gave 0 gradients for 1 inputs"),
        (
            lambda site, g: [ops.sum(g)],
            r"odd: the vjp rule gave f64\[\] for an input f64\[3\]",
        ),
    ],
)
def test_a_rule_that_gives_the_wrong_type_is_caught(vjp: Any, message: str) -> None:
    graph = trace(lambda x: emit(rule(vjp), x), F3)
    with pytest.raises(VerifyError, match=message):
        vjp_graph(graph, [0])


def test_absent_cotangents_are_zero_and_wanted_says_what_is_needed() -> None:
    seen: list[Site] = []

    def twice_vjp(site: Site, a: Value, b: Value) -> list[Value]:
        seen.append(site)
        return [ops.add(a, ops.multiply(b, 2.0))]

    op = Op(
        name="pair", doc="", infer=TWICE.infer, reference=TWICE.reference, vjp=twice_vjp, jvp=None,
        batch=None, lower=TWICE.lower, cost=TWICE.cost, samples=list,
    )  # fmt: skip
    with GraphBuilder() as builder:
        x = builder.input(F3, "x")
        first, second = builder.emit(op, [x], {})
        (dx,) = backward(list(builder.nodes), [second], [ops.ones_like(first)], [x])
        assert dx is not None
        graph = builder.finish([dx])
    np.testing.assert_array_equal(interpret(graph, np.zeros(3))[0], [2.0, 2.0, 2.0])
    assert seen[0].wanted == (True,)


def test_gradient_nodes_carry_the_line_of_the_node_they_come_from() -> None:
    with GraphBuilder() as builder:
        x = builder.input(TensorType((3,), float32), "x")
        builder.source = "model.py:1"
        y = ops.sin(x)
        builder.source = None
        forward = list(builder.nodes)
        cotangent = ops.ones_like(y)
        before = len(builder.nodes)
        backward(forward, [y], [cotangent], [x])
    assert {n.source for n in builder.nodes[before:]} == {"model.py:1"}
    assert builder.source is None


# FE-5: manual, numerical, symbolic and automatic differentiation.


def test_fe5_the_error_of_differences_is_v_shaped() -> None:
    """Truncation falls with the step, round-off rises: best near sqrt(epsilon)."""
    x = 1.0
    steps = 10.0 ** -np.arange(1, 16)
    errors = np.abs((np.exp(x + steps) - np.exp(x)) / steps - math.e)
    best = steps[np.argmin(errors)]
    assert 1e-9 <= best <= 1e-7
    assert errors[0] > 1e5 * errors.min()
    assert errors[-1] > 1e5 * errors.min()
    (exact,) = gradient(ops.exp, np.array(x))
    assert abs(exact - math.e) < 1e-15 * 10 < errors.min()


def logistic(steps: int) -> Graph:
    """l_{n+1} = 4 l_n (1 - l_n)."""

    def f(value: Value) -> Value:
        for _ in range(steps):
            value = ops.multiply(ops.multiply(value, 4.0), ops.subtract(1.0, value))
        return value

    return value_and_vjp_graph(trace(f, f64()), [0])


def expression_size(graph: Graph) -> int:
    """Terms of the last output written as one formula, where nothing is shared."""
    sizes = dict.fromkeys(graph.inputs, 1)
    for node in graph.nodes:
        total = 1 + sum(sizes[v] for v in node.inputs)
        sizes.update(dict.fromkeys(node.outputs, total))
    return sizes[graph.outputs[-1]]


def test_fe5_symbolic_size_explodes_while_ad_grows_linearly() -> None:
    graphs = [logistic(n) for n in range(1, 11)]
    counts = np.array([len(g.nodes) for g in graphs])
    assert len(set(np.diff(counts, n=1)[1:])) == 1  # so many nodes more for each iteration
    sizes = [expression_size(g) for g in graphs]
    assert sizes[-1] > 1000 * sizes[0]
    assert all(b / a > 1.8 for a, b in itertools.pairwise(sizes[2:]))
    x = np.array(0.1)
    value, slope = interpret(graphs[1], x, np.array(1.0))
    assert value == pytest.approx(0.9216)
    assert slope == pytest.approx(4 * (1 - 2 * 0.36) * 4 * (1 - 0.2))
