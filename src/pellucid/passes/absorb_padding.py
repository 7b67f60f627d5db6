"""Let convolutions of single channels pad for themselves.

`conv2d(pad(x), w) -> conv2d_padded(x, w)` where each channel has its own kernel, and the same for
the kernel's gradient: there the sums are so short that writing a padded image and reading it back
takes longer than they do. Others read each pixel for many channels, so that padding it once
beforehand is cheapest. Zeros between pixels, from a stride's gradient, are left out altogether
(`conv2d_spread`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.graph.ir import Attrs, Graph, Node, Value, emit
from pellucid.ops.conv_padded import CONV2D_PADDED, CONV2D_PADDED_KERNEL_GRAD
from pellucid.ops.conv_spread import CONV2D_SPREAD
from pellucid.ops.movement import slice_
from pellucid.passes.match import ints, made_by
from pellucid.passes.rewrite import map_bodies, rewrite

MOST_TAPS = 64  # of a kernel: longer sums are worth a padded image
MOST_STEP = 4  # from pixel to pixel: results further apart are stored one by one


def run(graph: Graph) -> Graph:
    """The graph with every such pair of nodes as one."""
    return rewrite(map_bodies(graph, run), _absorb)


def _absorb(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name not in ("conv2d", "conv2d_kernel_grad"):
        return None
    x, channels = inputs[0], inputs[0].shape[1]
    w = inputs[1].shape if node.op.name == "conv2d" else node.outputs[0].shape
    alone = w[:2] == (channels, 1) and node.attrs["groups"] == channels > 1
    padding = made_by(x, "pad")
    if padding is None or not alone or w[2] * w[3] > MOST_TAPS:
        return None
    low, high, interior = (ints(padding, name) for name in ("low", "high", "interior"))
    if any((*low[:2], *high[:2], *interior[:2])) or padding.attrs["value"] != 0 or x.type.size == 0:
        return None
    if 0 in padding.inputs[0].shape:
        return None
    if any(interior):
        return _spread(node, padding)
    made = CONV2D_PADDED if node.op.name == "conv2d" else CONV2D_PADDED_KERNEL_GRAD
    attrs: Attrs = {"low": low[2:], "high": high[2:], **node.attrs}
    return [emit(made, padding.inputs[0], inputs[1], **attrs)]


def _spread(node: Node, padding: Node) -> Sequence[Value] | None:
    """A convolution of pixels with holes between them, whole steps of it and the rest cut off."""
    same = all(node.attrs.get(name) == (1, 1) for name in ("stride", "dilation"))
    low, high, interior = (ints(padding, name)[2:] for name in ("low", "high", "interior"))
    step, sizes = tuple(n + 1 for n in interior), node.outputs[0].shape
    if node.op.name != "conv2d" or not same or max(step) > MOST_STEP:
        return None
    more = [-n % s for n, s in zip(sizes[2:], step, strict=True)]
    behind = tuple(b + m for b, m in zip(high, more, strict=True))
    attrs: Attrs = {"low": low, "high": behind, "step": step, "groups": node.attrs["groups"]}
    y = emit(CONV2D_SPREAD, padding.inputs[0], node.inputs[1], **attrs)
    return [slice_(y, (0,) * 4, sizes) if any(more) else y]
