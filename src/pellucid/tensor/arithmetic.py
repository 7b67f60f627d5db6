"""Tensor's operators and elementwise methods: one-line forwards to ops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pellucid import ops
from pellucid.core.dtype import DTypeLike, as_dtype
from pellucid.tensor.box import Box
from pellucid.tensor.dispatch import apply, elementwise, is_operand

if TYPE_CHECKING:  # the class these methods end up on
    from pellucid.tensor.tensor import Tensor


class Arithmetic(Box):
    """Operators, comparisons and elementwise functions. Operands broadcast and promote."""

    __slots__ = ()
    __array_priority__ = 1000  # numpy_array + tensor comes here

    def __add__(self, other: Any) -> Tensor:
        return elementwise(ops.add, self, other)

    def __radd__(self, other: Any) -> Tensor:
        return elementwise(ops.add, other, self)

    def __sub__(self, other: Any) -> Tensor:
        return elementwise(ops.subtract, self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return elementwise(ops.subtract, other, self)

    def __mul__(self, other: Any) -> Tensor:
        return elementwise(ops.multiply, self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return elementwise(ops.multiply, other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return elementwise(ops.divide, self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return elementwise(ops.divide, other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return elementwise(ops.floor_divide, self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return elementwise(ops.floor_divide, other, self)

    def __mod__(self, other: Any) -> Tensor:
        return elementwise(ops.remainder, self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return elementwise(ops.remainder, other, self)

    def __pow__(self, other: Any) -> Tensor:
        # few distinct exponents, and x**2 is cheaper than pow
        if isinstance(other, (int, float, complex)):
            return apply(ops.pow, self, other)
        return elementwise(ops.pow, self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return elementwise(ops.pow, other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return elementwise(ops.matmul, self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return elementwise(ops.matmul, other, self)

    def __neg__(self) -> Tensor:
        return apply(ops.negative, self)

    def __pos__(self) -> Arithmetic:
        return self

    def __abs__(self) -> Tensor:
        return apply(ops.abs, self)

    def __invert__(self) -> Tensor:
        return apply(ops.bitwise_invert, self)

    def __and__(self, other: Any) -> Tensor:
        return elementwise(ops.bitwise_and, self, other)

    def __or__(self, other: Any) -> Tensor:
        return elementwise(ops.bitwise_or, self, other)

    def __xor__(self, other: Any) -> Tensor:
        return elementwise(ops.bitwise_xor, self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __lshift__(self, other: Any) -> Tensor:
        return elementwise(ops.bitwise_left_shift, self, other)

    def __rshift__(self, other: Any) -> Tensor:
        return elementwise(ops.bitwise_right_shift, self, other)

    def __rlshift__(self, other: Any) -> Tensor:
        return elementwise(ops.bitwise_left_shift, other, self)

    def __rrshift__(self, other: Any) -> Tensor:
        return elementwise(ops.bitwise_right_shift, other, self)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]  # elementwise, as arrays do
        return elementwise(ops.equal, self, other) if is_operand(other) else NotImplemented

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]  # elementwise, as arrays do
        return elementwise(ops.not_equal, self, other) if is_operand(other) else NotImplemented

    def __lt__(self, other: Any) -> Tensor:
        return elementwise(ops.less, self, other)

    def __le__(self, other: Any) -> Tensor:
        return elementwise(ops.less_equal, self, other)

    def __gt__(self, other: Any) -> Tensor:
        return elementwise(ops.greater, self, other)

    def __ge__(self, other: Any) -> Tensor:
        return elementwise(ops.greater_equal, self, other)

    __hash__ = object.__hash__  # by identity: cells are kept in dicts

    def astype(self, dtype: DTypeLike) -> Tensor:
        """Elements converted to `dtype`; floats to integers truncate, saturate, NaN becomes 0."""
        return apply(ops.astype, self, as_dtype(dtype))

    @property
    def real(self) -> Tensor:
        """The real part; a real tensor itself."""
        return apply(ops.real, self)

    @property
    def imag(self) -> Tensor:
        """The imaginary part; zeros of a real tensor."""
        return apply(ops.imag, self)

    def conj(self) -> Tensor:
        """The complex conjugate; a real tensor itself."""
        return apply(ops.conj, self)

    def exp(self) -> Tensor:
        """`e**x`."""
        return apply(ops.exp, self)

    def log(self) -> Tensor:
        """Natural logarithm."""
        return apply(ops.log, self)

    def sqrt(self) -> Tensor:
        """Square root."""
        return apply(ops.sqrt, self)

    def abs(self) -> Tensor:
        """Absolute value."""
        return apply(ops.abs, self)

    def tanh(self) -> Tensor:
        """Hyperbolic tangent."""
        return apply(ops.tanh, self)

    def sigmoid(self) -> Tensor:
        """`1 / (1 + exp(-x))`."""
        return apply(ops.sigmoid, self)

    def relu(self) -> Tensor:
        """`max(x, 0)`; NaN stays NaN."""
        return apply(ops.relu, self)

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """Elements limited to `[min, max]`."""
        return apply(ops.clip, self, min, max)
