"""Linear, Embedding, Flatten, Dropout, Identity."""

from __future__ import annotations

import numpy as np

from pellucid.core.errors import ArgumentError
from pellucid.nn import functional as F
from pellucid.nn import init
from pellucid.nn.module import Module
from pellucid.tensor.tensor import Parameter, Tensor


def empty_parameter(*shape: int) -> Parameter:
    """A float32 parameter to be initialised.

    Raises:
        ArgumentError: a size is negative.
    """
    if min(shape, default=0) < 0:
        raise ArgumentError("parameter", "sizes must be >= 0", operands={"shape": shape})
    return Parameter(np.zeros(shape, np.float32))


class Identity(Module):
    """Gives back what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        """`x`."""
        return x


class Linear(Module):
    """`x @ weight.T + bias`.

    Args:
        in_features: size of the last axis of the input.
        out_features: size of the last axis of the output.
        bias: whether there is a bias.

    Parameters `weight` `[out, in]` and `bias` `[out]` start uniform within `1 / sqrt(in)`.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.in_features, self.out_features = in_features, out_features
        self.weight = empty_parameter(out_features, in_features)
        self.bias = empty_parameter(out_features) if bias else None
        init.fan_in_uniform_(in_features, self.weight, self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., in]` to `[..., out]`."""
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Sizes."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"


class Embedding(Module):
    """A table of vectors looked up by number.

    Args:
        num_embeddings: rows of the table.
        embedding_dim: size of a vector.

    Parameter `weight` `[num_embeddings, embedding_dim]` starts standard normal.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = empty_parameter(num_embeddings, embedding_dim)
        init.normal_(self.weight)

    def forward(self, indices: Tensor) -> Tensor:
        """Integers of any shape to `[*shape, embedding_dim]`."""
        return F.embedding(indices, self.weight)

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.num_embeddings}, {self.embedding_dim}"


class Flatten(Module):
    """Axes `start_dim` to `end_dim` made one; all but the first by default."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Tensor) -> Tensor:
        """`[N, ...]` to `[N, size of the rest]`."""
        return x.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Dropout(Module):
    """In training, zeroes each element with probability `p` and divides the others by `1 - p`.

    Raises:
        ArgumentError: `p` is outside `[0, 1]`.
    """

    def __init__(self, p: float = 0.5) -> None:
        if not 0.0 <= p <= 1.0:
            raise ArgumentError("Dropout", "p must be in [0, 1]", operands={"p": p})
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """`x`'s shape."""
        return F.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"
