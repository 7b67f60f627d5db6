"""Grouped convolutions: loops over groups apart, the same results, shared loads."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pellucid import ops
from pellucid.core.dtype import float32
from pellucid.core.target import Target
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Attrs, Graph, TensorType, Value, emit
from pellucid.loop.ir import Call, Const, Kernel
from pellucid.loop.rewrite import all_expressions, loops, walk_expr
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops.conv import CONV2D_KERNEL_GRAD
from pellucid.passes import group_fusion
from tests.lower.execution import agree, build, random_arrays, run_program
from tests.schedule.recipes.test_choose import AVX512, TARGETS, scheduled

Case = tuple[int, ...]  # images, channels, outputs, size, stride, groups
Make = Callable[[Case], Graph]

CASES: tuple[Case, ...] = (
    (2, 8, 12, 9, 1, 4),
    (1, 6, 6, 7, 2, 2),
    (3, 4, 20, 8, 1, 2),
    (1, 15, 10, 17, 3, 5),
    (1, 96, 48, 5, 1, 2),
)


def _forward(case: Case) -> Graph:
    n, c, o, size, stride, groups = case

    def make(x: Value, w: Value, bias: Value) -> Value:
        y = ops.conv2d(x, w, stride=stride, groups=groups)
        return ops.relu(ops.add(y, ops.reshape(bias, (1, -1, 1, 1))))

    shapes = ((n, c, size, size), (o, c // groups, 3, 3), (o,))
    return build(make, *(TensorType(s, float32) for s in shapes))


def _gradient(case: Case) -> Graph:
    n, c, o, size, stride, groups = case
    out = (size - 3) // stride + 1

    def make(x: Value, g: Value) -> Value:
        steps: Attrs = {"stride": (stride, stride), "dilation": (1, 1), "groups": groups}
        return emit(CONV2D_KERNEL_GRAD, x, g, kernel=(3, 3), **steps)

    return build(make, *(TensorType(s, float32) for s in ((n, c, size, size), (n, o, out, out))))


def _kernel(graph: Graph) -> Kernel:
    (call,) = lower_graph(group_fusion.run(graph)).calls
    return call.kernel


@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize("make", [_forward, _gradient])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_groups_keep_the_meaning(case: Case, make: Make, machine: Target) -> None:
    graph = make(case)
    arrays = random_arrays(graph)
    program = lower_graph(group_fusion.run(graph))
    got = run_program(program, arrays, lambda k: scheduled(k, machine))
    agree(got, interpret(graph, *arrays), 1e-4)


@pytest.mark.parametrize("make", [_forward, _gradient])
def test_no_index_divides_by_the_size_of_a_group(make: Make) -> None:
    made = scheduled(_kernel(make((2, 64, 64, 28, 1, 4))), AVX512)
    divisions = [
        e for x in all_expressions(made.body) for e in walk_expr(x)
        if isinstance(e, Call) and e.fn == "floordiv" and e.args[1] == Const(16)
    ]  # fmt: skip
    assert not divisions
    assert any(x.var.endswith(("g", "go", "gi")) for x in loops(made.body))
