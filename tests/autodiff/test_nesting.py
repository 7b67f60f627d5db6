"""Transforms of transforms: every order of vjp, jvp and batch up to three deep.

Each level is compared with the same transform done by number on the level below: differences for
derivatives, a loop for batching. The level below was itself compared before, so a chain of three is
right if each link is.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from pellucid import ops
from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.forward import jvp_graph
from pellucid.autodiff.reverse import value_and_vjp_graph
from pellucid.core.dtype import DType, float64
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, Value
from pellucid.graph.prune import prune
from pellucid.graph.stats import op_counts
from pellucid.graph.verifier import verify
from tests.autodiff.numeric import Array, close, f64, fill, numeric_jvp, numeric_vjp, trace
from tests.random_graphs import random_graph, random_inputs, tolerance
from tests.random_maker import FLOATS

SIZE = 2
ORDERS = [o for n in (1, 2, 3) for o in itertools.product(("vjp", "jvp", "batch"), repeat=n)]


def smooth(x: Value, w: Value) -> tuple[Value, Value]:
    """Products, a contraction, broadcasting, a reduction and values used twice."""
    hidden = ops.tanh(ops.matmul(x, w))
    total = ops.sum(ops.multiply(hidden, ops.exp(hidden)), axis=0)
    return ops.divide(total, ops.add(ops.square(total), 2.0)), ops.sin(ops.sum(hidden))


def transform(kind: str, graph: Graph) -> Graph:
    if kind == "vjp":
        return value_and_vjp_graph(graph, range(len(graph.inputs)))
    if kind == "jvp":
        return jvp_graph(graph, [True] * len(graph.inputs))
    return batch_graph(graph, [i % 3 != 1 for i in range(len(graph.inputs))], SIZE)


def by_number(kind: str, graph: Graph, arrays: Sequence[Array]) -> list[Array]:
    """What the transformed graph must give, from runs of the graph itself."""
    count = len(graph.inputs)
    if kind == "batch":
        runs = [interpret(graph, *(a if i % 3 == 1 else a[k] for i, a in enumerate(arrays)))
                for k in range(SIZE)]  # fmt: skip
        return [np.stack(column) for column in zip(*runs, strict=True)]
    values = list(interpret(graph, *arrays[:count]))
    if kind == "jvp":
        return values + numeric_jvp(graph, arrays[:count], arrays[count:])
    places = range(count)
    return values + [numeric_vjp(graph, arrays[:count], arrays[count:], i) for i in places]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_every_nesting_order(order: tuple[str, ...]) -> None:
    graph = trace(smooth, f64(2, 2), f64(2, 1))
    for kind in order[:-1]:
        graph = transform(kind, graph)
    made = transform(order[-1], graph)
    verify(made)
    arrays = fill(made, len(order))
    close(interpret(made, *arrays), by_number(order[-1], graph, arrays), 1e-7)


def rosenbrock(x: Value) -> Value:
    a, b = ops.split(x, 2)
    gap = ops.subtract(b, ops.square(a))
    return ops.sum(ops.add(ops.square(ops.subtract(1.0, a)), ops.multiply(ops.square(gap), 100.0)))


def rosenbrock_hessian(x: Array) -> Array:
    a, b = x
    return np.array([[2 - 400 * (b - 3 * a * a), -400 * a], [-400 * a, 200.0]])


def gradient_alone(graph: Graph) -> Graph:
    both = value_and_vjp_graph(graph, [0])
    return Graph("gradient", both.inputs, both.nodes, both.outputs[1:])


def test_the_hessian_forward_over_reverse_and_reverse_over_forward_and_reverse_over_reverse() -> (
    None
):
    graph = trace(rosenbrock, f64(2))
    point, one = np.array([-0.7, 1.3]), np.array(1.0)
    expected = rosenbrock_hessian(point)
    basis = np.eye(2)

    forward_over_reverse = jvp_graph(gradient_alone(graph), [True, False])
    rows = [interpret(forward_over_reverse, point, one, e)[1] for e in basis]
    np.testing.assert_allclose(rows, expected, rtol=1e-12)

    slope = jvp_graph(graph, [True])
    slope = Graph("slope", slope.inputs, slope.nodes, slope.outputs[1:])
    rows = [interpret(gradient_alone(slope), point, e, one)[0] for e in basis]
    np.testing.assert_allclose(rows, expected, rtol=1e-12)

    twice = value_and_vjp_graph(gradient_alone(graph), [0])
    rows = [interpret(twice, point, one, e)[1] for e in basis]
    np.testing.assert_allclose(rows, expected, rtol=1e-12)

    all_at_once = batch_graph(forward_over_reverse, [False, False, True], 2)
    np.testing.assert_allclose(interpret(all_at_once, point, one, basis)[1], expected, rtol=1e-12)


def float_places(values: Sequence[Value]) -> list[int]:
    return [i for i, v in enumerate(values) if v.dtype.is_float]


@pytest.mark.parametrize("seed", range(80))
@pytest.mark.parametrize("floats", [FLOATS, (float64,)], ids=["mixed", "f64"])
def test_reverse_is_the_transpose_of_forward_on_random_graphs(
    seed: int, floats: tuple[DType, ...]
) -> None:
    """`<c, J t> = <J^T c, t>` for random c and t, whatever the ops do."""
    graph = random_graph(seed, 12, floats)
    wrt, outs = float_places(graph.inputs), float_places(graph.outputs)
    forward = jvp_graph(graph, [v.dtype.is_float for v in graph.inputs])
    reverse = value_and_vjp_graph(graph, wrt)
    verify(forward)
    verify(reverse)
    arrays = random_inputs(forward, seed)
    cotangents = random_inputs(reverse, seed + 1)[len(graph.inputs) :]
    moved = interpret(forward, *arrays)[len(graph.outputs) :]
    gradients = interpret(reverse, *arrays[: len(graph.inputs)], *cotangents)[len(graph.outputs) :]
    assert (len(moved), len(gradients)) == (len(outs), len(wrt))
    left = inner(cotangents, moved)
    right = inner(gradients, arrays[len(graph.inputs) :])
    scale = 1.0 + size(cotangents) * size(moved) + size(gradients) * size(arrays)
    assert abs(left - right) <= tolerance(graph) * scale


@pytest.mark.parametrize("seed", range(80))
def test_forward_mode_equals_differences_on_random_graphs(seed: int) -> None:
    """At random points there are no kinks; with reverse mode its transpose, both are right."""
    graph = prune(random_graph(seed, 10, (float64,)))
    if "stop_gradient" in op_counts(graph):
        pytest.skip("its derivative is not its slope, by intent")
    active = [v.dtype.is_float for v in graph.inputs]
    moved = jvp_graph(graph, active)
    arrays = random_inputs(moved, seed)
    count = len(graph.inputs)
    directions = iter(arrays[count:])
    tangents = [next(directions) if moves else None for moves in active]
    expected = [
        d
        for d, v in zip(differences(graph, arrays[:count], tangents), graph.outputs, strict=True)
        if v.dtype.is_float
    ]
    got = interpret(moved, *arrays)[len(graph.outputs) :]
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        scale = 1.0 + float(np.abs(b).max()) if b.size else 1.0
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * scale)


def differences(
    graph: Graph, arrays: Sequence[Array], tangents: Sequence[Array | None], step: float = 1e-7
) -> list[Array]:
    """Central differences along a direction in which some inputs stay."""

    def at(h: float) -> tuple[Array, ...]:
        pairs = zip(arrays, tangents, strict=True)
        return interpret(graph, *(x if t is None else x + h * t for x, t in pairs))

    pairs = zip(at(step), at(-step), strict=True)
    return [(a.astype(np.float64) - b.astype(np.float64)) / (2 * step) for a, b in pairs]


def inner(a: Sequence[Array], b: Sequence[Array]) -> float:
    pairs = zip(a, b, strict=True)
    return sum(float((x.astype(np.float64) * y.astype(np.float64)).sum()) for x, y in pairs)


def size(arrays: Sequence[Array]) -> float:
    """The Euclidean length of all of them together."""
    return float(np.sqrt(inner(arrays, arrays)))
