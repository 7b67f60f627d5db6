"""Nodes with rules of their own, as graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid import ops
from pellucid.autodiff.checkpoint import RECORDS as CALLS
from pellucid.autodiff.custom import RECORDS
from pellucid.autodiff.linear import transpose_graph
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, TensorType, Value
from pellucid.graph.key import graph_key
from pellucid.graph.op import Op
from pellucid.graph.parser import parse_graph
from pellucid.graph.printer import print_graph
from pellucid.graph.verifier import verify
from pellucid.ops.catalogue import CATALOGUE
from pellucid.passes import inline_calls
from tests.autodiff.numeric import close, f64, trace


@pytest.mark.parametrize("op", RECORDS, ids=lambda op: op.name)
def test_samples_run(op: Op) -> None:
    for sample in op.samples():
        types = [t for t in sample.inputs if isinstance(t, TensorType)]
        results = op.reference(
            *[np.full(t.shape, 0.5, t.dtype.numpy) for t in types], **sample.attrs
        )
        inferred = op.infer(*types, **sample.attrs)
        assert isinstance(inferred, tuple)
        assert [r.shape for r in results] == [t.shape for t in inferred]


def recorded() -> Graph:
    @pl.custom_vjp
    def f(x: Any) -> Any:
        return pl.sin(x)

    f.defvjp(lambda x: (f(x), pl.exp(x)), lambda kept, g: (g * kept,))
    h = pl.custom_jvp(lambda x: x * 2.0)
    h.defjvp(lambda p, t: (h(*p), t[0] * 3.0))
    return pl.jit(lambda x: f(h(x))).lower(pl.ones(3)).graph


def test_they_print_and_read_back() -> None:
    catalogue = {op.name: op for op in (*RECORDS, *CALLS)} | dict(CATALOGUE)
    graph = recorded()
    verify(graph)
    text = print_graph(graph)
    again = parse_graph(text, catalogue)
    assert print_graph(again) == text
    assert graph_key(again) == graph_key(graph)


def test_inlined_without_residuals_where_nothing_reads_them() -> None:
    graph = inline_calls.run(recorded())
    assert [n.op.name for n in graph.nodes if n.op.name in ("sin", "exp", "custom_vjp")] == ["sin"]


def test_transposes() -> None:
    def f(x: Value, t: Value) -> Value:
        return ops.sum(ops.multiply(ops.multiply(ops.exp(x), t), 2.0))

    back = transpose_graph(trace(f, f64(3), f64(3)), [1])
    assert back is not None
    x = np.array([0.1, 0.2, 0.3])
    close(interpret(back, x, np.array(2.0)), [4.0 * np.exp(x)], 1e-14)
    for bent in (ops.square, ops.exp, ops.abs, ops.tanh):
        assert transpose_graph(trace(bent, f64(3)), [0]) is None
    for straight in (ops.negative, lambda t: ops.reshape(t, (3, 1)), ops.cumulative_sum):
        assert transpose_graph(trace(straight, f64(3)), [0]) is not None
