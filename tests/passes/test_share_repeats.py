"""Equal parts are optimised once, almost equal ones are told apart, and nothing else changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pellucid as pl
from pellucid.compile import compile_graph, optimize
from pellucid.core.config import current_config
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph
from pellucid.graph.verifier import verify
from pellucid.nn import functional as F
from pellucid.passes import share_repeats
from pellucid.passes.find_runs import Run, find_runs
from pellucid.passes.manager import PassResult
from pellucid.runtime.executable import Executable
from pellucid.runtime.program import make_program
from tests.passes.repeats import (
    WIDTH,
    arrays_for,
    batch,
    random_training_step,
    training_step,
    weights_of,
)

ALONE = replace(current_config(), disable_passes=("share_repeats",))


def times(result: PassResult) -> list[int]:
    """How often each shared part comes."""
    return [int(str(s).split(" ")[0]) for s in result.shared]


def check(graph: Graph, close: float = 1e-11) -> PassResult:
    """Sharing keeps the meaning of a program; returns what the passes made of it."""
    arrays = arrays_for(graph)
    wanted = interpret(graph, *arrays)
    again = share_repeats.run(graph)
    verify(again)
    for a, b in zip(wanted, interpret(again, *arrays), strict=True):
        np.testing.assert_array_equal(b, a)
    result = optimize(graph)
    for a, b in zip(wanted, interpret(result.graph, *arrays), strict=True):
        np.testing.assert_allclose(b, a, rtol=close, atol=close)
    return result


def deep(
    count: int, layer: Callable[[int, Any, Any], Any] = lambda k, h, w: pl.tanh(h @ w) + h
) -> Graph:
    """A training step of `count` layers with a weight each."""

    def forward(h: Any, weights: Sequence[Any]) -> Any:
        for k, w in enumerate(weights):
            h = layer(k, h, w)
        return h

    return training_step(forward, weights_of(count), batch())


def test_a_deep_model_is_optimised_as_one_layer_and_the_rest() -> None:
    result = check(deep(10))
    assert len(result.shared) == 1
    assert times(result)[0] >= 8


def test_what_passes_look_at_does_not_grow_with_the_layers() -> None:
    def looked_at(count: int) -> list[int]:
        stats = optimize(deep(count)).stats
        first = [s.name for s in stats].index("share_repeats")
        return [s.nodes_before for s in stats[first + 1 :]]

    few, many = looked_at(8), looked_at(40)
    assert few == many
    assert max(few) < 150


@pytest.mark.parametrize("count", [16, 32])
def test_kernels_and_memory_are_those_of_the_program_as_a_whole(count: int) -> None:
    graph = deep(count)
    shared, alone = compile_graph(graph), compile_graph(graph, config=ALONE)
    assert len(shared.passes.shared) == 1
    assert len(shared.kernels) <= len(alone.kernels)
    assert len(shared.lowered.calls) <= len(alone.lowered.calls) + 1
    sizes = [make_program(c, 1).plan.peak for c in (shared, alone)]
    assert sizes[0] <= 1.05 * sizes[1]


def test_results_are_the_same_bits() -> None:
    graph = deep(12)
    arrays = arrays_for(graph)
    shared, alone = (
        Executable(compile_graph(graph, config=c)).run(arrays) for c in (current_config(), ALONE)
    )
    for a, b in zip(shared, alone, strict=True):
        np.testing.assert_array_equal(a, b)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_random_training_steps_keep_their_meaning(seed: int) -> None:
    check(random_training_step(seed), close=1e-7)


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_random_training_steps_run_as_without_sharing(seed: int) -> None:
    graph = random_training_step(seed)
    arrays = arrays_for(graph)
    shared, alone = (
        Executable(compile_graph(graph, config=c)).run(arrays) for c in (current_config(), ALONE)
    )
    for a, b in zip(shared, alone, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-7)


def test_one_layer_with_another_attribute_stays_itself() -> None:
    result = check(deep(9, lambda k, h, w: pl.tanh(h @ w) * (0.5 if k == 4 else 0.25) + h))
    assert sum(times(result)) < 9


def test_one_layer_of_another_shape_stays_itself() -> None:
    wide = pl.Tensor(np.random.default_rng(0).uniform(-1, 1, (WIDTH, 3)))

    def forward(h: Any, weights: Sequence[Any]) -> Any:
        for k, w in enumerate(weights[1:]):
            h = pl.tanh(h @ w) + h
            if k == 4:
                h = pl.tanh(h @ weights[0]) @ weights[0].T + h
        return h

    result = check(training_step(forward, [wide, *weights_of(10)], batch()))
    assert sum(times(result)) <= 10


def test_a_value_read_outside_of_one_layer_only() -> None:
    def forward(h: Any, weights: Sequence[Any]) -> Any:
        kept = h
        for k, w in enumerate(weights):
            h = pl.tanh(h @ w) + h
            kept = pl.exp(h * 0.1) if k == 3 else kept
        return h * kept

    assert times(check(training_step(forward, weights_of(16), batch())))


def test_a_shared_weight() -> None:
    def forward(h: Any, weights: Sequence[Any]) -> Any:
        for k in range(9):
            h = pl.tanh(h @ weights[k % 2]) + h
        return h

    check(training_step(forward, weights_of(2), batch()))


def test_all_layers_read_one_value() -> None:
    def forward(h: Any, weights: Sequence[Any]) -> Any:
        first = pl.exp(h)
        for w in weights:
            h = pl.tanh(h @ w) * first.T + h
        return h

    assert times(check(training_step(forward, weights_of(9), batch())))


def test_first_and_last_layers_of_their_own() -> None:
    def forward(h: Any, weights: Sequence[Any]) -> Any:
        h = pl.exp(-h @ weights[0])
        for w in weights[1:-1]:
            h = F.softmax(F.relu(h @ w)) + h
        return (h @ weights[-1]).sum(-1)

    assert times(check(training_step(forward, weights_of(11), batch())))


def test_every_layer_is_returned() -> None:
    def function(h: Any, weights: Any) -> Any:
        seen = []
        for w in weights:
            h = pl.tanh(h @ w) + 1.0
            seen += [h.T, h * 2.0, h[1:]]
        return seen, weights[0].T, pl.zeros(3)

    graph = pl.jit(function).lower(batch(), weights_of(24)).graph
    assert times(check(graph))


def test_an_unrolled_loop() -> None:
    def function(h: Any, xs: Any, w: Any, u: Any) -> Any:
        for k in range(20):
            h = pl.tanh(h @ w + xs[k] @ u)
        return h

    xs = pl.Tensor(np.random.default_rng(0).uniform(-1, 1, (20, WIDTH, WIDTH)))
    graph = pl.jit(function).lower(batch(), xs, *weights_of(2)).graph
    check(graph)


def test_random_numbers_differ_from_layer_to_layer() -> None:
    dropout = pl.nn.Dropout(0.5)

    @pl.jit
    def function(h: Any, weights: Any) -> Any:
        for w in weights:
            h = dropout(pl.tanh(h @ w)) + h
        return h

    pl.manual_seed(3)
    shared = function(batch(), weights_of(8)).numpy()
    pl.manual_seed(3)
    h = batch()
    for w in weights_of(8):
        h = dropout(pl.tanh(h @ w)) + h
    np.testing.assert_allclose(shared, h.numpy(), rtol=1e-12)
    assert function.lower(batch(), weights_of(8)).passes.shared


def test_checkpointed_layers() -> None:
    layer = pl.checkpoint(lambda h, w: pl.tanh(F.softmax(h @ w) @ w) + h)
    result = check(deep(8, lambda k, h, w: layer(h, w)))
    assert times(result)
    assert sum(n.op.name == "barrier" for n in result.graph.nodes) >= 8


def test_checkpoints_need_the_square_root_of_the_memory() -> None:
    """Gradients of weights are ready, moved or not, as soon as what they are made of is."""
    count, group = 36, 6

    def loss(weights: Sequence[Any], x: Any) -> Any:
        for at in range(0, count, group):
            x = pl.checkpoint(chain)(weights[at : at + group], x)
        return (x * x).sum()

    def chain(weights: Sequence[Any], x: Any) -> Any:
        for w in weights:
            x = pl.tanh(x @ w)
        return x

    weights = [pl.zeros((WIDTH, WIDTH)) for _ in range(count)]
    x = pl.zeros((1024, WIDTH))
    lowered = pl.jit(pl.grad(loss)).lower(weights, x)
    assert lowered.passes.shared
    assert lowered.memory.peak <= 2 * np.sqrt(count) * x.nbytes


def test_copies_keep_their_own_lines() -> None:
    def function(h: Any, w: Any) -> Any:
        h = pl.tanh(h @ w[0] + h) * 0.5
        h = pl.tanh(h @ w[1] + h) * 0.5
        h = pl.tanh(h @ w[2] + h) * 0.5
        h = pl.tanh(h @ w[3] + h) * 0.5
        for k in range(4, 24):
            h = pl.tanh(h @ w[k] + h) * 0.5
        return h

    compiled = compile_graph(pl.jit(function).lower(batch(), weights_of(24)).graph)
    assert times(compiled.passes)[0] >= 20
    lines = {source for call in compiled.lowered.calls for source in call.sources}
    assert len(lines) == 5
    names = [name for call in compiled.lowered.calls for name in call.nodes]
    assert len(set(names)) == len(names)


def test_programs_without_repeats_are_left_alone() -> None:
    graph = deep(2)
    assert share_repeats.run(graph) is graph
    assert not optimize(graph).shared


def test_passes_keep_the_whole_program_when_asked() -> None:
    graph = deep(8)
    arrays = arrays_for(graph)
    wanted = interpret(graph, *arrays)
    result = optimize(graph, keep_dumps=True)
    assert "shared: " in result.table()
    seen = {id(s.after): s.after for s in result.stats}
    for after in filter(None, seen.values()):
        for a, b in zip(wanted, interpret(after, *arrays), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-11)


def test_explain_says_what_was_shared() -> None:
    @pl.jit
    def function(h: Any, weights: Any) -> Any:
        for w in weights:
            h = pl.tanh(F.softmax(h @ w) @ w + h)
        return h

    function(batch(), weights_of(12))
    assert re.search(r"shared 1[12] x \d+ nodes \(test_share_repeats.py", function.explain())


def test_runs_are_the_longest_stretches() -> None:
    layer = [*range(30), 7, 7, *range(100, 120)]
    tokens = [1000, 1001, *layer * 5, 1002, *[2000, *range(50, 70), 2001] * 6, 3000]
    runs = find_runs(np.array(tokens))
    assert runs[0] == Run(2, 2 + 5 * len(layer), len(layer))
    assert [r.period for r in runs] == [len(layer), 22]
    assert [r.times for r in runs] == [5, 6]


def test_short_and_single_sequences_have_no_runs() -> None:
    assert find_runs(np.arange(500)) == []
    assert find_runs(np.zeros(10, np.int64)) == []
    assert find_runs(np.zeros(0, np.int64)) == []
