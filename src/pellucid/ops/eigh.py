"""Eigenvalues and eigenvectors of Hermitian matrices.

Derivatives: Giles 2008, section 3.1. Eigenvectors are defined up to a sign (a phase, if complex),
and within the space of a repeated eigenvalue up to a rotation. The rules hold the phase still:
`diag(V^H dV) = 0`. They are right for functions of the result that do not depend on what is free.
Where such a function sees the space of a repeated eigenvalue as a whole, the gradient is right too;
where it tells the vectors of one apart, it is infinite or NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import complex128, float32, float64
from pellucid.graph.ir import TensorType, Value, emit, emit_all
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import host_lowering
from pellucid.ops.arithmetic import add, subtract
from pellucid.ops.einsum import diagonal
from pellucid.ops.layout import expand_dims
from pellucid.ops.matrices import (
    adjoint,
    batch_stack,
    check_matrices,
    columns_times,
    cubic_cost,
    guarded,
    hermitian,
    hermitian_array,
    matrices,
    off_diagonal,
    on_diagonal,
    product,
)
from pellucid.ops.parts import real_part
from pellucid.ops.quotient import ratio
from pellucid.ops.shared import Array


def eigh(x: Value) -> tuple[Value, Value]:
    """Eigenvalues and orthonormal eigenvectors of Hermitian matrices: `x = V diag(w) V^H`.

    Args:
        x: float or complex, `[..., n, n]`; of what is not Hermitian, the Hermitian part counts.

    Returns:
        `w`: float, `[..., n]`, ascending. `V`: as `x`, its columns the eigenvectors.

    Raises:
        LinAlgError: the iteration did not converge; NaN alone gives NaN.
        ShapeError: the matrices are not square.

    Gradient: infinite or NaN where what is computed from `V` tells the eigenvectors of a repeated
        eigenvalue apart. `w` has one everywhere that its sums over equal eigenvalues have.
    """
    w, v = emit_all(EIGH, matrices("eigh", x, square=True))
    return w, v


def eigvalsh(x: Value) -> Value:
    """The eigenvalues of Hermitian matrices, `[..., n]`, ascending; as `eigh`, but cheaper."""
    return emit(EIGVALSH, matrices("eigvalsh", x, square=True))


def _infer(x: TensorType) -> tuple[TensorType, TensorType]:
    check_matrices("eigh", x, square=True)
    return TensorType(x.shape[:-1], x.dtype.real), x


_RULE = "the eigenvalues did not converge"


def _reference(x: Array) -> tuple[Array, Array]:
    w, v = guarded("eigh", _RULE, "", np.linalg.eigh, hermitian_array(x))
    return w, v


def _turned_gaps(site: Site, inner: Value) -> Value:
    """`inner[i, j] / (w[j] - w[i])` off the diagonal."""
    w = site.outputs[0]
    gaps = subtract(expand_dims(w, -2), expand_dims(w, -1))
    return ratio(off_diagonal(inner), gaps)


def _vjp(site: Site, gw: Value, gv: Value) -> Sequence[Value | None]:
    v = site.outputs[1]
    inner = add(on_diagonal(gw), _turned_gaps(site, product(adjoint(v), gv)))
    return [hermitian(product(v, inner, adjoint(v)))]


def _jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None, None]
    v = site.outputs[1]
    inner = product(adjoint(v), hermitian(t), v)
    return [real_part(diagonal(inner)), product(v, _turned_gaps(site, inner))]


def symmetric(*shape: int) -> Array:
    """Random symmetric matrices with gaps between their eigenvalues."""
    x = np.random.default_rng(6).normal(size=shape)
    made: Array = x + np.swapaxes(x, -1, -2) + np.diag(3.0 * np.arange(shape[-1]))
    return made


def _samples() -> Sequence[Sample]:
    return [
        Sample((symmetric(3, 3),)),
        Sample((symmetric(2, 4, 4).astype(np.float32),)),
        Sample((symmetric(1, 1),)),
        Sample((TensorType((0, 0), float64),)),
        Sample((TensorType((0, 2, 2), float32),)),
    ]


EIGH: Op = Op(
    name="eigh",
    doc=(
        "Eigenvalues, ascending, and eigenvectors of the Hermitian part of `x`. Primitive: an"
        " iteration. Derivatives: Giles 2008, 3.1."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=batch_stack(lambda: EIGH),
    lower=host_lowering(_reference),
    cost=cubic_cost(9),
    samples=_samples,
)


def _values_infer(x: TensorType) -> TensorType:
    check_matrices("eigvalsh", x, square=True)
    return TensorType(x.shape[:-1], x.dtype.real)


def _values_reference(x: Array) -> Array:
    w: Array = guarded("eigvalsh", _RULE, "", np.linalg.eigvalsh, hermitian_array(x))
    return w


def _values_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    _, v = emit_all(EIGH, site.inputs[0])
    return [product(columns_times(v, g), adjoint(v))]


def _values_jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None]
    _, v = emit_all(EIGH, site.inputs[0])
    return [real_part(diagonal(product(adjoint(v), hermitian(t), v)))]


def _values_samples() -> Sequence[Sample]:
    skew = np.array([[0, 1, 2], [-1, 0, 1], [-2, -1, 0]])
    return [*_samples(), Sample(((symmetric(3, 3) + 0.5j * skew).astype(complex128.numpy),))]


EIGVALSH: Op = Op(
    name="eigvalsh",
    doc=(
        "The eigenvalues, ascending, of the Hermitian part of `x`. Primitive beside `eigh`, which"
        " takes several times as long. Derivatives: Giles 2008, 3.1."
    ),
    infer=_values_infer,
    reference=_values_reference,
    vjp=_values_vjp,
    jvp=_values_jvp,
    batch=batch_stack(lambda: EIGVALSH),
    lower=host_lowering(_values_reference),
    cost=cubic_cost(4, 3),
    samples=_values_samples,
)

RECORDS: tuple[Op, ...] = (EIGH, EIGVALSH)
