"""Tensor's reductions and movement: one-line forwards to ops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pellucid import ops
from pellucid.core.errors import ShapeError
from pellucid.core.shape import normalize_axis
from pellucid.tensor.box import Box
from pellucid.tensor.dispatch import apply
from pellucid.tensor.indexing import known_key

if TYPE_CHECKING:  # the class these methods end up on
    from pellucid.tensor.tensor import Tensor

Axes = int | Sequence[int] | None


def _sizes(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """`(2, 3)` from `f(2, 3)` and from `f((2, 3))`."""
    if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)):
        return tuple(sizes[0])
    return sizes


class Shaping(Box):
    """Reductions over axes and changes of shape. Negative axes count from the end."""

    __slots__ = ()

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.type.size

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.type.nbytes

    @property
    def T(self) -> Tensor:  # the array API's name
        """A matrix transposed.

        Raises:
            ShapeError: the tensor has not exactly two axes.
        """
        if self.ndim != 2:
            raise ShapeError(
                "T", "needs 2 axes", operands={"x": self.shape}, fix="use x.mT or permute"
            )
        return apply(ops.transpose, self)

    @property
    def mT(self) -> Tensor:  # the array API's name
        """The last two axes swapped."""
        return apply(ops.matrix_transpose, self)

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("len", "a tensor without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise ShapeError("iter", "a tensor without axes has nothing to iterate over")
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key: Any) -> Tensor:
        return apply(ops.getitem, self, known_key(key, self.shape, self.plain))

    def sum(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """Sum over `axis` (all axes by default)."""
        return apply(ops.sum, self, axis=axis, keepdims=keepdims)

    def mean(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """Arithmetic mean over `axis`."""
        return apply(ops.mean, self, axis=axis, keepdims=keepdims)

    def var(self, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        """Variance over `axis`; the divisor is `n - correction`."""
        return apply(ops.var, self, axis=axis, correction=correction, keepdims=keepdims)

    def std(self, axis: Axes = None, correction: float = 0.0, keepdims: bool = False) -> Tensor:
        """Standard deviation over `axis`."""
        return apply(ops.std, self, axis=axis, correction=correction, keepdims=keepdims)

    def prod(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """Product over `axis`."""
        return apply(ops.prod, self, axis=axis, keepdims=keepdims)

    def max(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """Largest element over `axis`; NaN wins."""
        return apply(ops.max, self, axis=axis, keepdims=keepdims)

    def min(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """Smallest element over `axis`; NaN wins."""
        return apply(ops.min, self, axis=axis, keepdims=keepdims)

    def argmax(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Index (int64) of the first largest element along `axis`, or in the flattened tensor."""
        return apply(ops.argmax, self, axis=axis, keepdims=keepdims)

    def argmin(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        """Index (int64) of the first smallest element along `axis`, or in the flattened tensor."""
        return apply(ops.argmin, self, axis=axis, keepdims=keepdims)

    def any(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """Whether any element over `axis` is true."""
        return apply(ops.any, self, axis=axis, keepdims=keepdims)

    def all(self, axis: Axes = None, keepdims: bool = False) -> Tensor:
        """Whether all elements over `axis` are true."""
        return apply(ops.all, self, axis=axis, keepdims=keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        """The same elements in row-major order under another shape; one size may be -1."""
        return apply(ops.reshape, self, _sizes(shape))

    view = reshape

    def flatten(self, start: int = 0, end: int = -1) -> Tensor:
        """Axes `start` to `end` (inclusive) made one.

        Raises:
            ShapeError: there is no such axis, or `end` stands before `start`.
        """
        shape = self.shape or (1,)
        first, last = (normalize_axis("flatten", axis, shape) for axis in (start, end))
        if first > last:
            operands = {"start": start, "end": end, "shape": shape}
            raise ShapeError("flatten", "start must not come after end", operands=operands)
        return self.reshape(*shape[:first], -1 if self.size else 0, *shape[last + 1 :])

    def permute(self, *axes: Any) -> Tensor:
        """The axes in another order."""
        return apply(ops.transpose, self, _sizes(axes))

    def transpose(self, a: int, b: int) -> Tensor:
        """Two axes swapped."""
        return apply(ops.swapaxes, self, a, b)

    def broadcast_to(self, *shape: Any) -> Tensor:
        """Repeated along axes of size 1 and new leading axes."""
        return apply(ops.broadcast_to, self, _sizes(shape))

    expand = broadcast_to

    def squeeze(self, axis: Axes = None) -> Tensor:
        """Without axes of size 1 (all of them, or those named)."""
        return apply(ops.squeeze, self, axis)

    def unsqueeze(self, axis: int) -> Tensor:
        """With a new axis of size 1."""
        return apply(ops.expand_dims, self, axis)

    def softmax(self, axis: int = -1) -> Tensor:
        """`exp(x) / sum(exp(x))` along `axis`."""
        return apply(ops.softmax, self, axis=axis)

    def log_softmax(self, axis: int = -1) -> Tensor:
        """`log(softmax(x))` along `axis`, computed stably."""
        return apply(ops.log_softmax, self, axis=axis)
