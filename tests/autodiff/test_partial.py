"""Programs cut in two, and checkpoints that keep any of their values, on random graphs."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.checkpoint import checkpoint, read_again
from pellucid.autodiff.forward import jvp_graph
from pellucid.autodiff.partial import halves
from pellucid.autodiff.reverse import value_and_vjp_graph
from pellucid.core.dtype import float64
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder
from pellucid.graph.verifier import verify
from pellucid.passes import inline_calls
from tests.random_graphs import random_graph, random_inputs


def floats(graph: Graph) -> list[int]:
    return [i for i, v in enumerate(graph.inputs) if v.dtype.is_inexact]


@pytest.mark.parametrize("seed", range(40))
def test_the_halves_make_the_whole(seed: int) -> None:
    graph = random_graph(seed, 12, (float64,))
    for whole in (
        value_and_vjp_graph(graph, floats(graph)),
        jvp_graph(graph, [v.dtype.is_inexact for v in graph.inputs]),
    ):
        inputs, outputs = len(graph.inputs), len(graph.outputs)
        parts = halves(whole, range(inputs, len(whole.inputs)), range(outputs, len(whole.outputs)))
        verify(parts.first)
        verify(parts.second)
        arrays = random_inputs(whole, seed)
        found = interpret(parts.first, *arrays[:inputs])
        assert len(found) == outputs + parts.residuals
        read = [arrays[i] for i in parts.reads]
        rest = interpret(parts.second, *read, *found[outputs:], *arrays[inputs:])
        for a, b in zip((*found[:outputs], *rest), interpret(whole, *arrays), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("seed", range(40))
def test_a_checkpoint_may_keep_any_values(seed: int) -> None:
    body = random_graph(seed, 10, (float64,))
    rng = np.random.default_rng(seed)
    made = [v for n in body.nodes for v in n.outputs if rng.random() < 0.4]
    kept = read_again(body, floats(body), made)[0]
    outputs = tuple(dict.fromkeys((*body.outputs, *kept)))
    wider = Graph(body.name, body.inputs, body.nodes, outputs)
    with GraphBuilder("wrapped") as builder:
        inputs = [builder.input(v.type, v.name) for v in body.inputs]
        places = tuple(outputs.index(v) for v in kept)
        found = checkpoint(wider, *inputs, kept=places)
        wrapped = builder.finish([found[outputs.index(v)] for v in body.outputs])
    wrt = floats(body)
    flags = [True] * len(body.inputs)
    pairs = [
        (value_and_vjp_graph(wrapped, wrt), value_and_vjp_graph(body, wrt)),
        (
            batch_graph(value_and_vjp_graph(wrapped, wrt), [*flags, *[True] * _seeds(body)], 2),
            batch_graph(value_and_vjp_graph(body, wrt), [*flags, *[True] * _seeds(body)], 2),
        ),
    ]
    for got, want in pairs:
        verify(got)
        arrays = random_inputs(want, seed)
        expected = interpret(want, *arrays)
        for program in (got, inline_calls.run(got)):
            for a, b in zip(interpret(program, *arrays), expected, strict=True):
                np.testing.assert_array_equal(a, b)


def _seeds(graph: Graph) -> int:
    return sum(v.dtype.is_inexact for v in graph.outputs)
