"""Lowered programs compute what the graph means, and lay memory out as promised."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid import ops
from pellucid.core.dtype import float32, int32
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, TensorType, Value
from pellucid.loop.printer import print_kernel
from pellucid.loop.verifier import verify_kernel
from pellucid.lower.graph_to_loop import kernel_name, lower_graph
from pellucid.ops.index import scatter_add
from pellucid.passes import group_fusion
from tests.lower.execution import agree, build, random_arrays, run_program
from tests.ops.records import Case, arrays_of, each_case, graph_of, type_of
from tests.random_graphs import assert_same_results, random_graph, random_inputs

F = TensorType((3, 4), float32)


def check(graph: Graph) -> None:
    arrays = random_arrays(graph)
    agree(run_program(lower_graph(graph), arrays), interpret(graph, *arrays))


@each_case
def test_every_record_lowers_to_its_meaning(case: Case) -> None:
    sample = case.sample
    graph = graph_of(case.op, [type_of(x) for x in sample.inputs], dict(sample.attrs))
    arrays = arrays_of(sample)
    program = lower_graph(graph)
    for call in program.calls:
        verify_kernel(call.kernel)
    assert_same_results(graph, run_program(program, arrays), interpret(graph, *arrays))


@pytest.mark.parametrize("fuse", [False, True])
@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_random_programs(seed: int, fuse: bool) -> None:
    graph = random_graph(seed, 10)
    arrays = random_inputs(graph, seed)
    program = lower_graph(group_fusion.run(graph) if fuse else graph)
    for call in program.calls:
        verify_kernel(call.kernel)
    assert_same_results(graph, run_program(program, arrays), interpret(graph, *arrays))


def test_elementwise_nest_reads_like_the_op() -> None:
    graph = build(ops.add, F, F)
    (call,) = lower_graph(graph).calls
    assert print_kernel(call.kernel) == (
        "kernel add(x0: f32[12], x1: f32[12]) -> (y0: f32[12]) {\n"
        "  for i0 in 0..12:\n"
        "    y0[i0] = x0[i0] + x1[i0]\n"
        "}\n"
    )
    assert call.inplace == ((2, 0), (2, 1))
    assert call.nodes == ("add",)
    assert call.cost.flops == 12


def test_reshape_shares_memory() -> None:
    graph = build(lambda x: ops.exp(ops.reshape(ops.exp(x), (12,))), F)
    program = lower_graph(graph)
    assert [c.kernel.name for c in program.calls] == ["exp", "exp"]
    assert program.calls[0].args[1] == program.calls[1].args[0]
    check(graph)


def test_outputs_that_are_not_made_are_copied() -> None:
    def make(x: Value) -> list[Value]:
        y = ops.exp(x)
        return [x, y, y, ops.reshape(y, (12,)), ops.constant(np.ones((2,), np.float32))]

    graph = build(make, F)
    program = lower_graph(graph)
    assert len(set(program.outputs)) == 5
    assert [c.kernel.name for c in program.calls] == ["exp", "copy", "copy", "copy", "copy"]
    assert all(program.slots[k].role == "output" for k in program.outputs)
    check(graph)


def test_scalar_constants_are_literals_and_arrays_are_slots() -> None:
    graph = build(lambda x: ops.add(x, 2.0), F)
    assert all(s.role != "constant" for s in lower_graph(group_fusion.run(graph)).slots)
    table = np.arange(4, dtype=np.float32)
    graph = build(lambda x: ops.add(x, ops.constant(table)), F)
    constants = [s for s in lower_graph(graph).slots if s.role == "constant"]
    assert len(constants) == 1
    np.testing.assert_array_equal(constants[0].value, table)


def test_zeros_that_only_a_statement_reads_need_no_memory() -> None:
    def scattered(i: Value, u: Value) -> Value:
        return scatter_add(ops.zeros((9, 4)), i, u, axis=0)

    graph = build(scattered, TensorType((5,), int32), TensorType((5, 4), float32))
    (call,) = lower_graph(graph).calls
    assert [p.name for p in call.kernel.params] == ["x1", "x2", "y0"]
    check(graph)


def test_zeros_that_are_read_as_values_too_are_made() -> None:
    def scattered(i: Value, u: Value) -> tuple[Value, Value]:
        zeros = ops.zeros((9, 4))
        return scatter_add(zeros, i, u, axis=0), zeros

    graph = build(scattered, TensorType((5,), int32), TensorType((5, 4), float32))
    assert len(lower_graph(graph).calls) == 2
    check(graph)


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4)])
def test_nothing_runs_for_nothing(shape: tuple[int, ...]) -> None:
    graph = build(ops.exp, TensorType(shape, float32))
    assert lower_graph(graph).calls == ()
    check(graph)


def test_sum_of_nothing_is_zero() -> None:
    check(build(lambda x: ops.sum(x, axis=0), TensorType((0, 3), float32)))


def test_overwriting_needs_the_same_index() -> None:
    flipped = lower_graph(build(ops.flip, F))
    assert flipped.calls[0].inplace == ()
    product = lower_graph(build(lambda x: ops.matmul(x, x), TensorType((4, 4), float32)))
    assert all(c.inplace == () for c in product.calls)
    cast = lower_graph(build(lambda x: ops.astype(x, int32), F))
    assert cast.calls[0].inplace == ((1, 0),)


def test_names_say_what_a_kernel_does() -> None:
    graph = build(lambda x: ops.maximum(ops.add(x, 1.0), 0.0), F)
    assert kernel_name(graph.nodes) == "add_max"
