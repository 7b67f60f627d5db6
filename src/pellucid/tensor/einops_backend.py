"""What einops needs to know about tensors; imported when einops is, see `late_import.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from einops._backends import AbstractBackend

from pellucid.tensor import functions
from pellucid.tensor.box import Array
from pellucid.tensor.tensor import Tensor


class PellucidBackend(AbstractBackend):
    """einops's operations on tensors, eager or recorded; einops finds it among the subclasses."""

    framework_name = "pellucid"

    def is_appropriate_type(self, tensor: Any) -> bool:
        """Whether it is a tensor of this library."""
        return isinstance(tensor, Tensor)

    def from_numpy(self, x: Array) -> Tensor:
        """An array as a tensor."""
        return Tensor(x)

    def to_numpy(self, x: Tensor) -> Array:
        """A tensor as an array."""
        return x.numpy()

    def arange(self, start: int, stop: int) -> Tensor:
        """Whole numbers from `start`, below `stop`."""
        return functions.arange(start, stop)

    def transpose(self, x: Tensor, axes: Sequence[int]) -> Tensor:
        """The axes in another order."""
        return x.permute(tuple(axes))

    def stack_on_zeroth_dimension(self, tensors: list[Tensor]) -> Tensor:
        """Tensors of one shape along a new first axis."""
        return functions.stack(tensors)

    def add_axis(self, x: Tensor, new_position: int) -> Tensor:
        """With an axis of size 1 more."""
        return x.unsqueeze(new_position)

    def tile(self, x: Tensor, repeats: Sequence[int]) -> Tensor:
        """The whole repeated along each axis."""
        return functions.tile(x, tuple(repeats))

    def concat(self, tensors: Sequence[Tensor], axis: int) -> Tensor:
        """Tensors one after another along an axis."""
        return functions.concat(list(tensors), axis)

    def is_float_type(self, x: Tensor) -> bool:
        """Whether it holds floats, of which means can be taken."""
        return x.dtype.is_inexact

    def einsum(self, pattern: str, *x: Tensor) -> Tensor:
        """A sum of products after Einstein."""
        return functions.einsum(pattern, *x)
