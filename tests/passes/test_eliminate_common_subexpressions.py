from __future__ import annotations

from pellucid.passes.eliminate_common_subexpressions import run
from tests.passes.golden import check, check_unchanged


def test_equal_nodes_become_one_through_a_chain() -> None:
    before = """
        graph g(x: f32[3]) {
          a: f32[3] = exp(x)
          b: f32[3] = exp(x)
          c: f32[3] = neg(a)
          d: f32[3] = neg(b)
          e: f32[3] = add(c, d)
          return e, d
        }
    """
    after = """
        graph g(x: f32[3]) {
          a: f32[3] = exp(x)
          c: f32[3] = neg(a)
          e: f32[3] = add(c, c)
          return e, c
        }
    """
    check(run, before, after)


def test_operands_of_commutative_ops_may_be_swapped() -> None:
    before = """
        graph g(x: f32[3], y: f32[3]) {
          a: f32[3] = mul(x, y)
          b: f32[3] = mul(y, x)
          c: f32[3] = sub(x, y)
          d: f32[3] = sub(y, x)
          return a, b, c, d
        }
    """
    after = """
        graph g(x: f32[3], y: f32[3]) {
          a: f32[3] = mul(x, y)
          c: f32[3] = sub(x, y)
          d: f32[3] = sub(y, x)
          return a, a, c, d
        }
    """
    check(run, before, after)


def test_attributes_tell_nodes_apart() -> None:
    check_unchanged(
        run,
        """
        graph g(x: f32[3, 3]) {
          a: f32[3] = sum(x, axes=(0,))
          b: f32[3] = sum(x, axes=(1,))
          c: f32[] = constant(value=array(f32[], [0.0]))
          d: f32[] = constant(value=array(f32[], [-0.0]))
          e: i32[3, 3] = cast(x, dtype=i32)
          f: f64[3, 3] = cast(x, dtype=f64)
          return a, b, c, d, e, f
        }
        """,
    )


def test_barriers_keep_computations_apart() -> None:
    check_unchanged(
        run,
        """
        graph g(x: f32[3]) {
          a: f32[3] = barrier(x)
          b: f32[3] = barrier(x)
          c: f32[3] = exp(a)
          d: f32[3] = exp(b)
          e: f32[3] = exp(x)
          return c, d, e
        }
        """,
    )
