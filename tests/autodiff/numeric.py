"""Finite differences and small helpers for the autodiff tests. All in float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import float64
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value

Array = NDArray[Any]


def f64(*shape: int) -> TensorType:
    """A float64 type."""
    return TensorType(shape, float64)


def trace(fn: Callable[..., Any], *types: TensorType) -> Graph:
    """The graph of a function of values that returns a value or a tuple of them."""
    with GraphBuilder("f") as builder:
        result = fn(
            *(builder.input(t, "xyzuvw"[i] if i < 6 else f"x{i}") for i, t in enumerate(types))
        )
        return builder.finish([result] if isinstance(result, Value) else list(result))


def fill(graph: Graph, seed: int) -> list[Array]:
    """Random inputs in [0.5, 1.5), where everything used here is smooth."""
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.uniform(0.5, 1.5, v.shape)).astype(v.dtype.numpy) for v in graph.inputs]


def numeric_jvp(
    graph: Graph, arrays: Sequence[Array], tangents: Sequence[Array], step: float = 1e-5
) -> list[Array]:
    """Central differences of the outputs along a direction."""
    ahead = interpret(graph, *(x + step * t for x, t in zip(arrays, tangents, strict=True)))
    behind = interpret(graph, *(x - step * t for x, t in zip(arrays, tangents, strict=True)))
    return [np.asarray((a - b) / (2 * step)) for a, b in zip(ahead, behind, strict=True)]


def numeric_vjp(
    graph: Graph, arrays: Sequence[Array], cotangents: Sequence[Array], place: int
) -> Array:
    """Central differences of `sum(outputs * cotangents)` by one input."""
    result = np.zeros_like(arrays[place])
    for at in np.ndindex(result.shape):
        tangents = [np.zeros_like(x) for x in arrays]
        tangents[place][at] = 1.0
        moved = numeric_jvp(graph, arrays, tangents)
        result[at] = sum(float((m * c).sum()) for m, c in zip(moved, cotangents, strict=True))
    return result


def close(got: Sequence[Array], expected: Sequence[Array], tolerance: float = 2e-6) -> None:
    """Equal within the error of the differences."""
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)
