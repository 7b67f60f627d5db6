"""Linear algebra on tensors: the namespace `pellucid.linalg`.

Names and results are the array API's, with NumPy's `cond`, `eig`, `eigvals`, `lstsq`, `multi_dot`
and `norm` besides, and `cofactors`, `expm` and `solve_triangular`. A matrix is the last two axes of
a tensor, all axes before them are a stack. LAPACK computes, through NumPy: eagerly, and as a call
to the host from compiled programs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from pellucid.core.errors import LinAlgError
from pellucid.ops import linalg
from pellucid.tensor.functions import (
    Function,
    lift,
    matmul,
    matrix_transpose,
    tensordot,
    vecdot,
)
from pellucid.tensor.tensor import Tensor


class EigResult(NamedTuple):
    """Eigenvalues `[..., n]` in no order, and eigenvectors, the columns of `[..., n, n]`."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class EighResult(NamedTuple):
    """Ascending eigenvalues `[..., n]` and eigenvectors, the columns of `[..., n, n]`."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """Orthonormal columns and an upper triangular matrix."""

    Q: Tensor
    R: Tensor


class SlogdetResult(NamedTuple):
    """The sign of each determinant, and the logarithm of its modulus."""

    sign: Tensor
    logabsdet: Tensor


class SVDResult(NamedTuple):
    """Left singular vectors, descending singular values, right singular vectors as rows."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _named(fn: Function, result: Callable[..., Any]) -> Function:
    """`fn` on tensors, its results named."""
    call = lift(fn)

    @functools.wraps(fn)
    def named(*args: Any, **kwargs: Any) -> Any:
        return result(*call(*args, **kwargs))

    return named


cholesky = lift(linalg.cholesky)
cofactors = lift(linalg.cofactors)
cond = lift(linalg.cond)
cross = lift(linalg.cross)
det = lift(linalg.det)
diagonal = lift(linalg.diagonal)
eig = _named(linalg.eig, EigResult)
eigh = _named(linalg.eigh, EighResult)
eigvals = lift(linalg.eigvals)
eigvalsh = lift(linalg.eigvalsh)
expm = lift(linalg.expm)
inv = lift(linalg.inv)
lstsq = lift(linalg.lstsq)
matrix_norm = lift(linalg.matrix_norm)
matrix_power = lift(linalg.matrix_power)
matrix_rank = lift(linalg.matrix_rank)
multi_dot = lift(linalg.multi_dot)
norm = lift(linalg.norm)
outer = lift(linalg.outer)
pinv = lift(linalg.pinv)
qr = _named(linalg.qr, QRResult)
slogdet = _named(linalg.slogdet, SlogdetResult)
solve = lift(linalg.solve)
solve_triangular = lift(linalg.solve_triangular)
svd = _named(linalg.svd, SVDResult)
svdvals = lift(linalg.svdvals)
trace = lift(linalg.trace)
vector_norm = lift(linalg.vector_norm)

__all__ = [
    "EigResult",
    "EighResult",
    "LinAlgError",
    "QRResult",
    "SVDResult",
    "SlogdetResult",
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
