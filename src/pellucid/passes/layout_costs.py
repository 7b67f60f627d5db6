"""What an image's layout costs: cycles of each convolution in either, and of a conversion.

Figures are of kernels measured one by one, for vectors of 16 lanes; only their differences count.
"""

from __future__ import annotations

from typing import cast

from pellucid.core.shape import size_of
from pellucid.graph.ir import Node, Value
from pellucid.passes.channels_last import images_of, is_single, lies_still
from pellucid.passes.match import constant_array
from pellucid.passes.pack_kernels import DEEP, PER_CYCLE, filled, panel_of, pixel_lanes

CONVERT = 1.0  # cycles to move an element to the other layout, with reading and writing
CALL = 4000  # cycles that a kernel more takes
TURNED = 0.3  # cycles more to read an element for all lanes at once in the other layout
TURN = 0.5  # cycles to store an element of a tile turned round
MOVE = 0.15  # cycles for each element of a window's operand and result
ROWS = 0.48  # of the peak, windows along rows of pixels
HOPS = 0.18  # the same where the window hops
PRODUCT = 0.95  # of the peak, sums over channels with full vectors


def of_convolution(node: Node) -> tuple[int, int]:
    """Cycles of a convolution with channels first, and with channels last."""
    w, y = node.inputs[1], node.outputs[0]
    sums = y.type.size * size_of(w.shape[1:]) / PER_CYCLE
    if is_single(node):
        (x,), (_, hop) = images_of(node), cast("tuple[int, int]", node.attrs["stride"])
        lanes = max(filled(y.shape[3]), filled(y.shape[2] * y.shape[3]))  # short rows share one
        rows = lanes * (ROWS if hop == 1 else HOPS)
        last = sums / filled(y.shape[1]) + MOVE * (x.type.size + y.type.size)
        return round(sums / rows), round(last)
    return round(_first(node, sums)), round(sums / (PRODUCT * filled(y.shape[1])))


def _first(node: Node, sums: float) -> float:
    """Cycles with channels first: lanes over pixels, or over channels, turned round."""
    w, y = node.inputs[1], node.outputs[0]
    pixels = sums / pixel_lanes(node)
    panel = panel_of(w.shape[0] // cast("int", node.attrs["groups"]))
    if not panel or size_of(w.shape[1:]) < DEEP:
        return pixels
    return min(pixels, sums / (PRODUCT * filled(panel)) + TURN * y.type.size)


def of_conversion(value: Value, reader: Node | None = None) -> int:
    """Cycles to have a value in the other layout, for `reader` alone or for all who read it."""
    if lies_still(value) or constant_array(value) is not None:
        return 0
    if reader is not None:
        return round(TURNED * value.type.size)
    return round(CONVERT * value.type.size) + CALL
