"""Random graphs with open sizes: one program of each, against the interpreter at many sizes."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.compile import compile_graph
from pellucid.core.dtype import float32
from pellucid.core.errors import ArgumentError, LoweringError, PellucidError, ShapeError
from pellucid.core.size import Dim, as_size
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, TensorType
from pellucid.graph.sizes import bind_graph, graph_dims
from pellucid.ops import exp, full, matmul, sum
from pellucid.runtime.open_executable import OpenExecutable
from pellucid.runtime.program import Program, make_program
from tests.random_graphs import random_inputs, tolerance
from tests.random_open import fitting, random_open_graph

MOST_ELEMENTS = 1 << 20
SEEDS = (0, 3, 8, 11, 17, 23, 31, 42, 57, 61)


def open_program(graph: Graph) -> OpenExecutable | None:
    """The program, unless a kernel in it wants to know its sizes."""
    try:
        return OpenExecutable(compile_graph(graph))
    except (PellucidError, TypeError, AttributeError):
        return None


def check(executable: OpenExecutable, graph: Graph, seed: int) -> None:
    arrays = random_inputs(graph, seed)
    wanted = interpret(graph, *arrays)
    limit = max(tolerance(graph), 1e-9)
    for made, real in zip(executable.run([a.copy() for a in arrays]), wanted, strict=True):
        assert made.shape == real.shape
        exact = np.asarray(real, np.float64)
        most = np.max(np.abs(exact), initial=1.0, where=np.isfinite(exact))
        np.testing.assert_allclose(
            np.asarray(made, np.float64), exact, rtol=limit, atol=limit * most
        )


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs_at_random_sizes(seed: int) -> None:
    try:
        graph, decisions = random_open_graph(seed, 6)
    except ShapeError:
        pytest.skip("the generator took a size for a number")
    executable = open_program(graph)
    if executable is None or not graph_dims(graph):
        pytest.skip("a kernel wants to know its sizes")
    known = list(fitting(graph, decisions))
    order = np.random.default_rng(seed).permutation(len(known))
    for sizes in [known[i] for i in order[:5]]:
        bound = bind_graph(graph, sizes)
        if max((v.type.size for n in bound.nodes for v in n.outputs), default=0) < MOST_ELEMENTS:
            check(executable, bound, seed)


def product() -> Graph:
    n = as_size(Dim("n"))
    with GraphBuilder("product") as builder:
        x = builder.input(TensorType((n, 8), float32))
        y = builder.input(TensorType((8, n), float32))
        return builder.finish([exp(matmul(x, y)), sum(x, 0)])


def test_memory_grows_and_programs_stay_right() -> None:
    executable = OpenExecutable(compile_graph(product()))
    for n in (4, 64, 4, 300, 64, 0, 301, 4):
        check(executable, bind_graph(product(), {"n": n}), n)


def test_a_stored_program_is_the_same() -> None:
    program = make_program(compile_graph(product()), 1)
    again = Program.from_bytes(program.to_bytes())
    assert again.sizes == program.sizes
    assert again.inputs == program.inputs
    assert again.lives == program.lives
    for n in (3, 100):
        assert again.bound({"n": n}) == program.bound({"n": n}) or again.bound({"n": n}).plan == (
            program.bound({"n": n}).plan
        )


def test_inputs_are_checked() -> None:
    executable = OpenExecutable(compile_graph(product()))
    x = np.zeros((3, 8), np.float32)
    with pytest.raises(ArgumentError, match="takes 2 inputs"):
        executable.run([x])
    with pytest.raises(ShapeError, match=r"must have shape \(8, 3\)"):
        executable.run([x, np.zeros((8, 4), np.float32)])
    with pytest.raises(ShapeError, match="must have shape"):
        executable.run([np.zeros((3, 9), np.float32), np.zeros((8, 3), np.float32)])


def test_a_size_that_no_input_tells_is_refused() -> None:
    n, m = as_size(Dim("n")), as_size(Dim("m"))
    with GraphBuilder("hidden") as builder:
        x = builder.input(TensorType((n,), float32))
        graph = builder.finish([x, full((m,), 1.0)])
    with pytest.raises(LoweringError, match="no input tells the size m"):
        OpenExecutable(compile_graph(graph))
