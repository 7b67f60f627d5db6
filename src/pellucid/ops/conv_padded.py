"""Convolution with its own padding: what `passes/absorb_padding` makes of `pad` and `conv2d`, or of
`pad` and the gradient for the kernel.

A reader outside the image gets 0 where it stands, so that no padded image lies in memory between
the two; schedules copy a channel with its edges where it is near (`schedule/halo.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.dtype import float32
from pellucid.core.shape import Shape
from pellucid.graph.ir import Attrs, TensorType
from pellucid.graph.op import Cost, Op, Sample
from pellucid.loop.compute import Index, Lowering, Reader, Readers
from pellucid.loop.ir import Expr, const, iadd, imul
from pellucid.ops.conv import (
    Pair,
    Pixel,
    cost_of_conv,
    cost_of_kernel_grad,
    in_channel,
    infer_conv,
    infer_kernel_grad,
    pair_attr,
    product_of,
    reference_conv,
    reference_kernel_grad,
    sum_of_products,
    sum_over_images,
)
from pellucid.ops.movement import PAD, hole_index, read_inside
from pellucid.ops.shared import Array, Types, accumulator, integer, zero_of

PaddedCase = tuple[Shape, Shape, Pair, Pair, Pair, Pair, int]
"""Shapes of image and kernel, and the attributes in their order."""


def _padded(x: TensorType, low: Pair, high: Pair) -> TensorType:
    n, c, *sizes = x.shape
    shape = (n, c, *(a + m + b for a, m, b in zip(low, sizes, high, strict=True)))
    return TensorType(shape, x.dtype)


def _with_zeros(x: Array, low: Pair, high: Pair) -> Array:
    ends = {"low": (0, 0, *low), "high": (0, 0, *high), "interior": (0,) * 4}
    image: Array = PAD.reference(x, **ends, value=0)
    return image


def infer_padded(  # noqa: PLR0913  # the attributes
    x: TensorType,
    w: TensorType,
    *,
    low: Pair,
    high: Pair,
    stride: Pair,
    dilation: Pair,
    groups: int,
) -> TensorType:
    """The result's type of `conv2d` of a padded image, channels first."""
    image = _padded(x, low, high) if x.rank == 4 else x
    return infer_conv(image, w, stride=stride, dilation=dilation, groups=groups)


def reference_padded(  # noqa: PLR0913  # the attributes
    x: Array, w: Array, *, low: Pair, high: Pair, stride: Pair, dilation: Pair, groups: int
) -> Array:
    """`conv2d` of a padded image, channels first."""
    image = _with_zeros(x, low, high)
    return reference_conv(image, w, stride=stride, dilation=dilation, groups=groups)


def _pixel_reader(x: TensorType, attrs: Attrs) -> Pixel:
    """What reads a pixel of the image with its edges around it."""
    low, high = pair_attr(attrs, "low"), pair_attr(attrs, "high")

    def pixel(reader: Reader, n: Expr, c: Expr, places: tuple[Expr, Expr]) -> Expr:
        axes = [hole_index(i, x.shape[k + 2], low[k], high[k], 1) for k, i in enumerate(places)]
        return read_inside(axes, lambda *at: reader((n, c, *at)), const(zero_of(x.dtype), x.dtype))

    return pixel


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    x, w = inputs
    (sy, sx), (dy, dx) = pair_attr(attrs, "stride"), pair_attr(attrs, "dilation")
    pixel = _pixel_reader(x, attrs)
    groups, wide = integer(attrs, "groups"), accumulator(x.dtype)
    per_out, per_in = w.shape[0] // groups, w.shape[1]

    def body(idx: Index, red: Index, readers: Readers) -> Expr:
        (n, o, y, z), (c, ky, kx) = idx, red
        channel = in_channel(o, c, per_out, per_in, groups)
        row, column = iadd(imul(y, sy), imul(ky, dy)), iadd(imul(z, sx), imul(kx, dx))
        value = pixel(readers[0], n, channel, (row, column))
        return product_of(value, readers[1]((o, c, ky, kx)), wide)

    return sum_of_products(w.shape[1:], x.dtype, body)


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    return cost_of_conv(inputs, outputs, attrs)


def padded_samples(*cases: PaddedCase) -> list[Sample]:
    """Samples of records with these attributes."""
    return [
        Sample(
            (TensorType(x, float32), TensorType(w, float32)),
            {"low": low, "high": high, "stride": stride, "dilation": dilation, "groups": groups},
        )
        for x, w, low, high, stride, dilation, groups in cases
    ]


def _samples() -> Sequence[Sample]:
    return padded_samples(
        ((2, 3, 6, 5), (3, 1, 3, 3), (1, 1), (1, 1), (1, 1), (1, 1), 3),
        ((1, 4, 7, 7), (8, 1, 2, 3), (0, 2), (1, 0), (2, 1), (1, 2), 4),
        ((1, 2, 3, 3), (2, 2, 3, 3), (1, 0), (0, 1), (1, 1), (1, 1), 1),
    )


CONV2D_PADDED: Op = Op(
    name="conv2d_padded",
    doc=(
        "`conv2d` of `x` with `low` zeros before and `high` zeros behind each image axis. Made by a"
        " pass only, after derivatives and batching. Primitive: the zeros are never in memory."
    ),
    infer=infer_padded,
    reference=reference_padded,
    vjp=None,
    jvp=None,
    batch=None,
    lower=_lower,
    cost=_cost,
    samples=_samples,
)


def _gradient_infer(  # noqa: PLR0913  # the attributes
    x: TensorType,
    g: TensorType,
    *,
    low: Pair,
    high: Pair,
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    groups: int,
) -> TensorType:
    image = _padded(x, low, high) if x.rank == 4 else x
    return infer_kernel_grad(
        image, g, kernel=kernel, stride=stride, dilation=dilation, groups=groups
    )


def _gradient_reference(  # noqa: PLR0913  # the attributes
    x: Array,
    g: Array,
    *,
    low: Pair,
    high: Pair,
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    groups: int,
) -> Array:
    image = _with_zeros(x, low, high)
    return reference_kernel_grad(
        image, g, kernel=kernel, stride=stride, dilation=dilation, groups=groups
    )


def _gradient_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    return sum_over_images(inputs, outputs, attrs, _pixel_reader(inputs[0], attrs))


def _gradient_samples() -> Sequence[Sample]:
    samples = []
    for sample in _samples():
        x, w = sample.inputs
        g = CONV2D_PADDED.infer(x, w, **sample.attrs)
        if isinstance(g, TensorType):
            samples.append(Sample((x, g), {"kernel": w.shape[2:], **sample.attrs}))
    return samples


CONV2D_PADDED_KERNEL_GRAD: Op = Op(
    name="conv2d_padded_kernel_grad",
    doc=(
        "`conv2d_kernel_grad` of `x` with `low` zeros before and `high` zeros behind each image"
        " axis. Made by a pass only, after derivatives and batching. Primitive: the zeros are never"
        " in memory."
    ),
    infer=_gradient_infer,
    reference=_gradient_reference,
    vjp=None,
    jvp=None,
    batch=None,
    lower=_gradient_lower,
    cost=cost_of_kernel_grad,
    samples=_gradient_samples,
)


RECORDS: tuple[Op, ...] = (CONV2D_PADDED, CONV2D_PADDED_KERNEL_GRAD)
