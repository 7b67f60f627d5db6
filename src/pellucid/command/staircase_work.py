"""What staircases are shown for: each work as a function, its inputs, and what NumPy says of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pellucid as pl
from pellucid.core.errors import ArgumentError
from pellucid.nn import functional as F  # the name everyone knows it by

Array = NDArray[Any]
_KERNEL = 3  # of the convolution, both ways
_MOST_BYTES = 8 << 30
_QUERIES = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """A function worth a staircase.

    Attributes:
        name: as given on the command line.
        axes: what its extents are.
        size: those taken by default.
        single: the extents meant by one number.
        unit: `GFLOP/s` where arithmetic is the limit, `GB/s` where memory is.
        function: of tensors.
        shapes: the arrays' shapes for given extents.
        reference: of arrays, in float64.
    """

    name: str
    axes: tuple[str, ...]
    size: tuple[int, ...]
    single: Callable[[int], tuple[int, ...]]
    unit: str
    function: Callable[..., pl.Tensor]
    shapes: Callable[..., tuple[tuple[int, ...], ...]]
    reference: Callable[..., Array]

    def extents(self, size: Sequence[int] | None) -> tuple[int, ...]:
        """The extents meant by a size.

        Raises:
            ArgumentError: it has another number of extents, one of them is 0, or it is too large.
        """
        if size is None:
            return self.size
        found = self.single(size[0]) if len(size) == 1 else tuple(size)
        if len(found) != len(self.axes) or min(found) < 1:
            rule = f"the size of {self.name} is {'x'.join(self.axes)}, or one number"
            raise ArgumentError("staircase", rule, operands={"size": "x".join(map(str, size))})
        nbytes = 12 * sum(math.prod(shape) for shape in self.shapes(*found))
        if nbytes > _MOST_BYTES:
            rule = f"the arrays would take more than {_MOST_BYTES >> 30} GB"
            raise ArgumentError("staircase", rule, operands={"size": "x".join(map(str, size))})
        return found

    def inputs(self, rng: np.random.Generator, size: tuple[int, ...]) -> list[Array]:
        """Normal random numbers, float32."""
        return [rng.standard_normal(shape, np.float32) for shape in self.shapes(*size)]


def _convolve(x: pl.Tensor, w: pl.Tensor) -> pl.Tensor:
    return F.conv2d(x, w, padding=1)


def _softmax(x: pl.Tensor) -> pl.Tensor:
    result: pl.Tensor = pl.softmax(x, axis=-1)
    return result


def _product_in_numpy(a: Array, b: Array) -> Array:
    return a.astype(np.float64) @ b.astype(np.float64)


def _convolution_in_numpy(x: Array, w: Array) -> Array:
    """A sum over the kernel's taps of products over channels."""
    height, width = x.shape[2:]
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    out = np.zeros((x.shape[0], w.shape[0], height, width))
    for i in range(_KERNEL):
        for j in range(_KERNEL):
            window = padded[:, :, i : i + height, j : j + width]
            tap = w[:, :, i, j].astype(np.float64)
            out += np.moveaxis(np.tensordot(tap, window, axes=(1, 1)), 0, 1)
    return out


def _softmax_in_numpy(x: Array) -> Array:
    wide = x.astype(np.float64)
    wide = np.exp(wide - wide.max(axis=-1, keepdims=True))
    result: Array = wide / wide.sum(axis=-1, keepdims=True)
    return result


def _attention_in_numpy(q: Array, k: Array, v: Array) -> Array:
    """A few queries at a time: many tokens' weights would not fit in memory all at once."""
    out, turned = np.empty(q.shape), np.swapaxes(k.astype(np.float64), -1, -2)
    for start in range(0, q.shape[-2], _QUERIES):
        some = slice(start, start + _QUERIES)
        weights = _softmax_in_numpy(q[..., some, :] @ turned / math.sqrt(q.shape[-1]))
        out[..., some, :] = weights @ v
    return out


_GEMM = Work(
    name="gemm",
    axes=("rows", "columns", "depth"),
    size=(1024, 1024, 1024),
    single=lambda n: (n, n, n),
    unit="GFLOP/s",
    function=pl.matmul,
    shapes=lambda m, n, k: ((m, k), (k, n)),
    reference=_product_in_numpy,
)
_CONV = Work(
    name="conv",
    axes=("images", "channels", "height", "width", "filters"),
    size=(8, 64, 28, 28, 64),
    single=lambda n: (8, 64, n, n, 64),
    unit="GFLOP/s",
    function=_convolve,
    shapes=lambda b, c, h, w, f: ((b, c, h, w), (f, c, _KERNEL, _KERNEL)),
    reference=_convolution_in_numpy,
)
_SOFTMAX = Work(
    name="softmax",
    axes=("rows", "columns"),
    size=(4096, 4096),
    single=lambda n: (n, n),
    unit="GB/s",
    function=_softmax,
    shapes=lambda m, n: ((m, n),),
    reference=_softmax_in_numpy,
)
_ATTENTION = Work(
    name="attention",
    axes=("batch", "heads", "tokens", "width"),
    size=(1, 4, 512, 64),
    single=lambda n: (1, 4, n, 64),
    unit="GFLOP/s",
    function=F.scaled_dot_product_attention,
    shapes=lambda b, h, t, d: ((b, h, t, d),) * 3,
    reference=_attention_in_numpy,
)
WORKS = MappingProxyType({w.name: w for w in (_GEMM, _CONV, _SOFTMAX, _ATTENTION)})
"""The works by name."""
