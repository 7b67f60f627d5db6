"""Records of control flow against loops that are written out: values, derivatives, batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from pellucid import ops
from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.control import RECORDS
from pellucid.autodiff.forward import jvp_graph
from pellucid.autodiff.reverse import value_and_vjp_graph
from pellucid.autodiff.scan import ScanForm, scan
from pellucid.autodiff.switch import switch
from pellucid.autodiff.while_loop import WhileForm, while_loop
from pellucid.core.dtype import int32
from pellucid.core.errors import VerifyError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value, inline
from pellucid.graph.key import graph_key
from pellucid.graph.parser import parse_graph
from pellucid.graph.printer import print_graph
from pellucid.graph.stats import graph_cost, op_counts
from pellucid.graph.verifier import verify
from pellucid.ops.catalogue import CATALOGUE
from tests.autodiff.numeric import close, f64, fill, numeric_jvp, numeric_vjp, trace

I32 = TensorType((), int32)
T = 4


def cell() -> Graph:
    """`(w, i, c, x) -> (i + 1, c', y)`: a carry that is no float among those that are."""

    def step(w: Value, i: Value, c: Value, x: Value) -> tuple[Value, ...]:
        new = ops.add(
            ops.multiply(ops.sin(ops.add(c, x)), w), ops.multiply(ops.astype(i, "float64"), 0.1)
        )
        return ops.add(i, 1), new, ops.multiply(ops.tanh(new), x)

    return trace(step, f64(3), I32, f64(3), f64(3))


def looped(reverse: bool) -> Graph:
    form = ScanForm(cell(), 2, 1, T, reverse)

    def f(w: Value, c: Value, xs: Value) -> tuple[Value, ...]:
        i, last, ys = scan(form, w, ops.zeros((), int32), c, xs)
        return ops.multiply(last, ops.astype(i, "float64")), ys

    return trace(f, f64(3), f64(3), f64(T, 3))


def unrolled(reverse: bool) -> Graph:
    def f(w: Value, c: Value, xs: Value) -> tuple[Value, ...]:
        i, ys = ops.zeros((), int32), {}
        for t in reversed(range(T)) if reverse else range(T):
            i, c, ys[t] = inline(cell(), [w, i, c, ops.getitem(xs, t)])
        return ops.multiply(c, ops.astype(i, "float64")), ops.stack([ys[t] for t in range(T)])

    return trace(f, f64(3), f64(3), f64(T, 3))


def chosen(index: int) -> Graph:
    branches = [
        trace(lambda x, y: (ops.multiply(ops.sin(x), y), x), f64(3), f64(3)),
        trace(lambda x, y: (ops.exp(y), ops.multiply(y, 2.0)), f64(3), f64(3)),
        trace(lambda x, y: (x, ops.multiply(x, y)), f64(3), f64(3)),
    ]

    def f(x: Value, y: Value, z: Value) -> Value:
        at = ops.astype(ops.add(ops.multiply(ops.sum(z), 0.0), index), int32)
        a, b = switch(at, branches, ops.multiply(x, 2.0), y)
        return ops.add(a, ops.multiply(b, z))

    return trace(f, f64(3), f64(3), f64(3))


def chosen_in_place(index: int) -> Graph:
    def f(x: Value, y: Value, z: Value) -> Value:
        x = ops.multiply(x, 2.0)
        pairs = [
            (ops.multiply(ops.sin(x), y), x),
            (ops.exp(y), ops.multiply(y, 2.0)),
            (x, ops.multiply(x, y)),
        ]
        a, b = pairs[index]
        return ops.add(a, ops.multiply(b, z))

    return trace(f, f64(3), f64(3), f64(3))


def growing(max_steps: int | None, limit: float) -> Graph:
    cond = trace(lambda w, c: ops.less(ops.sum(c), limit), f64(3), f64(3))
    body = trace(
        lambda w, c: ops.add(ops.multiply(c, 1.5), ops.multiply(ops.sin(c), w)), f64(3), f64(3)
    )
    form = WhileForm(cond, body, 1, max_steps)
    return trace(lambda w, c: while_loop(form, w, ops.multiply(c, c))[0], f64(3), f64(3))


def grown(most: int, limit: float) -> Graph:
    """The same with a choice between before and after in each step."""

    def f(w: Value, c: Value) -> Value:
        c = ops.multiply(c, c)
        for _ in range(most):
            new = ops.add(ops.multiply(c, 1.5), ops.multiply(ops.sin(c), w))
            c = ops.where(ops.less(ops.sum(c), limit), new, c)
        return c

    return trace(f, f64(3), f64(3))


PAIRS: dict[str, tuple[Graph, Graph]] = {
    "scan": (looped(False), unrolled(False)),
    "scan reversed": (looped(True), unrolled(True)),
    "first branch": (chosen(0), chosen_in_place(0)),
    "second branch": (chosen(1), chosen_in_place(1)),
    "index too large": (chosen(7), chosen_in_place(2)),
    "while": (growing(None, 12.0), grown(6, 12.0)),
    "while bounded": (growing(6, 12.0), grown(6, 12.0)),
    "while cut short": (growing(2, 1e9), grown(2, 1e9)),
    "while never": (growing(4, -1.0), grown(0, 0.0)),
    "while never, unbounded": (growing(None, -1.0), grown(0, 0.0)),
}


def _all(graph: Graph) -> list[bool]:
    return [True] * len(graph.inputs)


def _but(graph: Graph, *shared: int) -> list[bool]:
    return [i not in shared for i in range(len(graph.inputs))]


def _only(graph: Graph, place: int) -> list[bool]:
    return [i == place for i in range(len(graph.inputs))]


def _gradient(graph: Graph, *places: int) -> Graph:
    return value_and_vjp_graph(graph, places)


TRANSFORMS: dict[str, Callable[[Graph], Graph]] = {
    "itself": lambda g: g,
    "vjp": lambda g: _gradient(g, *range(len(g.inputs))),
    "vjp of one": lambda g: _gradient(g, 1),
    "jvp": lambda g: jvp_graph(g, _all(g)),
    "jvp of one": lambda g: jvp_graph(g, _only(g, 1)),
    "batch": lambda g: batch_graph(g, _all(g), 3),
    "batch of the first": lambda g: batch_graph(g, _only(g, 0), 3),
    "batch of the second": lambda g: batch_graph(g, _only(g, 1), 2),
    "vjp of jvp": lambda g: _gradient(jvp_graph(g, _all(g)), 0, 1),
    "jvp of vjp": lambda g: jvp_graph(h := _gradient(g, 0, 1), _all(h)),
    "vjp of vjp": lambda g: _gradient(_gradient(g, 1), 0, 1),
    "batch of vjp": lambda g: batch_graph(h := _gradient(g, 0, 1), _but(h, 1), 2),
    "vjp of batch": lambda g: _gradient(batch_graph(g, _but(g, 0), 2), 0, 1),
}


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("name", PAIRS)
def test_transforms_equal_those_of_the_loop_written_out(name: str, transform: str) -> None:
    got, expected = (TRANSFORMS[transform](g) for g in PAIRS[name])
    verify(got)
    arrays = fill(got, 0)
    close(interpret(got, *arrays), interpret(expected, *arrays), 1e-10)


def test_gradient_of_many_steps_goes_by_snapshots() -> None:
    """More steps than `SNAPSHOTS ** 2`: the last parts are made step by step."""
    n = 5000
    cond = trace(lambda w, c, i: ops.less(i, n), f64(), f64(), I32)

    def step(w: Value, c: Value, i: Value) -> tuple[Value, Value]:
        return ops.add(ops.multiply(c, 0.999), ops.multiply(w, ops.sin(c))), ops.add(i, 1)

    body = trace(step, f64(), f64(), I32)

    def loop(most: int | None) -> Graph:
        form = WhileForm(cond, body, 2, most)
        return trace(lambda w, c: while_loop(form, w, c, ops.zeros((), int32))[0], f64(), f64())

    free, bound = loop(None), loop(n)
    arrays = [np.array(1e-4), np.array(0.7), np.array(1.0)]
    got, expected = (interpret(_gradient(g, 0, 1), *arrays) for g in (free, bound))
    close(got, expected, 1e-9)


@pytest.mark.parametrize("name", PAIRS)
def test_derivatives_equal_differences(name: str) -> None:
    graph = PAIRS[name][0]
    arrays, tangents = fill(graph, 0), fill(graph, 1)
    moved = interpret(jvp_graph(graph, _all(graph)), *arrays, *tangents)
    close(moved[len(graph.outputs) :], numeric_jvp(graph, arrays, tangents))
    cotangents = [np.asarray(np.random.default_rng(2).normal(size=v.shape)) for v in graph.outputs]
    for place in range(len(graph.inputs)):
        got = interpret(_gradient(graph, place), *arrays, *cotangents)[-1]
        close([got], [numeric_vjp(graph, arrays, cotangents, place)])


@pytest.mark.parametrize("name", PAIRS)
def test_text_reads_back(name: str) -> None:
    table = {**CATALOGUE, **{op.name: op for op in RECORDS}}
    for graph in (PAIRS[name][0], _gradient(PAIRS[name][0], 0)):
        again = parse_graph(print_graph(graph), table)
        assert print_graph(again) == print_graph(graph)
        assert graph_key(again) == graph_key(graph)


def test_steps_cost_as_often_as_they_run() -> None:
    cost, step = graph_cost(looped(False)), graph_cost(cell())
    assert cost.flops >= T * step.flops
    assert op_counts(looped(False))["scan"] == 1


def test_only_what_changes_is_saved() -> None:
    """Of `c' = sin(c) * w` a gradient needs `c` of each step, but `w` once."""
    body = trace(lambda w, c: ops.multiply(ops.sin(c), ops.exp(w)), f64(5), f64(5))
    graph = trace(lambda w, c: scan(ScanForm(body, 1, 0, 9), w, c)[0], f64(5), f64(5))
    joint = value_and_vjp_graph(graph, [0, 1])
    rows = [v for n in joint.nodes if n.op.name == "scan" for v in n.outputs if v.rank == 2]
    assert [v.shape for v in rows] == [(9, 5), (9, 5)]  # sin(c) and cos(c), no exp(w)


def test_counted_scans_stop_early_and_leave_zeros() -> None:
    form = ScanForm(cell(), 2, 1, T, counted=True)

    def f(n: Value, w: Value, c: Value, xs: Value) -> tuple[Value, ...]:
        return scan(form, n, w, ops.zeros((), int32), c, xs)

    graph = trace(f, I32, f64(3), f64(3), f64(T, 3))
    arrays = [np.array(2, np.int32), *fill(graph, 0)[1:]]
    i, _, ys = interpret(graph, *arrays)
    assert int(i) == 2
    assert not ys[2:].any()
    assert ys[:2].all()
    counts = np.array([0, 3, 9, 1], np.int32)
    many = batch_graph(graph, [True, False, False, False], 4)
    for k, rows in enumerate(zip(*interpret(many, counts, *arrays[1:]), strict=True)):
        close(rows, interpret(graph, counts[k], *arrays[1:]), 1e-12)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda c: scan(ScanForm(trace(lambda x: ops.astype(x, "float32"), f64(3)), 1, 0, 2), c),
         r"scan: a carry keeps its shape and dtype, got carry x: f64\[3\]"),
        (lambda c: scan(ScanForm(trace(lambda c, x: (c, x), f64(3), f64(3)), 1, 1, 2), c, c),
         "slices are taken along a first axis"),
        (lambda c: switch(ops.zeros((), "int64"), [trace(lambda x: x, f64(3))], c),
         "the index is an int32"),
        (lambda c: switch(ops.zeros((), int32), [trace(lambda x: x, f64(3)),
                                                 trace(ops.sum, f64(3))], c),
         "all branches return equal types"),
        (lambda c: while_loop(WhileForm(trace(lambda x: x, f64(3)), trace(lambda x: x, f64(3)), 1),
                              c),
         "the condition is one bool"),
    ],
)  # fmt: skip
def test_refusals(make: Callable[[Value], Sequence[Value]], message: str) -> None:
    with GraphBuilder() as builder, pytest.raises(VerifyError, match=message):
        make(builder.input(f64(3)))
