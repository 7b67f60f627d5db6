"""Convolution with its kernel in panels of output channels: what `passes/pack_kernels` makes.

`w[O, C, kh, kw]` becomes `[O / b, C, kh, kw, b]`: the kernels of `b` neighbouring channels lie side
by side for each tap, so that a vector of channels is one load and a pixel is shared by all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.dtype import float32
from pellucid.core.errors import ShapeError
from pellucid.core.shape import Shape
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample
from pellucid.loop.compute import Index, Lowering, Readers
from pellucid.loop.ir import Expr, iadd, ifloordiv, imod, imul, isub
from pellucid.ops.conv import (
    Pair,
    cost_of_conv,
    in_channel,
    infer_conv,
    pair_attr,
    product_of,
    reference_conv,
    sum_of_products,
)
from pellucid.ops.movement import reshape, transpose
from pellucid.ops.shared import Array, Types, accumulator, integer


def pack_kernel(w: Value, panel: int) -> Value:
    """`[O, C, kh, kw]` -> `[O / panel, C, kh, kw, panel]`; `panel` divides O."""
    o, *rest = w.shape
    return transpose(reshape(w, (o // panel, panel, *rest)), (0, 2, 3, 4, 1))


def _plain(w: TensorType) -> TensorType:
    panels, c, kh, kw, panel = w.shape
    return TensorType((panels * panel, c, kh, kw), w.dtype)


def _infer(  # the attributes
    x: TensorType, w: TensorType, *, stride: Pair, dilation: Pair, groups: int, flipped: bool
) -> TensorType:
    if w.rank != 5:
        operands: dict[str, object] = {"x": x.shape, "w": w.shape}
        rule = "w must be [O / b, C / groups, kh, kw, b]"
        raise ShapeError("conv2d_packed", rule, operands=operands)
    return infer_conv(x, _plain(w), stride=stride, dilation=dilation, groups=groups)


def _reference(  # the attributes
    x: Array, w: Array, *, stride: Pair, dilation: Pair, groups: int, flipped: bool
) -> Array:
    plain = w.transpose(0, 4, 1, 2, 3).reshape(-1, *w.shape[1:4])
    plain = plain[:, :, ::-1, ::-1] if flipped else plain
    return reference_conv(x, plain, stride=stride, dilation=dilation, groups=groups)


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    x, w = inputs
    (sy, sx), (dy, dx) = pair_attr(attrs, "stride"), pair_attr(attrs, "dilation")
    groups, wide, panel = integer(attrs, "groups"), accumulator(x.dtype), w.shape[-1]
    per_out, per_in = w.shape[0] * panel // groups, w.shape[1]
    kh, kw = w.shape[2:4]

    def body(idx: Index, red: Index, readers: Readers) -> Expr:
        (n, o, y, z), (c, ky, kx) = idx, red
        channel = in_channel(o, c, per_out, per_in, groups)
        down, right = (isub(kh - 1, ky), isub(kw - 1, kx)) if attrs["flipped"] else (ky, kx)
        row, column = iadd(imul(y, sy), imul(down, dy)), iadd(imul(z, sx), imul(right, dx))
        taps = readers[1]((ifloordiv(o, panel), c, ky, kx, imod(o, panel)))
        return product_of(readers[0]((n, channel, row, column)), taps, wide)

    return sum_of_products(w.shape[1:4], x.dtype, body)


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    return cost_of_conv((inputs[0], _plain(inputs[1])), outputs, attrs)


def _samples() -> Sequence[Sample]:
    cases: tuple[tuple[Shape, Shape, Pair, Pair, int], ...] = (
        ((2, 3, 6, 5), (2, 3, 3, 3, 4), (1, 1), (1, 1), 1),
        ((1, 4, 7, 7), (4, 2, 1, 2, 2), (2, 1), (1, 2), 2),
        ((1, 1, 3, 3), (1, 1, 3, 3, 1), (1, 1), (1, 1), 1),
    )
    return [
        Sample(
            (TensorType(x, float32), TensorType(w, float32)),
            {"stride": stride, "dilation": dilation, "groups": groups, "flipped": flipped},
        )
        for x, w, stride, dilation, groups in cases
        for flipped in (False, True)
    ]


CONV2D_PACKED: Op = Op(
    name="conv2d_packed",
    doc=(
        "`conv2d` whose kernel is `[O / b, C / groups, kh, kw, b]`, `flipped` where its taps are in"
        " reverse order. Made by a pass only, after"
        " derivatives and batching. Primitive: a layout is not composed of anything."
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


RECORDS: tuple[Op, ...] = (CONV2D_PACKED,)


def emit_packed(  # the attributes, keyword-only
    x: Value, packed: Value, *, stride: Pair, dilation: Pair, groups: int, flipped: bool = False
) -> Value:
    """The record as a function."""
    attrs: Attrs = {"stride": stride, "dilation": dilation, "groups": groups}
    return emit(CONV2D_PACKED, x, packed, **attrs, flipped=flipped)
