"""Convolutions of 3 x 3 taps by Winograd's way, where that takes fewer cycles.

`conv2d(pad(x), w) -> conv2d_winograd(x, transform(w))`: 2.25 to 4 times fewer multiplications, for
two transforms of images and one of weights; the same for gradients of kernels. Constant weights are
transformed here, in float64; others in kernels of their own each time, which must pay. What pays is
estimated from sizes alone, with constants measured on kernels of 8 to 512 channels and 3 to 112
pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from pellucid import ops
from pellucid.core.dtype import float32
from pellucid.graph.ir import Graph, Node, Value
from pellucid.ops.conv import Pair
from pellucid.ops.conv_winograd import emit_winograd, transform_weights, transformed_weights
from pellucid.ops.winograd_gradient import emit_kernel_grad
from pellucid.ops.winograd_matrices import POINTS
from pellucid.ops.winograd_tiles import LANES, TAPS, group_of
from pellucid.passes.match import constant_array, ints, made_by
from pellucid.passes.pack_kernels import panel_of, unflipped
from pellucid.passes.rewrite import map_bodies, rewrite

FEWEST_LANES = 0.75  # of the vectors of a group of channels in use
GAIN = 0.9  # of the plain form's cycles, below which the change is worth its rounding
PER_CYCLE = 32  # multiply-adds of full vectors
PLAIN = 0.95  # of that, in the plain form
SPEED = 0.95  # of that, in products of points over many channels
ADDED = 16  # tiles whose time it takes to add sums of points to those before, and back to taps
START = 4  # channels whose time each tile of sums takes besides
TRANSFORM = {2: 40.0, 4: 110.0}  # cycles for a tile of a group of channels, there or back
NEAR_BYTES = 1 << 20  # of weights that stay in a second-level cache
PER_BYTE = (0.05, 0.13)  # cycles to read weights from there, and from farther away
FAR_BYTES = 12 << 20  # of a gradient's sums of points, which every block of tiles goes through
FIXED = 3000  # cycles to go from one phase to the next
WEIGHT = 0.4  # cycles to transform a tap's worth of weights, for a point


def run(graph: Graph) -> Graph:
    """The graph with every convolution that gains from it in Winograd's form."""
    return rewrite(map_bodies(graph, run), _transform)


def _transform(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name not in ("conv2d", "conv2d_kernel_grad"):
        return None
    kernel = node.outputs[0] if node.op.name == "conv2d_kernel_grad" else inputs[1]
    steps = (*ints(node, "stride"), *ints(node, "dilation"), node.attrs["groups"])
    plain = set(steps) == {1} and kernel.shape[2:] == (TAPS, TAPS) and kernel.dtype == float32
    if not plain or 0 in (*inputs[0].shape, *inputs[1].shape):
        return None
    return _convolution(node, *inputs) if node.op.name == "conv2d" else _gradient(*inputs)


def _gradient(x: Value, g: Value) -> Sequence[Value] | None:
    tile = best_gradient_tile(x.shape[0], x.shape[1], g.shape[1:])
    if not tile:
        return None
    image, low, high = _unpadded(x)
    return [emit_kernel_grad(image, g, tile=tile, low=low, high=high)]


def _convolution(node: Node, x: Value, w: Value) -> Sequence[Value] | None:
    array = constant_array(w)
    tile = best_tile(x.shape[0], x.shape[1], node.outputs[0].shape[1:], known=array is not None)
    if not tile:
        return None
    image, low, high = _unpadded(x)
    panel = panel_of(w.shape[0])
    if array is None:
        source = _layer(w)
        points = transform_weights(
            w if source is None else source, tile, panel, exchanged=source is not None
        )
    else:
        points = ops.constant(transformed_weights(array, tile, panel))
    return [emit_winograd(image, points, tile=tile, low=low, high=high)]


def _layer(w: Value) -> Value | None:
    """The layer's kernel whose channels are exchanged and taps reversed, where `w` is that."""
    source = unflipped(w)
    for name in ("reshape", "transpose", "reshape"):
        node = None if source is None else made_by(source, name)
        if node is None or (name == "transpose" and ints(node, "permutation") != (0, 2, 1, 3, 4)):
            return None
        source = node.inputs[0]
    exchanged = (w.shape[1], w.shape[0], *w.shape[2:])
    return source if source is not None and source.shape == exchanged else None


def _unpadded(x: Value) -> tuple[Value, Pair, Pair]:
    """The image without the zeros around it, and how many there are."""
    padding = made_by(x, "pad")
    if padding is not None and padding.attrs["value"] == 0 and 0 not in padding.inputs[0].shape:
        low, high, interior = (ints(padding, name) for name in ("low", "high", "interior"))
        if min(*low, *high) >= 0 and not any((*low[:2], *high[:2], *interior)):
            return padding.inputs[0], cast("Pair", low[2:]), cast("Pair", high[2:])
    return x, (0, 0), (0, 0)


def best_tile(images: int, channels: int, out: Sequence[int], *, known: bool) -> int:
    """The tile with the fewest cycles; 0 where the plain convolution has fewer.

    Args:
        images: of the batch.
        channels: of the input.
        out: channels, height and width of the result.
        known: whether the weights are constant.
    """
    outputs, height, width = out
    if not panel_of(outputs) or min(_filled(channels), _filled(outputs)) < FEWEST_LANES:
        return 0
    weights = TAPS**2 * channels * outputs
    sums = images * height * width * weights / PER_CYCLE / PLAIN
    plain = max(sums, _reading(weights))
    cycles = {
        tile: _cycles(tile, images * -(-height // tile) * -(-width // tile), channels, outputs)
        + (0 if known else WEIGHT * (tile + TAPS - 1) ** 2 * channels * outputs)
        for tile in POINTS
    }
    best = min(cycles, key=lambda tile: cycles[tile])
    return best if cycles[best] < GAIN * plain else 0


def best_gradient_tile(images: int, channels: int, out: Sequence[int]) -> int:
    """The tile with the fewest cycles for a kernel's gradient; 0 where the plain form has fewer.

    Args:
        images: of the batch.
        channels: of the input.
        out: channels, height and width of the result's gradient.
    """
    outputs, height, width = out
    if min(_filled(channels), _filled(outputs)) < FEWEST_LANES:
        return 0
    pairs = channels * outputs
    plain = images * height * width * TAPS**2 * pairs / PER_CYCLE / PLAIN
    cycles = {0: plain * GAIN}
    for tile in POINTS:
        points = (tile + TAPS - 1) ** 2 * pairs
        if points * float32.itemsize > FAR_BYTES:
            continue
        tiles = images * -(-height // tile) * -(-width // tile)
        groups = channels // group_of(channels) + outputs // group_of(outputs)
        products = points * (tiles + ADDED) / PER_CYCLE / SPEED
        cycles[tile] = products + tiles * groups * TRANSFORM[tile] + FIXED
    return min(cycles, key=lambda tile: cycles[tile])


def _filled(channels: int) -> float:
    return group_of(channels) / LANES


def _cycles(tile: int, tiles: int, channels: int, outputs: int) -> float:
    """An estimate, with transformed weights given."""
    weights = (tile + TAPS - 1) ** 2 * channels * outputs
    groups = channels // group_of(channels) + outputs // group_of(outputs)
    speed = SPEED * channels / (channels + START)
    products = max(tiles * weights / PER_CYCLE / speed, _reading(weights))
    return products + tiles * groups * TRANSFORM[tile] + FIXED


def _reading(weights: int) -> float:
    """Cycles in which so many weights can be read."""
    size = weights * float32.itemsize
    return size * PER_BYTE[size > NEAR_BYTES]
