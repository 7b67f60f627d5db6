"""Put the kernels of convolutions in panels of output channels, where channels are better lanes.

`conv2d(x, w) -> conv2d_packed(x, transpose(w))`: the lanes of a vector are output channels, and
each of them reads the same pixel. Nothing depends on the width of the image, its stride or its
holes, which is what lanes along a row of pixels suffer from: rows of 7 or 14 fill vectors of 16
badly, and every second pixel is a shuffle. A constant kernel is packed now and costs nothing at
run time; another one is packed in a kernel of its own each time, which must pay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from pellucid.core.shape import size_of
from pellucid.graph.ir import Graph, Node, Value, emit
from pellucid.ops.conv_packed import emit_packed, pack_kernel
from pellucid.ops.identity import barrier
from pellucid.ops.movement import SLICE
from pellucid.passes.match import constant_array, ints, made_by
from pellucid.passes.rewrite import map_bodies, rewrite

LANES = 16  # of the widest vectors; on narrower ones a panel is several of them
WIDEST_PANEL = 32
FEWEST_LANES = 0.75  # of a panel's vectors in use
DEEP = 32  # terms of a sum that outweigh turning its result round to store it
TURN = 0.5  # cycles to store an element of a tile turned round
PACK = 1.0  # cycles to pack one element of a kernel
MOVED = 0.7  # of the speed, where taps are read across their memory
PER_CYCLE = 32  # multiply-adds of full vectors


def run(graph: Graph) -> Graph:
    """The graph with every convolution that gains from it in the packed form."""
    return rewrite(map_bodies(graph, run), _pack)


def _pack(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
    if node.op.name != "conv2d":
        return None
    x, w = inputs
    groups, stride = (
        cast("int", node.attrs["groups"]),
        cast("tuple[int, int]", node.attrs["stride"]),
    )
    panel = panel_of(w.shape[0] // groups)
    known = constant_array(w) is not None
    if not panel or not w.dtype.is_float or not _pays(node, panel, known=known):
        return None
    source = None if known else unflipped(w)
    taken = None if known or source is not None else _taps_of(w)
    whole = w if taken is None else taken.inputs[0]
    packed = pack_kernel(whole if source is None else source, panel)
    if not known:
        packed = barrier(packed)  # in memory, not in the convolution's index arithmetic
    if taken is not None:
        packed = _same_taps(packed, taken)
    dilation = cast("tuple[int, int]", node.attrs["dilation"])
    flipped = source is not None
    return [
        emit_packed(x, packed, stride=stride, dilation=dilation, groups=groups, flipped=flipped)
    ]


def unflipped(w: Value) -> Value | None:
    """What `w` is the flip of, both of its image axes reversed: the packing then follows memory."""
    flip = made_by(w, "slice")
    if flip is None or ints(flip, "step") != (1, 1, -1, -1) or w.shape != flip.inputs[0].shape:
        return None
    return flip.inputs[0]


def _taps_of(w: Value) -> Node | None:
    """The slice that takes some of a kernel's taps, as the phases of a strided gradient do: they
    share one packed kernel, which is read along its memory.
    """
    taken = made_by(w, "slice")
    if taken is None or ints(taken, "step")[:2] != (1, 1):
        return None
    return taken if w.shape[:2] == taken.inputs[0].shape[:2] else None


def _same_taps(packed: Value, taken: Node) -> Value:
    """The taps that a slice takes, of the kernel that has been packed."""
    start, stop, step = (ints(taken, name)[2:] for name in ("start", "stop", "step"))
    panels, depth, *_, panel = packed.shape
    ends = (panels, depth, *stop, panel)
    return emit(SLICE, packed, start=(0, 0, *start, 0), stop=ends, step=(1, 1, *step, 1))


def panel_of(channels: int) -> int:
    """Channels of a panel: the divisor that fills vectors best, the widest of those; 0 if none."""
    parts = [n for n in range(1, WIDEST_PANEL + 1) if channels % n == 0]
    best = max(parts, key=lambda n: (filled(n), n), default=0)
    return best if best and filled(best) >= FEWEST_LANES else 0


def filled(extent: int) -> float:
    """The share of lanes in use when `extent` elements are cut into vectors."""
    return extent / (math.ceil(extent / LANES) * LANES)


def _pays(node: Node, panel: int, *, known: bool) -> bool:
    """Whether lanes over channels, with the packing, take fewer cycles than lanes over pixels."""
    w, y = node.inputs[1], node.outputs[0]
    depth = size_of(w.shape[1:])
    if depth < DEEP or y.type.size == 0:
        return False
    sums = y.type.size * depth / PER_CYCLE
    packed = sums / filled(panel) + TURN * y.type.size + (0 if known else PACK * w.type.size)
    return packed < sums / pixel_lanes(node)


def pixel_lanes(node: Node) -> float:
    """The share of the multiply-adds' peak that lanes over the pixels of a row reach."""
    (sy, sx), y = cast("tuple[int, int]", node.attrs["stride"]), node.outputs[0]
    plain = (sy, sx) == (1, 1) and node.inputs[1].shape[2:] == (1, 1)
    width = size_of(y.shape[2:]) if plain else y.shape[3]
    moved = MOVED if made_by(node.inputs[1], "slice", "transpose", "reshape") else 1.0
    return moved * filled(width) * (0.9 if plain else 0.8 if sx == 1 else 0.65)
