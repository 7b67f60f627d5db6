"""Merging and trimming of loops and choices, before and after."""

from __future__ import annotations

from typing import Any

import numpy as np

import pellucid as pl
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, Node
from pellucid.graph.stats import op_counts
from pellucid.passes import merge_loops, trim_loops
from tests.passes.golden import check, check_unchanged, graph_of, plain_inputs, same_bits


def _nodes(graph: Graph, name: str) -> list[Node]:
    return [n for n in graph.nodes if n.op.name == name]


TWO_LOOPS = """
    graph g(c: f32[3], w: f32[3], xs: f32[4, 3]) {
      a: f32[3] = scan(c, xs, body=graph f(p: f32[3], x: f32[3]) {
        s: f32[3] = add(p, x)
        return s
      }, carries=1, slices=1, length=4, reverse=False, counted=False)
      b: f32[3], d: f32[3], e: f32[4, 3] = scan(w, c, w, xs, body=graph h(v: f32[3], p: f32[3], q: f32[3], x: f32[3]) {
        s: f32[3] = add(p, x)
        t: f32[3] = mul(q, v)
        return s, t, t
      }, carries=2, slices=1, length=4, reverse=False, counted=False)
      return a, b, d, e
    }
"""  # noqa: E501  # a node is one line


def test_loops_over_the_same_rows_become_one() -> None:
    after = """
        graph g(c: f32[3], w: f32[3], xs: f32[4, 3]) {
          a: f32[3], d: f32[3], e: f32[4, 3] = scan(w, c, w, xs, body=graph f(c: f32[3], carry: f32[3], carry_1: f32[3], x: f32[3]) {
            s: f32[3] = add(carry, x)
            t: f32[3] = mul(carry_1, c)
            return s, t, t
          }, carries=2, slices=1, length=4, reverse=False, counted=False)
          return a, a, d, e
        }
    """  # noqa: E501  # a node is one line
    check(merge_loops.run, TWO_LOOPS, after)


def test_a_loop_that_needs_another_stays_apart() -> None:
    check_unchanged(
        merge_loops.run,
        """
        graph g(c: f32[3], xs: f32[4, 3]) {
          a: f32[3] = scan(c, xs, body=graph f(p: f32[3], x: f32[3]) {
            s: f32[3] = add(p, x)
            return s
          }, carries=1, slices=1, length=4, reverse=False, counted=False)
          b: f32[3] = scan(a, xs, body=graph f(p: f32[3], x: f32[3]) {
            s: f32[3] = add(p, x)
            return s
          }, carries=1, slices=1, length=4, reverse=False, counted=False)
          return b
        }
        """,
    )


def test_carries_that_part_later_are_no_twins() -> None:
    graph = graph_of(TWO_LOOPS.replace("s: f32[3] = add(p, x)", "s: f32[3] = mul(p, x)", 1))
    made = merge_loops.run(graph)
    (loop,) = _nodes(made, "scan")
    assert loop.attrs["carries"] == 3
    arrays = plain_inputs(graph, 0)
    for a, b in zip(interpret(made, *arrays), interpret(graph, *arrays), strict=True):
        assert same_bits(a, b)


def test_what_nobody_needs_goes_and_literals_move_in() -> None:
    before = """
        graph g(c: f32[3], w: f32[3], xs: f32[4, 3]) {
          k: f32[] = constant(value=array(f32[], [2.0]))
          two: f32[3] = broadcast_to(k, shape=(3,))
          a: f32[3], b: f32[3], d: f32[3], e: f32[4, 3], f: f32[4, 3] = scan(two, w, c, w, c, xs, xs, body=graph f(n: f32[3], v: f32[3], p: f32[3], q: f32[3], r: f32[3], x: f32[3], y: f32[3]) {
            s: f32[3] = mul(p, n)
            t: f32[3] = add(s, q)
            u: f32[3] = sin(r)
            return t, q, u, x, y
          }, carries=3, slices=2, length=4, reverse=False, counted=False)
          return a, b
        }
    """  # noqa: E501  # a node is one line
    after = """
        graph g(c: f32[3], w: f32[3], xs: f32[4, 3]) {
          a: f32[3] = scan(w, c, body=graph f(w: f32[3], p: f32[3]) {
            k: f32[] = constant(value=array(f32[], [2.0]))
            two: f32[3] = broadcast_to(k, shape=(3,))
            s: f32[3] = mul(p, two)
            t: f32[3] = add(s, w)
            return t
          }, carries=1, slices=0, length=4, reverse=False, counted=False)
          return a, w
        }
    """
    check(trim_loops.run, before, after)


def test_what_all_steps_compute_alike_is_computed_once() -> None:
    before = """
        graph g(c: f32[3], w: f32[3]) {
          a: f32[3], n: i32[] = while_loop(w, c, cond=graph t(v: f32[3], p: f32[3]) {
            s: f32[] = sum(p, axes=(0,))
            k: f32[] = constant(value=array(f32[], [9.0]))
            b: bool[] = lt(s, k)
            return b
          }, body=graph f(v: f32[3], p: f32[3]) {
            e: f32[3] = exp(v)
            o: f32[3] = add(p, e)
            return o
          }, carries=1, max_steps=None, saved=0)
          return a
        }
    """
    made = trim_loops.run(graph_of(before))
    assert [n.op.name for n in made.nodes] == ["exp", "while_loop"]
    body = _nodes(made, "while_loop")[0].attrs["body"]
    assert isinstance(body, Graph)
    assert [n.op.name for n in body.nodes] == ["add"]


def test_a_choice_by_a_literal_is_its_branch() -> None:
    before = """
        graph g(x: f32[3]) {
          i: i32[] = constant(value=array(i32[], [7]))
          a: f32[3] = switch(i, x, branch0=graph p(y: f32[3]) {
            s: f32[3] = sin(y)
            return s
          }, branch1=graph q(y: f32[3]) {
            s: f32[3] = cos(y)
            return s
          })
          return a
        }
    """
    after = """
        graph g(x: f32[3]) {
          a: f32[3] = cos(x)
          return a
        }
    """
    check(trim_loops.run, before, after)


def test_a_loop_and_its_gradient_run_forward_once() -> None:
    """Two loops are left of three, also where loops and choices are inside loops."""

    def inner(h: pl.Tensor, x: pl.Tensor) -> Any:
        return pl.cond(x.sum() > 0, lambda: pl.sin(h) + x, lambda: h * x), None

    def outer(h: pl.Tensor, x: pl.Tensor) -> Any:
        h = pl.scan(inner, pl.tanh(h), pl.stack([x, -x]))[0]
        return h, h.sum()

    def loss(h: pl.Tensor, xs: pl.Tensor) -> Any:
        return pl.scan(outer, h, xs)[1].sum()

    args = (pl.Tensor(np.ones(3, np.float32)), pl.Tensor(np.ones((4, 3), np.float32)))
    lowered = pl.jit(pl.value_and_grad(loss)).lower(*args)
    before, after = op_counts(lowered.graph), op_counts(lowered.passes.graph)
    assert len(_nodes(lowered.passes.graph, "scan")) == 2
    assert after["scan"] < before["scan"]


def _thin(length: int, rows: int) -> tuple[Graph, Graph]:
    """An RNN's gradient before and after."""

    def loss(w: Any, v: Any, xs: Any) -> Any:
        step = lambda h, x: (pl.tanh(h @ w + x @ v), h @ v)  # noqa: E731
        last, ys = pl.scan(step, pl.zeros((rows, 8)), xs)
        return (last * last).sum() + pl.sin(ys).sum()

    args = (pl.ones((8, 8)), pl.ones((8, 8)), pl.ones((length, rows, 8)))
    lowered = pl.jit(pl.grad(loss, (0, 1, 2))).lower(*args)
    return lowered.graph, lowered.passes.graph


def _products(graph: Graph) -> int:
    """Products in the bodies of loops."""
    bodies = [n.attrs["body"] for n in _nodes(graph, "scan")]
    return sum(op_counts(b).get("dot_general", 0) for b in bodies if isinstance(b, Graph))


def test_thin_products_leave_the_loop() -> None:
    before, after = _thin(12, 2)
    assert _products(after) == 2 < _products(before)  # what the carry goes through, both ways
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=v.shape).astype(np.float32) * 0.3 for v in before.inputs]
    for a, b in zip(interpret(after, *arrays), interpret(before, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert _products(_thin(2, 2)[1]) > 2  # too few steps


def test_only_sums_that_do_nothing_else_leave() -> None:
    """A total that the steps read, and one that is not linear, stay."""

    def step(carry: Any, x: Any) -> Any:
        a, b, c = carry
        square = x.T @ x
        return (a + x.T @ pl.sin(x), b + square, pl.tanh(c + square * 2.0)), b.sum()

    graph = pl.jit(lambda xs: pl.scan(step, (pl.zeros((3, 3)),) * 3, xs)).lower(pl.ones((9, 2, 3)))
    (loop,) = _nodes(graph.passes.graph, "scan")
    assert loop.attrs["carries"] == 2
