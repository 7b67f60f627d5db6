"""Forward mode on graphs."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid import ops
from pellucid.autodiff.forward import jvp_graph, tangent_graph
from pellucid.autodiff.reverse import value_and_vjp_graph
from pellucid.core.dtype import int32
from pellucid.core.errors import ArgumentError, GradientError, VerifyError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import TensorType, Value, emit
from pellucid.graph.op import Op
from pellucid.graph.prune import prune
from pellucid.graph.stats import op_counts
from pellucid.graph.verifier import verify
from tests.autodiff.numeric import close, f64, fill, numeric_jvp, trace
from tests.graph.records import ANY

F3 = f64(3)


def mixed(x: Value, w: Value) -> tuple[Value, Value]:
    hidden = ops.tanh(ops.matmul(x, w))
    return ops.sum(ops.exp(hidden), axis=0), ops.divide(hidden, ops.add(ops.abs(hidden), 1.0))


def test_it_equals_differences() -> None:
    graph = trace(mixed, f64(4, 3), f64(3, 2))
    moved = jvp_graph(graph, [True, True])
    verify(moved)
    arrays, tangents = fill(graph, 0), fill(graph, 1)
    results = interpret(moved, *arrays, *tangents)
    close(results[:2], interpret(graph, *arrays), 1e-14)
    close(results[2:], numeric_jvp(graph, arrays, tangents))


def test_inputs_that_do_not_move_have_no_tangent() -> None:
    graph = trace(mixed, f64(4, 3), f64(3, 2))
    moved = jvp_graph(graph, [False, True])
    assert len(moved.inputs) == 3
    arrays, tangents = fill(graph, 0), fill(graph, 1)
    expected = numeric_jvp(graph, arrays, [0 * arrays[0], tangents[1]])
    close(interpret(moved, *arrays, tangents[1])[2:], expected)
    assert op_counts(moved)["dot_general"] == 2


def test_outputs_that_do_not_move_have_zero_tangents_and_integers_none() -> None:
    graph = trace(lambda x, y: (ops.sin(y), ops.astype(x, int32), ops.cos(x)), F3, F3)
    moved = jvp_graph(graph, [True, False])
    assert [str(v.type) for v in moved.outputs] == [
        "f64[3]", "i32[3]", "f64[3]", "f64[3]", "f64[3]",
    ]  # fmt: skip
    results = interpret(moved, np.ones(3), np.ones(3), np.ones(3))
    np.testing.assert_array_equal(results[3], np.zeros(3))
    np.testing.assert_allclose(results[4], -np.sin(np.ones(3)))


def test_tangent_graph_leaves_the_outputs_out() -> None:
    graph = trace(ops.sin, F3)
    alone = tangent_graph(graph, [True])
    assert len(alone.outputs) == 1
    assert "sin" not in op_counts(alone)


def test_one_column_costs_about_as_much_as_the_program_and_one_row_too() -> None:
    """FE-6: few inputs suit forward mode, few outputs reverse mode."""

    def wide(x: Value) -> Value:
        return ops.stack([ops.sin(ops.multiply(x, float(k))) for k in range(20)])

    graph = prune(trace(wide, f64()))
    forward = len(jvp_graph(graph, [True]).nodes)
    assert forward < 4 * len(graph.nodes)
    reverse = len(value_and_vjp_graph(graph, [0]).nodes)
    assert reverse < 6 * len(graph.nodes)


def test_what_cannot_move_is_refused() -> None:
    graph = trace(lambda x, n: ops.sin(x), F3, TensorType((), int32))
    with pytest.raises(GradientError, match=r"only floating-point values have gradients, got y"):
        jvp_graph(graph, [True, True])
    with pytest.raises(ArgumentError, match="f takes 2 inputs"):
        jvp_graph(graph, [True])
    with pytest.raises(GradientError, match=r"any_attrs: has no derivative, and a tangent"):
        jvp_graph(trace(lambda x: emit(ANY, x), F3), [True])


def test_a_rule_that_gives_the_wrong_type_is_caught() -> None:
    odd = Op(
        name="odd", doc="", infer=ANY.infer, reference=ANY.reference, vjp=None,
        jvp=lambda site, t: [ops.sum(t)], batch=None, lower=ANY.lower, cost=ANY.cost, samples=list,
    )  # fmt: skip
    with pytest.raises(VerifyError, match=r"odd: the jvp rule gave f64\[\] for an output f64"):
        jvp_graph(trace(lambda x: emit(odd, x), F3), [True])
