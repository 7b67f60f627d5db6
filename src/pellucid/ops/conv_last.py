"""Convolution with channels last: what `passes/choose_layouts` makes of `conv2d`.

`x` is `[N, H, W, C]`, `w` `[kh, kw, C / groups, O]` and the result `[N, OH, OW, O]`: neighbours in
memory are channels, so that vectors are full whatever the image's width, stride or holes.
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.errors import ShapeError
from pellucid.core.shape import Shape
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample
from pellucid.loop.compute import Index, Lowering, Readers
from pellucid.loop.ir import Expr, const, iadd, imul
from pellucid.ops.conv import (
    Pair,
    in_channel,
    pair_attr,
    product_of,
    sum_of_products,
)
from pellucid.ops.conv_padded import infer_padded, padded_samples, reference_padded
from pellucid.ops.movement import hole_index, read_inside, transpose
from pellucid.ops.shared import Array, Types, accumulator, integer, zero_of

FIRST: Shape = (0, 3, 1, 2)  # [N, H, W, C] -> [N, C, H, W]
LAST: Shape = (0, 2, 3, 1)  # and back


def kernel_last(w: Value) -> Value:
    """`[O, C / groups, kh, kw]` -> `[kh, kw, C / groups, O]`."""
    return transpose(w, (2, 3, 1, 0))


def _plain(w: TensorType) -> TensorType:
    kh, kw, c, o = w.shape
    return TensorType((o, c, kh, kw), w.dtype)


def _first(x: TensorType) -> TensorType:
    return TensorType(tuple(x.shape[i] for i in FIRST), x.dtype)


def _infer(  # noqa: PLR0913  # the attributes
    x: TensorType,
    w: TensorType,
    *,
    low: Pair,
    high: Pair,
    stride: Pair,
    dilation: Pair,
    groups: int,
) -> TensorType:
    if x.rank != 4 or w.rank != 4:
        operands: dict[str, object] = {"x": x.shape, "w": w.shape}
        rule = "x must be [N, H, W, C] and w [kh, kw, C / groups, O]"
        raise ShapeError("conv2d_last", rule, operands=operands)
    made = infer_padded(
        _first(x), _plain(w),
        low=low, high=high, stride=stride, dilation=dilation, groups=groups,
    )  # fmt: skip
    return TensorType(tuple(made.shape[i] for i in LAST), made.dtype)


def _reference(  # noqa: PLR0913  # the attributes
    x: Array, w: Array, *, low: Pair, high: Pair, stride: Pair, dilation: Pair, groups: int
) -> Array:
    made = reference_padded(
        x.transpose(FIRST), w.transpose(3, 2, 0, 1),
        low=low, high=high, stride=stride, dilation=dilation, groups=groups,
    )  # fmt: skip
    return made.transpose(LAST)


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    x, w = inputs
    (sy, sx), (dy, dx) = pair_attr(attrs, "stride"), pair_attr(attrs, "dilation")
    low, high = pair_attr(attrs, "low"), pair_attr(attrs, "high")
    groups, wide = integer(attrs, "groups"), accumulator(x.dtype)
    per_out, per_in = w.shape[3] // groups, w.shape[2]

    def body(idx: Index, red: Index, readers: Readers) -> Expr:
        (n, y, z, o), (ky, kx, c) = idx, red
        places = (iadd(imul(y, sy), imul(ky, dy)), iadd(imul(z, sx), imul(kx, dx)))
        axes = [hole_index(i, x.shape[k + 1], low[k], high[k], 1) for k, i in enumerate(places)]
        channel = o if per_out == per_in == 1 else in_channel(o, c, per_out, per_in, groups)
        zero = const(zero_of(x.dtype), x.dtype)
        value = read_inside(axes, lambda *at: readers[0]((n, *at, channel)), zero)
        return product_of(value, readers[1]((ky, kx, c, o)), wide)

    return sum_of_products(w.shape[:3], x.dtype, body)


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    (x, w), y = inputs, outputs[0]
    products = y.size * (w.size // max(w.shape[3], 1))
    return Cost(2 * products, x.nbytes + w.nbytes + y.nbytes)


def _samples() -> Sequence[Sample]:
    return padded_samples(
        ((2, 6, 5, 3), (3, 3, 1, 3), (1, 1), (1, 1), (1, 1), (1, 1), 3),
        ((1, 7, 7, 4), (2, 3, 2, 6), (0, 2), (1, 0), (2, 1), (1, 2), 2),
        ((1, 3, 4, 2), (3, 2, 2, 5), (0, 0), (0, 0), (1, 1), (1, 1), 1),
        ((1, 5, 5, 17), (3, 3, 1, 34), (1, 1), (1, 1), (2, 2), (1, 1), 17),
    )


CONV2D_LAST: Op = Op(
    name="conv2d_last",
    doc=(
        "`conv2d` with channels last, of `x` with `low` zeros before and `high` zeros behind each"
        " image axis. Made by a pass only, after derivatives and batching. Primitive: a layout is"
        " not composed of anything."
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


RECORDS: tuple[Op, ...] = (CONV2D_LAST,)


def emit_last(  # noqa: PLR0913  # the attributes, keyword-only
    x: Value, w: Value, *, low: Pair, high: Pair, stride: Pair, dilation: Pair, groups: int
) -> Value:
    """The record as a function."""
    attrs: Attrs = {"low": low, "high": high, "stride": stride, "dilation": dilation}
    return emit(CONV2D_LAST, x, w, **attrs, groups=groups)
