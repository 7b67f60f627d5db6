"""Convolutions (cross-correlations) as users call them: padding and holes become `pad` nodes."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.graph.ir import Value
from pellucid.ops.casting import astype
from pellucid.ops.conv import Pair, emit_conv, spread, spread_conv
from pellucid.ops.movement import expand_dims, pad, slice_, squeeze
from pellucid.ops.promotion import common_dtype

Padding = int | Sequence[int] | Sequence[Sequence[int]]


def pair_of(op: str, name: str, value: int | Sequence[int]) -> Pair:
    """Two ints from one or two.

    Raises:
        ArgumentError: there are not one or two.
    """
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or not all(isinstance(v, int) for v in both):
        raise ArgumentError(op, f"{name} must be an int or two", operands={name: value})
    return both[0], both[1]


def paddings_of(op: str, value: Padding) -> tuple[Pair, Pair]:
    """`((top, bottom), (left, right))` from an int, two ints or two pairs.

    Raises:
        ArgumentError: it is none of these, or negative.
    """
    both: tuple[int | Sequence[int], ...]
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) == 2:
        rows, columns = (pair_of(op, "padding", v) for v in both)
        if min(*rows, *columns) >= 0:
            return rows, columns
    rule = "padding must be an int, two ints or two pairs, none negative"
    raise ArgumentError(op, rule, operands={"padding": value})


def conv2d(  # noqa: PLR0913  # the operation's own parameters, keyword-only
    x: Value,
    w: Value,
    *,
    stride: int | Sequence[int] = 1,
    padding: Padding = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    input_dilation: int | Sequence[int] = 1,
) -> Value:
    """The cross-correlation of images with kernels.

    Args:
        x: `[N, C, H, W]`.
        w: `[O, C / groups, kh, kw]`.
        stride: from one window to the next, `(vertical, horizontal)` or one for both.
        padding: zeros around `x`: one number, `(vertical, horizontal)` or
            `((top, bottom), (left, right))`.
        dilation: from one tap of the kernel to the next.
        groups: channels are cut into as many independent groups.
        input_dilation: from one pixel of `x` to the next, zeros between them.

    Returns:
        `[N, O, (H + top + bottom - (kh - 1) dilation - 1) // stride + 1, …]`.

    Raises:
        ShapeError: the shapes do not fit each other, or the kernel not into the padded input.
        ArgumentError: a parameter is out of range.
    """
    steps = pair_of("conv2d", "stride", stride)
    holes = pair_of("conv2d", "input_dilation", input_dilation)
    if min(holes) < 1:
        raise ArgumentError("conv2d", "input_dilation must be >= 1", operands={"it": holes})
    (top, bottom), (left, right) = paddings_of("conv2d", padding)
    dtype = common_dtype("conv2d", (x, w))
    x, w = astype(x, dtype), astype(w, dtype)
    if x.rank == 4:
        interior = (0, 0, holes[0] - 1, holes[1] - 1)
        x = pad(x, (0, 0, top, left), (0, 0, bottom, right), interior=interior)
        if w.shape[2:] == (1, 1) and min(steps) >= 1:  # what a 1x1 kernel steps over is not read
            x = slice_(x, (0,) * 4, x.shape, (1, 1, *steps))
            steps = (1, 1)
    return emit_conv(x, w, steps, pair_of("conv2d", "dilation", dilation), groups)


def conv1d(
    x: Value,
    w: Value,
    *,
    stride: int = 1,
    padding: int | Sequence[int] = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Value:
    """The cross-correlation of `[N, C, L]` with `[O, C / groups, k]`: `[N, O, L']`.

    Raises:
        ShapeError, ArgumentError: as `conv2d`.
    """
    if x.rank != 3 or w.rank != 3:
        operands: dict[str, object] = {"x": x.shape, "w": w.shape}
        raise ShapeError("conv1d", "x must be [N, C, L] and w of rank 3", operands=operands)
    ends = (padding, padding) if isinstance(padding, int) else tuple(padding)
    y = conv2d(
        expand_dims(x, 2),
        expand_dims(w, 2),
        stride=(1, stride),
        padding=((0, 0), ends),
        dilation=(1, dilation),
        groups=groups,
    )
    return squeeze(y, 2)


def conv_transpose2d(  # noqa: PLR0913  # the operation's own parameters, keyword-only
    x: Value,
    w: Value,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    output_padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Value:
    """The transpose of `conv2d`: what its gradient does to `x`, as PyTorch's `conv_transpose2d`.

    Args:
        x: `[N, C, H, W]`.
        w: `[C, O / groups, kh, kw]`.
        stride: of the convolution this transposes.
        padding: of the convolution this transposes; cuts the result's edges.
        output_padding: rows and columns added below and to the right.
        dilation: from one tap of the kernel to the next.
        groups: channels are cut into as many independent groups.

    Returns:
        `[N, O, (H - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1, …]`.

    Raises:
        ShapeError: the shapes do not fit.
        ArgumentError: a parameter is out of range.
    """
    op = "conv_transpose2d"
    steps, taps = pair_of(op, "stride", stride), pair_of(op, "dilation", dilation)
    cut, extra = pair_of(op, "padding", padding), pair_of(op, "output_padding", output_padding)
    operands: dict[str, object] = {"x": x.shape, "w": w.shape, "groups": groups}
    if x.rank != 4 or w.rank != 4 or groups < 1 or w.shape[0] != x.shape[1] or w.shape[0] % groups:
        rule = "x must be [N, C, H, W] and w [C, O / groups, kh, kw], C divisible by groups"
        raise ShapeError(op, rule, operands=operands)
    if min(*steps, *taps) < 1 or min(*cut, *extra) < 0:
        names: dict[str, object] = {"stride": steps, "dilation": taps, "padding": cut}
        raise ArgumentError(op, "strides must be >= 1 and paddings >= 0", operands=names)
    dtype = common_dtype(op, (x, w))
    x, w = astype(x, dtype), astype(w, dtype)
    whole = [
        spread(n, s) + spread(k, d) - 1 + m
        for n, s, k, d, m in zip(x.shape[2:], steps, w.shape[2:], taps, extra, strict=True)
    ]
    if any(n < 2 * p for n, p in zip(whole, cut, strict=True)):
        raise ShapeError(op, "the padding cuts everything off", operands=operands)
    y = spread_conv(x, w, (whole[0], whole[1]), steps, taps, groups)
    ends = [n - p for n, p in zip(whole, cut, strict=True)]
    return slice_(y, (0, 0, *cut), (*y.shape[:2], *ends))
