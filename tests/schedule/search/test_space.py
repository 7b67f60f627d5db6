"""Every candidate computes what the nest does, whatever was decided."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pellucid import ops
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, TensorType, Value
from pellucid.loop.ir import Kernel
from pellucid.loop.verifier import verify_kernel
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.passes import group_fusion
from pellucid.schedule.choice import Choice
from pellucid.schedule.recipes import schedule_kernel
from pellucid.schedule.search.space import Space, size_of_space
from tests.lower.execution import agree, build, random_arrays, run_program
from tests.schedule.recipes.test_choose import AVX2, AVX512, NEON, everything_pays, f

__all__ = ["everything_pays"]


def _attend(x: Value) -> Value:
    return ops.softmax(ops.multiply(x, x), axis=-1)


GRAPHS: dict[str, Callable[[], Graph]] = {
    "product": lambda: build(ops.matmul, f(19, 16), f(16, 37)),
    "turned": lambda: build(lambda a, b: ops.matmul(a, ops.transpose(b)), f(9, 32), f(21, 32)),
    "turned rows": lambda: build(lambda a, b: ops.matmul(ops.transpose(a), b), f(16, 9), f(16, 21)),
    "epilogue": lambda: build(
        lambda x, w, b: ops.gelu(ops.add(ops.matmul(x, w), b)), f(13, 9), f(9, 37), f(37)
    ),
    "batch": lambda: build(ops.matmul, f(3, 9, 8), f(3, 8, 19)),
    "convolution": lambda: build(
        lambda x, w: ops.conv2d(x, w, padding=1), f(2, 3, 7, 9), f(5, 3, 3, 3)
    ),
    "softmax": lambda: build(_attend, f(11, 130)),
    "columns": lambda: build(lambda x: ops.sum(x, axis=0), f(17, 33)),
    "chain": lambda: build(lambda x, y: ops.exp(ops.add(x, y)), f(23, 31), f(31)),
    "transpose": lambda: build(lambda x: ops.add(ops.transpose(x), x), f(12, 12)),
}


def _kernels(graph: Graph) -> list[Kernel]:
    return [c.kernel for c in lower_graph(group_fusion.run(graph)).calls]


@pytest.mark.usefixtures("everything_pays")
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("machine", [AVX2, AVX512, NEON], ids=lambda t: t.name)
def test_random_candidates_keep_the_meaning(name: str, machine: object) -> None:
    graph = GRAPHS[name]()
    program, arrays = lower_graph(group_fusion.run(graph)), random_arrays(graph)
    expected, rng = interpret(graph, *arrays), np.random.default_rng(len(name))
    for _ in range(6):

        def scheduled(kernel: Kernel) -> Kernel:
            found = Space(kernel, machine).random(rng).kernel  # type: ignore[arg-type]
            verify_kernel(found)
            return found

        agree(run_program(program, arrays, scheduled), expected, 1e-4)


@pytest.mark.usefixtures("everything_pays")
@pytest.mark.parametrize("name", GRAPHS)
def test_every_option_of_every_decision_is_taken(name: str) -> None:
    for kernel in _kernels(GRAPHS[name]()):
        space = Space(kernel, AVX2)
        ruled = space.candidate()
        assert ruled.choice == Choice()
        assert [s.kernel for s in ruled.steps] == [s.kernel for s in schedule_kernel(kernel, AVX2)]
        for decision in ruled.decisions:
            for option in decision.options:
                found = space.candidate(Choice.of({decision.name: option}))
                assert any(d.name == decision.name and d.taken == option for d in found.decisions)
                verify_kernel(found.kernel)


def test_a_choice_gives_the_same_schedule_again() -> None:
    (kernel,) = _kernels(GRAPHS["epilogue"]())
    space, rng = Space(kernel, AVX512), np.random.default_rng(3)
    for _ in range(10):
        found = space.random(rng)
        again = Choice.parse(str(found.choice))
        assert schedule_kernel(kernel, AVX512, (), again)[-1].kernel == found.kernel


def test_candidates_differ_and_breed() -> None:
    (kernel,) = _kernels(GRAPHS["product"]())
    space, rng = Space(kernel, AVX512), np.random.default_rng(0)
    many = {str(space.random(rng).choice) for _ in range(30)}
    assert len(many) > 20
    a, b = space.random(rng), space.random(rng)
    child = space.crossed(a, b, rng)
    parents = {**dict(a.choice.values), **dict(b.choice.values)}
    assert set(dict(child.choice.values)) <= set(parents)
    mutant = space.mutated(a, rng)
    assert mutant.choice != a.choice or mutant.kernel == a.kernel


def test_a_kernel_without_decisions_has_one_candidate() -> None:
    (kernel,) = _kernels(build(lambda x: ops.add(x, x), TensorType((), f(1).dtype)))
    space = Space(kernel, AVX512)
    assert space.random(np.random.default_rng(0)).choice == Choice()
    assert size_of_space({}) == 1
