"""FE-11 for every pass: the meaning stays, on random programs, and a second run changes nothing."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph
from pellucid.graph.verifier import verify
from pellucid.passes import (
    absorb_padding,
    choose_layouts,
    eliminate_common_subexpressions,
    eliminate_dead_code,
    fold_constants,
    fold_scales,
    inline_calls,
    narrow_windows,
    pack_kernels,
    simplify_algebra,
    simplify_unsafe,
    sink_movement,
    transform_convolutions,
)
from tests.random_graphs import EPSILON, random_graph, random_inputs

EXACT = (
    inline_calls,
    fold_constants,
    simplify_algebra,
    eliminate_common_subexpressions,
    eliminate_dead_code,
    narrow_windows,
    absorb_padding,
    pack_kernels,
)
CLOSE = (
    sink_movement,
    fold_scales,
    choose_layouts,
    simplify_unsafe,
    transform_convolutions,
)
ALL = (*EXACT, *CLOSE)


def tolerance_of(graph: Graph) -> float:
    """The loosest of the tolerances of the float dtypes in a graph."""
    values = (*graph.inputs, *(v for n in graph.nodes for v in n.outputs))
    return max((EPSILON[v.dtype.name] for v in values if v.dtype.name in EPSILON), default=0.0)


def assert_close(a: NDArray[Any], b: NDArray[Any], tolerance: float) -> None:
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    if tolerance == 0 or a.dtype.name not in EPSILON:
        np.testing.assert_array_equal(b, a)
    else:
        x, y = a.astype(np.float64), b.astype(np.float64)
        np.testing.assert_allclose(y, x, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("module", ALL, ids=lambda m: m.__name__.rpartition(".")[2])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 40))
def test_pass_keeps_the_meaning_and_settles(module: ModuleType, seed: int, size: int) -> None:
    graph = random_graph(seed, size)
    after = module.run(graph)
    verify(after)
    assert module.run(after) is after
    assert [v.type for v in after.inputs] == [v.type for v in graph.inputs]
    inputs = random_inputs(graph, seed)
    tolerance = 0.0 if module in EXACT else tolerance_of(graph)
    for a, b in zip(interpret(graph, *inputs), interpret(after, *inputs), strict=True):
        assert_close(a, b, tolerance)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), order=st.permutations(ALL))
def test_passes_in_any_order_keep_the_meaning(seed: int, order: list[ModuleType]) -> None:
    graph = random_graph(seed, 25)
    after = graph
    for module in (*order, *order):
        after = module.run(after)
    verify(after)
    inputs = random_inputs(graph, seed)
    for a, b in zip(interpret(graph, *inputs), interpret(after, *inputs), strict=True):
        assert_close(a, b, 2 * tolerance_of(graph))
