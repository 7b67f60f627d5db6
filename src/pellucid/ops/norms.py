"""Norms of vectors and matrices, and the rank."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pellucid.core.dtype import int64
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import normalize_axes, normalize_axis
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add, divide, multiply, square
from pellucid.ops.binary import pow
from pellucid.ops.casting import astype
from pellucid.ops.comparison import equal, greater, not_equal, where
from pellucid.ops.create import zeros
from pellucid.ops.layout import expand_dims, moveaxis, squeeze
from pellucid.ops.matrices import matrices
from pellucid.ops.movement import slice_axis
from pellucid.ops.parts import imag_part, real_part
from pellucid.ops.promotion import Operand, floating
from pellucid.ops.pseudoinverse import with_tolerance
from pellucid.ops.reduction import max, min, sum
from pellucid.ops.solve import inv
from pellucid.ops.svd import svdvals
from pellucid.ops.unary import abs, sqrt

Axis = int | Sequence[int] | None


def vector_norm(x: Value, axis: Axis = None, keepdims: bool = False, ord: int | float = 2) -> Value:
    """The norm of all elements, or of those along some axes, as one vector.

    Args:
        x: float or complex; integers and bools as float32.
        axis: the axes of the vectors; all by default.
        keepdims: whether they stay, with size 1.
        ord: p of `(sum abs(x)**p)**(1/p)`; infinity for the greatest modulus, minus infinity for
            the least, 0 for the number of elements that are not 0.

    Returns:
        Real, of the precision of `x`.

    Gradient: 0 where the norm is 0.
    """
    value = floating("vector_norm", x)
    axes = normalize_axes("vector_norm", axis, value.shape)
    _check_number("vector_norm", ord)
    if ord == 2:
        return _root(sum(_squares(value), axes, keepdims), 0.5)
    size = abs(value)
    if ord == 0:
        return sum(astype(not_equal(size, 0), size.dtype), axes, keepdims)
    if math.isinf(ord):
        return (_greatest if ord > 0 else min)(size, axes, keepdims)
    if ord == 1:
        return sum(size, axes, keepdims)
    return _root(sum(pow(size, float(ord)), axes, keepdims), 1 / ord)


def matrix_norm(x: Value, keepdims: bool = False, ord: int | float | str | None = "fro") -> Value:
    """A norm of each matrix.

    Args:
        x: float or complex, `[..., m, n]`.
        keepdims: whether the last two axes stay, with size 1.
        ord: "fro" or `None` for the root of the sum of squares, "nuc" for the sum of singular
            values, 2 or -2 for the greatest or least of them, 1 or -1 for the greatest or least
            sum of a column's moduli, infinity or minus infinity for that of a row.

    Returns:
        Real, `[...]`, of the precision of `x`.

    Raises:
        ArgumentError: there is no such norm.

    Gradient: 0 where the Frobenius norm is 0.
    """
    value = matrices("matrix_norm", x)
    axes = (value.rank - 2, value.rank - 1)
    if ord is None or ord == "fro":
        return _root(sum(_squares(value), axes, keepdims), 0.5)
    if ord in ("nuc", 2, -2):
        result = _of_values(svdvals(value), ord)
    elif ord in (1, -1, math.inf, -math.inf):
        added = axes[0] if ord in (1, -1) else axes[1]
        sums = sum(abs(value), (added,), True)
        result = (_greatest if ord > 0 else min)(sums, axes, False)
    else:
        fix = "use 'fro', 'nuc', 1, -1, 2, -2, inf or -inf"
        raise ArgumentError("matrix_norm", "no such norm", operands={"ord": repr(ord)}, fix=fix)
    return expand_dims(result, axes) if keepdims else result


def matrix_rank(x: Value, rtol: Operand | None = None) -> Value:
    """How many singular values of each matrix are above `rtol` times the greatest.

    Args:
        x: float or complex, `[..., m, n]`.
        rtol: a number, or one for each matrix; by default `max(m, n)` times the dtype's epsilon.

    Returns:
        int64, `[...]`.
    """
    value, limit = with_tolerance("matrix_rank", matrices("matrix_rank", x), rtol)
    values = svdvals(value)
    last = values.rank - 1
    if not values.shape[last]:
        return zeros(limit.shape, int64)
    greatest = slice_axis(values, last, 0, 1)
    return sum(astype(greater(values, multiply(expand_dims(limit, -1), greatest)), int64), last)


def norm(
    x: Value, ord: int | float | str | None = None, axis: Axis = None, keepdims: bool = False
) -> Value:
    """The norm of a vector or a matrix, as NumPy's `linalg.norm`.

    Args:
        x: float or complex.
        ord: as for `vector_norm` or `matrix_norm`; their own default if left out.
        axis: one axis, of vectors, or two, of matrices; by default those of a vector or matrix
            `x`, or with no `ord` all axes as those of one vector.
        keepdims: whether the axes stay, with size 1.

    Raises:
        ShapeError: `ord` is given without `axis`, and `x` is neither a vector nor a matrix.
    """
    value = floating("norm", x)
    if axis is None and ord is not None:
        axis = tuple(range(value.rank))
    given = 1 if axis is None or isinstance(axis, int) else len(axis)
    if axis is None or given == 1:
        return vector_norm(value, axis, keepdims, 2 if ord is None else ord)  # type: ignore[arg-type]  # it checks
    if given != 2 or isinstance(axis, int):
        fix = "say which axes are those of the vectors or matrices: axis=-1, axis=(-2, -1)"
        operands: dict[str, object] = {"x": value.type, "axis": axis}
        raise ShapeError("norm", "takes one axis or two", operands=operands, fix=fix)
    places = [normalize_axis("norm", a, value.shape) for a in axis]
    result = matrix_norm(moveaxis(value, places, (-2, -1)), False, ord)
    return expand_dims(result, sorted(places)) if keepdims else result


def cond(x: Value, p: int | float | str | None = None) -> Value:
    """The condition number of each matrix: how much solving with it may enlarge an error.

    Args:
        x: float or complex, `[..., m, n]`.
        p: the norm, as for `matrix_norm`. By default, and for 2 and -2, the ratio of the greatest
            to the least singular value, or the inverse; for others the matrices must be square.

    Returns:
        Real, `[...]`; infinity for a singular matrix by default.

    Raises:
        LinAlgError: a matrix is singular, and `p` another norm.
    """
    value = matrices("cond", x)
    if p not in (None, 2, -2):
        return multiply(matrix_norm(value, False, p), matrix_norm(inv(value), False, p))
    values = svdvals(value)
    last = values.rank - 1
    k = values.shape[last]
    ends = [squeeze(slice_axis(values, last, i, i + 1), last) for i in (0, k - 1)]
    return divide(*(ends if p != -2 else ends[::-1]))


def _of_values(values: Value, ord: object) -> Value:
    """The sum, the greatest or the least singular value."""
    axes = (values.rank - 1,)
    if ord == "nuc":
        return sum(values, axes)
    return _greatest(values, axes) if ord == 2 else min(values, axes)


def _check_number(op: str, ord: object) -> None:
    if not isinstance(ord, (int, float)) or isinstance(ord, bool) or math.isnan(ord):
        rule, fix = "ord must be a number", "use an int, a float or infinity"
        raise ArgumentError(op, rule, operands={"ord": repr(ord)}, fix=fix)


def _squares(x: Value) -> Value:
    if x.dtype.is_complex:
        return add(square(real_part(x)), square(imag_part(x)))
    return square(x)


def _root(total: Value, power: float) -> Value:
    """`total ** power`, 0 with a gradient of 0 where `total` is 0."""
    nothing = equal(total, 0)
    safe = where(nothing, 1, total)
    root = sqrt(safe) if power == 0.5 else pow(safe, power)
    return where(nothing, 0 if power > 0 else math.inf, root)


def _greatest(x: Value, axes: Sequence[int], keepdims: bool = False) -> Value:
    """The greatest of numbers that are at least 0, 0 if there are none."""
    if any(x.shape[a] == 0 for a in axes):
        return sum(x, axes, keepdims)
    return max(x, axes, keepdims)
