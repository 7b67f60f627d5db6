"""Containers beyond tuples, lists and dicts: kept by jit and the transforms; `pellucid.tree`."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest

import pellucid as pl
from pellucid import tree
from pellucid.core.errors import ArgumentError


@pl.register_dataclass(static=("name",))
@dataclass(frozen=True)
class Layer:
    weight: Any
    bias: Any
    name: str = "layer"
    rate: float = field(default=1.0, metadata={"static": True})

    def __post_init__(self) -> None:
        if self.weight is None:
            raise ValueError("a layer needs a weight")


class Pair:
    def __init__(self, first: Any, second: Any, scale: float) -> None:
        self.first, self.second, self.scale = first, second, scale


pl.register_pytree_node(
    Pair, lambda p: ((p.first, p.second), p.scale), lambda scale, c: Pair(c[0], c[1], scale)
)


@pl.register_pytree_node_class
class Box:
    def __init__(self, inside: Any) -> None:
        self.inside = inside

    def tree_flatten(self) -> Any:
        return [self.inside], None

    @classmethod
    def tree_unflatten(cls, aux: None, children: Any) -> Box:
        return cls(*children)


class Point(NamedTuple):
    x: Any
    y: Any


CONTAINERS: list[tuple[Any, list[Any]]] = [
    (OrderedDict(b=1, a=2), [1, 2]),
    (defaultdict(list, {"x": [1, 2]}), [1, 2]),
    (deque([1, (2,)], maxlen=5), [1, 2]),
    (Layer(1, {"k": 2}), [1, 2]),
    ([Layer(1, 2, "other"), Point(3, None)], [1, 2, 3, None]),
]


@pytest.mark.parametrize(("container", "leaves"), CONTAINERS, ids=repr)
def test_round_trip_keeps_classes_and_settings(container: Any, leaves: list[Any]) -> None:
    got, treedef = tree.flatten(container)
    assert got == leaves
    back = tree.unflatten(treedef, got)
    assert back == container
    assert type(back) is type(container)
    assert hash(treedef) == hash(tree.structure(container))


def test_what_is_no_leaf_survives() -> None:
    back = tree.map(lambda v: v, defaultdict(list, a=1))
    assert back["new"] == []
    assert tree.map(lambda v: v, deque([1], maxlen=3)).maxlen == 3
    assert tree.map(str, Layer(1, 2, "n", 3.0)) == Layer("1", "2", "n", 3.0)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (Layer(1, 2), Layer(1, 2, "other")),
        (Layer(1, 2, rate=0.0), Layer(1, 2, rate=-0.0)),
        (deque([1]), deque([1], maxlen=2)),
        (OrderedDict(a=1), {"a": 1}),
        (Pair(1, 2, 1), Pair(1, 2, True)),
    ],
)
def test_settings_are_part_of_the_structure(a: Any, b: Any) -> None:
    assert tree.structure(a) != tree.structure(b)


def test_paths_and_text() -> None:
    container = {"l": [Layer(1, (2, 3))], "p": Pair(4, 5, 1.0)}
    paths = ["['l'][0].weight", "['l'][0].bias[0]", "['l'][0].bias[1]", "['p'][0]", "['p'][1]"]
    assert tree.paths(container) == paths
    assert tree.flatten_with_path(container)[0] == list(zip(paths, range(1, 6), strict=True))
    named = tree.map_with_path(lambda path, a, b: f"{path}={a + b}", {"x": (1,)}, {"x": (2,)})
    assert named == {"x": ("['x'][0]=3",)}
    assert str(tree.structure({"x": (1, [2]), "y": (3,)})) == "{'x': (*, [*]), 'y': (*,)}"


def test_reduce_and_questions() -> None:
    container = {"a": [1, 2], "b": (3,)}
    assert tree.reduce(lambda a, b: a + b, container) == 6
    assert tree.reduce(max, container, 9) == 9
    assert tree.all(container)
    assert not tree.all([container, 0])
    assert tree.any([0, 1])
    assert not tree.any(())
    assert tree.leaves(container, is_leaf=lambda v: isinstance(v, tuple)) == [1, 2, (3,)]
    outer, inner = tree.structure([0, 0]), tree.structure({"x": 0, "y": 0})
    rows = [{"x": 1, "y": 2}, {"x": 3, "y": 4}]
    assert tree.transpose(outer, inner, rows) == {"x": [1, 3], "y": [2, 4]}


def test_map_matches_dicts_by_key() -> None:
    a, b = {"x": 1, "y": (2, 3)}, {"y": (20, 30), "x": 10}
    assert list(tree.map(lambda u, v: u + v, a, b).items()) == [("x", 11), ("y", (22, 33))]
    assert tree.structure(a) != tree.structure(b)
    with pytest.raises(ArgumentError, match=r"differ, got first .* at tree\['y'\]"):
        tree.map(lambda u, v: u + v, a, {"x": 1, "y": (2,)})


def squares(layer: Any) -> Any:
    return Layer(layer.weight**2, layer.bias * layer.rate, layer.name, layer.rate)


def test_jit_and_transforms_look_inside() -> None:
    layer = Layer(pl.Tensor([1.0, 2.0]), pl.Tensor([3.0]), "n", 2.0)
    for run in (squares, pl.jit(squares), pl.checkpoint(squares)):
        got = run(layer)
        assert (got.name, got.rate) == ("n", 2.0)
        assert got.weight.tolist() == [1.0, 4.0]
        assert got.bias.tolist() == [6.0]
    gradient = pl.grad(lambda p: p.first.weight.sum() * p.second.inside[0].sum() * p.scale)(
        Pair(layer, Box([pl.Tensor([1.0, 1.0])]), 3.0)
    )
    assert gradient.first.weight.tolist() == [6.0, 6.0]
    assert gradient.second.inside[0].tolist() == [9.0, 9.0]
    got = pl.vmap(squares)(Layer(pl.ones((4, 2)), pl.ones((4, 1)), rate=5.0))
    assert got.bias.shape == (4, 1)
    assert got.bias.numpy().max() == 5.0


def test_a_setting_that_changes_compiles_again() -> None:
    f = pl.jit(lambda layer: layer.weight * layer.rate)
    one = pl.Tensor([1.0])
    assert f(Layer(one, one, rate=2.0)).tolist() == [2.0]
    assert f(Layer(one, one, rate=3.0)).tolist() == [3.0]
    assert "compiled 2 time" in f.explain()


class Plain:
    pass


@dataclass
class Loose:
    x: Any


class Listed:
    def __init__(self) -> None:
        self.static = [1]


pl.register_pytree_node(Listed, lambda it: ((), it.static), lambda aux, c: Listed())
ANY: Any = Plain


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (lambda: pl.register_pytree_node(Layer, ANY, ANY), "container already, got class Layer"),
        (lambda: pl.register_pytree_node(dict, ANY, ANY), "container already"),
        (lambda: pl.register_dataclass(ANY), "takes a dataclass"),
        (lambda: pl.register_dataclass(Loose, static=("y",)), r"no such field.*\['y'\].*\['x'\]"),
        (lambda: pl.register_pytree_node_class(Plain), "no method tree_flatten"),
        (lambda: tree.flatten(Listed()), r"must be hashable, got class Listed and static \[1\]"),
    ],
)
def test_it_refuses(run: Callable[[], Any], text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        run()


def test_equal_to_a_peers_trees() -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    for container in ([1, {"a": (2, 3)}], OrderedDict(a=1, b=[2]), Point(1, [2])):
        assert tree.leaves(container) == jax.tree.leaves(container)
        total = tree.map(lambda a, b: a + b, container, container)
        assert total == jax.tree.map(lambda a, b: a + b, container, container)
    assert tree.leaves({"b": 1, "a": 2}) == [1, 2]  # JAX sorts keys; here they stay
    assert jax.tree.leaves({"b": 1, "a": 2}) == [2, 1]


def test_loops_and_branches_take_them() -> None:
    def step(carry: Any, x: Any) -> Any:
        new = Layer(carry.weight + x["v"], carry.bias * 2.0, carry.name)
        return new, OrderedDict(y=carry.weight, z=deque([carry.bias]))

    start = Layer(pl.Tensor(0.0), pl.Tensor(1.0), "n")
    last, every = pl.scan(step, start, {"v": pl.Tensor([0.0, 1.0, 2.0])})
    assert (last.name, last.weight.item(), last.bias.item()) == ("n", 3.0, 8.0)
    assert isinstance(every, OrderedDict)
    assert every["z"][0].tolist() == [1.0, 2.0, 4.0]
    chosen = pl.cond(pl.asarray(True), lambda s: Layer(s.bias, s.weight, s.name), lambda s: s, last)
    assert chosen.weight.item() == 8.0
    done = pl.while_loop(
        lambda s: s.weight < 5.0, lambda s: Layer(s.weight + 1.0, s.bias * 2.0, s.name), start
    )
    assert (done.weight.item(), done.bias.item(), done.name) == (5.0, 32.0, "n")
