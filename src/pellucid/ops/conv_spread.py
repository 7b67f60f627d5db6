"""Convolution of pixels that lie apart: what `passes/absorb_padding` makes of `pad` and `conv2d`.

Zeros between the pixels (`pad` with holes) are never read and never multiplied: result `y` meets
every `step`-th tap only, beginning with the one that falls on a pixel. So the gradient of a strided
convolution for its image takes as many multiplications as the convolution did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.core.dtype import float32
from pellucid.core.shape import Shape
from pellucid.graph.ir import Attrs, TensorType
from pellucid.graph.op import Cost, Op, Sample
from pellucid.loop.compute import Index, Lowering, Readers
from pellucid.loop.ir import (
    Expr,
    compare,
    const,
    iadd,
    ifloordiv,
    imax,
    imin,
    imod,
    imul,
    isub,
    select,
)
from pellucid.ops.conv import (
    Pair,
    cost_of_conv,
    in_channel,
    infer_conv,
    pair_attr,
    product_of,
    reference_conv,
    spread,
    sum_of_products,
)
from pellucid.ops.movement import PAD, all_of
from pellucid.ops.shared import Array, Types, accumulator, integer, zero_of


def _spread_image(x: TensorType, low: Pair, high: Pair, step: Pair) -> TensorType:
    n, c, *sizes = x.shape
    parts = zip(low, sizes, step, high, strict=True)
    return TensorType((n, c, *(a + spread(m, s) + b for a, m, s, b in parts)), x.dtype)


def _infer(  # the attributes
    x: TensorType, w: TensorType, *, low: Pair, high: Pair, step: Pair, groups: int
) -> TensorType:
    image = _spread_image(x, low, high, step) if x.rank == 4 else x
    return infer_conv(image, w, stride=(1, 1), dilation=(1, 1), groups=groups)


def _reference(  # the attributes
    x: Array, w: Array, *, low: Pair, high: Pair, step: Pair, groups: int
) -> Array:
    holes = (0, 0, *(s - 1 for s in step))
    image = PAD.reference(x, low=(0, 0, *low), high=(0, 0, *high), interior=holes, value=0)
    return reference_conv(image, w, stride=(1, 1), dilation=(1, 1), groups=groups)


@dataclass(frozen=True, slots=True)
class _Axis:
    """Where one axis of a result reads: the pixel, the tap, and the conditions for both."""

    pixel: Expr
    tap: Expr
    met: list[Expr]
    inside: list[Expr]


def _axis(y: Expr, i: Expr, sizes: tuple[int, int, int], low: int, step: int) -> _Axis:
    """Result `y` and the `i`-th tap that it meets.

    Args:
        y: the place of the result.
        i: the number of the tap.
        sizes: pixels, taps, results.
        low: zeros before the first pixel.
        step: from pixel to pixel.
    """
    pixels, taps, results = sizes
    at = iadd(ifloordiv(iadd(y, step - 1 - low), step), i)
    tap = iadd(imod(isub(low, y), step), imul(i, step))
    least, most = -(low // step), (results + step - 2 - low) // step + -(-taps // step) - 1
    inside = [compare("ge", at, 0)] if least < 0 else []
    inside += [compare("lt", at, pixels)] if most >= pixels else []
    at = imax(at, 0) if least < 0 else at
    at = imin(at, pixels - 1) if most >= pixels else at
    met = [compare("lt", tap, taps)] if taps % step else []
    return _Axis(at, imin(tap, taps - 1) if met else tap, met, inside)


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    x, w = inputs
    low, step = pair_attr(attrs, "low"), pair_attr(attrs, "step")
    groups, wide = integer(attrs, "groups"), accumulator(x.dtype)
    per_out, per_in = w.shape[0] // groups, w.shape[1]
    sizes = [(x.shape[k], w.shape[k], outputs[0].shape[k]) for k in (2, 3)]
    zero = const(zero_of(x.dtype), x.dtype)

    def body(idx: Index, red: Index, readers: Readers) -> Expr:
        (n, o, *places), (c, *taps) = idx, red
        parts = zip(places, taps, sizes, low, step, strict=True)
        axes = [_axis(*part) for part in parts]
        channel = in_channel(o, c, per_out, per_in, groups)
        value = readers[0]((n, channel, *(a.pixel for a in axes)))
        weight = readers[1]((o, c, *(a.tap for a in axes)))
        met = [condition for a in axes for condition in a.met]
        read = [*met, *(condition for a in axes for condition in a.inside)]
        value = select(all_of(read), value, zero) if read else value
        weight = select(all_of(met), weight, zero) if met else weight
        return product_of(value, weight, wide)

    counts = [-(-w.shape[k] // s) for k, s in zip((2, 3), step, strict=True)]
    return sum_of_products((per_in, *counts), x.dtype, body)


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    cost = cost_of_conv(inputs, outputs, attrs)
    sy, sx = pair_attr(attrs, "step")
    return Cost(cost.flops // (sy * sx), cost.bytes)


def _samples() -> Sequence[Sample]:
    cases: tuple[tuple[Shape, Shape, Pair, Pair, Pair, int], ...] = (
        ((2, 3, 5, 4), (3, 1, 3, 3), (1, 1), (2, 2), (2, 2), 3),
        ((1, 2, 3, 6), (2, 1, 5, 4), (2, 0), (0, 3), (2, 3), 2),
        ((1, 4, 3, 3), (6, 2, 2, 2), (3, 2), (1, 0), (3, 1), 2),
        ((1, 1, 1, 1), (1, 1, 1, 1), (1, 2), (0, 1), (2, 2), 1),
    )
    return [
        Sample(
            (TensorType(x, float32), TensorType(w, float32)),
            {"low": low, "high": high, "step": step, "groups": groups},
        )
        for x, w, low, high, step, groups in cases
    ]


CONV2D_SPREAD: Op = Op(
    name="conv2d_spread",
    doc=(
        "`conv2d` of `x` with its pixels `step` apart, `low` zeros before and `high` zeros behind"
        " each image axis; taps that fall between pixels are left out. Made by a pass only, after"
        " derivatives and batching. Primitive: the zeros are never in memory."
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


RECORDS: tuple[Op, ...] = (CONV2D_SPREAD,)
