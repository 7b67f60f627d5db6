"""Max and mean pooling of images: padding, then windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.core.shape import size_of
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import divide, multiply
from pellucid.ops.conv import Pair
from pellucid.ops.convolution import Padding, paddings_of, pair_of
from pellucid.ops.create import constant
from pellucid.ops.movement import broadcast_to, pad
from pellucid.ops.shared import lowest
from pellucid.ops.window import WINDOW_SUM, window_max, window_sum

Size = int | Sequence[int]


def _check(op: str, x: Value, window: Pair, padding: tuple[Pair, Pair], dilation: Pair) -> None:
    if x.rank < 2:
        raise ShapeError(op, "x must be [..., H, W]", operands={"x": x.shape})
    for k, d, ends in zip(window, dilation, padding, strict=True):
        if max(ends) > (k - 1) * d:
            operands: dict[str, object] = {"window": window, "padding": padding}
            rule = "a window must not lie in the padding alone"
            raise ArgumentError(op, rule, operands=operands)


def _padded(x: Value, padding: tuple[Pair, Pair], value: float | int | bool) -> Value:
    none = (0,) * (x.rank - 2)
    (top, bottom), (left, right) = padding
    return pad(x, (*none, top, left), (*none, bottom, right), value)


def max_pool2d(
    x: Value,
    window: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
    dilation: Size = 1,
) -> Value:
    """The maximum of each window of the last two axes.

    Args:
        x: `[..., H, W]`.
        window: `(vertical, horizontal)` or one number for both, here and below.
        stride: from one window to the next; the window by default.
        padding: rows and columns around `x` that never win; less than a window.
        dilation: from one element of a window to the next.

    Returns:
        `[..., (H + top + bottom - (kh - 1) dilation - 1) // stride + 1, …]`.

    Raises:
        ShapeError: a window does not fit in the padded input.
        ArgumentError: a parameter is out of range.

    Gradient: to the first maximum of each window.
    """
    sizes, taps = (
        pair_of("max_pool2d", "window", window),
        pair_of("max_pool2d", "dilation", dilation),
    )
    steps = sizes if stride is None else pair_of("max_pool2d", "stride", stride)
    around = paddings_of("max_pool2d", padding)
    _check("max_pool2d", x, sizes, around, taps)
    return window_max(_padded(x, around, lowest(x.dtype)), sizes, steps, taps)


def avg_pool2d(
    x: Value,
    window: Size,
    *,
    stride: Size | None = None,
    padding: Padding = 0,
    count_include_pad: bool = True,
) -> Value:
    """The mean of each window of the last two axes.

    Args:
        x: `[..., H, W]`, floats.
        window: `(vertical, horizontal)` or one number for both, here and below.
        stride: from one window to the next; the window by default.
        padding: zeros around `x`; less than a window.
        count_include_pad: whether those zeros count in the mean.

    Raises:
        ShapeError: a window does not fit in the padded input.
        ArgumentError: a parameter is out of range.
        DTypeError: `x` is not of a float dtype.
    """
    if not x.dtype.is_float:
        raise DTypeError("avg_pool2d", "a mean needs floats", operands={"x": x.type}, fix="cast x")
    sizes = pair_of("avg_pool2d", "window", window)
    steps = sizes if stride is None else pair_of("avg_pool2d", "stride", stride)
    around = paddings_of("avg_pool2d", padding)
    _check("avg_pool2d", x, sizes, around, (1, 1))
    total = window_sum(_padded(x, around, 0), sizes, steps, (1, 1))
    if count_include_pad or not any((*around[0], *around[1])):
        return multiply(total, 1.0 / size_of(sizes))
    inside = np.pad(np.ones(x.shape[-2:]), around)
    counts = WINDOW_SUM.reference(inside, window=sizes, stride=steps, dilation=(1, 1))
    return divide(total, broadcast_to(constant(counts.astype(x.dtype.numpy)), total.shape))
