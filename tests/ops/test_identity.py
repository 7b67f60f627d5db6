"""Identities: what they let through and what they hold off."""

from __future__ import annotations

import numpy as np

from pellucid.autodiff.forward import tangent_graph
from pellucid.autodiff.reverse import vjp_graph
from pellucid.graph.interpreter import interpret
from pellucid.ops.arithmetic import multiply
from pellucid.ops.identity import barrier, stop_gradient
from tests.ops.records import trace, type_of

X = np.array([2.0, -3.0], np.float32)
G = np.array([1.0, 10.0], np.float32)


def test_stop_gradient_holds_off_both_directions() -> None:
    graph = trace(lambda x: multiply(x, stop_gradient(x)), type_of(X))
    (y,) = interpret(graph, X)
    np.testing.assert_array_equal(y, X * X)
    np.testing.assert_array_equal(interpret(vjp_graph(graph, [0]), X, y, G)[0], X * G)
    np.testing.assert_array_equal(interpret(tangent_graph(graph, [True]), X, G)[0], X * G)


def test_barrier_lets_gradients_through() -> None:
    graph = trace(lambda x: multiply(x, barrier(x)), type_of(X))
    (y,) = interpret(graph, X)
    np.testing.assert_array_equal(interpret(vjp_graph(graph, [0]), X, y, G)[0], 2 * X * G)
