"""The Cholesky factor of a positive definite matrix.

Source: Murray, Differentiation of the Cholesky decomposition, 2016, section 3 (blocked forms are
not needed: both rules are three matrix products and two triangular solves).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import complex128, float32, float64, int32
from pellucid.graph.ir import Attrs, TensorType, Value, emit_all
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import Lowering, host_lowering
from pellucid.ops.arithmetic import multiply, subtract
from pellucid.ops.cholesky_loops import cholesky_loops
from pellucid.ops.elimination import is_small
from pellucid.ops.join import tril
from pellucid.ops.matrices import (
    adjoint,
    batch_stack,
    check_matrices,
    cubic_cost,
    guarded,
    hermitian,
    matrices,
    only_diagonal,
    product,
)
from pellucid.ops.regular import NOT_POSITIVE, regular
from pellucid.ops.shared import Array, Types
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
    value = matrices("cholesky", x, square=True)
    factor, wrong = emit_all(CHOLESKY, value)
    if is_small(value.type):
        factor = regular("cholesky", factor, wrong, value)
    return adjoint(factor) if upper else factor


def _infer(x: TensorType) -> tuple[TensorType, TensorType]:
    check_matrices("cholesky", x, square=True)
    return x, TensorType(x.shape[:-2], int32)


def _reference(x: Array) -> tuple[Array, Array]:
    factor = guarded("cholesky", *NOT_POSITIVE, x)
    return factor, np.zeros(x.shape[:-2], np.int32)


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    if is_small(inputs[0]):
        return cholesky_loops()
    return host_lowering(_reference)(inputs, outputs, attrs)


def _lower_half(x: Value) -> Value:
    """The lower triangle, its diagonal halved: Murray's Phi."""
    return subtract(tril(x), multiply(only_diagonal(x), 0.5))


def _vjp(site: Site, g: Value, _: None) -> Sequence[Value | None]:
    factor = site.outputs[0]
    inner = _lower_half(product(adjoint(factor), g))
    left = solve_upper(adjoint(factor), inner)
    return [hermitian(adjoint(solve_upper(adjoint(factor), adjoint(left))))]


def _jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None, None]
    factor = site.outputs[0]
    inner = solve_lower(factor, hermitian(t))
    inner = adjoint(solve_lower(factor, adjoint(inner)))
    return [product(factor, _lower_half(inner)), None]


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
        "The lower triangular `L` of `L L^H = (x + x^H) / 2`, and 1 per matrix where loops met a"
        " pivot that is not positive. Primitive: a recurrence over the elements. Derivatives:"
        " Murray 2016."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=batch_stack(lambda: CHOLESKY),
    lower=_lower,
    cost=cubic_cost(1, 3),
    samples=_samples,
)

RECORDS: tuple[Op, ...] = (CHOLESKY,)
