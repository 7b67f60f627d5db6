"""Convolution with 3 x 3 taps by Winograd's way: what `passes/transform_convolutions` makes.

F(2x2, 3x3) computes 4 results with 16 products where the definition takes 36, F(4x4, 3x3) computes
16 with 36 instead of 144. The weights are transformed beforehand (`transform_weights`), images and
results by the record itself (`winograd_loops.py`).

Rounding: relative to the largest result and with float32, the largest error stays below 1e-6 for
F(2x2) and 5e-6 for F(4x4), with 16 to 256 channels of normal numbers; a plain convolution's is near
1e-6. A NaN or an infinity in the image may reach every result of the tiles that read it, as NaN; it
reaches no other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import float32, float64
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.core.shape import Shape
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample
from pellucid.loop.compute import Loops, Lowering
from pellucid.ops.conv import Pair, pair_attr
from pellucid.ops.movement import PAD, reshape
from pellucid.ops.shared import Array, Types, integer
from pellucid.ops.winograd_loops import weight_loops, winograd_loops
from pellucid.ops.winograd_matrices import POINTS, Matrix, transforms
from pellucid.ops.winograd_tiles import TAPS, Problem


def floats(matrix: Matrix) -> Array:
    """A matrix of fractions in float64."""
    return np.array([[float(v) for v in row] for row in matrix])


def weight_transform(tile: int) -> Array:
    """`[points, 9]`: what takes the taps of a kernel to its points, in float64."""
    g = floats(transforms(tile, TAPS, POINTS[tile]).g)
    return np.kron(g, g)


def transformed_weights(w: Array, tile: int, panel: int) -> Array:
    """`[O, C, 3, 3]` -> `[points, O / panel, C, panel]`, rounded once; `panel` divides O."""
    o, c = w.shape[:2]
    points = weight_transform(tile) @ w.astype(np.float64).reshape(o * c, TAPS**2).T
    moved = points.reshape(-1, o // panel, panel, c).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(moved.astype(w.dtype))


def _infer(x: TensorType, w: TensorType, *, tile: int, low: Pair, high: Pair) -> TensorType:
    operands: dict[str, object] = {"x": x.shape, "w": w.shape, "tile": tile}
    if x.dtype != w.dtype or x.dtype not in (float32, float64):
        raise DTypeError(
            "conv2d_winograd", "operands must be float32 or both float64", operands=operands
        )
    if tile not in POINTS or min(*low, *high) < 0:
        rule = f"tile must be one of {list(POINTS)}, and padding at least 0"
        raise ArgumentError("conv2d_winograd", rule, operands=operands)
    points = (tile + TAPS - 1) ** 2
    if x.rank != 4 or w.rank != 4 or w.shape[0] != points or w.shape[2] != x.shape[1]:
        rule = "x must be [N, C, H, W] and w [points, O / b, C, b]"
        raise ShapeError("conv2d_winograd", rule, operands=operands)
    sizes = [n + a + b - TAPS + 1 for n, a, b in zip(x.shape[2:], low, high, strict=True)]
    if min(sizes) < 1:
        raise ShapeError(
            "conv2d_winograd", "the taps must fit in the padded input", operands=operands
        )
    return TensorType((x.shape[0], w.shape[1] * w.shape[3], *sizes), x.dtype)


def _reference(x: Array, w: Array, *, tile: int, low: Pair, high: Pair) -> Array:
    """The same transforms with matrices, on all tiles at once."""
    made = transforms(tile, TAPS, POINTS[tile])
    bt, at = floats(made.bt).astype(x.dtype), floats(made.at).astype(x.dtype)
    n, c, *sizes = x.shape
    out = [m + a + b - TAPS + 1 for m, a, b in zip(sizes, low, high, strict=True)]
    grid = [-(-m // tile) for m in out]
    ends = [g * tile + TAPS - 1 - m - a for g, m, a in zip(grid, sizes, low, strict=True)]
    image = PAD.reference(x, low=(0, 0, *low), high=(0, 0, *ends), interior=(0,) * 4, value=0)
    views = np.lib.stride_tricks.sliding_window_view(image, (bt.shape[0],) * 2, axis=(2, 3))
    tiles = views[:, :, ::tile, ::tile]
    points = np.einsum("ia,ncyxab,jb->ijnyxc", bt, tiles, bt, optimize=True)
    kernels = w.transpose(0, 2, 1, 3).reshape(*points.shape[:2], c, -1)
    products = np.einsum("ijnyxc,ijco->ijnyxo", points, kernels, optimize=True)
    y = np.einsum("ai,ijnyxo,bj->noyaxb", at, products, at, optimize=True)
    y = y.reshape(n, kernels.shape[-1], grid[0] * tile, grid[1] * tile)
    present: Array = y[:, :, : out[0], : out[1]].astype(x.dtype)
    return present


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    (x, _), y = inputs, outputs[0]
    problem = Problem(
        images=x.shape[0], channels=x.shape[1], size=(x.shape[2], x.shape[3]),
        low=pair_attr(attrs, "low"), outputs=y.shape[1], out=(y.shape[2], y.shape[3]),
        tile=integer(attrs, "tile"), dtype=x.dtype,
    )  # fmt: skip
    return Loops(build=lambda sources, outs: winograd_loops(problem, sources, outs), closed=True)


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    """The products of all points, two operations each; transforms are left out."""
    (x, w), y, tile = inputs, outputs[0], integer(attrs, "tile")
    tiles = y.shape[0] * -(-y.shape[2] // tile) * -(-y.shape[3] // tile)
    return Cost(2 * tiles * w.size, x.nbytes + w.nbytes + y.nbytes)


def _samples() -> Sequence[Sample]:
    cases: tuple[tuple[Shape, Shape, Pair, Pair], ...] = (
        ((2, 3, 5, 6), (2, 3, 2), (1, 1), (1, 1)),
        ((1, 1, 3, 3), (1, 1, 1), (0, 0), (0, 0)),
        ((1, 2, 9, 7), (1, 2, 3), (2, 0), (0, 3)),
        ((2, 4, 8, 8), (2, 4, 1), (1, 2), (2, 1)),
    )
    return [
        Sample(
            (TensorType(x, float64), TensorType(((tile + 2) ** 2, *w), float64)),
            {"tile": tile, "low": low, "high": high},
        )
        for x, w, low, high in cases
        for tile in POINTS
    ]


CONV2D_WINOGRAD: Op = Op(
    name="conv2d_winograd",
    doc=(
        "`conv2d` of 3 x 3 taps, stride 1, with `low` and `high` zeros around the image, in tiles"
        " of `tile` x `tile` results; w holds transformed weights. Made by a pass only, after"
        " derivatives and batching. Primitive: composition would hold all points in memory."
    ),
    infer=_infer,
    reference=_reference,
    vjp=None,
    jvp=None,
    batch=None,
    lower=_lower,
    cost=_cost,
    samples=_samples,
)


def _infer_weights(w: TensorType, *, tile: int, panel: int, exchanged: bool) -> TensorType:
    operands: dict[str, object] = {"w": w.shape, "tile": tile, "panel": panel}
    if w.dtype not in (float32, float64):
        raise DTypeError("winograd_weights", "w must be float32 or float64", operands=operands)
    fits = w.rank == 3 and w.shape[2] == TAPS**2 and 0 not in w.shape and panel > 0
    o, c = w.shape[int(exchanged)], w.shape[1 - int(exchanged)]
    if not fits or tile not in POINTS or o % panel:
        rule = "w must be [O, C, 9], or [C, O, 9] exchanged, and panel divide O"
        raise ShapeError("winograd_weights", rule, operands=operands)
    return TensorType(((tile + TAPS - 1) ** 2, o // panel, c, panel), w.dtype)


def _weights_reference(w: Array, *, tile: int, panel: int, exchanged: bool) -> Array:
    plain = w.transpose(1, 0, 2)[:, :, ::-1] if exchanged else w
    return transformed_weights(plain.reshape(*plain.shape[:2], TAPS, TAPS), tile, panel)


def _lower_weights(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    tile, exchanged = integer(attrs, "tile"), bool(attrs["exchanged"])
    return Loops(
        build=lambda sources, outs: weight_loops(tile, *sources, *outs, exchanged=exchanged)
    )


def _weights_cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    """Two operations for each tap and row of both transforms."""
    (w,), reach = inputs, integer(attrs, "tile") + TAPS - 1
    pairs = w.shape[0] * w.shape[1]
    return Cost(2 * pairs * (TAPS + reach) * TAPS * reach, w.nbytes + outputs[0].nbytes)


def _weight_samples() -> Sequence[Sample]:
    return [
        Sample(
            (TensorType((*shape, TAPS**2), dtype),),
            {"tile": tile, "panel": panel, "exchanged": exchanged},
        )
        for shape, panel in (((4, 3), 2), ((1, 1), 1), ((6, 6), 3))
        for tile in POINTS
        for dtype in (float32, float64)
        for exchanged in (False, True)
        if shape[int(exchanged)] % panel == 0
    ]


WINOGRAD_WEIGHTS: Op = Op(
    name="winograd_weights",
    doc=(
        "The points of kernels of 3 x 3 taps, `[O, C, 9]` or exchanged `[C, O, 9]` with the taps"
        " in reverse order: `[points, O / panel, C, panel]`. Made by a pass only, after derivatives"
        " and batching. Primitive: composition would write all points in another order first."
    ),
    infer=_infer_weights,
    reference=_weights_reference,
    vjp=None,
    jvp=None,
    batch=None,
    lower=_lower_weights,
    cost=_weights_cost,
    samples=_weight_samples,
)

RECORDS: tuple[Op, ...] = (CONV2D_WINOGRAD, WINOGRAD_WEIGHTS)


def transform_weights(w: Value, tile: int, panel: int, *, exchanged: bool = False) -> Value:
    """`transformed_weights` in the program; `panel` divides the output channels.

    Args:
        w: `[O, C, 3, 3]`; exchanged: `[C, O, 3, 3]`, whose taps count in reverse order.
        tile: of results.
        panel: output channels side by side.
        exchanged: the weights of a gradient's convolution are those of the layer, so read.
    """
    flat = reshape(w, (*w.shape[:2], TAPS**2))
    return emit(WINOGRAD_WEIGHTS, flat, tile=tile, panel=panel, exchanged=exchanged)


def emit_winograd(x: Value, points: Value, *, tile: int, low: Pair, high: Pair) -> Value:
    """The record as a function."""
    return emit(CONV2D_WINOGRAD, x, points, tile=tile, low=low, high=high)
