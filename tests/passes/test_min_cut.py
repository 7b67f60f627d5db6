"""Minimum cuts beside all cuts there are."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pellucid.passes.min_cut import SINK, SOURCE, Network

Edge = tuple[int, int, int]


def _cost(edges: list[Edge], side: frozenset[int]) -> int:
    return sum(c for a, b, c in edges if a in side and b not in side)


def _network(vertices: int, edges: list[Edge]) -> Network:
    network = Network()
    for _ in range(vertices - 2):
        network.vertex()
    for edge in edges:
        network.edge(*edge)
    return network


@given(
    vertices=st.integers(2, 7),
    edges=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 9)), max_size=20),
)
def test_no_cut_is_cheaper_and_none_as_cheap_is_smaller(vertices: int, edges: list[Edge]) -> None:
    edges = [(a % vertices, b % vertices, c) for a, b, c in edges]
    side = _network(vertices, edges).cut()
    assert SOURCE in side
    assert SINK not in side
    inner = range(2, vertices)
    sides = [
        frozenset((SOURCE, *some))
        for n in range(len(inner) + 1)
        for some in itertools.combinations(inner, n)
    ]
    least = min(_cost(edges, s) for s in sides)
    assert _cost(edges, side) == least
    assert all(side <= s for s in sides if _cost(edges, s) == least)


def test_a_long_chain() -> None:
    edges = [(SOURCE, 2, 50), *((n, n + 1, n) for n in range(2, 2000)), (2000, SINK, 50)]
    assert _network(2001, edges).cut() == {SOURCE, 2}
