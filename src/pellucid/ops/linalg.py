"""Linear algebra: the functions of the array API's `linalg`, on graph values.

Decompositions and solvers are records of their own files; what is here is composed of them.
"""

from __future__ import annotations

from pellucid.core.dtype import DTypeLike
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import broadcast_shapes
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import multiply, subtract
from pellucid.ops.cholesky import cholesky
from pellucid.ops.contraction import matmul, tensordot, vecdot
from pellucid.ops.contraction import outer as _outer
from pellucid.ops.determinant import cofactors, det, slogdet
from pellucid.ops.eig import eig, eigvals
from pellucid.ops.eigh import eigh, eigvalsh
from pellucid.ops.einsum import diagonal as _diagonal
from pellucid.ops.join import concatenate
from pellucid.ops.layout import matrix_transpose
from pellucid.ops.matrices import identity_like, matrices
from pellucid.ops.movement import slice_axis
from pellucid.ops.norms import matrix_norm, matrix_rank, vector_norm
from pellucid.ops.pseudoinverse import lstsq, pinv
from pellucid.ops.qr import qr
from pellucid.ops.reduction import sum
from pellucid.ops.solve import inv, solve, solve_triangular
from pellucid.ops.svd import svd, svdvals

__all__ = [
    "cholesky",
    "cofactors",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]


def cross(x1: Value, x2: Value, axis: int = -1) -> Value:
    """The cross product of vectors of three elements along `axis`; other axes broadcast.

    Raises:
        ShapeError: an operand has no such axis, or another size than 3 there.
    """
    operands: dict[str, object] = {"x1": x1.type, "x2": x2.type, "axis": axis}
    if axis >= 0:
        if x1.rank != x2.rank:
            fix = "count the axis from the end, as a negative number"
            raise ShapeError("cross", "ranks differ", operands=operands, fix=fix)
        axis -= x1.rank
    if any(not 0 < -axis <= v.rank or v.shape[axis] != 3 for v in (x1, x2)):
        raise ShapeError("cross", "both need 3 elements along the axis", operands=operands)
    broadcast_shapes("cross", x1.shape, x2.shape)
    a, b = ([slice_axis(v, v.rank + axis, i, i + 1) for i in range(3)] for v in (x1, x2))
    parts = [
        subtract(multiply(a[i], b[j]), multiply(a[j], b[i])) for i, j in ((1, 2), (2, 0), (0, 1))
    ]
    return concatenate(parts, axis)


def diagonal(x: Value, offset: int = 0) -> Value:
    """The diagonal of each matrix, `[..., k]`; of those above it with `offset` > 0, below < 0."""
    _check_rank("diagonal", x)
    return _diagonal(x, offset)


def trace(x: Value, offset: int = 0, dtype: DTypeLike | None = None) -> Value:
    """The sum of a diagonal of each matrix; dtypes as for `sum`."""
    _check_rank("trace", x)
    return sum(_diagonal(x, offset), -1, dtype=dtype)


def outer(x1: Value, x2: Value) -> Value:
    """All products of the elements of two vectors, `[len(x1), len(x2)]`.

    Raises:
        ShapeError: an operand is not a vector.
    """
    if x1.rank != 1 or x2.rank != 1:
        operands: dict[str, object] = {"x1": x1.type, "x2": x2.type}
        fix = "use x1[..., :, None] * x2[..., None, :] for stacks"
        raise ShapeError("outer", "takes two vectors", operands=operands, fix=fix)
    return _outer(x1, x2)


def matrix_power(x: Value, n: int) -> Value:
    """Each square matrix multiplied by itself `n` times, by repeated squaring.

    A negative `n` is a power of the inverse, 0 gives the identity.

    Raises:
        ArgumentError: `n` is no integer.
        LinAlgError: `n` is negative, and a matrix singular.
        ShapeError: the matrices are not square.
    """
    if not isinstance(n, int) or isinstance(n, bool):
        rule = "the power must be an integer"
        raise ArgumentError("matrix_power", rule, operands={"n": repr(n)})
    value = matrices("matrix_power", x, square=True)
    if n == 0:
        return identity_like(value)
    base = inv(value) if n < 0 else value
    result = base
    for bit in bin(abs(n))[3:]:
        result = matmul(result, result)
        if bit == "1":
            result = matmul(result, base)
    return result


def _check_rank(op: str, x: Value) -> None:
    if x.rank < 2:
        raise ShapeError(op, "takes matrices, at least two axes", operands={"x": x.type})
