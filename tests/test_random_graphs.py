"""The generator itself: one graph per seed, and every kind of op among a few hundred of them."""

from __future__ import annotations

import numpy as np

from pellucid.core.dtype import float64
from pellucid.graph.key import graph_key
from pellucid.graph.prune import prune
from pellucid.graph.stats import op_counts
from tests.random_graphs import random_graph, random_inputs


def test_a_seed_names_one_graph_and_its_inputs() -> None:
    assert graph_key(random_graph(7, 20)) == graph_key(random_graph(7, 20))
    assert graph_key(random_graph(7, 20)) != graph_key(random_graph(8, 20))
    graph = random_graph(7, 20)
    for a, b in zip(random_inputs(graph, 1), random_inputs(graph, 1), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_graphs_vary() -> None:
    graphs = [random_graph(seed, 15) for seed in range(200)]
    names = {name for graph in graphs for name in op_counts(graph)}
    assert len(names) > 60
    assert {"conv2d", "dot_general", "gather", "scatter_add", "sort", "cast"} <= names
    values = [v for g in graphs for n in g.nodes for v in n.outputs]
    assert len({v.dtype.name for v in values}) >= 9
    assert any(0 in v.shape for v in values)
    assert any(v.shape == () for v in values)
    assert sum(len(prune(g).nodes) < len(g.nodes) for g in graphs) > 100


def test_the_float_dtypes_can_be_chosen() -> None:
    graph = random_graph(3, 40, (float64,))
    found = {v.dtype for n in graph.nodes for v in n.outputs if v.dtype.is_float}
    assert found == {float64}
