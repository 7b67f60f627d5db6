"""Calls and checkpoints: nodes with a body."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from pellucid import ops
from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.checkpoint import RECORDS, call, checkpoint
from pellucid.autodiff.forward import jvp_graph
from pellucid.autodiff.reverse import value_and_vjp_graph, vjp_graph
from pellucid.core.dtype import float32
from pellucid.core.errors import LoweringError, VerifyError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, TensorType, Value
from pellucid.graph.key import graph_key
from pellucid.graph.op import Op
from pellucid.graph.parser import parse_graph
from pellucid.graph.printer import print_graph
from pellucid.graph.stats import graph_cost, op_counts, peak_live_bytes
from pellucid.graph.verifier import verify
from pellucid.ops.catalogue import CATALOGUE
from tests.autodiff.numeric import close, f64, fill, numeric_jvp, numeric_vjp, trace

WRAPPERS = [call, checkpoint]
Wrapper = Callable[..., tuple[Value, ...]]


def body() -> Graph:
    return trace(lambda x, y: (ops.multiply(ops.sin(x), y), ops.exp(y)), f64(3), f64(3))


def wrapped(wrap: Wrapper) -> Graph:
    inner = body()

    def f(x: Value, y: Value) -> Value:
        a, b = wrap(inner, ops.multiply(x, 2.0), y)
        return ops.add(a, b)

    return trace(f, f64(3), f64(3))


def unwrapped() -> Graph:
    return trace(
        lambda x, y: ops.add(ops.multiply(ops.sin(ops.multiply(x, 2.0)), y), ops.exp(y)),
        f64(3), f64(3),
    )  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_all_transforms_equal_those_of_the_body_in_place(wrap: Wrapper) -> None:
    transforms: list[Callable[[Graph], Graph]] = [
        lambda g: g,
        lambda g: value_and_vjp_graph(g, [0, 1]),
        lambda g: jvp_graph(g, [True, False]),
        lambda g: batch_graph(g, [True, False], 4),
        lambda g: value_and_vjp_graph(jvp_graph(g, [True, True]), [1, 0]),
        lambda g: jvp_graph(value_and_vjp_graph(g, [0]), [True, True, True]),
        lambda g: value_and_vjp_graph(value_and_vjp_graph(g, [1]), [0, 1]),
        lambda g: batch_graph(value_and_vjp_graph(g, [0]), [True, False, True], 3),
        lambda g: value_and_vjp_graph(batch_graph(g, [False, True], 3), [0, 1]),
    ]
    for transform in transforms:
        got, expected = transform(wrapped(wrap)), transform(unwrapped())
        verify(got)
        arrays = fill(got, 0)
        close(interpret(got, *arrays), interpret(expected, *arrays), 1e-12)


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_derivatives_equal_differences(wrap: Wrapper) -> None:
    graph = wrapped(wrap)
    arrays, tangents = fill(graph, 0), fill(graph, 1)
    close(interpret(jvp_graph(graph, [True, True]), *arrays, *tangents)[1:],
          numeric_jvp(graph, arrays, tangents))  # fmt: skip
    cotangent = np.array([1.0, -2.0, 0.5])
    close(
        interpret(value_and_vjp_graph(graph, [0, 1]), *arrays, cotangent)[1:],
        [numeric_vjp(graph, arrays, [cotangent], i) for i in range(2)],
    )


@pytest.mark.parametrize("wrap", WRAPPERS)
def test_only_the_wanted_gradients_are_in_the_nested_body(wrap: Wrapper) -> None:
    """CG-5 holds inside bodies too: no gradient by `x` where only `y` is wanted."""
    by_y = op_counts(value_and_vjp_graph(wrapped(wrap), [1]))
    both = op_counts(value_and_vjp_graph(wrapped(wrap), [0, 1]))
    assert "cos" not in by_y
    assert both["cos"] == 1


def test_a_checkpoints_gradient_computes_again_behind_barriers() -> None:
    plain = op_counts(value_and_vjp_graph(wrapped(call), [0, 1]))
    again = op_counts(value_and_vjp_graph(wrapped(checkpoint), [0, 1]))
    assert "barrier" not in plain
    assert again["barrier"] == 2
    assert again["sin"] == plain["sin"] == 2
    back = vjp_graph(wrapped(checkpoint), [0])
    (node,) = [n for n in back.nodes if "body" in n.attrs and n.op.name == "call"]
    assert all(v.node is None or v.node.op.name == "barrier" for v in node.inputs[:2])


def test_the_body_must_fit() -> None:
    rule = r"call: f takes \(f64\[3\], f64\[3\]\), got it \(f64\[2\], f64\[3\]\)"
    with pytest.raises(VerifyError, match=rule):
        trace(lambda x, y: call(body(), x, y), f64(2), f64(3))


def test_costs_are_the_bodys_and_lowering_asks_for_inlining() -> None:
    graph = trace(lambda x, y: call(body(), x, y), f64(3), f64(3))
    assert graph_cost(graph) == graph_cost(body())
    node = graph.nodes[0]
    with pytest.raises(LoweringError, match="f must be inlined before lowering"):
        node.op.lower([v.type for v in node.inputs], [v.type for v in node.outputs], node.attrs)


def test_they_print_and_read_back() -> None:
    catalogue = {op.name: op for op in RECORDS} | dict(CATALOGUE)
    graph = value_and_vjp_graph(wrapped(checkpoint), [0, 1])
    text = print_graph(graph)
    again = parse_graph(text, catalogue)
    assert print_graph(again) == text
    assert graph_key(again) == graph_key(graph)


@pytest.mark.parametrize("op", RECORDS, ids=lambda op: op.name)
def test_samples_run(op: Op) -> None:
    for sample in op.samples():
        types = [t for t in sample.inputs if isinstance(t, TensorType)]
        arrays = [np.full(t.shape, 0.5, t.dtype.numpy) for t in types]
        results = op.reference(*arrays, **sample.attrs)
        inferred = op.infer(*types, **sample.attrs)
        assert isinstance(inferred, tuple)
        assert [r.shape for r in results] == [t.shape for t in inferred]


# FE-8: memory.

LAYERS, GROUP, WIDTH = 100, 10, 64
F32 = TensorType((WIDTH,), float32)


def layers(x: Value, weights: Sequence[Value]) -> Value:
    for w in weights:
        x = ops.tanh(ops.multiply(x, w))
    return x


def in_groups(x: Value, weights: Sequence[Value]) -> Value:
    """Every ten layers are one checkpoint: the square root of their number."""
    body = trace(lambda x, *ws: layers(x, ws), *[F32] * (GROUP + 1))
    for start in range(0, LAYERS, GROUP):
        (x,) = checkpoint(body, x, *weights[start : start + GROUP])
    return x


def test_fe8_gradients_are_bit_equal_for_one_more_forward() -> None:
    types = [F32] * (LAYERS + 1)
    plain = value_and_vjp_graph(trace(lambda x, *ws: layers(x, ws), *types), range(LAYERS + 1))
    saving = value_and_vjp_graph(trace(lambda x, *ws: in_groups(x, ws), *types), range(LAYERS + 1))
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1.5, 1.5, v.shape).astype(np.float32) for v in plain.inputs]
    for a, b in zip(interpret(plain, *arrays), interpret(saving, *arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    assert op_counts(plain)["tanh"] == LAYERS
    assert op_counts(saving)["tanh"] == 2 * LAYERS


def test_fe8_peak_activations_fall_to_the_square_root() -> None:
    """Layers without weights, so that what lives is activations and one running gradient."""

    def bare(count: int) -> Graph:
        return trace(lambda x: functools.reduce(lambda y, _: ops.tanh(y), range(count), x), F32)

    def grouped(x: Value) -> Value:
        for _ in range(LAYERS // GROUP):
            (x,) = checkpoint(bare(GROUP), x)
        return x

    plain = value_and_vjp_graph(bare(LAYERS), [0])
    saving = value_and_vjp_graph(trace(grouped, F32), [0])
    peaks = [peak_live_bytes(g) / F32.nbytes for g in (plain, saving)]
    assert peaks[0] >= LAYERS
    assert peaks[1] <= 2 * np.sqrt(LAYERS) + 8
