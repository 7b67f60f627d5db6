"""Removing dead nodes."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.core.dtype import float32
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import GraphBuilder, TensorType, emit
from pellucid.graph.prune import prune, reachable
from pellucid.graph.verifier import verify
from tests.graph.records import ANY, TWICE
from tests.random_graphs import assert_same_results, random_graph, random_inputs

F2 = TensorType((2,), float32)


def test_dead_nodes_go_and_inputs_stay() -> None:
    with GraphBuilder() as builder:
        x = builder.input(F2, "x")
        builder.input(F2, "unused")
        dead = emit(ANY, emit(ANY, x))
        builder.emit(TWICE, [dead], {})
        first, _ = builder.emit(TWICE, [x], {})
        graph = builder.finish([first])
    pruned = prune(graph)
    assert [n.op.name for n in pruned.nodes] == ["twice"]
    assert len(pruned.inputs) == 2
    assert prune(pruned) is pruned


def test_reachable_values_are_those_that_depend_on_the_start() -> None:
    with GraphBuilder() as builder:
        x, y = builder.input(F2, "x"), builder.input(F2, "y")
        a = emit(ANY, x)
        b = emit(ANY, y)
        c = emit(ANY, a)
    assert reachable(builder.nodes, [x]) == {x, a, c}
    assert reachable(builder.nodes, [y]) == {y, b}


@pytest.mark.parametrize("seed", range(30))
def test_pruning_keeps_the_meaning(seed: int) -> None:
    graph = random_graph(seed, 20)
    pruned = prune(graph)
    verify(pruned)
    inputs = random_inputs(graph, seed)
    assert_same_results(graph, interpret(pruned, *inputs), interpret(graph, *inputs))
    np.testing.assert_equal(len(prune(pruned).nodes), len(pruned.nodes))
