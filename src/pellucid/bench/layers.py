"""The benchmark's networks as lists of layers, from which each framework's model is built.

One description means one network: `build_pellucid` here, `torch_models.py`, `jax_models.py` and
`onnx_models.py` for the others. Names of weights are those of nested `Sequential`s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from pellucid import nn


@dataclass(frozen=True, slots=True)
class Dense:
    """A linear layer."""

    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution with square kernels."""

    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1
    bias: bool = True


@dataclass(frozen=True, slots=True)
class Norm:
    """Batch normalisation of images."""

    channels: int


@dataclass(frozen=True, slots=True)
class Clip:
    """`max(x, 0)`, and `min(.., 6)` where it is capped."""

    capped: bool = False


@dataclass(frozen=True, slots=True)
class MaxPool:
    """The maximum of square windows."""

    kernel: int
    stride: int
    padding: int = 0


@dataclass(frozen=True, slots=True)
class GlobalPool:
    """The mean of each channel's image, `[N, C, 1, 1]`."""


@dataclass(frozen=True, slots=True)
class Flat:
    """All axes but the first as one."""


@dataclass(frozen=True, slots=True)
class Residual:
    """The sum of a body and of a way around it; an empty way is `x` itself."""

    body: tuple[Layer, ...]
    around: tuple[Layer, ...] = ()


Layer: TypeAlias = Dense | Conv | Norm | Clip | MaxPool | GlobalPool | Flat | Residual
Layers = tuple[Layer, ...]

TINY: Layers = (Dense(16, 32), Clip(), Dense(32, 32), Clip(), Dense(32, 10))
MLP: Layers = (Dense(784, 256), Clip(), Dense(256, 128), Clip(), Dense(128, 10))
LENET: Layers = (
    Conv(1, 6, 5, padding=2), Clip(), MaxPool(2, 2), Conv(6, 16, 5), Clip(), MaxPool(2, 2), Flat(),
    Dense(400, 120), Clip(), Dense(120, 84), Clip(), Dense(84, 10),
)  # fmt: skip


def _conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> Layers:
    padding = (kernel - 1) // 2
    return Conv(inputs, outputs, kernel, stride, padding, groups, bias=False), Norm(outputs)


def _basic(inputs: int, outputs: int, stride: int) -> Layers:
    """ResNet's block of two 3x3 convolutions."""
    first = _conv_norm(inputs, outputs, 3, stride)
    body = (*first, Clip(), *_conv_norm(outputs, outputs, 3))
    same = stride == 1 and inputs == outputs
    return Residual(body, () if same else _conv_norm(inputs, outputs, 1, stride)), Clip()


def resnet8() -> Layers:
    """ResNet-8 for images of 3x32x32: three blocks of 16, 32 and 64 channels.

    Source: Banbury et al., "MLPerf Tiny Benchmark" (2021), image classification.
    """
    return (
        *_conv_norm(3, 16, 3), Clip(), *_basic(16, 16, 1), *_basic(16, 32, 2), *_basic(32, 64, 2),
        GlobalPool(), Flat(), Dense(64, 10),
    )  # fmt: skip


def resnet18() -> Layers:
    """ResNet-18 for images of 3x224x224.

    Source: He et al., "Deep Residual Learning for Image Recognition" (2015).
    """
    layers: Layers = (*_conv_norm(3, 64, 7, 2), Clip(), MaxPool(3, 2, 1))
    width = 64
    for outputs in (64, 128, 256, 512):
        layers += (*_basic(width, outputs, outputs // width), *_basic(outputs, outputs, 1))
        width = outputs
    return (*layers, GlobalPool(), Flat(), Dense(512, 1000))


def _inverted(inputs: int, outputs: int, stride: int, expand: int) -> Layers:
    """MobileNetV2's block: wide 1x1, depthwise 3x3, narrow 1x1."""
    hidden = inputs * expand
    wide = (*_conv_norm(inputs, hidden, 1), Clip(True)) if expand > 1 else ()
    depth = (*_conv_norm(hidden, hidden, 3, stride, hidden), Clip(True))
    body = (*wide, *depth, *_conv_norm(hidden, outputs, 1))
    return (Residual(body),) if stride == 1 and inputs == outputs else body


def mobilenet_v2() -> Layers:
    """MobileNetV2 for images of 3x224x224, width 1.

    Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018).
    """
    layers: Layers = (*_conv_norm(3, 32, 3, 2), Clip(True))
    width = 32
    for expand, outputs, count, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):  # fmt: skip
        for i in range(count):
            layers += _inverted(width, outputs, stride if i == 0 else 1, expand)
            width = outputs
    layers += (*_conv_norm(320, 1280, 1), Clip(True))
    return (*layers, GlobalPool(), Flat(), Dense(1280, 1000))


class _Sum(nn.Module):
    """A residual connection."""

    def __init__(self, body: nn.Module, around: nn.Module) -> None:
        self.body, self.around = body, around

    def forward(self, x: Any) -> Any:
        """The shape of the body's result."""
        return self.body(x) + self.around(x)


def build_pellucid(layers: Layers) -> Any:
    """The network as Pellucid's module."""
    return nn.Sequential(*map(_module, layers))


def _module(layer: Layer) -> nn.Module:
    match layer:
        case Dense(inputs, outputs):
            return nn.Linear(inputs, outputs)
        case Conv(inputs, outputs, kernel, stride, padding, groups, bias):
            return nn.Conv2d(inputs, outputs, kernel, stride, padding, 1, groups, bias)
        case Norm(channels):
            return nn.BatchNorm2d(channels)
        case Clip(capped):
            return nn.ReLU6() if capped else nn.ReLU()
        case MaxPool(kernel, stride, padding):
            return nn.MaxPool2d(kernel, stride, padding)
        case GlobalPool():
            return nn.AdaptiveAvgPool2d(1)
        case Flat():
            return nn.Flatten()
        case Residual(body, around):
            return _Sum(build_pellucid(body), build_pellucid(around))
