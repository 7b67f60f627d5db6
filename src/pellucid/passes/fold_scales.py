"""Fold constant scales and shifts into the literal weights of the product beside them.

```
mul(conv2d(x, w), s)         -> conv2d(x, w * s)                 s per output channel
mul(add(conv2d(x, w), a), s) -> add(conv2d(x, w * s), a * s)
dot_general(add(mul(x, s), a), w) -> add(dot_general(x, s * w), dot_general(a, w))
```
So batch normalisation with fixed statistics goes into the layer before it, and the affine part of a
layer norm into the one behind. The weights must be literals: inputs may change. Nothing is folded
that something else reads too, nor where new weights overflow. Results are rounded in another order,
as if the model had been written so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pellucid import ops
from pellucid.graph.ir import Graph, Node, Value, emit
from pellucid.ops.movement import PAD
from pellucid.passes.match import constant_array, made_by
from pellucid.passes.rewrite import map_bodies, rewrite_until_stable, use_counts
from pellucid.passes.weighted import Array, Weighted, weighted


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """What a node with one literal operand does to the other: `value * scale + shift`, or with
    `divides`, `value / scale`.
    """

    value: Value
    scale: Array | None = None
    shift: Array | None = None
    divides: bool = False

    def applied(self, array: Array) -> Array:
        """`array` times the scale, by the operation that is there."""
        return self.by(array, self.scale)

    def by(self, array: Array, scale: Array | None) -> Array:
        """`array` times another form of the scale."""
        if scale is None:
            return array
        return array / scale if self.divides else array * scale


def _known(value: Value) -> Array | None:
    """The literal that `value` is or repeats, with as many axes as it has."""
    repeat = made_by(value, "broadcast_to")
    array = constant_array(value if repeat is None else repeat.inputs[0])
    return None if array is None else array.reshape((1,) * (value.rank - array.ndim) + array.shape)


def _step(node: Node | None, operands: Sequence[Value]) -> Step | None:
    """The step a node is, on these operands; None where it is none."""
    if node is None or node.op.name not in ("add", "sub", "mul", "div"):
        return None
    (x, y), (a, b) = operands, map(_known, operands)
    if (a is None) == (b is None):
        return None
    match node.op.name:
        case "add":
            return Step(x, shift=b) if a is None else Step(y, shift=a)
        case "mul":
            return Step(x, scale=b) if a is None else Step(y, scale=a)
        case "sub" if b is not None:
            return Step(x, shift=-b)
        case "sub" if a is not None:
            return Step(y, scale=np.full((1,) * a.ndim, -1, a.dtype), shift=a)
        case "div" if b is not None:
            return Step(x, scale=b, divides=True)
    return None


class _Folding:
    """The rule, and what it must know of the graph before: how often each value was read."""

    def __init__(self, counts: Counter[Value]) -> None:
        self.counts = counts
        self.before: dict[Value, Value] = {}

    def rule(self, node: Node, operands: tuple[Value, ...]) -> Sequence[Value] | None:
        """Fold `node` into the product above it, or into `node` what is above it."""
        self.before.update(zip(operands, node.inputs, strict=True))
        if len(node.outputs) != 1 or not node.outputs[0].dtype.is_float:
            return None
        if node.outputs[0].dtype.bits < 32:
            return None  # new weights would round where old ones did not
        with np.errstate(all="ignore"):
            step = _step(node, operands)
            made = self._above(step) if step is not None else self._below(node, operands)
        return None if made is None else [made]

    def _alone(self, value: Value) -> bool:
        """Whether a value is read once; one that this walk has made is."""
        before = self.before.get(value)
        return before is None or self.counts[before] == 1

    def _above(self, step: Step) -> Value | None:
        """A step on a product, with perhaps a shift between, as a product with a shift."""
        value, shift = step.value, None
        inner = None if value.node is None else _step(value.node, value.node.inputs)
        if inner is not None and inner.scale is None:
            if not self._alone(value):
                return None
            value, shift = inner.value, inner.shift
        product = weighted(value.node)
        if product is None or not self._alone(value) or (step.scale is None and shift is None):
            return None
        scale = None if step.scale is None else product.scale_of_result(step.scale)
        if (step.scale is None) != (scale is None):
            return None
        shifts = [x for x in (None if shift is None else step.applied(shift), step.shift)
                  if x is not None]  # fmt: skip
        total = sum(shifts[1:], shifts[0]) if shifts else None
        if total is not None and total.size > max(x.size for x in shifts):
            return None  # one along rows, one along columns
        return _remade(product, step.by(product.weights, scale), total)

    def _below(self, node: Node, operands: tuple[Value, ...]) -> Value | None:
        """A product of what a step has changed, as a product of what it was before, and a shift."""
        product = weighted(node, operands)
        if product is None:
            return None
        padding = _zero_padding(product)
        value = product.other if padding is None else padding.inputs[0]
        step = None if value.node is None else _step(value.node, value.node.inputs)
        if step is None or not (self._alone(product.other) and self._alone(value)):
            return None
        if step.scale is None and weighted(step.value.node) is not None:
            return None  # a bias is free where it is
        scale = None if step.scale is None else product.scale_of_other(step.scale)
        shift = None if step.shift is None else product.product_with(step.shift)
        if (step.scale is None) != (scale is None) or (step.shift is None) != (shift is None):
            return None
        if padding is not None and shift is not None:
            return None  # the zeros around are not shifted
        weights = step.by(product.weights, scale)
        inner = step.value if padding is None else emit(PAD, step.value, **padding.attrs)
        return _remade(product, weights, shift, inner)


def _zero_padding(product: Weighted) -> Node | None:
    node = made_by(product.other, "pad")
    return node if node is not None and node.attrs["value"] == 0 else None


def _remade(
    product: Weighted, weights: Array, shift: Array | None, other: Value | None = None
) -> Value | None:
    """The product of these weights, shifted; None where one of the numbers is none."""
    if not np.isfinite(weights).all() or not (shift is None or np.isfinite(shift).all()):
        return None
    made = product.remade(weights.astype(product.weights.dtype, copy=False), other)
    if shift is None:
        return made
    literal = ops.constant(shift.astype(product.weights.dtype, copy=False))
    return ops.add(made, ops.broadcast_to(literal, made.shape))


def run(graph: Graph) -> Graph:
    """`graph` with every scale and shift folded that can be, in nested graphs too."""
    return rewrite_until_stable(map_bodies(graph, run), lambda g: _Folding(use_counts(g)).rule)
