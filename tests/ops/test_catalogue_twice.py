"""Every differentiable record differentiated again, and its derivatives batched.

The gradient of a record is a program of records; its own derivative is compared with central
differences, and a batch of gradients with a loop.
"""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.forward import jvp_graph, tangent_graph
from pellucid.autodiff.reverse import value_and_vjp_graph
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph
from tests.ops.records import Array, Case, arrays_of, in_float64
from tests.ops.test_catalogue import SMOOTH

STEP = 1e-5
EXAMPLES = 2
MOST_ELEMENTS = 400  # of operands together; larger samples are there for the kernels' sake
SINGULAR = "cofactors"  # of singular matrices it has a first derivative, but no second by its rule


def twice(case: Case) -> bool:
    """Whether the record says that its gradient has a derivative here."""
    return case.op.name != SINGULAR or case.number not in (4, 5)


SMALL = [c for c in SMOOTH if sum(a.size for a in arrays_of(c.sample)) <= MOST_ELEMENTS]


def some(every: int) -> list[object]:
    """The quick lane takes every so many, the whole suite all."""
    return [
        pytest.param(case, id=str(case), marks=pytest.mark.slow if i % every else ())
        for i, case in enumerate(SMALL)
        if twice(case)
    ]


def floats(graph: Graph) -> list[int]:
    return [i for i, v in enumerate(graph.inputs) if v.dtype.is_inexact]


def gradient(case: Case) -> Graph:
    """`inputs..., cotangents... -> gradients...`, in float64."""
    graph = in_float64(case)
    both = value_and_vjp_graph(graph, floats(graph))
    return Graph(both.name, both.inputs, both.nodes, both.outputs[len(graph.outputs) :])


def filled(case: Case, graph: Graph, seed: int) -> list[Array]:
    """The sample's inputs, and random numbers for what a transform added."""
    rng = np.random.default_rng(seed + 100)
    given = arrays_of(case.sample, seed)
    found = [a.astype(v.dtype.numpy) for a, v in zip(given, graph.inputs, strict=False)]
    for v in graph.inputs[len(found) :]:
        parts = rng.normal(size=(2, *v.shape))
        values = parts[0] + 1j * parts[1] if v.dtype.is_complex else parts[0]
        found.append(np.asarray(values).astype(v.dtype.numpy))
    return found


@pytest.mark.parametrize("case", some(4))
def test_the_gradients_derivative_agrees_with_differences(case: Case) -> None:
    graph = gradient(case)
    active = [v.dtype.is_inexact for v in graph.inputs]
    moved = tangent_graph(graph, active)
    arrays = filled(case, moved, 0)
    count = len(graph.inputs)
    directions = iter(arrays[count:])
    tangents = [next(directions) if a else None for a in active]
    ahead, behind = (
        interpret(
            graph,
            *(a if t is None else a + h * t for a, t in zip(arrays[:count], tangents, strict=True)),
        )
        for h in (STEP, -STEP)
    )
    for got, a, b in zip(interpret(moved, *arrays), ahead, behind, strict=True):
        want = (a - b) / (2 * STEP)
        scale = 1.0 + float(np.abs(want).max(initial=0.0))
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize("case", some(4))
def test_batches_of_derivatives_agree_with_a_loop(case: Case) -> None:
    pulled = gradient(case)
    graph = in_float64(case)
    pushed = jvp_graph(graph, [v.dtype.is_inexact for v in graph.inputs])
    for program in (pulled, pushed):
        examples = [filled(case, program, seed) for seed in range(EXAMPLES)]
        for flags in {tuple(i % 2 == k for i in range(len(program.inputs))) for k in (0, 1)} | {
            (True,) * len(program.inputs)
        }:
            _check(program, flags, examples)


def _check(program: Graph, flags: tuple[bool, ...], examples: list[list[Array]]) -> None:
    if not any(flags):
        return
    chosen = [
        [e[i] if together else examples[0][i] for i, together in enumerate(flags)] for e in examples
    ]
    stacked = [
        np.stack([e[i] for e in chosen]) if together else chosen[0][i]
        for i, together in enumerate(flags)
    ]
    at_once = interpret(batch_graph(program, flags, EXAMPLES), *stacked)
    singles = [interpret(program, *e) for e in chosen]
    for got, column in zip(at_once, zip(*singles, strict=True), strict=True):
        np.testing.assert_allclose(got, np.stack(column), rtol=1e-9, atol=1e-9)
