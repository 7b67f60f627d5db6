"""The canonical key."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.core.dtype import float32, float64
from pellucid.graph.ir import ArrayAttr, Attr, Graph, GraphBuilder, TensorType, emit
from pellucid.graph.key import graph_key
from pellucid.ops.arithmetic import SUB
from tests.graph.records import ANY, TWICE


def build(name: str = "g", dtype: TensorType | None = None, **attrs: Attr) -> Graph:
    with GraphBuilder(name) as builder:
        x = builder.input(dtype or TensorType((2,), float32), name)
        return builder.finish([emit(ANY, emit(ANY, x), **attrs)])


def test_names_sources_and_attribute_order_do_not_count() -> None:
    other = build("other", a=1, b=2)
    for node in other.nodes:
        node.source = "elsewhere.py:1"
    assert graph_key(build(b=2, a=1)) == graph_key(other)


@pytest.mark.parametrize(
    "other",
    [
        build(k=1.0), build(k=True), build(k="1"), build(k=(1,)), build(k=None), build(j=1),
        build(),
        build(k=float32), build(k=ArrayAttr(np.array(1))), build(k=ArrayAttr(np.array(1, np.int8))),
        build(k=build()), build(k=1, dtype=TensorType((2,), float64)),
        build(k=1, dtype=TensorType((2, 1), float32)),
    ],
)  # fmt: skip
def test_everything_else_counts(other: Graph) -> None:
    assert graph_key(build(k=1)) != graph_key(other)


def test_which_output_is_used_counts() -> None:
    def pick(place: int) -> Graph:
        with GraphBuilder() as builder:
            pair = builder.emit(TWICE, [builder.input(TensorType((2,), float32), "x")], {})
            return builder.finish([pair[place]])

    assert graph_key(pick(0)) == graph_key(pick(0))
    assert graph_key(pick(0)) != graph_key(pick(1))


def test_operands_and_result_types_count() -> None:
    def combine(first: int, second: int) -> Graph:
        with GraphBuilder() as builder:
            pair = [builder.input(TensorType((2,), float32), "x") for _ in range(2)]
            return builder.finish([emit(SUB, pair[first], pair[second])])

    assert graph_key(combine(0, 1)) == graph_key(combine(0, 1))
    assert len({graph_key(combine(a, b)) for a in (0, 1) for b in (0, 1)}) == 4
    other = build(k=1)
    other.nodes[0].outputs[0].type = TensorType((2,), float64)
    assert graph_key(other) != graph_key(build(k=1))


def test_a_text_attribute_cannot_imitate_another_one() -> None:
    assert graph_key(build(a="1;b=2")) != graph_key(build(a="1", b=2))
    assert graph_key(build(a="1", b="2")) != graph_key(build(a="1';b='2"))
