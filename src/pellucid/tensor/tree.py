"""Nested containers of tensors: flatten to leaves and build back.

Containers are tuples, named tuples, lists, dicts (`OrderedDict` and `defaultdict` stay what they
are), deques, and what the user registers. Leaves of a mapping come in its insertion order, so two
dicts with equal keys in another order are two structures. `None` and everything else is a leaf.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.core.errors import ArgumentError

LEAF = "*"
Predicate = Callable[[Any], bool]


class Told:
    """A static value of which `==` does not tell enough: `-0.0 == 0.0`, and `(1,) == (1.0,)`."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any) -> None:
        self.value, self.key = value, _told(value)

    def __repr__(self) -> str:
        return repr(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Told) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def _told(value: Any) -> Any:
    if isinstance(value, tuple):
        return (type(value), tuple(map(_told, value)))
    return (type(value), repr(value) if isinstance(value, float) else value)


@dataclass(frozen=True, slots=True)
class TreeDef:
    """The shape of a nested container: its class, keys (of a mapping), children and what else
    makes it (`static`); `kind is None` marks a leaf.
    """

    kind: type | None
    keys: tuple[Any, ...]
    children: tuple[TreeDef, ...]
    static: Told | None = None

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return 1 if self.kind is None else sum(c.leaves for c in self.children)

    def __str__(self) -> str:
        """The structure with `*` for each leaf: `{'x': (*, *)}`."""
        if self.kind is None:
            return LEAF
        parts = [str(c) for c in self.children]
        if self.keys:
            parts = [f"{k!r}: {p}" for k, p in zip(self.keys, parts, strict=True)]
        inside = ", ".join(parts)
        if self.kind is dict:
            return f"{{{inside}}}"
        if self.kind is list:
            return f"[{inside}]"
        if self.kind is tuple:
            return f"({inside},)" if len(parts) == 1 else f"({inside})"
        return f"{self.kind.__name__}({inside})"


_LEAF = TreeDef(None, (), ())


@dataclass(frozen=True, slots=True)
class Registered:
    """How objects of a user's class are taken apart and built again.

    Attributes:
        take: the object's children and, hashable, all else that makes it.
        build: an object from that and new children.
        names: what to call the children in paths; numbers where there are too few.
    """

    take: Callable[[Any], tuple[Sequence[Any], Any]]
    build: Callable[[Any, Sequence[Any]], Any]
    names: tuple[str, ...] = ()


class _Registry(dict[type, Registered]):
    """Classes that are containers because someone said so."""

    def add(self, kind: type, how: Registered) -> None:
        """Make instances of `kind` (not of its subclasses) containers.

        Raises:
            ArgumentError: it is one already.
        """
        if kind in self or kind in (*_MAPPINGS, tuple, list, deque):
            raise ArgumentError(
                "register_pytree_node",
                "the class is a container already",
                operands={"class": kind.__name__},
            )
        self[kind] = how


_MAPPINGS = (dict, OrderedDict, defaultdict)
REGISTRY = _Registry()


def flatten(tree: Any, is_leaf: Predicate | None = None) -> tuple[list[Any], TreeDef]:
    """The leaves in order, and the structure that holds them.

    Args:
        tree: any object.
        is_leaf: says of a container that it counts as a leaf.
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves, is_leaf)


def _flatten(tree: Any, leaves: list[Any], is_leaf: Predicate | None) -> TreeDef:
    kind = type(tree)
    if is_leaf is not None and is_leaf(tree):
        leaves.append(tree)
        return _LEAF
    if isinstance(tree, dict) and kind not in REGISTRY:
        keys = tuple(tree)
        children = tuple([_flatten(tree[k], leaves, is_leaf) for k in keys])
        kept = kind if kind in _MAPPINGS else dict  # other classes of mappings become dicts
        factory = tree.default_factory if isinstance(tree, defaultdict) else None
        return TreeDef(kept, keys, children, Told(factory) if kept is defaultdict else None)
    if isinstance(tree, (tuple, list)) and kind not in REGISTRY:
        return TreeDef(kind, (), tuple([_flatten(t, leaves, is_leaf) for t in tree]))
    if kind is deque:
        children = tuple([_flatten(t, leaves, is_leaf) for t in tree])
        return TreeDef(deque, (), children, Told(tree.maxlen))
    how = REGISTRY.get(kind)
    if how is None:
        leaves.append(tree)
        return _LEAF
    parts, static = how.take(tree)
    children = tuple([_flatten(t, leaves, is_leaf) for t in parts])
    return TreeDef(kind, (), children, _hashable(kind, static))


def _hashable(kind: type, static: Any) -> Told:
    told = Told(static)
    try:
        hash(told)
    except TypeError:
        raise ArgumentError(
            "tree",
            "what is static in a container must be hashable",
            operands={"class": kind.__name__, "static": repr(static)},
            fix="use a tuple, or make it a child",
        ) from None
    return told


def unflatten(treedef: TreeDef, leaves: Sequence[Any]) -> Any:
    """The container of structure `treedef` with these leaves.

    Raises:
        ArgumentError: the number of leaves does not fit.
    """
    if treedef.leaves != len(leaves):
        raise ArgumentError(
            "unflatten",
            f"the structure has {treedef.leaves} leaves",
            operands={"count": len(leaves)},
        )
    return _unflatten(treedef, iter(leaves))


def _unflatten(treedef: TreeDef, leaves: Iterator[Any]) -> Any:
    kind = treedef.kind
    if kind is None:
        return next(leaves)
    return rebuild(treedef, [_unflatten(c, leaves) for c in treedef.children])


def rebuild(treedef: TreeDef, children: list[Any]) -> Any:
    """One container of this kind with other children."""
    kind: Any = treedef.kind
    static = None if treedef.static is None else treedef.static.value
    if kind in REGISTRY:
        return REGISTRY[kind].build(static, children)
    if kind is defaultdict:
        return defaultdict(static, zip(treedef.keys, children, strict=True))
    if kind in _MAPPINGS:
        return kind(zip(treedef.keys, children, strict=True))
    if kind is deque:
        return deque(children, static)
    if hasattr(kind, "_fields"):  # a named tuple takes its items one by one
        return kind(*children)
    return kind(children)


def tree_map(
    fn: Callable[..., Any], tree: Any, *rest: Any, is_leaf: Predicate | None = None
) -> Any:
    """`fn` applied leaf by leaf over one or more containers of the same structure.

    Mappings are matched by key, whatever their order; the result is built like the first.

    Raises:
        ArgumentError: the structures differ.
    """
    leaves, treedef = flatten(tree, is_leaf)
    others = [flatten_like(treedef, other, "tree_map", is_leaf) for other in rest]
    return unflatten(treedef, [fn(*items) for items in zip(leaves, *others, strict=True)])


def flatten_like(
    treedef: TreeDef, tree: Any, op: str, is_leaf: Predicate | None = None
) -> list[Any]:
    """The leaves of a container in the order of another one of its structure.

    Raises:
        ArgumentError: the structures differ.
    """
    leaves, found = flatten(tree, is_leaf)
    if found == treedef:
        return leaves
    ordered: list[Any] = []
    place = _match(treedef, found, iter(leaves), ordered, "tree")
    if place:
        operands: dict[str, object] = {"first": str(treedef), "other": str(found), "at": place}
        raise ArgumentError(op, "the containers' structures differ", operands=operands)
    return ordered


def _match(
    wanted: TreeDef, found: TreeDef, leaves: Iterator[Any], ordered: list[Any], path: str
) -> str:
    """Put the leaves of `found` in the order of `wanted`; the path of a difference, or nothing."""
    if wanted.kind is None and found.kind is None:
        ordered.append(next(leaves))
        return ""
    fields = ("kind", "static") if wanted.keys else ("kind", "static", "keys")
    same = all(getattr(wanted, f) == getattr(found, f) for f in fields)
    if not same or len(wanted.children) != len(found.children):
        return path
    if set(wanted.keys) != set(found.keys):
        return path
    parts = {k: [next(leaves) for _ in range(c.leaves)] for k, c in _children(found)}
    inside = dict(_children(found))
    for key, child in _children(wanted):
        place = _match(child, inside[key], iter(parts[key]), ordered, f"{path}[{key!r}]")
        if place:
            return place
    return ""


def _children(tree: TreeDef) -> Iterator[tuple[Any, TreeDef]]:
    return zip(tree.keys or range(len(tree.children)), tree.children, strict=True)


def leaf_names(tree: Any, prefix: str) -> list[str]:
    """A readable path for each leaf: `batch[0]['x'].weight`."""
    return [prefix + name for name in leaf_paths(flatten(tree)[1])]


def leaf_paths(treedef: TreeDef) -> list[str]:
    """For each leaf, how to get there: `[0]['x'].weight`."""
    if treedef.kind is None:
        return [""]
    names = REGISTRY[treedef.kind].names if treedef.kind in REGISTRY else ()
    found = []
    for i, (key, child) in enumerate(_children(treedef)):
        step = f".{names[i]}" if i < len(names) else f"[{key!r}]"
        found += [step + rest for rest in leaf_paths(child)]
    return found
