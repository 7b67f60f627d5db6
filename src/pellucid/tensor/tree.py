"""Nested containers of tensors: flatten to leaves and build back.

Containers are tuples, named tuples, lists and dicts (in insertion order). `None` and everything
else is a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.core.errors import ArgumentError

LEAF = "*"


@dataclass(frozen=True, slots=True)
class TreeDef:
    """The shape of a nested container: its class, keys (of a dict) and children; `kind is None`
    marks a leaf.
    """

    kind: type | None
    keys: tuple[Any, ...]
    children: tuple[TreeDef, ...]

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return 1 if self.kind is None else sum(c.leaves for c in self.children)


_LEAF = TreeDef(None, (), ())


def flatten(tree: Any) -> tuple[list[Any], TreeDef]:
    """The leaves in order, and the structure that holds them."""
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> TreeDef:
    kind = type(tree)
    if isinstance(tree, dict):
        keys = tuple(tree)
        return TreeDef(dict, keys, tuple(_flatten(tree[k], leaves) for k in keys))
    if isinstance(tree, (tuple, list)):
        return TreeDef(kind, (), tuple(_flatten(t, leaves) for t in tree))
    leaves.append(tree)
    return _LEAF


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
    if treedef.kind is None:
        return next(leaves)
    children = [_unflatten(c, leaves) for c in treedef.children]
    if treedef.kind is dict:
        return dict(zip(treedef.keys, children, strict=True))
    if hasattr(treedef.kind, "_fields"):  # a named tuple takes its items one by one
        return treedef.kind(*children)
    return treedef.kind(children)


def tree_map(fn: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """`fn` applied leaf by leaf over one or more containers of the same structure.

    Raises:
        ArgumentError: the structures differ.
    """
    leaves, treedef = flatten(tree)
    others = []
    for other in rest:
        other_leaves, other_def = flatten(other)
        if other_def != treedef:
            raise ArgumentError("tree_map", "the containers' structures differ")
        others.append(other_leaves)
    return unflatten(treedef, [fn(*items) for items in zip(leaves, *others, strict=True)])


def leaf_names(tree: Any, prefix: str) -> list[str]:
    """A readable path for each leaf: `batch[0]['x']`."""
    if isinstance(tree, dict):
        return [n for k, t in tree.items() for n in leaf_names(t, f"{prefix}[{k!r}]")]
    if isinstance(tree, (tuple, list)):
        return [n for i, t in enumerate(tree) for n in leaf_names(t, f"{prefix}[{i}]")]
    return [prefix]
