"""Random tensors: counter-based (Philox 4x32-10), the same numbers eager and jitted, on every
target.

A generator's state is a cell, so a jitted function that draws numbers advances it like any other
state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pellucid import ops
from pellucid.core.dtype import DTypeLike, as_dtype, float32, int64
from pellucid.core.errors import ArgumentError
from pellucid.core.shape import check_shape
from pellucid.tensor.dispatch import apply
from pellucid.tensor.tensor import Buffer, Tensor, no_grad


class GeneratorState(Buffer):
    """A key and a counter: `u64[2]`."""


class Generator:
    """A stream of random numbers.

    Args:
        seed: any integer in `[0, 2**64)`; equal seeds give equal streams.
    """

    def __init__(self, seed: int = 0) -> None:
        self.state = GeneratorState(_state(seed), name="generator_state")

    def manual_seed(self, seed: int) -> Generator:
        """Start again from `seed`; returns the generator."""
        self.state.assign_(Tensor(_state(seed)))
        return self

    def _draw(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Tensor:
        with no_grad():
            values, state = apply(fn, self.state, *args, **kwargs)
            self.state.assign_(state)
        return values

    def uniform(
        self,
        shape: int | Sequence[int],
        low: float = 0.0,
        high: float = 1.0,
        dtype: DTypeLike = float32,
    ) -> Tensor:
        """Floats of `shape`, uniform in `[low, high)`."""
        return self._draw(
            ops.uniform, check_shape("uniform", shape), low=low, high=high, dtype=as_dtype(dtype)
        )

    def normal(
        self,
        shape: int | Sequence[int],
        mean: float = 0.0,
        std: float = 1.0,
        dtype: DTypeLike = float32,
    ) -> Tensor:
        """Floats of `shape`, normal with this mean and standard deviation.

        Raises:
            ArgumentError: `std` is negative or NaN.
        """
        if not std >= 0.0:
            raise ArgumentError("normal", "std must be >= 0", operands={"std": std})
        return self._draw(
            ops.normal, check_shape("normal", shape), mean=mean, std=std, dtype=as_dtype(dtype)
        )

    def bernoulli(self, shape: int | Sequence[int], p: float = 0.5) -> Tensor:
        """Bools of `shape`, true with probability `p`.

        Raises:
            ArgumentError: `p` is outside `[0, 1]`.
        """
        if not 0.0 <= p <= 1.0:
            raise ArgumentError("bernoulli", "p must be in [0, 1]", operands={"p": p})
        return self._draw(ops.bernoulli, p=p, shape=check_shape("bernoulli", shape))

    def randint(
        self, shape: int | Sequence[int], low: int, high: int, dtype: DTypeLike = int64
    ) -> Tensor:
        """Integers of `shape`, uniform in `[low, high)`."""
        return self._draw(
            ops.randint, check_shape("randint", shape), low=low, high=high, dtype=as_dtype(dtype)
        )

    def permutation(self, n: int) -> Tensor:
        """The numbers 0 … n-1 in random order (int64)."""
        return self._draw(ops.permutation, n)


def _state(seed: int) -> np.ndarray[Any, Any]:
    if not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**64:
        raise ArgumentError(
            "manual_seed", "seed must be in [0, 2**64)", operands={"seed": repr(seed)}
        )
    return np.array([seed, 0], dtype=np.uint64)


default_generator = Generator(0)


def manual_seed(seed: int) -> Generator:
    """Restart the default generator from `seed`."""
    return default_generator.manual_seed(seed)


def _shape(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes


def rand(*shape: Any, dtype: DTypeLike = float32, generator: Generator | None = None) -> Tensor:
    """Floats uniform in [0, 1)."""
    return (generator or default_generator).uniform(_shape(shape), dtype=dtype)


def randn(*shape: Any, dtype: DTypeLike = float32, generator: Generator | None = None) -> Tensor:
    """Floats from the standard normal distribution."""
    return (generator or default_generator).normal(_shape(shape), dtype=dtype)


def randint(
    low: int,
    high: int,
    shape: int | Sequence[int],
    dtype: DTypeLike = int64,
    generator: Generator | None = None,
) -> Tensor:
    """Integers uniform in `[low, high)`."""
    return (generator or default_generator).randint(shape, low, high, dtype)


def randperm(n: int, generator: Generator | None = None) -> Tensor:
    """The numbers 0 … n-1 in random order (int64)."""
    return (generator or default_generator).permutation(n)
