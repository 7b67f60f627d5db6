"""Runs a graph node by node with each record's NumPy reference: the oracle for every pass and
target.

Enters: a `Graph` and arrays. Leaves: arrays, which may share memory with the inputs and must be
treated as read-only. Every result is checked against the type the graph states. A value is dropped
after its last use.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.errors import ArgumentError, VerifyError
from pellucid.graph.ir import Graph, Node, TensorType, Value
from pellucid.graph.stats import last_uses

FEW_NODES = 4
"""Graphs of up to this many nodes keep all values to the end."""

Observer = Callable[[Node, tuple[NDArray[Any], ...]], None]


def interpret(
    graph: Graph, *arrays: NDArray[Any], observe: Observer | None = None
) -> tuple[NDArray[Any], ...]:
    """The graph's outputs for these inputs.

    Args:
        graph: the program.
        arrays: one array per graph input, of its shape and dtype.
        observe: called after each node with its output arrays.

    Returns:
        One array per graph output, of its shape and dtype.

    Raises:
        ArgumentError: the arrays do not fit the inputs.
        VerifyError: a reference gave another shape or dtype than the graph states.
    """
    env = _bind(graph, arrays)
    # a few values may as well live to the end; finding out when each dies would cost more
    dead = last_uses(graph) if len(graph.nodes) > FEW_NODES else [()] * len(graph.nodes)
    with np.errstate(all="ignore"):
        for node, dying in zip(graph.nodes, dead, strict=True):
            results = _run(node, [env[v] for v in node.inputs])
            env.update(zip(node.outputs, results, strict=True))
            if observe is not None:
                observe(node, results)
            for value in dying:
                del env[value]
    return tuple(env[v] for v in graph.outputs)


def _bind(graph: Graph, arrays: tuple[NDArray[Any], ...]) -> dict[Value, NDArray[Any]]:
    if len(arrays) != len(graph.inputs):
        raise ArgumentError(
            graph.name, f"takes {len(graph.inputs)} arrays", operands={"count": len(arrays)}
        )
    env = {}
    for value, array in zip(graph.inputs, map(np.asarray, arrays), strict=True):
        env[value] = array
        if array.shape != value.type.shape or array.dtype != value.type.dtype.numpy:
            given = f"{array.dtype}{list(array.shape)}"
            raise ArgumentError(graph.name, f"input {value!r} does not fit", operands={"it": given})
    return env


def _run(node: Node, arrays: list[NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    raw = node.op.reference(*arrays, **node.attrs)
    results = tuple(map(np.asarray, raw)) if isinstance(raw, tuple) else (np.asarray(raw),)
    if len(results) != len(node.outputs):
        raise VerifyError(
            node.op.name, f"the reference gave {len(results)} results, not {len(node.outputs)}",
            source=node.source,
        )  # fmt: skip
    for value, array in zip(node.outputs, results, strict=True):
        _check(node, value.type, array)
    return results


def _check(node: Node, type: TensorType, array: NDArray[Any]) -> None:
    if array.shape != type.shape or array.dtype != type.dtype.numpy:
        raise VerifyError(
            node.op.name, f"the reference must give {type}",
            operands={"it": f"{array.dtype}{list(array.shape)}"}, source=node.source,
        )  # fmt: skip
