"""Let convolutions of single channels pad for themselves.

`conv2d(pad(x), w) -> conv2d_padded(x, w)` where each channel has its own kernel: there the sums are
so short that writing a padded image and reading it back takes longer than they do. Others read
each pixel for many channels, so that padding it once beforehand is cheapest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pellucid.graph.ir import Graph, Node, Value
from pellucid.ops.conv import Pair
from pellucid.ops.conv_padded import emit_padded
from pellucid.passes.match import ints, made_by
from pellucid.passes.rewrite import map_bodies, rewrite

MOST_TAPS = 64  # of a kernel: longer sums are worth a padded image


def run(graph: Graph) -> Graph:
    """The graph with every such pair of nodes as one."""
    return rewrite(map_bodies(graph, run), _absorb)


def _absorb(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name != "conv2d":
        return None
    x, w = inputs
    padding, channels = made_by(x, "pad"), x.shape[1]
    alone = w.shape[:2] == (channels, 1) and node.attrs["groups"] == channels > 1
    if padding is None or not alone or w.shape[2] * w.shape[3] > MOST_TAPS:
        return None
    low, high, interior = (ints(padding, name) for name in ("low", "high", "interior"))
    if any((*low[:2], *high[:2], *interior)) or padding.attrs["value"] != 0 or x.type.size == 0:
        return None
    if 0 in padding.inputs[0].shape:
        return None
    stride, dilation = (cast("Pair", node.attrs[name]) for name in ("stride", "dilation"))
    return [
        emit_padded(
            padding.inputs[0], w, low=(low[2], low[3]), high=(high[2], high[3]),
            stride=stride, dilation=dilation, groups=cast("int", node.attrs["groups"]),
        )
    ]  # fmt: skip
