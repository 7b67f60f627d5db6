from __future__ import annotations

import numpy as np
import pytest

from pellucid import ops
from pellucid.core.dtype import float32
from pellucid.graph.ir import GraphBuilder
from pellucid.passes import fold_constants
from pellucid.passes.fold_constants import run
from tests.passes.golden import check, check_unchanged


def test_chain_of_literals_is_one_literal() -> None:
    before = """
        graph g(x: f32[3]) {
          a: f32[] = constant(value=array(f32[], [2.0]))
          b: f32[] = constant(value=array(f32[], [3.0]))
          c: f32[] = mul(a, b)
          d: f32[] = sqrt(c)
          e: f32[3] = broadcast_to(d, shape=(3,))
          f: f32[3] = mul(x, e)
          return f
        }
    """
    after = """
        graph g(x: f32[3]) {
          d: f32[] = constant(value=array(f32[], [2.4494898]))
          e: f32[3] = broadcast_to(d, shape=(3,))
          f: f32[3] = mul(x, e)
          return f
        }
    """
    check(run, before, after)


def test_literal_with_a_repeated_one_is_a_literal() -> None:
    before = """
        graph g(x: f32[2]) {
          a: f32[2] = constant(value=array(f32[2], [2.0, 7.0]))
          b: f32[] = constant(value=array(f32[], [2.0]))
          c: f32[2] = broadcast_to(b, shape=(2,))
          d: f32[2] = add(a, c)
          f: f32[2] = mul(x, d)
          return f
        }
    """
    after = """
        graph g(x: f32[2]) {
          d: f32[2] = constant(value=array(f32[2], [4.0, 9.0]))
          f: f32[2] = mul(x, d)
          return f
        }
    """
    check(run, before, after)


def test_repeated_literals_alone_stay_loops() -> None:
    check_unchanged(
        run,
        """
        graph g() {
          a: f32[] = constant(value=array(f32[], [2.0]))
          b: f32[] = constant(value=array(f32[], [3.0]))
          c: f32[2] = broadcast_to(a, shape=(2,))
          d: f32[2] = broadcast_to(b, shape=(2,))
          e: f32[2] = add(c, d)
          return e
        }
    """,
    )


def test_what_is_free_or_must_not_move_is_not_folded() -> None:
    check_unchanged(
        run,
        """
        graph g() {
          a: i64[4] = iota(shape=(4,), axis=0, dtype=i64)
          b: i64[4] = neg(a)
          c: f32[] = constant(value=array(f32[], [2.0]))
          d: f32[] = barrier(c)
          e: f32[4] = broadcast_to(c, shape=(4,))
          return b, d, e
        }
        """,
    )


def test_random_bits_are_not_folded() -> None:
    check_unchanged(
        run,
        """
        graph g() {
          a: u64[2] = constant(value=array(u64[2], [1, 0]))
          b: u32[8] = random_bits(a, shape=(8,))
          return b
        }
        """,
    )


@pytest.mark.parametrize(("n", "nodes"), [(8, 1), (64, 3)])
def test_growth_is_limited(n: int, nodes: int) -> None:
    with GraphBuilder("g") as builder:
        column, row = (
            ops.constant(np.arange(n, dtype=np.float32).reshape(s)) for s in ((n, 1), (1, n))
        )
        graph = builder.finish([ops.concatenate([ops.pad(column, (0, 0), (0, n - 1)), row], 0)])
    assert len(graph.nodes) == 4
    assert len(run(graph).nodes) == nodes + (n == 64)


def test_size_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    with GraphBuilder("g") as builder:
        graph = builder.finish([ops.negative(ops.constant(np.ones((4, 4), np.float32)))])
    assert len(run(graph).nodes) == 1
    monkeypatch.setattr(fold_constants, "LIMIT_BYTES", 63)
    assert run(graph) is graph


def test_overflow_folds_quietly() -> None:
    with GraphBuilder("g") as builder:
        big = ops.full((), 3e38, float32)
        graph = builder.finish([ops.multiply(big, big)])
    (node,) = run(graph).nodes
    assert "inf" in str(node.attrs["value"].array)  # type: ignore[union-attr]  # the literal's array
