"""Constants are made ready once, and lie side by side at the start of cache lines."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid import ops
from pellucid.compile import compile_graph
from pellucid.core.dtype import bfloat16, float32
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, TensorType
from pellucid.runtime.buffer import data_pointer
from pellucid.runtime.cache import open_cache
from pellucid.runtime.constants import LINE_BYTES, place_constants
from pellucid.runtime.executable import Executable
from tests.runtime.programs import config_in


def layers(rows: int, *sizes: int) -> Graph:
    """Layers with literal weights; equal sizes share one kernel but not its constants."""
    rng = np.random.default_rng(0)
    builder = GraphBuilder("layers")
    with builder:
        value = builder.input(TensorType((rows, sizes[0]), float32), "x")
        for n, m in itertools.pairwise(sizes):
            w = ops.constant(rng.normal(size=(n, m)).astype(np.float32))
            value = ops.relu(ops.matmul(value, w))
        return builder.finish([value])


@pytest.mark.parametrize("rows", [1, 2, 5, 33])
def test_weights_are_packed_once(rows: int, tmp_path: Path) -> None:
    graph = layers(rows, 70, 45, 45, 45, 10)
    compiled = compile_graph(graph, config=config_in(tmp_path))
    executable = Executable(compiled)
    program = executable.program
    objects = compiled.objects()
    assert any(made.packs for made in objects.values())
    used = {slot for call in program.calls for slot in call.slots}
    assert set(program.constants) <= used  # the literals themselves are gone where copies are read
    x = np.random.default_rng(1).normal(size=(rows, 70)).astype(np.float32)
    (wanted,) = interpret(graph, x)
    for _ in range(2):
        (got,) = executable.run([x])
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-3)


def test_a_stored_program_keeps_its_packed_constants(tmp_path: Path) -> None:
    graph, config = layers(3, 20, 40, 7), config_in(tmp_path)
    first = Executable(compile_graph(graph, config=config))
    again = Executable(compile_graph(graph, config=config))
    assert not first.cached
    assert again.cached
    x = np.random.default_rng(1).normal(size=(3, 20)).astype(np.float32)
    np.testing.assert_array_equal(again.run([x])[0], first.run([x])[0])


def test_stored_kernels_know_their_packs(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    compiled = compile_graph(layers(2, 20, 40), config=config)
    store = open_cache(config)
    made = compiled.objects(store)
    again = compile_graph(layers(2, 20, 40), config=config)
    assert again.objects(store) == made
    assert "schedule" not in again.seconds


def test_kernels_with_constants_differ_from_those_without() -> None:
    with GraphBuilder("g") as builder:
        x = builder.input(TensorType((4, 20), float32), "x")
        w = builder.input(TensorType((20, 40), float32), "w")
        free = builder.finish([ops.relu(ops.matmul(x, w))])
    assert not set(compile_graph(free).symbols) & set(compile_graph(layers(4, 20, 40)).symbols)


def test_constants_lie_in_lines_of_their_own() -> None:
    arrays: dict[int, NDArray[Any]] = {
        3: np.arange(5, dtype=np.float32), 1: np.zeros((0, 4)), 7: np.arange(3).astype(np.int8),
        9: np.ones((2, 3), bfloat16.numpy), 4: np.array(2.5),
    }  # fmt: skip
    placed = place_constants(arrays)
    assert list(placed) == list(arrays)
    for slot, array in arrays.items():
        np.testing.assert_array_equal(placed[slot], array)
        assert placed[slot].dtype == array.dtype
        assert data_pointer(placed[slot]) % LINE_BYTES == 0 or not array.size
    assert place_constants({}) == {}
