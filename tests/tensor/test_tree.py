"""Nested containers: leaves out, leaves in, nothing lost."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from pellucid.core.errors import ArgumentError
from pellucid.tensor.tree import flatten, leaf_names, tree_map, unflatten


class Point(NamedTuple):
    x: Any
    y: Any


TREES = [
    (1, [1]),
    (None, [None]),
    ((), []),
    ([], []),
    ({}, []),
    ((1,), [1]),
    ([1, (2, [3])], [1, 2, 3]),
    ({"b": 1, "a": 2}, [1, 2]),
    (Point(1, Point(2, 3)), [1, 2, 3]),
    ({"p": Point(None, [4, ()]), 7: ("s", {})}, [None, 4, "s"]),
]


@pytest.mark.parametrize(("tree", "leaves"), TREES, ids=repr)
def test_round_trip(tree: Any, leaves: list[Any]) -> None:
    got, treedef = flatten(tree)
    assert got == leaves
    assert treedef.leaves == len(leaves)
    back = unflatten(treedef, got)
    assert back == tree
    assert type(back) is type(tree)


def test_kinds_survive_inside() -> None:
    leaves, treedef = flatten({"p": Point(1, [2])})
    back = unflatten(treedef, [v * 10 for v in leaves])
    assert isinstance(back["p"], Point)
    assert isinstance(back["p"].y, list)
    assert back == {"p": Point(10, [20])}


def test_dicts_keep_their_order() -> None:
    _, treedef = flatten({"b": 1, "a": 2})
    assert list(unflatten(treedef, [3, 4])) == ["b", "a"]


@pytest.mark.parametrize(
    "other",
    [(1, 2, 3), [1, 2], (1, (2,)), {"a": 1, "b": 2}, Point(1, 2), 1, None],
    ids=repr,
)
def test_structures_differ(other: Any) -> None:
    assert flatten((1, 2))[1] != flatten(other)[1]


def test_equal_structures_are_one_key() -> None:
    one, two = flatten([Point(1, {"a": 2})])[1], flatten([Point("x", {"a": None})])[1]
    assert one == two
    assert hash(one) == hash(two)


def test_map_over_one_and_several() -> None:
    tree = {"a": (1, [2]), "p": Point(3, 4)}
    assert tree_map(lambda v: -v, tree) == {"a": (-1, [-2]), "p": Point(-3, -4)}
    assert tree_map(lambda a, b, c: a + b * c, tree, tree, tree) == {
        "a": (2, [6]),
        "p": Point(12, 20),
    }
    assert tree_map(lambda v: v is None, (None, 1)) == (True, False)


@pytest.mark.parametrize("other", [(1,), [1, 2], (1, (2,)), {"a": 1}], ids=repr)
def test_map_refuses_other_structures(other: Any) -> None:
    with pytest.raises(ArgumentError, match="tree_map: the containers' structures differ"):
        tree_map(lambda a, b: a, (1, 2), other)


@pytest.mark.parametrize("leaves", [[], [1], [1, 2, 3]], ids=repr)
def test_unflatten_counts(leaves: list[int]) -> None:
    _, treedef = flatten((0, [0]))
    with pytest.raises(ArgumentError, match=f"has 2 leaves, got count {len(leaves)}"):
        unflatten(treedef, leaves)


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        (1, ["t"]),
        (None, ["t"]),
        ((), []),
        ([1, (2, 3)], ["t[0]", "t[1][0]", "t[1][1]"]),
        ({"x": [1], 2: 3}, ["t['x'][0]", "t[2]"]),
        (Point(1, {"k": 2}), ["t[0]", "t[1]['k']"]),
    ],
    ids=repr,
)
def test_leaf_names(tree: Any, names: list[str]) -> None:
    assert leaf_names(tree, "t") == names
    assert len(flatten(tree)[0]) == len(names)
