"""The rows a group of nodes shares: which axes of each value run together in one outer nest.

A softmax over the last axis of `f32[64, 10]`: the reductions leave `[64]`, so rows are axis 0 of
every value, and one pass over the rows can compute everything. A contraction with its epilogue is
the same thing with every output element a row; a chain of elementwise ops likewise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pellucid.core.shape import Shape
from pellucid.graph.ir import Node, Value
from pellucid.passes.access import Access, Template, reduces, solid_axes

Axes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RowSpace:
    """Sizes of the shared loops and, per value, which of its axes they are (in that order)."""

    shape: Shape
    axes: Mapping[Value, Axes]


def row_space(
    nodes: Sequence[Node], templates: Mapping[Node, Template], outputs: Sequence[Value]
) -> RowSpace | None:
    """The rows of a group, or None where its values do not share any.

    Args:
        nodes: pointwise and reduction nodes in topological order.
        templates: their formulas.
        outputs: the values to be stored.

    Returns:
        Axes for every output, every reduction and everything computed from one, and for the other
        values where all their readers agree. Size-1 axes never are rows.
    """
    seeds = [n.outputs[0] for n in nodes if reduces(templates[n])] or list(outputs)
    shape = _solid_shape(seeds[0])
    if any(_solid_shape(v) != shape for v in seeds):
        return None
    axes: dict[Value, Axes] = {v: solid_axes(v) for v in seeds}
    for node in nodes:
        if not _forward(node, templates[node], axes, shape):
            return None
    for node in reversed(nodes):
        _backward(node, templates[node], axes, shape)
    return RowSpace(shape, axes) if all(v in axes for v in outputs) else None


def _solid_shape(value: Value) -> Shape:
    return tuple(n for n in value.shape if n != 1)


def _forward(node: Node, made: Template, axes: dict[Value, Axes], shape: Shape) -> bool:
    out = node.outputs[0]
    for access in made.accesses:
        value = node.inputs[access.input]
        if value not in axes:
            continue
        found = _read_axes(access, axes[value])
        if found is None or tuple(out.shape[a] for a in found) != shape:
            return False
        if axes.setdefault(out, found) != found:
            return False
    return True


def _read_axes(access: Access, axes: Axes) -> Axes | None:
    found = [access.plain[a] for a in axes]
    if None in found or len(set(found)) != len(found):
        return None
    return tuple(a for a in found if a is not None)


def _backward(node: Node, made: Template, axes: dict[Value, Axes], shape: Shape) -> None:
    rows = axes.get(node.outputs[0])
    if rows is None:
        return
    for access in made.accesses:
        value = node.inputs[access.input]
        found = _needed_axes(access, rows)
        if found is None or tuple(value.shape[a] for a in found) != shape:
            continue
        axes.setdefault(value, found)


def _needed_axes(access: Access, rows: Axes) -> Axes | None:
    plain = access.plain
    if any(plain.count(row) != 1 for row in rows):
        return None
    return tuple(plain.index(row) for row in rows)
