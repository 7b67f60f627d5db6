"""Running graphs in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid import ops
from pellucid.core.dtype import float32
from pellucid.core.errors import ArgumentError, VerifyError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, Node, TensorType, emit
from tests.graph.records import LIAR, TWICE
from tests.random_graphs import random_graph, random_inputs

F23 = TensorType((2, 3), float32)
ONES = np.ones((2, 3), np.float32)


def small() -> Graph:
    with GraphBuilder("small") as builder:
        x = builder.input(F23, "x")
        y = builder.input(F23, "y")
        return builder.finish([ops.add(ops.multiply(x, y), x), y])


def test_it_computes() -> None:
    total, same = interpret(small(), 2 * ONES, 3 * ONES)
    np.testing.assert_array_equal(total, 8 * ONES)
    np.testing.assert_array_equal(same, 3 * ONES)


def test_every_node_is_observed_in_order() -> None:
    seen: list[tuple[str, float]] = []

    def observe(node: Node, results: tuple[NDArray[Any], ...]) -> None:
        seen.append((node.op.name, float(results[0][0, 0])))

    interpret(small(), 2 * ONES, 3 * ONES, observe=observe)
    assert seen == [("mul", 6.0), ("add", 8.0)]


def test_nodes_may_have_many_outputs() -> None:
    with GraphBuilder() as builder:
        x = builder.input(F23, "x")
        pair = builder.emit(TWICE, [x], {})
        graph = builder.finish([ops.add(*pair)])
    np.testing.assert_array_equal(interpret(graph, ONES)[0], 2 * ONES)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((ONES,), "small: takes 2 arrays, got count 1"),
        ((ONES, ONES[0]), r"input y: f32\[2, 3\] does not fit, got it float32\[3\]"),
        ((ONES.astype(np.float64), ONES), r"input x: f32\[2, 3\] does not fit, got it float64"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        interpret(small(), *arrays)


def test_a_reference_that_breaks_its_type_rule_is_caught() -> None:
    with GraphBuilder() as builder:
        x = builder.input(F23, "x")
        graph = builder.finish([emit(LIAR, x)])
    rule = r"liar: the reference must give f32\[2, 3\], got it float32\[6\] \(at test_interp"
    with pytest.raises(VerifyError, match=rule):
        interpret(graph, ONES)


def test_nan_and_infinity_make_no_warnings() -> None:
    with GraphBuilder() as builder:
        x = builder.input(F23, "x")
        graph = builder.finish([ops.log(ops.divide(x, ops.subtract(x, x)))])
    assert np.isinf(interpret(graph, ONES)[0]).all()


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_run_and_stay_bounded(seed: int) -> None:
    graph = random_graph(seed, 15)
    for array in interpret(graph, *random_inputs(graph, seed)):
        if array.dtype.kind == "f":
            assert np.isfinite(array).all()
            assert array.size == 0 or np.abs(array).max() < 1000
