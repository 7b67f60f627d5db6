"""Nested containers of tensors (pytrees): what `jit`, `grad`, `vmap` and `scan` take and return.

Containers are tuples, named tuples, lists, dicts, deques and registered classes; `None` and
everything else is a leaf. Leaves of a mapping come in its insertion order.
"""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable
from typing import Any

from pellucid.tensor.tree import (
    Predicate,
    TreeDef,
    flatten,
    flatten_like,
    leaf_paths,
    unflatten,
)
from pellucid.tensor.tree import tree_map as map  # used as tree.map
from pellucid.tensor.tree_register import (
    register_dataclass,
    register_pytree_node,
    register_pytree_node_class,
)

__all__ = [
    "TreeDef",
    "all",
    "any",
    "flatten",
    "flatten_with_path",
    "leaves",
    "map",
    "map_with_path",
    "paths",
    "reduce",
    "register_dataclass",
    "register_pytree_node",
    "register_pytree_node_class",
    "structure",
    "transpose",
    "unflatten",
]
_NOTHING = object()


def leaves(tree: Any, is_leaf: Predicate | None = None) -> list[Any]:
    """The leaves in order."""
    return flatten(tree, is_leaf)[0]


def structure(tree: Any, is_leaf: Predicate | None = None) -> TreeDef:
    """What holds the leaves; hashable, and equal for containers built alike."""
    return flatten(tree, is_leaf)[1]


def paths(tree: Any, is_leaf: Predicate | None = None) -> list[str]:
    """For each leaf, how to get there: `[0]['x'].weight`."""
    return leaf_paths(flatten(tree, is_leaf)[1])


def flatten_with_path(
    tree: Any, is_leaf: Predicate | None = None
) -> tuple[list[tuple[str, Any]], TreeDef]:
    """Pairs of path and leaf, and the structure."""
    found, treedef = flatten(tree, is_leaf)
    return list(zip(leaf_paths(treedef), found, strict=True)), treedef


def map_with_path(
    fn: Callable[..., Any], tree: Any, *rest: Any, is_leaf: Predicate | None = None
) -> Any:
    """As `map`; `fn` gets each leaf's path first.

    Raises:
        ArgumentError: the structures differ.
    """
    found, treedef = flatten(tree, is_leaf)
    others = [flatten_like(treedef, other, "tree.map_with_path", is_leaf) for other in rest]
    items = zip(leaf_paths(treedef), found, *others, strict=True)
    return unflatten(treedef, [fn(*item) for item in items])


def reduce(
    fn: Callable[[Any, Any], Any],
    tree: Any,
    initial: Any = _NOTHING,
    is_leaf: Predicate | None = None,
) -> Any:
    """The leaves combined from left to right, after `initial` if there is one."""
    found = leaves(tree, is_leaf)
    return functools.reduce(fn, found, *(() if initial is _NOTHING else (initial,)))


def all(tree: Any) -> bool:  # used as tree.all
    """Whether every leaf is true."""
    return builtins.all(leaves(tree))


def any(tree: Any) -> bool:  # used as tree.any
    """Whether any leaf is true."""
    return builtins.any(leaves(tree))


def transpose(outer: TreeDef, inner: TreeDef, tree: Any) -> Any:
    """A container of containers turned inside out.

    before: `outer` of `inner`, as `[{'x': 1}, {'x': 2}]` -> after: `{'x': [1, 2]}`.

    Raises:
        ArgumentError: the number of leaves does not fit.
    """
    found, width = leaves(tree), inner.leaves
    columns = [unflatten(outer, found[i::width]) for i in range(width)]
    return unflatten(inner, columns)
