"""Linear algebra: the functions of the array API's `linalg`, on graph values.

Decompositions and solvers are records of their own files; what is here is composed of them.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from pellucid.ops.expm import expm
from pellucid.ops.join import concatenate
from pellucid.ops.layout import matrix_transpose
from pellucid.ops.matrices import identity_like, matrices
from pellucid.ops.movement import slice_axis
from pellucid.ops.norms import cond, matrix_norm, matrix_rank, norm, vector_norm
from pellucid.ops.pseudoinverse import lstsq, pinv
from pellucid.ops.qr import qr
from pellucid.ops.reduction import sum
from pellucid.ops.solve import inv, solve, solve_triangular
from pellucid.ops.svd import svd, svdvals

__all__ = [
    "cholesky",
    "cofactors",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "expm",
    "inv",
    "lstsq",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "multi_dot",
    "norm",
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


def multi_dot(arrays: Sequence[Value]) -> Value:
    """The product of several matrices, in the order that takes the fewest operations.

    Args:
        arrays: at least two matrices of fitting sizes; the first may be a row, the last a column,
            given as vectors.

    Raises:
        ShapeError: there are fewer than two, or one is no matrix, or sizes do not fit.

    Source: Cormen, Leiserson, Rivest and Stein, Introduction to Algorithms, section 15.2.
    """
    ranks = [x.rank for x in arrays]
    inner = ranks[1:-1]
    if len(ranks) < 2 or any(r != 2 for r in inner) or not {ranks[0], ranks[-1]} <= {1, 2}:
        operands: dict[str, object] = {f"x{i}": x.type for i, x in enumerate(arrays)}
        raise ShapeError("multi_dot", "takes two matrices or more", operands=operands)
    sizes = [1 if ranks[0] == 1 else arrays[0].shape[0]]
    sizes += [x.shape[0] for x in arrays[1:]]
    sizes.append(1 if ranks[-1] == 1 else arrays[-1].shape[-1])
    return _chain(arrays, _splits(sizes), 0, len(arrays) - 1)


def _splits(sizes: Sequence[int]) -> dict[tuple[int, int], int]:
    """Where to cut each run of factors, the i-th of which is `[sizes[i], sizes[i + 1]]`."""
    count = len(sizes) - 1
    least: dict[tuple[int, int], int] = {(i, i): 0 for i in range(count)}
    cuts: dict[tuple[int, int], int] = {}
    for width in range(1, count):
        for i in range(count - width):
            j = i + width
            costs = [
                least[i, k] + least[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1]
                for k in range(i, j)
            ]
            least[i, j] = min(costs)
            cuts[i, j] = i + costs.index(least[i, j])
    return cuts


def _chain(arrays: Sequence[Value], cuts: dict[tuple[int, int], int], i: int, j: int) -> Value:
    if i == j:
        return arrays[i]
    k = cuts[i, j]
    return matmul(_chain(arrays, cuts, i, k), _chain(arrays, cuts, k + 1, j))


def _check_rank(op: str, x: Value) -> None:
    if x.rank < 2:
        raise ShapeError(op, "takes matrices, at least two axes", operands={"x": x.type})
