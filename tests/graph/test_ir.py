"""Building graphs: names, sources, emission, inlining."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid import ops
from pellucid.core.dtype import float32, int64
from pellucid.core.errors import TraceError, VerifyError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import ArrayAttr, GraphBuilder, TensorType, inline

F3 = TensorType((3,), float32)


def test_types_print_and_measure() -> None:
    type = TensorType((64, 784), float32)
    assert str(type) == "f32[64, 784]"
    assert (type.rank, type.size, type.nbytes) == (2, 50176, 200704)
    assert str(TensorType((), int64)) == "i64[]"


def test_array_attributes_compare_by_contents_and_are_read_only() -> None:
    array = np.arange(3)
    attr = ArrayAttr(array)
    array[0] = 9
    assert attr == ArrayAttr(np.arange(3))
    assert attr != ArrayAttr(np.arange(3, dtype=np.int32))
    assert hash(attr) == hash(ArrayAttr(np.arange(3)))
    with pytest.raises(ValueError, match="read-only"):
        attr.array[0] = 1


def test_names_are_unique_and_sources_are_the_users_lines() -> None:
    with GraphBuilder() as builder:
        x = builder.input(F3, "x")
        y = builder.input(F3, "x")
        a = ops.sin(ops.sin(x))
        graph = builder.finish([a, y])
    assert [v.name for v in graph.inputs] == ["x", "x_1"]
    names = [v.name for n in graph.nodes for v in n.outputs]
    assert len(set(names)) == 2
    assert all(n.source.startswith("test_ir.py:") for n in graph.nodes)


def test_a_set_source_replaces_the_users_line() -> None:
    with GraphBuilder() as builder:
        x = builder.input(F3, "x")
        builder.source = "model.py:7"
        ops.sin(x)
        builder.source = None
        ops.sin(x)
    assert builder.nodes[0].source == "model.py:7"
    assert builder.nodes[1].source.startswith("test_ir.py:")


def test_inline_copies_a_graph_onto_other_values() -> None:
    with GraphBuilder("inner") as builder:
        x = builder.input(F3, "x")
        inner = builder.finish([ops.add(x, x), x])
    with GraphBuilder("outer") as builder:
        y = builder.input(F3, "y")
        doubled, same = inline(inner, [ops.sin(y)])
        outer = builder.finish([ops.subtract(doubled, same)])
    given = np.array([0.5, 1.0, -2.0], np.float32)
    np.testing.assert_allclose(interpret(outer, given)[0], np.sin(given), rtol=1e-6)
    with GraphBuilder(), pytest.raises(VerifyError, match="inner: takes 1 inputs, got count 2"):
        inline(inner, [x, x])


def test_ops_outside_a_builder_say_what_to_do() -> None:
    with GraphBuilder() as builder:
        x = builder.input(F3, "x")
    with pytest.raises(TraceError, match=r"no graph is being built here\. Fix: call ops on"):
        ops.sin(x)


def test_outputs_must_be_values() -> None:
    with pytest.raises(VerifyError, match="outputs must be values, got it 3"):
        GraphBuilder().finish([3])  # type: ignore[list-item]  # the mistake under test


def test_builders_nest() -> None:
    with GraphBuilder("outer") as outer:
        x = outer.input(F3, "x")
        with GraphBuilder("inner") as inner:
            ops.sin(inner.input(F3, "y"))
        ops.cos(x)
    assert [n.op.name for n in inner.nodes] == ["sin"]
    assert [n.op.name for n in outer.nodes] == ["cos"]
