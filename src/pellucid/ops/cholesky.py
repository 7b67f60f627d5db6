"""The Cholesky factor of a positive definite matrix.

Source: Murray, Differentiation of the Cholesky decomposition, 2016, section 3 (blocked forms are
not needed: both rules are three matrix products and two triangular solves).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import complex128, float32, float64
from pellucid.graph.ir import TensorType, Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import host_lowering
from pellucid.ops.arithmetic import multiply, subtract
from pellucid.ops.join import tril
from pellucid.ops.matrices import (
    adjoint,
    batch_stack,
    check_matrices,
    cubic_cost,
    guarded,
    hermitian,
    hermitian_array,
    matrices,
    only_diagonal,
    product,
)
from pellucid.ops.shared import Array
from pellucid.ops.solve import solve_lower, solve_upper


def cholesky(x: Value, upper: bool = False) -> Value:
    """The factor `L` of `x = L L^H`, or `U` of `x = U^H U`, of Hermitian positive definite `x`.

    Args:
        x: float or complex, `[..., n, n]`; of what is not Hermitian, the Hermitian part counts.
        upper: whether to give `U`.

    Returns:
        Triangular matrices of the shape and dtype of `x`.

    Raises:
        LinAlgError: a matrix is not positive definite.
        ShapeError: the matrices are not square.

    Gradient: Hermitian.
    """
    factor = emit(CHOLESKY, matrices("cholesky", x, square=True))
    return adjoint(factor) if upper else factor


def _infer(x: TensorType) -> TensorType:
    check_matrices("cholesky", x, square=True)
    return x


def _reference(x: Array) -> Array:
    factor: Array = guarded(
        "cholesky",
        "the matrix must be positive definite",
        "add a small multiple of the identity, or use eigh for one that is not",
        np.linalg.cholesky,
        hermitian_array(x),
    )
    return factor


def _lower_half(x: Value) -> Value:
    """The lower triangle, its diagonal halved: Murray's Phi."""
    return subtract(tril(x), multiply(only_diagonal(x), 0.5))


def _vjp(site: Site, g: Value) -> Sequence[Value | None]:
    (factor,) = site.outputs
    inner = _lower_half(product(adjoint(factor), g))
    left = solve_upper(adjoint(factor), inner)
    return [hermitian(adjoint(solve_upper(adjoint(factor), adjoint(left))))]


def _jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None]
    (factor,) = site.outputs
    inner = solve_lower(factor, hermitian(t))
    inner = adjoint(solve_lower(factor, adjoint(inner)))
    return [product(factor, _lower_half(inner))]


def _samples() -> Sequence[Sample]:
    rng = np.random.default_rng(3)

    def positive(*shape: int) -> Array:
        x = rng.normal(size=shape)
        made: Array = x @ np.swapaxes(x, -1, -2) + np.eye(shape[-1])
        return made

    complex_ = positive(3, 3) + 0.3j * np.array([[0, 1, 0], [-1, 0, 1], [0, -1, 0]])
    return [
        Sample((positive(3, 3),)),
        Sample((positive(2, 4, 4).astype(np.float32),)),
        Sample((positive(1, 1),)),
        Sample((complex_.astype(complex128.numpy),)),
        Sample((TensorType((0, 0), float64),)),
        Sample((TensorType((0, 2, 2), float32),)),
    ]


CHOLESKY: Op = Op(
    name="cholesky",
    doc=(
        "The lower triangular `L` of `L L^H = (x + x^H) / 2`. Primitive: a recurrence over the"
        " elements. Derivatives: Murray 2016."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=batch_stack(lambda: CHOLESKY),
    lower=host_lowering(_reference),
    cost=cubic_cost(1, 3),
    samples=_samples,
)

RECORDS: tuple[Op, ...] = (CHOLESKY,)
