"""Costs and lifetimes."""

from __future__ import annotations

from pellucid import ops
from pellucid.core.dtype import float32
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, emit
from pellucid.graph.op import Cost
from pellucid.graph.stats import (
    graph_cost,
    io_bytes,
    last_uses,
    live_bytes,
    node_cost,
    op_counts,
    peak_live_bytes,
)
from tests.graph.records import ANY

F = TensorType((10,), float32)  # 40 bytes


def chain(length: int) -> Graph:
    with GraphBuilder("chain") as builder:
        value = builder.input(F, "x")
        for _ in range(length):
            value = emit(ANY, value)
        return builder.finish([value])


def test_costs_add_up() -> None:
    graph = chain(3)
    assert node_cost(graph.nodes[0]) == Cost(10, 80)
    assert graph_cost(graph) == Cost(30, 240)
    assert io_bytes(graph) == 80


def test_a_matmul_costs_two_operations_per_multiply_add() -> None:
    with GraphBuilder() as builder:
        a = builder.input(TensorType((4, 5), float32), "a")
        b = builder.input(TensorType((5, 6), float32), "b")
        graph = builder.finish([ops.matmul(a, b)])
    assert graph_cost(graph) == Cost(2 * 4 * 5 * 6, 4 * (20 + 30 + 24))


def test_values_die_after_their_last_use() -> None:
    graph = chain(3)
    x, (a, b) = graph.inputs[0], [n.outputs[0] for n in graph.nodes[:2]]
    assert last_uses(graph) == [(x,), (a,), (b,)]
    assert live_bytes(graph) == [80, 80, 80]
    assert peak_live_bytes(graph) == 80


def test_a_value_needed_late_stays_alive_and_a_dead_one_dies_at_once() -> None:
    with GraphBuilder() as builder:
        x = builder.input(F, "x")
        a = emit(ANY, x)
        emit(ANY, a)
        graph = builder.finish([ops.add(emit(ANY, a), x)])
    assert live_bytes(graph) == [80, 120, 120, 120]
    assert last_uses(graph)[1] == graph.nodes[1].outputs


def test_nested_graphs_count_with_their_own_peak() -> None:
    with GraphBuilder("body") as builder:
        x = builder.input(F, "x")
        parts = [emit(ANY, x) for _ in range(4)]
        body = builder.finish([ops.add(ops.add(*parts[:2]), ops.add(*parts[2:]))])
    with GraphBuilder() as builder:
        x = builder.input(F, "x")
        graph = builder.finish([emit(ANY, x, body=body)])
    assert peak_live_bytes(body) == 200
    assert peak_live_bytes(graph) == 200
    assert op_counts(graph) == {"any_attrs": 5, "add": 3}


def test_an_empty_graph_holds_its_inputs() -> None:
    assert peak_live_bytes(chain(0)) == 40
