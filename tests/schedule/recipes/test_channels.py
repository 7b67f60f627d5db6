"""Windows over channels side by side: the same results, in the form meant for them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid import ops
from pellucid.codegen.llvm import render_kernel
from pellucid.core.dtype import float32
from pellucid.core.target import Target
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, TensorType, Value
from pellucid.loop.rewrite import loops
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops.conv_last import emit_last
from pellucid.passes import group_fusion
from pellucid.schedule.recipes import channels, elementwise, plan
from tests.codegen.targets import HOST
from tests.lower.execution import agree, build, random_arrays, run_program
from tests.schedule.recipes.test_choose import TARGETS, scheduled

Shape = tuple[int, ...]
Window = tuple[Shape, tuple[int, int], int, int, int]


@pytest.fixture
def threads_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (plan, channels, elementwise):
        if hasattr(module, "PARALLEL_WORK"):
            monkeypatch.setattr(module, "PARALLEL_WORK", 8)


def _windows(
    x: Shape, taps: tuple[int, int], padding: int, stride: int = 1, dilation: int = 1
) -> Graph:
    def make(image: Value, kernel: Value, bias: Value) -> Value:
        ends, steps = (padding, padding), (stride, stride)
        y = emit_last(
            image, kernel, low=ends, high=ends, stride=steps,
            dilation=(dilation, dilation), groups=x[3],
        )  # fmt: skip
        return ops.relu(ops.add(y, bias))

    types = [TensorType(s, float32) for s in (x, (*taps, 1, x[3]), (x[3],))]
    return build(make, *types)


CASES: tuple[Window, ...] = (
    ((1, 9, 9, 64), (3, 3), 1, 1, 1),
    ((2, 6, 17, 24), (3, 3), 1, 1, 1),
    ((1, 13, 11, 32), (5, 5), 2, 2, 1),
    ((1, 7, 7, 17), (3, 2), 1, 2, 1),
    ((3, 5, 6, 3), (3, 3), 2, 1, 2),
    ((1, 1, 19, 48), (1, 3), 1, 1, 1),
    ((1, 8, 1, 16), (3, 1), 0, 1, 1),
    ((2, 4, 4, 128), (3, 3), 0, 1, 1),
)


@pytest.mark.usefixtures("threads_pay")
@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_channels_keep_the_meaning(case: Window, machine: Target) -> None:
    graph = _windows(*case)
    arrays = random_arrays(graph)
    arrays[0].flat[0], arrays[0].flat[-1] = np.nan, np.inf
    program = lower_graph(group_fusion.run(graph))
    got = run_program(program, arrays, lambda k: scheduled(k, machine))
    agree(got, interpret(graph, *arrays), 1e-4)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_channels_of_any_shape(data: st.DataObject) -> None:
    def draw(least: int, most: int) -> int:
        return data.draw(st.integers(least, most))

    taps, padding, stride, dilation = (draw(1, 4), draw(2, 4)), draw(0, 3), draw(1, 3), draw(1, 2)
    least = [max(1, (k - 1) * dilation + 1 - 2 * padding) for k in taps]
    x = (draw(1, 2), least[0] + draw(0, 9), least[1] + draw(0, 12), draw(2, 40))
    graph = _windows(x, taps, padding, stride, dilation)
    arrays = random_arrays(graph)
    program = lower_graph(group_fusion.run(graph))
    got = run_program(program, arrays, lambda kernel: scheduled(kernel, data.draw(
        st.sampled_from(TARGETS))))  # fmt: skip
    agree(got, interpret(graph, *arrays), 1e-4)


def test_the_form_of_a_window() -> None:
    graph = group_fusion.run(_windows((1, 14, 14, 64), (3, 3), 1))
    (call,) = lower_graph(graph).calls
    made = scheduled(call.kernel, HOST)
    assert any(x.kind == "vector" and x.var.endswith("ir") for x in loops(made.body))
    text = render_kernel(made, HOST, "k")
    assert "gather" not in text
    assert "scatter" not in text
