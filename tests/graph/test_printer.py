"""The text form of graphs."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.core.dtype import bfloat16, float32
from pellucid.graph.ir import ArrayAttr, Attr, Graph, GraphBuilder, TensorType, emit
from pellucid.graph.key import graph_key
from pellucid.graph.op import Op
from pellucid.graph.parser import parse_graph
from pellucid.graph.printer import print_graph, print_node
from pellucid.ops.catalogue import CATALOGUE
from tests.graph.records import ANY, RECORDS
from tests.random_graphs import random_graph

F23 = TensorType((2, 3), float32)
KNOWN: dict[str, Op] = {op.name: op for op in RECORDS} | dict(CATALOGUE)


def with_attr(value: Attr, name: str = "k") -> Graph:
    with GraphBuilder("g") as builder:
        x = builder.input(F23, "x")
        return builder.finish([emit(ANY, x, **{name: value})])


def nested() -> Graph:
    with GraphBuilder("inner") as builder:
        x = builder.input(F23, "a")
        return builder.finish([emit(ANY, emit(ANY, x, k=1), deeper=with_attr("in"))])


def test_the_form() -> None:
    with GraphBuilder("train_step") as builder:
        x = builder.input(F23, "x")
        builder.source = "mnist.py:12"
        (a,) = builder.emit(ANY, [x], {"axes": (0,), "rate": 0.5}, names=["a"])
        graph = builder.finish([a, x])
    assert print_graph(graph) == (
        "graph train_step(x: f32[2, 3]) {\n"
        "  a: f32[2, 3] = any_attrs(x, axes=(0,), rate=0.5)  # mnist.py:12\n"
        "  return a, x\n"
        "}\n"
    )
    assert print_node(graph.nodes[0]) == "a: f32[2, 3] = any_attrs(x, axes=(0,), rate=0.5)"


ATTRS: list[Attr] = [
    True, False, None, 0, -3, 2**63, 1.0, -0.0, 1e300, 5e-324, math.inf, -math.inf, math.nan,
    1.5 - 2j, complex(-0.0, 1e-300), complex(math.inf, -math.inf), complex(math.nan, -0.0),
    "", "text", "it's \"quoted\" # not a comment\n\t\\", "uml\u00e4ut", bfloat16, float32,
    (), (1,), (1, (2.5, (True, None)), ("a", bfloat16)), ((), ((),)),
    with_attr(1), nested(), (nested(), with_attr(2.0)),
]  # fmt: skip
ARRAYS: list[NDArray[np.generic]] = [
    np.array(1.1 - 2e-30j, np.complex64), np.array([complex(-0.0, math.inf), 1e300j]),
    np.array(1.1, np.float32), np.zeros((0, 3), bool), np.array([[True], [False]]),
    np.array([1.1, np.nan, -0.0, np.inf, -np.inf, 3e-45], np.float32),
    np.array([2**64 - 1], np.uint64), np.array([-128, 127], np.int8),
    np.array([0.1, 448, np.nan], ml_dtypes.float8_e4m3fn),
    np.array([0.1, 57344, np.inf], ml_dtypes.float8_e5m2),
    np.array([3.14, 1e38], ml_dtypes.bfloat16), np.array([6e-8, 65504], np.float16),
    np.array([0xFFC00001], np.uint32).view(np.float32), np.arange(100.0).reshape(4, 25),
]  # fmt: skip


@pytest.mark.parametrize("attr", [*ATTRS, *map(ArrayAttr, ARRAYS)], ids=repr)
def test_every_kind_of_attribute_reads_back(attr: Attr) -> None:
    graph = with_attr(attr)
    text = print_graph(graph)
    again = parse_graph(text, KNOWN)
    assert print_graph(again) == text
    assert graph_key(again) == graph_key(graph)
    if isinstance(attr, ArrayAttr):
        assert again.nodes[0].attrs["k"] == attr
    elif not isinstance(attr, Graph | tuple):
        assert repr(again.nodes[0].attrs["k"]) == repr(attr)


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_read_back(seed: int) -> None:
    graph = random_graph(seed, 12)
    text = print_graph(graph)
    again = parse_graph(text, KNOWN)
    assert print_graph(again) == text
    assert graph_key(again) == graph_key(graph)
    assert [n.source for n in again.nodes] == [n.source for n in graph.nodes]


def test_small_arrays_print_as_numbers_and_large_ones_as_base64_or_not_at_all() -> None:
    small = with_attr(ArrayAttr(np.array([1.5, 2.0], np.float32)))
    large = with_attr(ArrayAttr(np.arange(100, dtype=np.uint8)))
    assert "array(f32[2], [1.5, 2.0])" in print_graph(small)
    assert 'array(u8[100], "AAECAwQF' in print_graph(large)
    assert "array(u8[100], ...)" in print_graph(large, elide_arrays=True)


@pytest.mark.parametrize("name", ["<lambda>", "graph", "a b", "2x", "", "return", "f32"])
def test_names_that_are_no_words_are_made_words(name: str) -> None:
    with GraphBuilder(name) as builder:
        x = builder.input(F23, name)
        graph = builder.finish([emit(ANY, x)])
    text = print_graph(graph)
    again = parse_graph(text, KNOWN)
    assert again.name == name
    assert print_graph(again) == text


def test_values_of_one_name_print_apart() -> None:
    graph = with_attr(1)
    graph.inputs[0].name = graph.outputs[0].name = "x_1"
    text = print_graph(graph)
    assert "x_1_1: f32[2, 3] = any_attrs(x_1, k=1)" in text
    assert print_graph(parse_graph(text, KNOWN)) == text
