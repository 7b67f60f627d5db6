"""Do not compute what a slice throws away: slices of convolutions become slices of their images.

`slice(conv2d(x, w)) -> conv2d(slice(x), w)`, and `slice(pad(x)) -> pad(x)` with less around it.
Backward passes ask for this: the gradient of a padded image is cut to the image, and the edges of
small images are much of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import cast

from pellucid import ops
from pellucid.core.size import is_static
from pellucid.graph.ir import Graph, Node, Value, emit
from pellucid.ops.conv import Pair, spread
from pellucid.passes.match import ints, made_by
from pellucid.passes.rewrite import Rule, map_bodies, rewrite_until_stable, use_counts


def run(graph: Graph) -> Graph:
    """The graph with slices moved above the convolutions and paddings whose edges they cut off."""
    return rewrite_until_stable(map_bodies(graph, run), _rule)


def _rule(graph: Graph) -> Rule:
    uses = use_counts(graph)

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        if node.op.name != "slice" or any(s != 1 for s in ints(node, "step")):
            return None
        return _narrowed(node, inputs[0], uses)

    return rule


def _narrowed(node: Node, value: Value, uses: Counter[Value]) -> Sequence[Value] | None:
    conv, padding = made_by(value, "conv2d"), made_by(value, "pad")
    if conv is not None and uses[node.inputs[0]] == 1:
        return _convolution(node, conv)
    return None if padding is None else _padding(node, padding)


def _convolution(node: Node, conv: Node) -> Sequence[Value] | None:
    """The convolution of the part of the image that the slice's windows see."""
    (x, w), y = conv.inputs, conv.outputs[0]
    start, stop = ints(node, "start"), ints(node, "stop")
    if (start[1], stop[1]) != (0, y.shape[1]) or node.outputs[0].type.size == 0:
        return None
    low, high = [start[0], 0], [stop[0], x.shape[1]]
    stride, dilation = (cast("Pair", conv.attrs[name]) for name in ("stride", "dilation"))
    for axis, (step, hop) in enumerate(zip(stride, dilation, strict=True), 2):
        low.append(start[axis] * step)
        high.append((stop[axis] - 1) * step + spread(w.shape[axis], hop))
    return [emit(conv.op, ops.slice_(x, low, high), w, **conv.attrs)]


def _padding(node: Node, padding: Node) -> Sequence[Value] | None:
    """The padding of the part of the operand that is left, as far as the slice reaches beyond."""
    (x,) = padding.inputs
    if node.outputs[0].type.size == 0:
        return None
    if any(ints(padding, "interior")):
        return _around_holes(node, padding)
    start, stop = ints(node, "start"), ints(node, "stop")
    before = ints(padding, "low")
    ends = [a + n for a, n in zip(before, x.shape, strict=True)]
    sides = list(zip(start, stop, before, ends, strict=True))
    if any((s, t) != (a, e) for s, t, a, e in sides if not is_static(s, t, a, e)):
        return None  # where an open axis ends is not known
    if any(s >= e or t <= a for s, t, a, e in sides if is_static(s, t, a, e)):
        return None  # nothing of the operand is left on some axis
    low = [max(0, a - s) for a, s in zip(before, start, strict=True)]
    high = [max(0, t - e) for t, e in zip(stop, ends, strict=True)]
    first = [max(0, s - a) for s, a in zip(start, before, strict=True)]
    last = [n - max(0, e - t) for n, e, t in zip(x.shape, ends, stop, strict=True)]
    value = padding.attrs["value"]
    return [ops.pad(ops.slice_(x, first, last), low, high, value=cast("float", value))]


def _around_holes(node: Node, padding: Node) -> Sequence[Value] | None:
    """Less around an operand that gets holes, where the slice cuts off nothing of the operand."""
    start, stop, low = ints(node, "start"), ints(node, "stop"), ints(padding, "low")
    size, value = padding.outputs[0].shape, padding.attrs["value"]
    if not is_static(start, stop, size):
        return None
    before = [a - s for a, s in zip(low, start, strict=True)]
    parts = zip(ints(padding, "high"), size, stop, strict=True)
    behind = [b - (n - t) for b, n, t in parts]
    if min(*before, *behind) < 0:
        return None
    holes = ints(padding, "interior")
    x = padding.inputs[0]
    return [ops.pad(x, before, behind, interior=holes, value=cast("float", value))]
