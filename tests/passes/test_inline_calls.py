from __future__ import annotations

from pellucid.graph.interpreter import interpret
from pellucid.graph.printer import print_graph
from pellucid.graph.verifier import verify
from pellucid.passes.inline_calls import run
from tests.passes.golden import check, check_unchanged, graph_of, plain_inputs, same_bits

NESTED = """
    graph g(x: f32[3], y: f32[3]) {
      a: f32[3] = neg(x)
      b: f32[3] = call(a, y, body=graph f(p: f32[3], q: f32[3]) {
        s: f32[3] = call(p, body=graph h(u: f32[3]) {
          v: f32[3] = exp(u)                      # inner.py:3
          return v
        })
        t: f32[3] = mul(s, q)                     # middle.py:2
        return t
      })                                          # outer.py:9
      return b
    }
"""
FLAT = """
    graph g(x: f32[3], y: f32[3]) {
      a: f32[3] = neg(x)
      v: f32[3] = exp(a)                          # inner.py:3
      t: f32[3] = mul(v, y)                       # middle.py:2
      return t
    }
"""


def test_bodies_take_the_place_of_calls_at_any_depth() -> None:
    check(run, NESTED, FLAT)


def test_inlined_nodes_keep_their_own_source() -> None:
    nodes = run(graph_of(NESTED)).nodes
    assert [n.source for n in nodes] == ["", "inner.py:3", "middle.py:2"]


def test_names_stay_distinct_when_a_body_is_used_twice() -> None:
    text = """
        graph g(x: f32[3]) {
          a: f32[3] = checkpoint(x, body=graph f(p: f32[3]) {
            s: f32[3] = exp(p)
            return s
          })
          b: f32[3] = checkpoint(a, body=graph f(p: f32[3]) {
            s: f32[3] = exp(p)
            return s
          })
          return b
        }
    """
    graph = graph_of(text)
    flat = run(graph)
    verify(flat)
    assert [n.op.name for n in flat.nodes] == ["exp", "exp"]
    assert "s_1: f32[3] = exp(s)" in print_graph(flat)
    (x,) = plain_inputs(graph, 1)
    assert same_bits(interpret(graph, x)[0], interpret(flat, x)[0])


def test_body_that_returns_its_input() -> None:
    before = """
        graph g(x: f32[3]) {
          a: f32[3], b: f32[3] = call(x, body=graph f(p: f32[3]) {
            return p, p
          })
          c: f32[3] = neg(a)
          return b, c
        }
    """
    after = """
        graph g(x: f32[3]) {
          c: f32[3] = neg(x)
          return x, c
        }
    """
    check(run, before, after)


def test_graph_without_calls_is_given_back() -> None:
    check_unchanged(run, FLAT)
