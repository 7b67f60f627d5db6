"""Random valid graphs, for testing passes, lowering and code generation against the interpreter.

`random_graph(seed, size)` is deterministic. Graphs mix dtypes, broadcasting, movement, reductions,
contractions, constants, values used many times and dead nodes. Two properties make them fair to
compare across targets:

- float values stay below `BOUND`, so that small differences in rounding stay small;
- what jumps (comparisons, rounding, sorting, float to int) is only applied to values that every
  target gets exactly: inputs, integers, and what moves, negates, compares or selects them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import DType
from pellucid.graph.ir import Graph, GraphBuilder
from tests.random_maker import FLOATS, Maker, random_array
from tests.random_steps import RARE, STEPS

EPSILON = {
    "float64": 1e-9, "float32": 2e-4, "float16": 0.1, "bfloat16": 0.5,
    "complex128": 1e-9, "complex64": 2e-4,
}  # fmt: skip


def random_graph(seed: int, size: int, floats: Sequence[DType] = FLOATS) -> Graph:
    """A graph of about `size` ops functions (each one or more nodes).

    Args:
        seed: the same graph for the same arguments.
        size: how many functions to try; about one in ten finds no operand and adds nothing.
        floats: the float dtypes to draw from; one named often comes often.
    """
    with GraphBuilder(f"random_{seed}") as builder:
        maker = Maker(builder, np.random.default_rng(seed), floats)
        for _ in range(maker.between(1, 4)):
            maker.input()
        for _ in range(size):
            maker.step(STEPS if maker.rng.random() < 0.8 else RARE)
        return builder.finish(maker.outputs())


def random_inputs(graph: Graph, seed: int) -> list[NDArray[Any]]:
    """Arrays for a graph's inputs: floats in [-2, 2), small integers, bools."""
    rng = np.random.default_rng((seed, 1))  # not the stream that made the graph's constants
    return [random_array(v.type, rng) for v in graph.inputs]


def tolerance(graph: Graph) -> float:
    """How far results may differ, relative to the larger of 1 and the largest value."""
    types = [v.dtype.name for v in graph.inputs]
    types += [v.dtype.name for n in graph.nodes for v in n.outputs]
    return max((EPSILON[t] for t in types if t in EPSILON), default=0.0)


def assert_same_results(
    graph: Graph, got: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]
) -> None:
    """Integers and bools equal; floats within `tolerance(graph)`, NaN where NaN is expected."""
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if a.dtype.kind in "biu":
            np.testing.assert_array_equal(a, b)
            continue
        wide_a, wide_b = _wide(a), _wide(b)
        finite = np.abs(wide_b[np.isfinite(wide_b)])
        scale = max(1.0, float(finite.max())) if finite.size else 1.0
        np.testing.assert_allclose(wide_a, wide_b, rtol=0, atol=tolerance(graph) * scale)


def _wide(array: NDArray[Any]) -> NDArray[Any]:
    """Floats as float64; complex numbers as their parts."""
    parts = np.stack([array.real, array.imag]) if array.dtype.kind == "c" else array
    return parts.astype(np.float64)
