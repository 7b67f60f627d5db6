"""Conv2d, ConvTranspose2d and the pooling layers."""

from __future__ import annotations

import math
from typing import Any

from pellucid.core.errors import ArgumentError
from pellucid.nn import functional as F
from pellucid.nn import init
from pellucid.nn.layers import empty_parameter
from pellucid.nn.module import Module
from pellucid.tensor.tensor import Tensor

Size = int | tuple[int, int]


def _check_groups(layer: str, in_channels: int, out_channels: int, groups: int) -> None:
    if groups < 1 or in_channels % groups or out_channels % groups:
        operands: dict[str, object] = {
            "in_channels": in_channels,
            "out_channels": out_channels,
            "groups": groups,
        }
        raise ArgumentError(layer, "groups must divide the channels", operands=operands)


class Conv2d(Module):
    """The cross-correlation of images with learned kernels.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: `(vertical, horizontal)` or one for both, here and below.
        stride: from one window to the next.
        padding: zeros around the input; `"same"` or `"valid"`.
        dilation: from one tap to the next.
        groups: channels are cut into as many independent groups.
        bias: whether there is a bias.

    Parameters `weight` `[out, in / groups, kh, kw]` and `bias` `[out]` start uniform within
    `1 / sqrt(in / groups * kh * kw)`.

    Raises:
        ArgumentError: `groups` does not divide the channels.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # PyTorch's parameters in PyTorch's order
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        _check_groups("Conv2d", in_channels, out_channels, groups)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = F.pair(kernel_size)
        self.stride, self.dilation, self.groups = F.pair(stride), F.pair(dilation), groups
        self.padding = F.frozen(padding)
        self.weight = empty_parameter(out_channels, in_channels // groups, *self.kernel_size)
        self.bias = empty_parameter(out_channels) if bias else None
        init.fan_in_uniform_(math.prod(self.weight.shape[1:]), self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, in, H, W]` to `[N, out, H', W']`."""
        how = (self.stride, self.padding, self.dilation, self.groups)
        return F.conv2d(x, self.weight, self.bias, *how)

    def extra_repr(self) -> str:
        """Sizes."""
        return _sizes(self, ("stride", "padding", "dilation", "groups"), Conv2d)


class ConvTranspose2d(Module):
    """The transpose of `Conv2d`, which enlarges images.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: `(vertical, horizontal)` or one for both, here and below.
        stride: of the convolution this transposes.
        padding: of the convolution this transposes; cuts the result's edges.
        output_padding: rows and columns added below and to the right.
        groups: channels are cut into as many independent groups.
        bias: whether there is a bias.
        dilation: from one tap to the next.

    Parameters `weight` `[in, out / groups, kh, kw]` and `bias` `[out]` start uniform within
    `1 / sqrt(out / groups * kh * kw)`.

    Raises:
        ArgumentError: `groups` does not divide the channels.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # PyTorch's parameters in PyTorch's order
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size = 0,
        output_padding: Size = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Size = 1,
    ) -> None:
        _check_groups("ConvTranspose2d", in_channels, out_channels, groups)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = F.pair(kernel_size)
        self.stride, self.dilation, self.groups = F.pair(stride), F.pair(dilation), groups
        self.padding, self.output_padding = F.pair(padding), F.pair(output_padding)
        self.weight = empty_parameter(in_channels, out_channels // groups, *self.kernel_size)
        self.bias = empty_parameter(out_channels) if bias else None
        init.fan_in_uniform_(math.prod(self.weight.shape[1:]), self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[N, in, H, W]` to `[N, out, H', W']`."""
        how = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return F.conv_transpose2d(x, self.weight, self.bias, *how)

    def extra_repr(self) -> str:
        """Sizes."""
        names = ("stride", "padding", "output_padding", "groups", "dilation")
        return _sizes(self, names, ConvTranspose2d)


_USUAL: dict[str, tuple[Any, ...]] = {
    "stride": (1, (1, 1)),
    "padding": (0, (0, 0)),
    "output_padding": ((0, 0),),
    "dilation": ((1, 1),),
    "groups": (1,),
}


def _sizes(layer: Any, names: tuple[str, ...], kind: type) -> str:
    """Channels, kernel and whatever is not as usual."""
    text = f"{layer.in_channels}, {layer.out_channels}, kernel_size={layer.kernel_size}"
    for name in names:
        value = getattr(layer, name)
        if value not in _USUAL[name]:
            text += f", {name}={value!r}"
    return text if layer.bias is not None else f"{text}, bias=False"


class MaxPool2d(Module):
    """The maximum of each window.

    Args:
        kernel_size: `(vertical, horizontal)` or one for both, here and below.
        stride: from one window to the next; the window by default.
        padding: rows and columns around the input that never win.
        dilation: from one element of a window to the next.
    """

    def __init__(
        self, kernel_size: Size, stride: Size | None = None, padding: Size = 0, dilation: Size = 1
    ) -> None:
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.dilation = padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        """`[..., H, W]` to `[..., H', W']`."""
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool2d(Module):
    """The mean of each window.

    Args:
        kernel_size: `(vertical, horizontal)` or one for both, here and below.
        stride: from one window to the next; the window by default.
        padding: zeros around the input.
        count_include_pad: whether those zeros count in the mean.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Size = 0,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.count_include_pad = padding, count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        """`[..., H, W]` to `[..., H', W']`."""
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.count_include_pad)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AdaptiveAvgPool2d(Module):
    """The means of a grid of `output_size` bins, as equal as they can be; 1 is the global mean."""

    def __init__(self, output_size: Size) -> None:
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """`[..., H, W]` to `[..., *output_size]`."""
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        """The grid."""
        return f"output_size={self.output_size}"
