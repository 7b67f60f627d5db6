"""BatchNorm, LayerNorm, RMSNorm, GroupNorm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.nn import functional as F
from pellucid.nn.module import Module
from pellucid.tensor.tensor import Buffer, Parameter, Tensor, no_grad


def _ones(*shape: int) -> Parameter:
    return Parameter(np.ones(shape, np.float32))


def _zeros(*shape: int) -> Parameter:
    return Parameter(np.zeros(shape, np.float32))


def _shape(sizes: int | Sequence[int]) -> tuple[int, ...]:
    return (sizes,) if isinstance(sizes, int) else tuple(sizes)


class _BatchNorm(Module):
    ranks: tuple[int, ...] = ()

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = _ones(num_features) if affine else None
        self.bias = _zeros(num_features) if affine else None
        kept = track_running_stats
        self.running_mean = Buffer(np.zeros(num_features, np.float32)) if kept else None
        self.running_var = Buffer(np.ones(num_features, np.float32)) if kept else None
        self.num_batches_tracked = Buffer(np.array(0, np.int64)) if kept else None

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, ...]` normalised per channel: by the batch in training, else as tracked.

        Raises:
            ShapeError: `x` has other axes or channels, or one value per channel in training.
        """
        self._check(x)
        if self.running_mean is not None and self.running_var is not None and not self.training:
            mean: Tensor = self.running_mean
            var: Tensor = self.running_var
        else:
            mean, var = F.batch_moments(x)
            self._track(mean, var, x.size // self.num_features)
        return F.batch_norm(x, mean, var, self.weight, self.bias, eps=self.eps)

    def _check(self, x: Tensor) -> None:
        name = type(self).__name__
        if x.ndim not in self.ranks or x.shape[1] != self.num_features:
            wanted = " or ".join(f"{r} axes" for r in self.ranks)
            rule = f"x must have {wanted}, the second of size {self.num_features}"
            raise ShapeError(name, rule, operands={"x": x.shape})
        if self.training and x.size <= self.num_features:
            rule = "training needs more than one value per channel"
            raise ShapeError(
                name, rule, operands={"x": x.shape}, fix="use a larger batch, or eval()"
            )

    def _track(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Move the running statistics towards this batch's; the variance without bias."""
        if self.running_mean is None or self.running_var is None or not self.training:
            return
        if self.num_batches_tracked is None:
            return
        with no_grad():
            seen = self.num_batches_tracked + 1
            self.num_batches_tracked.assign_(seen)
            share = 1.0 / seen.astype("float32") if self.momentum is None else self.momentum
            unbiased = var * count / max(count - 1, 1)
            old_mean, old_var = self.running_mean, self.running_var
            self.running_mean.assign_(old_mean * (1.0 - share) + mean * share)
            self.running_var.assign_(old_var * (1.0 - share) + unbiased * share)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of `[N, C]` or `[N, C, L]` per channel (Ioffe and Szegedy 2015).

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: share of the newest batch in the running statistics; None for a plain mean.
        affine: whether there are a `weight` and a `bias`.
        track_running_stats: whether to keep statistics for evaluation.
    """

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of `[N, C, H, W]` per channel; arguments as `BatchNorm1d`."""

    ranks = (4,)


class LayerNorm(Module):
    """`(x - mean) / sqrt(var + eps) * weight + bias` over the last axes (Ba et al. 2016).

    Args:
        normalized_shape: sizes of the last axes.
        eps: added to the variance.
        elementwise_affine: whether there is a `weight`, of `normalized_shape`.
        bias: whether there is a `bias` too.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.weight = _ones(*self.normalized_shape) if elementwise_affine else None
        self.bias = _zeros(*self.normalized_shape) if elementwise_affine and bias else None

    def forward(self, x: Tensor) -> Tensor:
        """`x`'s shape."""
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.normalized_shape}, eps={self.eps}"


class RMSNorm(Module):
    """`x / sqrt(mean(x²) + eps) * weight` over the last axes (Zhang and Sennrich 2019).

    Args:
        normalized_shape: sizes of the last axes.
        eps: added to the mean square; by default the epsilon of the input's dtype, float32's
            for narrower floats.
        elementwise_affine: whether there is a `weight`.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
    ) -> None:
        self.normalized_shape = _shape(normalized_shape)
        self.eps = eps
        self.weight = _ones(*self.normalized_shape) if elementwise_affine else None

    def forward(self, x: Tensor) -> Tensor:
        """`x`'s shape."""
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.normalized_shape}, eps={self.eps}"


class GroupNorm(Module):
    """Each of `num_groups` groups of channels normalised by itself (Wu and He 2018).

    Args:
        num_groups: groups.
        num_channels: channels.
        eps: added to the variance.
        affine: whether there are a `weight` and a `bias`, both `[num_channels]`.

    Raises:
        ArgumentError: the groups do not divide the channels.
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True
    ) -> None:
        if num_groups < 1 or num_channels % num_groups:
            operands: dict[str, object] = {"num_groups": num_groups, "num_channels": num_channels}
            raise ArgumentError("GroupNorm", "groups must divide the channels", operands=operands)
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight = _ones(num_channels) if affine else None
        self.bias = _zeros(num_channels) if affine else None

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, ...]`, the same shape."""
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}"
