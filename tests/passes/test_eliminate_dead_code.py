from __future__ import annotations

from pellucid.passes.eliminate_dead_code import run
from tests.passes.golden import check, check_unchanged


def test_unread_nodes_go_and_inputs_stay() -> None:
    before = """
        graph g(x: f32[3], y: f32[3]) {
          a: f32[3] = exp(x)
          b: f32[3] = mul(a, y)
          c: f32[3] = neg(x)
          return c
        }
    """
    after = """
        graph g(x: f32[3], y: f32[3]) {
          c: f32[3] = neg(x)
          return c
        }
    """
    check(run, before, after)


def test_live_graph_is_given_back() -> None:
    check_unchanged(
        run,
        """
        graph g(x: f32[3]) {
          a: f32[3] = exp(x)
          b: f32[3] = neg(a)
          return b, x, a
        }
        """,
    )


def test_no_outputs_leave_no_nodes() -> None:
    before = """
        graph g(x: f32[3]) {
          a: f32[3] = exp(x)
          return
        }
    """
    check(run, before, "graph g(x: f32[3]) {\n  return\n}\n")
