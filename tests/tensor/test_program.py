from __future__ import annotations

import numpy as np
import pytest

import pellucid as pl
from pellucid.core.dtype import float32
from pellucid.graph.ir import Graph, GraphBuilder, TensorType
from pellucid.ops import exp, multiply, reshape
from pellucid.tensor.program import Program


def _graph(*shape: int, view: bool = False) -> Graph:
    with GraphBuilder("g") as builder:
        x = builder.input(TensorType(shape, float32))
        result = reshape(x, (-1,)) if view else exp(multiply(x, 2.0))
    return builder.finish((result,))


def test_hot_programs_are_compiled_after_the_same_number_of_calls_in_every_run() -> None:
    x = np.linspace(0, 1, 3000, dtype=np.float32)
    switched = []
    for _ in range(2):
        program = Program(_graph(3000))
        calls = 0
        while program.executable is None and calls < 5000:
            (result,) = program.run([x])
            calls += 1
        switched.append(calls)
        np.testing.assert_allclose(result, np.exp(2 * x), rtol=1e-6)
    assert switched[0] == switched[1]
    assert 100 < switched[0] < 5000


def test_large_programs_are_compiled_at_once() -> None:
    program = Program(_graph(1200, 1200))
    x = np.ones((1200, 1200), np.float32)
    np.testing.assert_allclose(program.run([x])[0], np.exp(2 * x), rtol=1e-6)
    assert program.executable is not None


def test_views_are_never_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(_graph(3000, 1000, view=True))
    x = np.ones((3000, 1000), np.float32)
    for _ in range(10_000):
        (result,) = program.run([x])
    assert program.executable is None
    assert np.shares_memory(result, x)


def test_equal_operations_share_a_program() -> None:
    x = pl.ones(7)
    first, second = x * 2.0, x * 3.0
    assert first._edge is None
    assert (first.tolist(), second.tolist()) == ([2.0] * 7, [3.0] * 7)
