"""Products with literal weights: how a scale of the result, or of the other operand, acts on them.

Enters a node of the graph being rebuilt; leaves `Weighted`, or None for any other node. Scales and
shifts are arrays of as many axes as what they belong to, with size 1 along axes they are equal on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid import ops
from pellucid.graph.ir import Node, Value, current_builder, emit
from pellucid.ops.conv import spread
from pellucid.passes.match import constant_array, ints
from pellucid.passes.rules_contraction import Side, sides

Array = NDArray[Any]
_WEIGHTED = ("conv2d", "dot_general")


@dataclass(frozen=True, slots=True, eq=False)
class Weighted:
    """A contraction or convolution one of whose operands is a literal.

    Attributes:
        node: its op and attributes.
        operands: what it is applied to.
        place: which of them the weights are.
        weights: the literal.
    """

    node: Node
    operands: tuple[Value, ...]
    place: int
    weights: Array

    @property
    def other(self) -> Value:
        """The operand that is no literal."""
        return self.operands[1 - self.place]

    def scale_of_result(self, scale: Array) -> Array | None:
        """What to multiply the weights by for the result to be multiplied by `scale`; None where
        it differs along axes that the weights do not have.
        """
        return _carried(scale, self._result_axes(), self.weights.ndim)

    def scale_of_other(self, scale: Array) -> Array | None:
        """What to multiply the weights by for the other operand to be multiplied by `scale`."""
        if self.node.op.name == "conv2d":
            return self._by_group(scale)
        mine, other = self._sides()
        pairs = zip((*mine.contract, *mine.batch), (*other.contract, *other.batch), strict=True)
        return _carried(scale, dict(pairs), self.weights.ndim)

    def product_with(self, shift: Array) -> Array | None:
        """The result where the other operand is `shift` everywhere; None where that differs along
        axes that the result keeps.
        """
        if self.scale_of_other(shift) is None:
            return None
        operands = [self._whole(shift), self.weights]
        left, right = operands if self.place else operands[::-1]
        return np.asarray(self.node.op.reference(left, right, **self.node.attrs))

    def remade(self, weights: Array, other: Value | None = None) -> Value:
        """The product of other weights, and of another operand where one is given."""
        literal, name = ops.constant(weights), self.operands[self.place].name
        literal.name = current_builder().unique(f"{name.partition('_scaled')[0]}_scaled")
        operands = [self.other if other is None else other, literal]
        left, right = operands if self.place else operands[::-1]
        return emit(self.node.op, left, right, **self.node.attrs)

    def _sides(self) -> tuple[Side, Side]:
        """The axes of the weights, and those of the other operand."""
        both = sides(self.node, self.operands)
        return both[self.place], both[1 - self.place]

    def _result_axes(self) -> Mapping[int, int]:
        """For each axis of the weights that the result has, which one that is."""
        if self.node.op.name == "conv2d":
            return {0: 1}
        mine, other = self._sides()
        first = len(mine.batch) + (len(other.free) if self.place else 0)
        kept = {axis: first + k for k, axis in enumerate(mine.free)}
        return kept | {axis: k for k, axis in enumerate(mine.batch)}

    def _by_group(self, scale: Array) -> Array | None:
        """A scale of input channels; each group of filters sees its own."""
        if scale.size != scale.shape[1]:
            return None
        if scale.size == 1:
            return scale
        groups, per_group = self.node.attrs["groups"], self.weights.shape[1]
        rows = scale.reshape(-1, per_group)
        return np.repeat(rows, self.weights.shape[0] // int(str(groups)), axis=0)[:, :, None, None]

    def _whole(self, shift: Array) -> Array:
        """`shift` along all axes that are summed over, once along the others."""
        shape = list(shift.shape)
        if self.node.op.name == "conv2d":
            steps = ints(self.node, "dilation")
            spans = [spread(k, d) for k, d in zip(self.weights.shape[2:], steps, strict=True)]
            return np.broadcast_to(shift, (1, self.other.shape[1], *spans))
        _, other = self._sides()
        for axis in (*other.contract, *other.batch):
            shape[axis] = self.other.shape[axis]
        return np.broadcast_to(shift, shape)


def weighted(node: Node | None, operands: tuple[Value, ...] | None = None) -> Weighted | None:
    """The product that `node` is, on these operands or its own, if just one of them is a literal;
    of a convolution, the kernel.
    """
    if node is None or node.op.name not in _WEIGHTED:
        return None
    operands = node.inputs if operands is None else operands
    first, second = map(constant_array, operands)
    if second is not None and first is None:
        return Weighted(node, operands, 1, second)
    if first is not None and second is None and node.op.name != "conv2d":
        return Weighted(node, operands, 0, first)
    return None


def _carried(scale: Array, axes: Mapping[int, int], rank: int) -> Array | None:
    """`scale` with its axis `axes[a]` at `a`, size 1 elsewhere; None if another axis is longer."""
    rest = [a for a in range(scale.ndim) if a not in axes.values()]
    if any(scale.shape[a] != 1 for a in rest):
        return None
    order = [axes[a] for a in sorted(axes)]
    shape = [scale.shape[axes[a]] if a in axes else 1 for a in range(rank)]
    return scale.transpose(order + rest).reshape(shape)
