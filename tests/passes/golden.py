"""Before/after checks that every pass's tests share."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.autodiff.checkpoint import CALL, CHECKPOINT
from pellucid.autodiff.control import RECORDS as CONTROL
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph
from pellucid.graph.parser import parse_graph
from pellucid.graph.printer import print_graph
from pellucid.graph.verifier import verify
from pellucid.ops.catalogue import CATALOGUE

RECORDS = {**CATALOGUE, **{op.name: op for op in (CALL, CHECKPOINT, *CONTROL)}}

Run = Callable[[Graph], Graph]


def graph_of(text: str) -> Graph:
    """The graph a text describes, checked."""
    graph = parse_graph(textwrap.dedent(text).strip() + "\n", RECORDS)
    verify(graph)
    return graph


def same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Equal dtype, shape and values, where one NaN is like another and zeros keep their sign."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if a.dtype.kind in "biu":
        return bool(np.array_equal(a, b))
    x, y = a.astype(np.float64), b.astype(np.float64)
    signs = np.signbit(x) == np.signbit(y)
    return bool(np.array_equal(x, y, equal_nan=True) and np.all(signs | np.isnan(x)))


def plain_inputs(graph: Graph, seed: int) -> list[NDArray[Any]]:
    """Arrays for a graph's inputs: floats in [-2, 2), small integers, bools."""
    rng = np.random.default_rng(seed)
    arrays = []
    for value in graph.inputs:
        low, high = {"bool": (0, 2), "int": (-9, 10), "uint": (0, 10)}.get(
            value.dtype.kind, (-2, 2)
        )
        draw = rng.uniform if value.dtype.is_float else rng.integers
        arrays.append(np.asarray(draw(low, high, value.shape)).astype(value.dtype.numpy))
    return arrays


def special_inputs(graph: Graph, seed: int) -> list[NDArray[Any]]:
    """Random inputs whose first float elements are -0.0, 0.0, NaN and infinities."""
    arrays = plain_inputs(graph, seed)
    for array in arrays:
        if array.dtype.kind not in "biu":
            flat = array.reshape(-1)
            specials = [-0.0, 0.0, np.nan, np.inf, -np.inf][: flat.size]
            flat[: len(specials)] = specials
    return arrays


def check(run: Run, before: str, after: str, *, exact: bool = True) -> None:
    """`run(before)` prints as `after`, verifies, settles at once, and means the same.

    Args:
        run: the pass.
        before: a graph's text.
        after: the text expected.
        exact: whether results must be the same bits, specials included; else close.
    """
    graph = graph_of(before)
    result = run(graph)
    verify(result)
    assert print_graph(result) == print_graph(graph_of(after)), print_graph(result)
    assert run(result) is result
    inputs = (special_inputs if exact else plain_inputs)(graph, 7)
    for a, b in zip(interpret(graph, *inputs), interpret(result, *inputs), strict=True):
        if exact:
            assert same_bits(a, b), (a, b)
        else:
            np.testing.assert_allclose(
                b.astype(np.float64), a.astype(np.float64), rtol=1e-5, atol=1e-6
            )


def check_unchanged(run: Run, text: str) -> None:
    """The pass gives back the very graph it was given."""
    graph = graph_of(text)
    assert run(graph) is graph
