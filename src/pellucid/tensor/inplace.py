"""Tensor's in-place operators: the result, if it fits, becomes what the object holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid import ops
from pellucid.core.errors import ShapeError
from pellucid.tensor.box import Box
from pellucid.tensor.dispatch import elementwise

if TYPE_CHECKING:  # the class these methods end up on
    from pellucid.tensor.tensor import Tensor


class InPlace(Box):
    """`x += y` and its like. Results of earlier operations on `x` keep its old elements."""

    __slots__ = ()

    def __iadd__(self, other: Any) -> Tensor:
        return self._update(elementwise(ops.add, self, other))

    def __isub__(self, other: Any) -> Tensor:
        return self._update(elementwise(ops.subtract, self, other))

    def __imul__(self, other: Any) -> Tensor:
        return self._update(elementwise(ops.multiply, self, other))

    def __itruediv__(self, other: Any) -> Tensor:
        return self._update(elementwise(ops.divide, self, other))

    def __ifloordiv__(self, other: Any) -> Tensor:
        return self._update(elementwise(ops.floor_divide, self, other))

    def __imod__(self, other: Any) -> Tensor:
        return self._update(elementwise(ops.remainder, self, other))

    def __ipow__(self, other: Any) -> Tensor:
        return self._update(elementwise(ops.pow, self, other))

    def __imatmul__(self, other: Any) -> Tensor:
        return self._update(elementwise(ops.matmul, self, other))

    def __iand__(self, other: Any) -> Tensor:
        return self._update(elementwise(ops.bitwise_and, self, other))

    def __ior__(self, other: Any) -> Tensor:
        return self._update(elementwise(ops.bitwise_or, self, other))

    def __ixor__(self, other: Any) -> Tensor:
        return self._update(elementwise(ops.bitwise_xor, self, other))

    def __ilshift__(self, other: Any) -> Tensor:
        return self._update(elementwise(ops.bitwise_left_shift, self, other))

    def __irshift__(self, other: Any) -> Tensor:
        return self._update(elementwise(ops.bitwise_right_shift, self, other))

    def _update(self, result: Tensor) -> Tensor:
        if self.weak:  # a Python number, which nothing changes in place
            return result
        if result.type != self.type:
            raise ShapeError(
                "in-place operator",
                "the result does not fit the tensor",
                operands={"tensor": self.type, "result": result.type},
                fix="write x = x + y (x = x / y, ...), which makes a new tensor",
            )
        self._overwrite(result)  # type: ignore[attr-defined]  # Tensor's
        return self  # type: ignore[return-value]  # boxes made here are tensors
