"""Each rule of the IR, broken once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pellucid.core.dtype import float32, int32
from pellucid.core.errors import VerifyError
from pellucid.graph.ir import Graph, GraphBuilder, Node, TensorType, Value, emit, emit_all
from pellucid.graph.verifier import verify
from tests.graph.records import ANY, CHECKED, TWICE
from tests.random_graphs import random_graph

F2 = TensorType((2,), float32)


def chain() -> Graph:
    """`a = any(x); b, c = twice(a); return c`."""
    with GraphBuilder("chain") as builder:
        builder.source = "user.py:5"
        x = builder.input(F2, "x")
        (a,) = builder.emit(ANY, [x], {}, names=["a"])
        _, c = builder.emit(TWICE, [a], {}, names=["b", "c"])
        return builder.finish([c])


def node_with_attr(attr: object) -> Graph:
    with GraphBuilder("chain") as builder:
        x = builder.input(F2, "x")
        return builder.finish([emit(ANY, x, k=attr)])  # type: ignore[arg-type]  # under test


def reversed_nodes() -> Graph:
    g = chain()
    return Graph(g.name, g.inputs, g.nodes[::-1], g.outputs)


def foreign_operand() -> Graph:
    g = chain()
    g.nodes[0].inputs = chain().inputs
    return g


def foreign_output() -> Graph:
    g = chain()
    return Graph(g.name, g.inputs, g.nodes, chain().outputs)


def repeated_node() -> Graph:
    g = chain()
    return Graph(g.name, g.inputs, (*g.nodes, g.nodes[1]), g.outputs)


def repeated_output() -> Graph:
    g = chain()
    g.nodes[1].outputs = (g.nodes[1].outputs[0],) * 2
    return g


def wrong_place() -> Graph:
    g = chain()
    g.nodes[1].outputs[1].index = 0
    return g


def wrong_owner() -> Graph:
    g = chain()
    g.nodes[1].outputs[1].node = g.nodes[0]
    return g


def wrong_dtype() -> Graph:
    g = chain()
    g.nodes[0].outputs[0].type = TensorType((2,), int32)
    return g


def wrong_count() -> Graph:
    g = chain()
    g.nodes[1].outputs = g.nodes[1].outputs[:1]
    return Graph(g.name, g.inputs, g.nodes, ())


def refused_types() -> Graph:
    with GraphBuilder("chain") as builder:
        x = builder.input(F2, "x")
        graph = builder.finish(emit_all(CHECKED, x, limit=5))
    graph.nodes[0].attrs = {"limit": 1}
    return graph


def missing_attribute() -> Graph:
    graph = refused_types()
    graph.nodes[0].attrs = {}
    return graph


def input_twice() -> Graph:
    g = chain()
    return Graph(g.name, (*g.inputs, *g.inputs), g.nodes, g.outputs)


def input_of_a_node() -> Graph:
    g = chain()
    return Graph(g.name, (*g.inputs, g.outputs[0]), g.nodes, g.outputs)


def input_out_of_place() -> Graph:
    g = chain()
    return Graph(g.name, (Value(F2, None, 0, "w"), Value(F2, None, 0, "v")), (), ())


def capturing_body() -> Graph:
    """A nested graph that uses a value of the outer one."""
    with GraphBuilder("chain") as builder:
        x = builder.input(F2, "x")
        node = Node(ANY, (x,), {}, "")
        node.outputs = (Value(F2, node, 0, "y"),)
        body = Graph("body", (), (node,), node.outputs)
        return builder.finish([emit(ANY, x, body=(1, body))])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (reversed_nodes, r"operand a: f32\[2\] is used before it is defined, got node `b: .*`"),
        (foreign_operand, r"operand x: f32\[2\] is not of this graph"),
        (foreign_output, r"returns c: f32\[2\], which the graph does not define"),
        (repeated_node, r"b: f32\[2\] is defined twice"),
        (repeated_output, r"b: f32\[2\] is defined twice"),
        (wrong_place, r"output c: f32\[2\] does not point back at its node"),
        (wrong_owner, r"output c: f32\[2\] does not point back at its node"),
        (wrong_dtype, r"the type rule gives f32\[2\], got node `a: i32\[2\] = any_attrs\(x\)`"),
        (wrong_count, r"the type rule gives f32\[2\], f32\[2\]"),
        (refused_types, r"the type rule refuses: checked: too many elements"),
        (missing_attribute, r"the type rule refuses: .*limit"),
        (input_twice, r"input x: f32\[2\] is listed twice"),
        (input_of_a_node, r"input c: f32\[2\] is the output of a node"),
        (input_out_of_place, r"input v: f32\[2\] is at place 1 but says 0"),
        (capturing_body, r"body: operand x: f32\[2\] is not of this graph"),
        (lambda: node_with_attr([1]), r"attribute k is a list"),
        (lambda: node_with_attr((1, {})), r"attribute k is a dict"),
    ],
)
def test_a_broken_rule_is_named(broken: Callable[[], Graph], message: str) -> None:
    with pytest.raises(VerifyError, match=message):
        verify(broken())


def test_the_error_names_the_users_line() -> None:
    with pytest.raises(VerifyError, match=r"\(at user\.py:5\)"):
        verify(wrong_dtype())


def test_the_unbroken_graph_and_random_ones_pass() -> None:
    verify(chain())
    for seed in range(40):
        verify(random_graph(seed, 15))
