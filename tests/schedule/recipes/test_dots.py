"""Kernel gradients of single channels: taps as sums, rows written out, the same results."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pellucid import ops
from pellucid.codegen.llvm import render_kernel
from pellucid.core.dtype import float32
from pellucid.core.target import Target
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Attrs, Graph, TensorType, Value, emit
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops.conv import CONV2D_KERNEL_GRAD
from pellucid.passes import absorb_padding, group_fusion
from tests.codegen.native import run
from tests.codegen.targets import HOST, poison
from tests.lower.execution import agree, build, random_arrays, run_program
from tests.schedule.recipes.test_choose import TARGETS, scheduled

Case = tuple[int, int, int, int, int, int, int, int]


def _gradient(case: Case) -> Graph:
    """Images, channels, rows, columns, taps, stride, dilation, padding."""
    n, c, rows, columns, k, stride, dilation, padding = case
    reach = (k - 1) * dilation + 1
    sizes = [(m + 2 * padding - reach) // stride + 1 for m in (rows, columns)]
    attrs: Attrs = {
        "kernel": (k, k), "stride": (stride,) * 2, "dilation": (dilation,) * 2, "groups": c,
    }  # fmt: skip

    def make(x: Value, g: Value) -> Value:
        ends = (0, 0, padding, padding)
        return emit(CONV2D_KERNEL_GRAD, ops.pad(x, ends, ends), g, **attrs)

    types = [TensorType(s, float32) for s in ((n, c, rows, columns), (n, c, *sizes))]
    return absorb_padding.run(build(make, *types))


CASES: tuple[Case, ...] = (
    (1, 3, 14, 14, 3, 1, 1, 1),
    (2, 2, 9, 31, 3, 2, 1, 1),
    (1, 2, 7, 7, 5, 1, 1, 2),
    (3, 2, 13, 20, 2, 3, 1, 0),
    (1, 2, 11, 12, 3, 1, 2, 2),
    (1, 2, 5, 33, 7, 1, 1, 3),
    (2, 2, 1, 17, 1, 1, 1, 0),
)


@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_single_channels_keep_the_meaning(case: Case, machine: Target) -> None:
    graph = _gradient(case)
    arrays = random_arrays(graph)
    program = lower_graph(group_fusion.run(graph))
    got = run_program(program, arrays, lambda k: scheduled(k, machine))
    agree(got, interpret(graph, *arrays), 1e-4)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_compiled_gradients_of_any_shape(data: st.DataObject) -> None:
    def draw(least: int, most: int) -> int:
        return data.draw(st.integers(least, most))

    k, dilation, stride = draw(1, 5), draw(1, 2), draw(1, 4)
    reach = (k - 1) * dilation + 1
    padding = draw(0, reach)
    rows, columns = (max(1, reach - 2 * padding) + draw(0, 40) for _ in range(2))
    graph = _gradient((draw(1, 3), draw(2, 5), rows, columns, k, stride, dilation, padding))
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
    agree([got], interpret(graph, *arrays), 1e-3)


@pytest.mark.parametrize("case", [(1, 4, 28, 28, 3, 1, 1, 1), (1, 4, 31, 31, 3, 2, 1, 1)])
def test_the_form_of_a_gradient(case: Case) -> None:
    (call,) = lower_graph(group_fusion.run(_gradient(case))).calls
    text = render_kernel(scheduled(call.kernel, HOST), HOST, "k")
    assert "gather" not in text
    assert "scatter" not in text
