"""Blocks of transforms and products: the same results in every form, on every machine."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid import ops
from pellucid.codegen.llvm import render_kernel
from pellucid.core.dtype import DType, float32, float64
from pellucid.core.target import Target
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, TensorType, Value
from pellucid.loop.ir import Kernel
from pellucid.loop.rewrite import loops
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops import winograd_gradient
from pellucid.ops.conv_winograd import emit_winograd, transform_weights
from pellucid.ops.identity import barrier
from pellucid.ops.winograd_gradient import emit_kernel_grad
from pellucid.passes import group_fusion
from pellucid.schedule.choice import Choice
from pellucid.schedule.recipes import phases
from pellucid.schedule.recipes.choose import run_recipe
from tests.codegen.targets import HOST
from tests.lower.execution import agree, build, random_arrays, run_program
from tests.schedule.recipes.test_choose import TARGETS, scheduled

Shape = tuple[int, ...]
Ends = tuple[tuple[int, int], tuple[int, int]]
SAME: Ends = ((1, 1), (1, 1))


@pytest.fixture
def threads_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phases, "PARALLEL_WORK", 8)


def _convolution(
    x: Shape, outputs: int, panel: int, tile: int, ends: Ends = SAME, dtype: DType = float32
) -> Graph:
    low, high = ends

    def make(image: Value, kernel: Value, bias: Value, rest: Value) -> Value:
        points = barrier(transform_weights(kernel, tile, panel))
        y = emit_winograd(image, points, tile=tile, low=low, high=high)
        shifted = ops.add(y, ops.reshape(bias, (1, -1, 1, 1)))
        return ops.relu(ops.add(shifted, rest))

    sizes = [n + a + b - 2 for n, a, b in zip(x[2:], low, high, strict=True)]
    shapes = (x, (outputs, x[1], 3, 3), (outputs,), (x[0], outputs, *sizes))
    return group_fusion.run(build(make, *(TensorType(s, dtype) for s in shapes)))


CASES = (
    ((1, 16, 13, 17), 32, 32, 4, SAME),
    ((2, 24, 9, 8), 48, 24, 4, SAME),
    ((3, 5, 7, 6), 6, 3, 2, SAME),
    ((1, 1, 1, 1), 1, 1, 4, SAME),
    ((1, 17, 5, 23), 34, 17, 2, ((0, 2), (3, 0))),
    ((4, 32, 6, 6), 64, 32, 2, ((0, 0), (0, 0))),
)


@pytest.mark.usefixtures("threads_pay")
@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_blocks_keep_the_meaning(case: tuple[Shape, int, int, int, Ends], machine: Target) -> None:
    graph = _convolution(*case)
    arrays = random_arrays(graph)
    got = run_program(lower_graph(graph), arrays, lambda k: scheduled(k, machine))
    agree(got, interpret(graph, *arrays), 2e-4)


@pytest.mark.usefixtures("threads_pay")
@pytest.mark.parametrize("blocks", [True, False])
def test_threads_share_blocks_or_phases(blocks: bool) -> None:
    graph = _convolution((2, 32, 9, 9), 64, 32, 2, dtype=float64)
    arrays = random_arrays(graph)

    def scheduled_so(kernel: Kernel) -> Kernel:
        return run_recipe(kernel, HOST, (), Choice.of({"blocks": blocks})).kernel

    agree(run_program(lower_graph(graph), arrays, scheduled_so), interpret(graph, *arrays), 1e-9)


GRADIENTS = (
    ((2, 16, 9, 17), 32, 4, SAME),
    ((3, 5, 6, 7), 3, 2, ((0, 2), (3, 0))),
    ((1, 33, 5, 4), 17, 4, ((1, 1), (2, 2))),
    ((1, 1, 1, 1), 1, 2, SAME),
)


@pytest.mark.usefixtures("threads_pay")
@pytest.mark.parametrize("memory", [1 << 12, 1 << 22])
@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize("case", GRADIENTS, ids=str)
def test_gradients_keep_the_meaning(
    case: tuple[Shape, int, int, Ends],
    machine: Target,
    memory: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Sums of one block of all tiles, or of many that are added up in order."""
    monkeypatch.setattr(winograd_gradient, "BLOCK_BYTES", memory)
    x, outputs, tile, (low, high) = case
    sizes = [n + a + b - 2 for n, a, b in zip(x[2:], low, high, strict=True)]

    def make(image: Value, slope: Value, old: Value) -> Value:
        made = emit_kernel_grad(image, slope, tile=tile, low=low, high=high)
        return ops.subtract(old, ops.multiply(made, 0.25))

    shapes = (x, (x[0], outputs, *sizes), (outputs, x[1], 3, 3))
    graph = group_fusion.run(build(make, *(TensorType(s, float32) for s in shapes)))
    arrays = random_arrays(graph)
    got = run_program(lower_graph(graph), arrays, lambda k: scheduled(k, machine))
    agree(got, interpret(graph, *arrays), 2e-4)


@pytest.mark.usefixtures("threads_pay")
@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize("exchanged", [False, True])
@pytest.mark.parametrize(("outputs", "channels", "panel"), [(64, 16, 32), (48, 5, 24), (3, 9, 1)])
def test_points_of_weights(
    outputs: int, channels: int, panel: int, exchanged: bool, machine: Target
) -> None:
    shape = (channels, outputs) if exchanged else (outputs, channels)

    def make(w: Value) -> Value:
        return transform_weights(w, 4, panel, exchanged=exchanged)

    graph = build(make, TensorType((*shape, 3, 3), float32))
    arrays = random_arrays(graph)
    got = run_program(lower_graph(graph), arrays, lambda k: scheduled(k, machine))
    agree(got, interpret(graph, *arrays), 1e-5)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_blocks_of_any_shape(data: st.DataObject) -> None:
    draw = functools.partial(lambda low, high: data.draw(st.integers(low, high)))
    panel, tile = draw(1, 33), data.draw(st.sampled_from((2, 4)))
    x = (draw(1, 3), draw(1, 33), draw(1, 12), draw(1, 20))
    ends = ((draw(0, 2), draw(0, 2)), (draw(2, 3), draw(2, 3)))
    graph = _convolution(x, panel * draw(1, 2), panel, tile, ends)
    arrays = random_arrays(graph)
    machine = data.draw(st.sampled_from(TARGETS))
    got = run_program(lower_graph(graph), arrays, lambda k: scheduled(k, machine))
    agree(got, interpret(graph, *arrays), 2e-4)


def test_the_form_of_a_block() -> None:
    graph = _convolution((1, 64, 28, 28), 64, 32, 4)
    kernel = next(c.kernel for c in lower_graph(graph).calls if "winograd_add" in c.kernel.name)
    made = scheduled(kernel, HOST)
    assert {x.kind for x in loops(made.body)} >= {"vector", "unroll"}
    text = render_kernel(made, HOST, "k")
    assert "gather" not in text
    assert "scatter" not in text


@pytest.mark.parametrize(("size", "shared"), [(56, 1), (14, 3)])
def test_blocks_of_one_image_are_shared_too(size: int, shared: int) -> None:
    """Seven blocks on two threads; or the three phases of a single one."""
    graph = _convolution((1, 64, size, size), 64, 32, 4)
    kernel = next(c.kernel for c in lower_graph(graph).calls if "winograd_add" in c.kernel.name)
    made = scheduled(kernel, replace(HOST, cores=2))
    assert sum(x.kind == "parallel" for x in loops(made.body)) == shared


def test_the_next_weights_are_asked_for() -> None:
    graph = _convolution((1, 64, 28, 28), 64, 32, 4)
    kernel = next(c.kernel for c in lower_graph(graph).calls if "winograd_add" in c.kernel.name)
    assert "prefetch x1[" in str(scheduled(kernel, HOST))
    assert "prefetch" not in str(run_recipe(kernel, HOST, (), Choice.of({"fetch": False})).kernel)


def test_a_nan_leaves_other_tiles_alone() -> None:
    graph = _convolution((1, 16, 12, 12), 16, 16, 4)
    arrays = random_arrays(graph)
    arrays[0][0, 3, 1, 1] = np.nan
    (got,) = run_program(lower_graph(graph), arrays, lambda k: scheduled(k, HOST))
    assert np.isfinite(got[0, :, 4:]).all()
    assert np.isfinite(got[0, :, :, 4:]).all()
