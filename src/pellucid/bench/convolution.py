"""Convolutions forward, and their gradients: oneDNN (PyTorch) and MLAS (ONNX Runtime)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.bench.adapters import jax_call, onnxruntime_call, openvino_call, ours, torch_call
from pellucid.bench.onnx_models import convolution_model
from pellucid.bench.peers import load
from pellucid.bench.row import Array, Candidate, Goal, Race, Row, Setting
from pellucid.nn import functional as F


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """One convolution: images `[batch, channels, size, size]`, square kernels."""

    batch: int = 1
    channels: int
    outputs: int
    size: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1
    groups: int = 1

    @property
    def padding(self) -> int:
        """Keeps the size at stride 1."""
        return self.dilation * (self.kernel - 1) // 2

    def how(self) -> dict[str, Any]:
        """The parameters under PyTorch's names."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }


SHAPES = {
    "3x3 64ch 56": Shape(channels=64, outputs=64, size=56),
    "3x3 256ch 14 b4": Shape(batch=4, channels=256, outputs=256, size=14),
    "3x3 3ch 112": Shape(channels=3, outputs=32, size=112),
    "1x1 64-256ch 56": Shape(channels=64, outputs=256, size=56, kernel=1),
    "1x1 512-128ch 14 b4": Shape(batch=4, channels=512, outputs=128, size=14, kernel=1),
    "3x3 s2 64-128ch 56": Shape(channels=64, outputs=128, size=56, stride=2),
    "7x7 s2 3-64ch 224": Shape(channels=3, outputs=64, size=224, kernel=7, stride=2),
    "3x3 dil2 64ch 56": Shape(channels=64, outputs=64, size=56, dilation=2),
    "3x3 groups8 128ch 28": Shape(channels=128, outputs=128, size=28, groups=8),
    "depthwise 3x3 192ch 56": Shape(channels=192, outputs=192, size=56, groups=192),
    "depthwise 3x3 s2 96ch 112": Shape(channels=96, outputs=96, size=112, stride=2, groups=96),
    "depthwise 5x5 240ch 28": Shape(channels=240, outputs=240, size=28, kernel=5, groups=240),
}


def _arrays(shape: Shape) -> tuple[Array, Array, Array]:
    """Images, kernels, and a gradient of the result."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((shape.batch, shape.channels, shape.size, shape.size), np.float32)
    kernels = (shape.outputs, shape.channels // shape.groups, shape.kernel, shape.kernel)
    w = rng.standard_normal(kernels, np.float32)
    out = (shape.size + 2 * shape.padding - shape.dilation * (shape.kernel - 1) - 1) // shape.stride
    return x, w, rng.standard_normal((shape.batch, shape.outputs, out + 1, out + 1), np.float32)


def _jax_conv(shape: Shape) -> Callable[[Any, Any], Any]:
    pads = [(shape.padding, shape.padding)] * 2

    def convolve(x: Any, w: Any) -> Any:
        return load("jax").lax.conv_general_dilated(
            x, w, (shape.stride,) * 2, pads, rhs_dilation=(shape.dilation,) * 2,
            dimension_numbers=("NCHW", "OIHW", "NCHW"), feature_group_count=shape.groups,
        )  # fmt: skip

    return convolve


def _forward(shape: Shape) -> Race:
    x, w, _ = _arrays(shape)
    how = shape.how()
    candidate, work = ours(lambda x, w: F.conv2d(x, w, **how), x, w)

    def model() -> bytes:
        return convolution_model(w, x.shape, **how)

    peers: dict[str, Callable[[], Candidate]] = {
        "torch": lambda: torch_call(
            lambda x, w: load("torch").nn.functional.conv2d(x, w, **how), x, w
        ),
        "onnxruntime": lambda: onnxruntime_call(model(), x=x),
        "openvino": lambda: openvino_call(model(), x=x),
        "jax": lambda: jax_call(_jax_conv(shape), x, w),
    }
    return Race(ours=candidate, load=work, peers=peers)


def _backward(shape: Shape, wanted: int) -> Race:
    """The gradient of the images (`wanted` 0) or of the kernels (1)."""
    arrays = _arrays(shape)
    how = shape.how()

    def gradient(x: Any, w: Any, g: Any) -> Any:
        return pl.vjp(lambda x, w: F.conv2d(x, w, **how), x, w)[1](g)[wanted]

    def torch_gradient(x: Any, w: Any, g: Any) -> Any:
        pairs = [[n] * 2 for n in (shape.stride, shape.padding, shape.dilation)]
        mask = [wanted == 0, wanted == 1, False]
        backward = load("torch").ops.aten.convolution_backward
        return backward(g, x, w, None, *pairs, False, [0, 0], shape.groups, mask)[wanted]

    def jax_gradient(x: Any, w: Any, g: Any) -> Any:
        return load("jax").vjp(_jax_conv(shape), x, w)[1](g)[wanted]

    candidate, work = ours(gradient, *arrays)
    return Race(
        ours=candidate,
        load=work,
        peers={
            "torch": lambda: torch_call(torch_gradient, *arrays),
            "jax": lambda: jax_call(jax_gradient, *arrays),
        },
    )


def _rows(name: str, shape: Shape) -> list[Row]:
    goal = Goal(ratio=2.0 if shape.groups == shape.channels else 1.0)
    makes: dict[str, Callable[[Setting], Race]] = {
        "": lambda _: _forward(shape),
        " dx": lambda _: _backward(shape, 0),
        " dw": lambda _: _backward(shape, 1),
    }
    return [
        Row(name=f"conv {name}{part}", group="conv", goal=goal, make=make)
        for part, make in makes.items()
    ]


ROWS = tuple(row for name, shape in SHAPES.items() for row in _rows(name, shape))
