"""The gradient tape of eager execution: which program made a tensor, from what.

Backward runs each program's vjp graph, the same rules that `grad` uses on whole functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pellucid.core.errors import GradientError
from pellucid.tensor.box import Array, Box
from pellucid.tensor.program import Program

Edge = tuple["TapeNode", int] | Box | None


class TapeNode:
    """One run of a program: the arrays it read and wrote, and where each input came from."""

    __slots__ = ("edges", "inputs", "outputs", "program")

    def __init__(
        self,
        program: Program,
        inputs: Sequence[Array],
        edges: tuple[Edge, ...],
        outputs: Sequence[Array],
    ) -> None:
        self.program, self.inputs, self.edges, self.outputs = program, inputs, edges, outputs


def edge_of(box: Box) -> Edge:
    """Where a gradient that reaches `box` goes: the node that made it, the leaf, or nowhere."""
    if box._edge is not None:
        return box._edge
    return box if box.requires_grad else None


def record(
    program: Program, boxes: Sequence[Box], arrays: Sequence[Array], results: Sequence[Box]
) -> None:
    """Put one run of `program` on the tape if any input leads to a leaf that wants a gradient."""
    edges = tuple(edge_of(b) if b.dtype.is_inexact else None for b in boxes)
    if all(e is None for e in edges):
        return
    node = TapeNode(program, arrays, edges, [_array(r) for r in results])
    for i, result in enumerate(results):
        if result.dtype.is_inexact:
            result._edge = (node, i)
            result.requires_grad = True


def _array(box: Box) -> Array:
    if box._array is None:
        raise GradientError("backward", "a traced tensor cannot be on the eager tape")
    return box._array


Gradients = dict[tuple[TapeNode, int], Any]


def gradients(
    outputs: Sequence[Box],
    cotangents: Sequence[Box],
    run: Callable[[Program, list[Box]], Sequence[Box]],
    add: Callable[[Box, Box], Box],
) -> dict[Box, Box]:
    """The gradient of `sum(output * cotangent)` for every leaf the outputs depend on.

    Args:
        outputs: tensors on the tape.
        cotangents: one per output, of its shape and dtype.
        run: runs a vjp program on tensors (recording it again when a higher derivative is wanted).
        add: adds two tensors.

    Raises:
        GradientError: a leaf was overwritten after it was read.
    """
    pending: Gradients = {}
    leaves: dict[Box, Box] = {}

    def send(edge: Edge, grad: Box) -> None:
        if isinstance(edge, tuple):
            pending[edge] = add(pending[edge], grad) if edge in pending else grad
        elif edge is not None:
            leaves[edge] = add(leaves[edge], grad) if edge in leaves else grad

    for output, cotangent in zip(outputs, cotangents, strict=True):
        send(edge_of(output), cotangent)
    for node in _reverse_order([e[0] for o in outputs if isinstance(e := edge_of(o), tuple)]):
        for edge, grad in _backward_one(node, pending, run):
            send(edge, grad)
    return leaves


def _backward_one(
    node: TapeNode, pending: Gradients, run: Callable[[Program, list[Box]], Sequence[Box]]
) -> list[tuple[Edge, Box]]:
    given = {i: pending.pop((node, i)) for i in range(len(node.outputs)) if (node, i) in pending}
    if not given:
        return []
    wrt = tuple(i for i, e in enumerate(node.edges) if e is not None)
    plain = next(iter(given.values())).plain
    inputs = [_revive(a, e, plain) for a, e in zip(node.inputs, node.edges, strict=True)]
    outputs = [_revive(a, (node, i), plain) for i, a in enumerate(node.outputs)]
    grads = run(node.program.vjp(wrt, tuple(given)), [*inputs, *outputs, *given.values()])
    return [(node.edges[i], g) for i, g in zip(wrt, grads, strict=True)]


def _revive(array: Array, edge: Edge, plain: Callable[[Array], Box]) -> Box:
    """A tensor for a saved array, tied to the tape where it came from."""
    if isinstance(edge, Box) and edge._array is array:
        return edge
    box = plain(array)
    if isinstance(edge, tuple):
        box._edge = edge
        box.requires_grad = True
    return box


def _reverse_order(roots: Sequence[TapeNode]) -> list[TapeNode]:
    """Every reachable node, consumers before producers (iterative depth-first post-order)."""
    order: list[TapeNode] = []
    seen: set[int] = set()
    stack: list[tuple[TapeNode, bool]] = [(n, False) for n in roots]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            stack.append((node, True))
            stack.extend((e[0], False) for e in node.edges if isinstance(e, tuple))
    return order[::-1]
