"""What a checkpoint keeps: policies, which look at the nodes of the function that was recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pellucid import ops
from pellucid.core.errors import ArgumentError, did_you_mean
from pellucid.graph.ir import Node
from pellucid.tensor.box import STATE
from pellucid.tensor.dispatch import apply
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.tree import tree_map

Policy = Callable[[Node], bool]


def _is_product(node: Node) -> bool:
    return node.op.name.startswith(("dot_general", "conv2d"))


def _is_plain_product(node: Node) -> bool:
    return node.op.name == "dot_general" and node.attrs["batch"] == ((), ())


POLICIES: dict[str, Policy] = {
    "nothing": lambda node: False,
    "everything": lambda node: True,
    "dots": _is_product,
    "dots_without_batch": _is_plain_product,
}
"""Policies by name."""


def keep_names(*names: str) -> Policy:
    """Keep the values that `checkpoint_name` gave one of these names, and compute all else again.

    Raises:
        ArgumentError: a name is no string.
    """
    for name in names:
        if not isinstance(name, str):
            raise ArgumentError("keep_names", "names are strings", operands={"it": repr(name)})
    return lambda node: node.op.name == "checkpoint_name" and node.attrs["name"] in names


def policy_for(policy: str | Policy) -> Policy:
    """A policy by name, or as it is.

    Raises:
        ArgumentError: there is none of that name.
    """
    if callable(policy):
        return policy
    if not isinstance(policy, str) or policy not in POLICIES:
        known = list(POLICIES)
        raise ArgumentError(
            "checkpoint",
            f"policy is one of {known}, keep_names(...), or a function of a node",
            operands={"policy": repr(policy)},
            fix=did_you_mean(str(policy), known),
        )
    return POLICIES[policy]


def checkpoint_name(x: Any, name: str) -> Any:
    """`x`, or each tensor in it, under a name that `keep_names` can ask for.

    Args:
        x: a tensor or a container of them.
        name: any string.
    """

    def one(leaf: Any) -> Any:
        if STATE.trace is None or not isinstance(leaf, (Tensor, np.ndarray)):
            return leaf
        tensor = leaf if isinstance(leaf, Tensor) else Tensor(leaf)
        named: Tensor = apply(ops.checkpoint_name, tensor, name)
        return named

    return tree_map(one, x)
