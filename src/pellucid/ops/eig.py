"""Eigenvalues and eigenvectors of square matrices that need not be Hermitian: always complex.

Derivatives: Giles 2008, section 3.1, and for the length of the eigenvectors, which is 1, Boeddeker,
Hanebrink, Drude, Heymann and Haeb-Umbach, On the computation of complex-valued gradients with
application to statistically optimum beamforming, 2017, section 4.7. They exist where the
eigenvalues are distinct, for functions that do not depend on the phases of the eigenvectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import as_dtype, complex128, float32, float64
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
    matrices,
    off_diagonal,
    on_diagonal,
    product,
)
from pellucid.ops.parts import conj, real_part
from pellucid.ops.quotient import ratio
from pellucid.ops.shared import Array
from pellucid.ops.solve import inv, solve


def eig(x: Value) -> tuple[Value, Value]:
    """Eigenvalues and eigenvectors of square matrices: `x V = V diag(w)`.

    Args:
        x: float or complex, `[..., n, n]`.

    Returns:
        `w`: complex, `[..., n]`, in no order. `V`: complex, `[..., n, n]`, its columns the
        eigenvectors, of length 1.

    Raises:
        LinAlgError: a matrix is not finite.
        ShapeError: the matrices are not square.

    Gradient: infinite or NaN where eigenvalues are equal and what is computed tells them apart;
        LinAlgError where there are fewer than n eigenvectors.
    """
    w, v = emit_all(EIG, matrices("eig", x, square=True))
    return w, v


def eigvals(x: Value) -> Value:
    """The eigenvalues of square matrices, complex, `[..., n]`; as `eig`, but cheaper."""
    return emit(EIGVALS, matrices("eigvals", x, square=True))


_RULE = "the eigenvalues did not converge"


def _infer(x: TensorType) -> tuple[TensorType, TensorType]:
    check_matrices("eig", x, square=True)
    dtype = x.dtype.complex
    return TensorType(x.shape[:-1], dtype), TensorType(x.shape, dtype)


def _complex(x: Array, like: Array) -> Array:
    """NumPy gives real results where all eigenvalues are real."""
    return x.astype(as_dtype(like.dtype).complex.numpy, copy=False)


def _reference(x: Array) -> tuple[Array, Array]:
    w, v = guarded("eig", _RULE, "", np.linalg.eig, x)
    return _complex(w, x), _complex(v, x)


def _gaps(w: Value) -> Value:
    return subtract(expand_dims(w, -2), expand_dims(w, -1))


def _as_input(x: Value, site: Site) -> Value:
    """A gradient in the dtype of the matrices: its real part for real ones."""
    return x if site.inputs[0].dtype.is_complex else real_part(x)


def _vjp(site: Site, gw: Value, gv: Value) -> Sequence[Value | None]:
    w, v = site.outputs
    along = real_part(diagonal(product(adjoint(v), gv)))
    inner = off_diagonal(product(adjoint(v), subtract(gv, columns_times(v, along))))
    inner = add(on_diagonal(gw), ratio(inner, conj(_gaps(w))))
    return [_as_input(solve(adjoint(v), product(inner, adjoint(v))), site)]


def _jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None, None]
    w, v = site.outputs
    inner = solve(v, product(t, v))
    turned = product(v, ratio(off_diagonal(inner), _gaps(w)))
    along = real_part(diagonal(product(adjoint(v), turned)))
    return [diagonal(inner), subtract(turned, columns_times(v, along))]


def _spread(*shape: int) -> Array:
    """Random matrices whose eigenvalues lie apart."""
    made: Array = np.random.default_rng(12).normal(size=shape) / 3
    return made + np.diag(2.0 * np.arange(shape[-1]))


def _samples() -> Sequence[Sample]:
    return [
        Sample((_spread(3, 3),)),
        Sample((_spread(2, 2, 2).astype(np.float32),)),
        Sample((TensorType((0, 0), float64),)),
        Sample((TensorType((0, 2, 2), float32),)),
    ]


EIG: Op = Op(
    name="eig",
    doc=(
        "Eigenvalues and eigenvectors of length 1 of square matrices, complex. Primitive: an"
        " iteration. Derivatives: Giles 2008, 3.1; Boeddeker et al. 2017, 4.7."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=batch_stack(lambda: EIG),
    lower=host_lowering(_reference),
    cost=cubic_cost(25),
    samples=_samples,
)


def _values_infer(x: TensorType) -> TensorType:
    check_matrices("eigvals", x, square=True)
    return TensorType(x.shape[:-1], x.dtype.complex)


def _values_reference(x: Array) -> Array:
    return _complex(guarded("eigvals", _RULE, "", np.linalg.eigvals, x), x)


def _values_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    _, v = emit_all(EIG, site.inputs[0])
    return [_as_input(solve(adjoint(v), product(on_diagonal(g), adjoint(v))), site)]


def _values_jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None]
    _, v = emit_all(EIG, site.inputs[0])
    return [diagonal(product(inv(v), t, v))]


def _values_samples() -> Sequence[Sample]:
    turned = _spread(3, 3) * (1 + 0.5j)
    pair = np.array([[0.0, 2.0], [-1.0, 1.0]])
    return [*_samples(), Sample((pair,)), Sample((turned.astype(complex128.numpy),))]


EIGVALS: Op = Op(
    name="eigvals",
    doc=(
        "The eigenvalues of square matrices, complex. Primitive beside `eig`, which takes several"
        " times as long. Derivatives: Giles 2008, 3.1."
    ),
    infer=_values_infer,
    reference=_values_reference,
    vjp=_values_vjp,
    jvp=_values_jvp,
    batch=batch_stack(lambda: EIGVALS),
    lower=host_lowering(_values_reference),
    cost=cubic_cost(10),
    samples=_values_samples,
)

RECORDS: tuple[Op, ...] = (EIG, EIGVALS)
