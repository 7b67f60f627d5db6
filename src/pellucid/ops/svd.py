"""Singular values and vectors.

Derivatives: Townsend, Differentiating the singular value decomposition, 2016, and Giles 2008,
section 3.2, with what they leave out: complex matrices, and the vectors that a full decomposition
adds. Singular vectors are defined up to a common sign or phase of each pair, the added ones up to a
rotation, and those of a repeated singular value up to a rotation of both. The rules hold still what
is free. They are right for functions of the result that do not depend on it; infinite or NaN for
those that tell apart the vectors of a repeated singular value, or (vectors only) see those of 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import complex64, float32, float64
from pellucid.graph.ir import TensorType, Value, emit, emit_all
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import host_lowering
from pellucid.ops.arithmetic import add, multiply, subtract
from pellucid.ops.einsum import diagonal
from pellucid.ops.join import concatenate
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
    rows_times,
)
from pellucid.ops.movement import slice_axis
from pellucid.ops.parts import imag_part, real_part
from pellucid.ops.quotient import ratio
from pellucid.ops.shared import Array


def svd(x: Value, full_matrices: bool = True) -> tuple[Value, Value, Value]:
    """The decomposition `x = U diag(S) Vh` into orthonormal vectors and singular values.

    Args:
        x: float or complex, `[..., m, n]`; k is the smaller of m and n.
        full_matrices: whether to complete `U` and `Vh` to square matrices.

    Returns:
        `U`: `[..., m, m]`, or `[..., m, k]` if not full. `S`: float, `[..., k]`, descending.
        `Vh`: `[..., n, n]`, or `[..., k, n]`.

    Raises:
        LinAlgError: a matrix is not finite.

    Gradient: infinite or NaN where what is computed from `U` and `Vh` tells the vectors of a
        repeated singular value apart.
    """
    u, s, vh = emit_all(SVD, matrices("svd", x), full_matrices=bool(full_matrices))
    return u, s, vh


def svdvals(x: Value) -> Value:
    """The singular values of each matrix, `[..., k]`, descending; as `svd`, but cheaper."""
    return emit(SVDVALS, matrices("svdvals", x))


# the whole decomposition ------------------------------------------------------------------------


def _infer(x: TensorType, *, full_matrices: bool) -> tuple[TensorType, TensorType, TensorType]:
    check_matrices("svd", x)
    *stack, m, n = x.shape
    k = min(m, n)
    sizes = (m, n) if full_matrices else (k, k)
    return (
        TensorType((*stack, m, sizes[0]), x.dtype),
        TensorType((*stack, k), x.dtype.real),
        TensorType((*stack, sizes[1], n), x.dtype),
    )


_RULE = "the singular values did not converge"


def _reference(x: Array, *, full_matrices: bool) -> tuple[Array, Array, Array]:
    def factorise(a: Array) -> tuple[Array, Array, Array]:
        return np.linalg.svd(a, full_matrices=full_matrices)

    u, s, vh = guarded("svd", _RULE, "", factorise, x)
    return u, s, vh


class _Factors:
    """The outputs of one application, cut into the k pairs and the vectors that fill up."""

    def __init__(self, site: Site) -> None:
        u, self.s, vh = site.outputs
        self.v = adjoint(vh)
        self.k = self.s.shape[-1]
        self.u1, self.u2 = self.halves(u)
        self.v1, self.v2 = self.halves(self.v)

    def halves(self, x: Value) -> tuple[Value, Value | None]:
        """The first k columns and the others, `None` where there are none."""
        n = x.shape[-1]
        if n == self.k:
            return x, None
        return slice_axis(x, x.rank - 1, 0, self.k), slice_axis(x, x.rank - 1, self.k, n)

    def over_gaps(self, x: Value) -> Value:
        """`x[i, j] / (s[j]^2 - s[i]^2)` off the diagonal."""
        row, column = expand_dims(self.s, -2), expand_dims(self.s, -1)
        # a product of sum and difference keeps the digits that a difference of squares loses
        gaps = multiply(subtract(row, column), add(row, column))
        return ratio(off_diagonal(x), gaps)

    def over_s(self, x: Value) -> Value:
        """Each column of `x` divided by its singular value."""
        return ratio(x, expand_dims(self.s, -2))


def _beyond(first: Value, x: Value) -> Value | None:
    """What of the columns of `x` lies outside the space of the columns `first`, if there is any."""
    if first.shape[-2] == first.shape[-1]:
        return None
    return subtract(x, product(first, product(adjoint(first), x)))


def _plus(x: Value, y: Value | None) -> Value:
    return x if y is None else add(x, y)


def _phase(line: Value, s: Value) -> Value:
    """`i line / (2 s)` on the diagonal, for real `line`."""
    return on_diagonal(multiply(ratio(line, s), 0.5j))


def _vjp(site: Site, gu: Value, gs: Value, gvh: Value) -> Sequence[Value | None]:
    f = _Factors(site)
    gu1 = _folded(gu, f, f.u1, f.u2)
    gv1 = _folded(adjoint(gvh), f, f.v1, f.v2)
    of_u, of_v = product(adjoint(f.u1), gu1), product(adjoint(f.v1), gv1)
    inner = columns_times(f.over_gaps(subtract(of_u, adjoint(of_u))), f.s)
    inner = add(inner, rows_times(f.s, f.over_gaps(subtract(of_v, adjoint(of_v)))))
    inner = add(inner, on_diagonal(gs))
    if inner.dtype.is_complex:
        turned = subtract(imag_part(diagonal(of_u)), imag_part(diagonal(of_v)))
        inner = add(inner, _phase(turned, f.s))
    left = _plus(product(f.u1, inner), _outside(f, f.u1, gu1))
    result = product(left, adjoint(f.v1))
    other = _outside(f, f.v1, gv1)
    return [result if other is None else add(result, product(f.u1, adjoint(other)))]


def _outside(f: _Factors, first: Value, g: Value) -> Value | None:
    beyond = _beyond(first, g)
    return None if beyond is None else f.over_s(beyond)


def _folded(g: Value, f: _Factors, first: Value, rest: Value | None) -> Value:
    """The cotangent of the first k vectors, with what reaches them through the others.

    The others move only to stay orthogonal: `dU2 = -U1 dU1^H U2`.
    """
    g1, g2 = f.halves(g)
    if rest is None or g2 is None:
        return g1
    return subtract(g1, product(rest, product(adjoint(g2), first)))


def _jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None, None, None]
    f = _Factors(site)
    inner = product(adjoint(f.u1), t, f.v1)
    turned = adjoint(inner)
    of_u = f.over_gaps(add(columns_times(inner, f.s), rows_times(f.s, turned)))
    of_v = f.over_gaps(add(rows_times(f.s, inner), columns_times(turned, f.s)))
    if inner.dtype.is_complex:
        phase = _phase(imag_part(diagonal(inner)), f.s)
        of_u, of_v = add(of_u, phase), subtract(of_v, phase)
    du = _plus(product(f.u1, of_u), _outside(f, f.u1, product(t, f.v1)))
    dv = _plus(product(f.v1, of_v), _outside(f, f.v1, product(adjoint(t), f.u1)))
    du, dv = _completed(du, f.u1, f.u2), _completed(dv, f.v1, f.v2)
    return [du, real_part(diagonal(inner)), adjoint(dv)]


def _completed(d1: Value, first: Value, rest: Value | None) -> Value:
    if rest is None:
        return d1
    d2 = product(first, product(adjoint(d1), rest))
    return concatenate([d1, multiply(d2, -1)], -1)


def spread_matrices(*shape: int) -> Array:
    """Random matrices whose singular values lie apart."""
    x = np.random.default_rng(7).normal(size=shape)
    made: Array = x + np.eye(shape[-2], shape[-1]) * (2.0 + 3.0 * np.arange(shape[-1]))
    return made


def _samples() -> Sequence[Sample]:
    def case(x: Array | TensorType, full: bool = False) -> Sample:
        return Sample((x,), {"full_matrices": full})

    return [
        case(spread_matrices(3, 3)),
        case(spread_matrices(4, 2)),
        case(spread_matrices(2, 2, 3).astype(np.float32)),
        case(spread_matrices(2, 2), full=True),
        case(TensorType((0, 3), float64), full=True),
        case(TensorType((3, 0), float32)),
        case(TensorType((0, 2, 3), float32)),
    ]


SVD: Op = Op(
    name="svd",
    doc=(
        "Singular vectors and descending singular values, `x = U diag(S) Vh`. Primitive: an"
        " iteration. Derivatives: Townsend 2016; Giles 2008, 3.2."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=batch_stack(lambda: SVD),
    lower=host_lowering(_reference),
    cost=cubic_cost(14),
    samples=_samples,
)


# values only ------------------------------------------------------------------------------------


def _values_infer(x: TensorType) -> TensorType:
    check_matrices("svdvals", x)
    return TensorType((*x.shape[:-2], min(x.shape[-2:])), x.dtype.real)


def _values_reference(x: Array) -> Array:
    s: Array = guarded("svdvals", _RULE, "", np.linalg.svdvals, x)
    return s


def _values_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    u, _, vh = emit_all(SVD, site.inputs[0], full_matrices=False)
    return [product(columns_times(u, g), vh)]


def _values_jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None]
    u, _, vh = emit_all(SVD, site.inputs[0], full_matrices=False)
    return [real_part(diagonal(product(adjoint(u), t, adjoint(vh))))]


def _values_samples() -> Sequence[Sample]:
    turned = spread_matrices(3, 2) * (1 + 0.5j)
    return [
        Sample((spread_matrices(3, 3),)),
        Sample((spread_matrices(2, 2, 4).astype(np.float32),)),
        Sample((turned.astype(complex64.numpy),)),
        Sample((TensorType((0, 3), float64),)),
        Sample((TensorType((0, 2, 3), float32),)),
    ]


SVDVALS: Op = Op(
    name="svdvals",
    doc=(
        "The singular values, descending. Primitive beside `svd`, which takes several times as"
        " long. Derivatives: Giles 2008, 3.2."
    ),
    infer=_values_infer,
    reference=_values_reference,
    vjp=_values_vjp,
    jvp=_values_jvp,
    batch=batch_stack(lambda: SVDVALS),
    lower=host_lowering(_values_reference),
    cost=cubic_cost(8, 3),
    samples=_values_samples,
)

RECORDS: tuple[Op, ...] = (SVD, SVDVALS)
