"""Convolutions in panels and in windows: the same results, in the form meant for them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pellucid import ops
from pellucid.codegen.llvm import render_kernel
from pellucid.core.dtype import float32
from pellucid.core.target import Target
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, TensorType, Value
from pellucid.loop.rewrite import loops
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops.conv_packed import emit_packed, pack_kernel
from pellucid.ops.identity import barrier
from pellucid.passes import absorb_padding, group_fusion
from pellucid.schedule.recipes import convolution, elementwise, plan
from tests.codegen.native import run
from tests.codegen.targets import HOST, poison
from tests.lower.execution import agree, build, random_arrays, run_program
from tests.schedule.recipes.test_choose import TARGETS, scheduled

Shape = tuple[int, ...]
Case = tuple[Shape, Shape, int, int, int, int]
Window = tuple[Shape, Shape, int, int, int]


@pytest.fixture
def threads_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (plan, convolution, elementwise):
        if hasattr(module, "PARALLEL_WORK"):
            monkeypatch.setattr(module, "PARALLEL_WORK", 8)


def _convolution(  # noqa: PLR0913  # the attributes
    x: Shape,
    w: Shape,
    panel: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    *,
    flipped: bool = False,
) -> Graph:
    def make(image: Value, kernel: Value, bias: Value, rest: Value) -> Value:
        packed = barrier(pack_kernel(kernel, panel))
        steps, holes = (stride, stride), (dilation, dilation)
        y = emit_packed(image, packed, stride=steps, dilation=holes, groups=groups, flipped=flipped)
        shifted = ops.add(y, ops.reshape(bias, (1, -1, 1, 1)))
        return ops.add(ops.relu(shifted), rest)

    sizes = [(n - (k - 1) * dilation - 1) // stride + 1 for n, k in zip(x[2:], w[2:], strict=True)]
    types = [TensorType(s, float32) for s in (x, w, (w[0],), (x[0], w[0], *sizes))]
    return build(make, *types)


CASES = (
    ((1, 5, 9, 9), (32, 5, 3, 3), 32, 1, 1, 1),
    ((2, 3, 8, 37), (48, 3, 3, 3), 16, 1, 1, 1),
    ((1, 8, 7, 7), (64, 8, 1, 1), 32, 1, 1, 1),
    ((1, 2, 11, 13), (24, 2, 3, 2), 24, 2, 1, 1),
    ((3, 4, 6, 5), (16, 4, 2, 2), 16, 1, 2, 1),
    ((2, 8, 6, 6), (64, 4, 3, 3), 32, 1, 1, 2),
    ((1, 1, 5, 31), (17, 1, 3, 3), 17, 1, 1, 1),
    ((1, 33, 1, 1), (32, 33, 1, 1), 32, 1, 1, 1),
)


@pytest.mark.usefixtures("threads_pay")
@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_panels_keep_the_meaning(case: Case, machine: Target) -> None:
    graph = _convolution(*case)
    program = lower_graph(group_fusion.run(graph))
    arrays = random_arrays(graph)
    got = run_program(program, arrays, lambda k: scheduled(k, machine))
    agree(got, interpret(graph, *arrays), 1e-4)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_panels_of_any_shape(data: st.DataObject) -> None:
    def draw(least: int, most: int) -> int:
        return data.draw(st.integers(least, most))

    panel, panels, c, k = draw(1, 33), draw(1, 3), draw(1, 5), draw(1, 3)
    dilation, stride = draw(1, 2), draw(1, 3)
    reach = (k - 1) * dilation + 1
    x = (draw(1, 2), c, reach + draw(0, 6), reach + draw(0, 30))
    flipped = data.draw(st.booleans())
    w = (panel * panels, c, k, k)
    graph = _convolution(x, w, panel, stride, dilation, flipped=flipped)
    arrays = random_arrays(graph)
    program = lower_graph(group_fusion.run(graph))
    got = run_program(program, arrays, lambda kernel: scheduled(kernel, data.draw(
        st.sampled_from(TARGETS))))  # fmt: skip
    agree(got, interpret(graph, *arrays), 1e-4)


def test_the_form_of_a_tile() -> None:
    graph = group_fusion.run(_convolution((1, 64, 30, 30), (64, 64, 3, 3), 32))
    kernel = next(c.kernel for c in lower_graph(graph).calls if "conv2d" in c.kernel.name)
    made = scheduled(kernel, HOST)
    assert any(x.kind == "vector" and x.var.endswith("pr") for x in loops(made.body))
    text = render_kernel(made, HOST, "k")
    assert "gather" not in text
    assert "scatter" not in text


def _windows(x: Shape, w: Shape, padding: int, stride: int = 1, dilation: int = 1) -> Graph:
    def make(image: Value, kernel: Value, bias: Value) -> Value:
        y = ops.conv2d(
            image, kernel, padding=padding, stride=stride, dilation=dilation, groups=x[1]
        )
        return ops.relu(ops.add(y, ops.reshape(bias, (1, -1, 1, 1))))

    types = [TensorType(s, float32) for s in (x, w, (w[0],))]
    return absorb_padding.run(build(make, *types))


WINDOWS = (
    ((1, 6, 9, 9), (6, 1, 3, 3), 1, 1, 1),
    ((2, 3, 40, 45), (3, 1, 3, 3), 1, 1, 1),
    ((1, 4, 7, 33), (8, 1, 3, 3), 1, 2, 1),
    ((2, 2, 13, 11), (2, 1, 5, 4), 2, 3, 1),
    ((1, 3, 9, 10), (3, 1, 3, 3), 2, 1, 2),
    ((1, 3, 6, 6), (3, 1, 3, 3), 0, 1, 1),
    ((1, 2, 1, 17), (2, 1, 1, 3), 1, 1, 1),
    ((1, 2, 14, 14), (2, 1, 5, 5), 2, 2, 1),
    ((1, 1, 28, 30), (2, 1, 3, 3), 1, 1, 1),
)


@pytest.mark.usefixtures("threads_pay")
@pytest.mark.parametrize("l1", [512, 1 << 15])
@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize("case", WINDOWS, ids=str)
def test_windows_keep_the_meaning(case: Window, machine: Target, l1: int) -> None:
    graph = _windows(*case)
    arrays, small = random_arrays(graph), replace(machine, l1_bytes=l1)
    arrays[0].flat[0], arrays[0].flat[-1] = np.nan, np.inf
    program = lower_graph(group_fusion.run(graph))
    got = run_program(program, arrays, lambda k: scheduled(k, small))
    agree(got, interpret(graph, *arrays), 1e-4)


def _apart(x: Shape, taps: int, low: int, high: int, step: int) -> Graph:
    """Pixels `step` apart, a kernel for each channel."""

    def make(image: Value, kernel: Value) -> Value:
        holes = (0, 0, step - 1, step - 1)
        wide = ops.pad(image, (0, 0, low, low), (0, 0, high, high), interior=holes)
        return ops.conv2d(wide, kernel, groups=x[1])

    types = [TensorType(s, float32) for s in (x, (x[1], 1, taps, taps))]
    return absorb_padding.run(build(make, *types))


APART = (
    ((1, 3, 7, 7), 3, 1, 2, 2),
    ((2, 2, 5, 33), 3, 2, 1, 2),
    ((1, 2, 4, 6), 5, 3, 4, 2),
    ((1, 2, 6, 9), 4, 0, 3, 3),
    ((1, 2, 3, 5), 2, 5, 6, 4),
)


@pytest.mark.usefixtures("threads_pay")
@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize("case", APART, ids=str)
def test_pixels_apart_keep_the_meaning(
    case: tuple[Shape, int, int, int, int], machine: Target
) -> None:
    graph = _apart(*case)
    assert graph.nodes[0].op.name == "conv2d_spread"
    arrays = random_arrays(graph)
    arrays[0].flat[0], arrays[0].flat[-1] = np.nan, np.inf
    program = lower_graph(group_fusion.run(graph))
    got = run_program(program, arrays, lambda k: scheduled(k, machine))
    agree(got, interpret(graph, *arrays), 1e-4)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_compiled_pixels_apart_of_any_shape(data: st.DataObject) -> None:
    def draw(least: int, most: int) -> int:
        return data.draw(st.integers(least, most))

    taps, step = draw(2, 5), draw(2, 4)
    x = (draw(1, 2), draw(2, 4), draw(2, 12), draw(2, 20))
    graph = _apart(x, taps, draw(0, 6), taps + draw(0, 3), step)
    arrays = random_arrays(graph)
    arrays[0].flat[draw(0, arrays[0].size - 1)] = np.nan
    program = lower_graph(group_fusion.run(graph))
    memory = {s.id: poison(s.type.shape, s.type.dtype) for s in program.slots}
    memory |= dict(zip(program.inputs, arrays, strict=True))
    for call in program.calls:
        kernel = scheduled(call.kernel, HOST)
        pairs = zip(call.args, kernel.params, strict=True)
        run(kernel, HOST, *(memory[s].reshape(b.shape) for s, b in pairs))
    agree([memory[s] for s in program.outputs], interpret(graph, *arrays), 1e-4)


def test_the_form_of_a_window() -> None:
    graph = group_fusion.run(_windows((1, 8, 28, 28), (8, 1, 3, 3), 1))
    (call,) = lower_graph(graph).calls
    text = render_kernel(scheduled(call.kernel, HOST), HOST, "k")
    assert "gather" not in text
    assert "scatter" not in text


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_compiled_windows_of_any_shape(data: st.DataObject) -> None:
    def draw(least: int, most: int) -> int:
        return data.draw(st.integers(least, most))

    k, dilation, stride = draw(1, 5), draw(1, 2), draw(1, 4)
    reach = (k - 1) * dilation + 1
    padding, c = draw(0, reach), draw(2, 5)
    x = (draw(1, 2), c, *(max(1, reach - 2 * padding) + draw(0, 40) for _ in range(2)))
    graph = _windows(x, (c, 1, k, k), padding, stride, dilation)
    arrays = random_arrays(graph)
    rng = np.random.default_rng(draw(0, 99))
    for value in (np.nan, np.inf):
        arrays[0].flat[rng.integers(arrays[0].size)] = value
    program = lower_graph(group_fusion.run(graph))
    assume(len(program.calls) == 1)  # else the padding was not absorbed
    (call,) = program.calls
    kernel, output = scheduled(call.kernel, HOST), graph.outputs[0]
    got = poison(output.shape, output.dtype)
    sources = [arrays[program.inputs.index(slot)] for slot in call.args[:-1]]
    given = [a.reshape(b.shape) for a, b in zip(sources, kernel.params, strict=False)]
    run(kernel, HOST, *given, got.reshape(kernel.params[-1].shape))
    agree([got], interpret(graph, *arrays), 1e-4)
