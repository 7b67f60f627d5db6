"""Determinants, and the matrix of cofactors, which is their gradient.

The gradient of `det` is usually given as `det(x) inv(x)^H` (Giles 2008, section 2.2.4), which does
not exist for a singular `x`. The cofactors do, and are the same thing elsewhere. They, and their
own derivative, come from the singular values here: no division by any of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pellucid.core.dtype import complex128, float32, float64
from pellucid.graph.ir import Attrs, TensorType, Value, emit, emit_all
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import Index, Lowering, Pointwise, Readers, host_lowering
from pellucid.loop.functions import call
from pellucid.loop.ir import Const, Expr, compare, iadd, imod, select
from pellucid.ops.arithmetic import add, multiply, negative, subtract
from pellucid.ops.broadcast import sum_axes
from pellucid.ops.casting import astype
from pellucid.ops.comparison import equal, where
from pellucid.ops.einsum import diagonal, trace
from pellucid.ops.elimination import determinants, is_small
from pellucid.ops.layout import expand_dims, matrix_transpose, reshape
from pellucid.ops.matrices import (
    adjoint,
    batch_stack,
    check_matrices,
    cubic_cost,
    matrices,
    off_diagonal,
    on_diagonal,
    product,
)
from pellucid.ops.parts import conj, imag_part, real_part
from pellucid.ops.shared import Array, Types
from pellucid.ops.solve import inv
from pellucid.ops.svd import SVD
from pellucid.ops.unary import exp, log

FORMULA = 3
"""The greatest number of rows whose determinants are written out in compiled programs."""


def det(x: Value) -> Value:
    """The determinant of each matrix: `[..., n, n]` to `[...]`, 1 for an empty one.

    Raises:
        ShapeError: the matrices are not square.

    Gradient: the matrix of cofactors, right for singular matrices too.
    """
    return emit(DET, matrices("det", x, square=True))


def slogdet(x: Value) -> tuple[Value, Value]:
    """The sign (of modulus 1, or 0) and the logarithm of the modulus of each determinant.

    Args:
        x: float or complex, `[..., n, n]`.

    Returns:
        sign: as `x`, `[...]`. logabsdet: float, `[...]`; -inf for a singular matrix.

    Raises:
        ShapeError: the matrices are not square.

    Gradient: LinAlgError for singular matrices.
    """
    sign, logabsdet = emit_all(SLOGDET, matrices("slogdet", x, square=True))
    return sign, logabsdet


def cofactors(x: Value) -> Value:
    """The matrix of cofactors of each square matrix: `det(x) inv(x)^T` where that exists."""
    return emit(COFACTORS, matrices("cofactors", x, square=True))


# det --------------------------------------------------------------------------------------------


def _det_infer(x: TensorType) -> TensorType:
    check_matrices("det", x, square=True)
    return TensorType(x.shape[:-2], x.dtype)


def _det_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    scale = reshape(g, (*g.shape, 1, 1))
    return [multiply(scale, conj(cofactors(site.inputs[0])))]


def _det_jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None]
    return [sum_axes(multiply(cofactors(site.inputs[0]), t), (t.rank - 2, t.rank - 1))]


def _det_reference(x: Array) -> Array:
    return np.asarray(np.linalg.det(x))


def _det_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    """Up to three rows a formula, which fuses with its neighbours."""
    x = inputs[0]
    if not is_small(x):
        return host_lowering(_det_reference)(inputs, outputs, attrs)
    if x.shape[-1] > FORMULA:
        return determinants(logarithm=False)

    def body(at: Index, readers: Readers) -> Expr:
        def get(i: int, j: int) -> Expr:
            return readers[0]((*at, Const(i), Const(j)))

        first = [call("mul", get(0, j), _cofactor(get, 0, j, x)) for j in range(x.shape[-1])]
        return functools.reduce(lambda a, b: call("add", a, b), first)

    return Pointwise(body=body)


def _cofactor(get: Callable[[int, int], Expr], i: int, j: int, x: TensorType) -> Expr:
    """The cofactor of one element of up to three rows: of what stands in the other ones."""
    n = x.shape[-1]
    if n == 1:
        return Const(1.0, x.dtype)
    if n == 2:
        other = get(1 - i, 1 - j)
        return call("neg", other) if (i + j) % 2 else other
    (a, b), (c, d) = (((i + p) % n, (j + q) % n) for p, q in ((1, 1), (2, 2)))
    return call("sub", call("mul", get(a, b), get(c, d)), call("mul", get(a, d), get(c, b)))


_SINGULAR = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [1.0, 0.0, 1.0]])
_NIL = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])


def _samples() -> Sequence[Sample]:
    rng = np.random.default_rng(8)
    turned = rng.normal(size=(3, 3)) + 1j * rng.normal(size=(3, 3))
    return [
        Sample((TensorType((3, 3), float64),)),
        Sample((TensorType((2, 2, 2), float32),)),
        Sample((TensorType((1, 1), float64),)),
        Sample((TensorType((2, 5, 5), float64),)),
        Sample((_SINGULAR,)),
        Sample((_NIL,)),
        Sample((turned.astype(complex128.numpy),)),
        Sample((TensorType((0, 0), float64),)),
        Sample((TensorType((0, 2, 2), float32),)),
    ]


DET: Op = Op(
    name="det",
    doc=(
        "The determinant of each matrix. Primitive: elimination with pivoting. Derivatives: the"
        " matrix of cofactors, also where the matrix is singular."
    ),
    infer=_det_infer,
    reference=_det_reference,
    vjp=_det_vjp,
    jvp=_det_jvp,
    batch=batch_stack(lambda: DET),
    lower=_det_lower,
    cost=cubic_cost(2, 3),
    samples=_samples,
)


# cofactors --------------------------------------------------------------------------------------


def _cofactors_infer(x: TensorType) -> TensorType:
    check_matrices("cofactors", x, square=True)
    return x


def _cofactors_reference(x: Array) -> Array:
    """`det(U) det(Vh) conj(U) diag(products of the other singular values) conj(Vh)`."""
    if x.size == 0:
        return np.zeros_like(x)
    if not np.isfinite(x).all():
        return np.full_like(x, np.nan)
    u, s, vh = np.linalg.svd(x)
    sign = (np.linalg.det(u) * np.linalg.det(vh))[..., None, None]
    n = s.shape[-1]
    others = np.where(np.eye(n, dtype=bool), 1, s[..., None, :]).prod(axis=-1)
    made: Array = (sign * (np.conj(u) * others[..., None, :]) @ np.conj(vh)).astype(x.dtype)
    return made


def _cofactors_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    """Up to three rows the formulas; in a circle, they are the same one for every element."""
    x = inputs[0]
    n = x.shape[-1]
    if not is_small(x) or n > FORMULA:
        return host_lowering(_cofactors_reference)(inputs, outputs, attrs)

    def body(index: Index, readers: Readers) -> Expr:
        *at, row, column = index

        def get(i: int, j: int) -> Expr:
            places = (imod(iadd(row, i), n), imod(iadd(column, j), n))
            return readers[0]((*at, *places))

        made = _cofactor(get, 0, 0, x)
        if n != 2:
            return made
        odd = compare("eq", imod(iadd(row, column), 2), 1)
        return select(odd, call("neg", made), made)

    return Pointwise(body=body)


def _pairs(s: Value) -> Value:
    """`[i, j]`: the product of all singular values but the i-th and the j-th; 0 on the diagonal."""
    none = equal(s, 0)
    logs, gone = log(where(none, 1, s)), astype(none, s.dtype)
    last = s.rank - 1

    def without_two(line: Value) -> Value:
        total = reshape(sum_axes(line, (last,)), (*line.shape[:-1], 1, 1))
        return subtract(subtract(total, expand_dims(line, -1)), expand_dims(line, -2))

    return off_diagonal(where(equal(without_two(gone), 0), exp(without_two(logs)), 0))


def _moved(pairs: Value, w: Value) -> Value:
    """How the cofactors of `diag(s)` move with `w`; its own adjoint."""
    line = reshape(product(pairs, reshape(diagonal(w), (*w.shape[:-1], 1))), w.shape[:-1])
    return subtract(on_diagonal(line), multiply(pairs, matrix_transpose(w)))


def _cofactors_parts(site: Site) -> tuple[Value, Value, Value, Value]:
    u, s, vh = emit_all(SVD, site.inputs[0], full_matrices=False)
    sign = multiply(det(u), det(vh))
    return u, vh, _pairs(s), reshape(sign, (*sign.shape, 1, 1))


def _cofactors_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    u, vh, pairs, sign = _cofactors_parts(site)
    inner = product(matrix_transpose(u), multiply(conj(sign), g), matrix_transpose(vh))
    return [product(u, _moved(pairs, inner), vh)]


def _cofactors_jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None]
    u, vh, pairs, sign = _cofactors_parts(site)
    inner = _moved(pairs, product(adjoint(u), t, adjoint(vh)))
    return [multiply(sign, product(conj(u), inner, conj(vh)))]


COFACTORS: Op = Op(
    name="cofactors",
    doc=(
        "The matrix of cofactors, the gradient of `det`. Primitive: composed of `det` and `inv` it"
        " would not exist for singular matrices, nor would its derivative."
    ),
    infer=_cofactors_infer,
    reference=_cofactors_reference,
    vjp=_cofactors_vjp,
    jvp=_cofactors_jvp,
    batch=batch_stack(lambda: COFACTORS),
    lower=_cofactors_lower,
    cost=cubic_cost(20),
    samples=_samples,
)


# slogdet ----------------------------------------------------------------------------------------


def _slogdet_infer(x: TensorType) -> tuple[TensorType, TensorType]:
    check_matrices("slogdet", x, square=True)
    stack = x.shape[:-2]
    return TensorType(stack, x.dtype), TensorType(stack, x.dtype.real)


def _slogdet_reference(x: Array) -> tuple[Any, Any]:
    sign, logabsdet = np.linalg.slogdet(x)
    return np.asarray(sign), np.asarray(logabsdet)


def _slogdet_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    if is_small(inputs[0]):
        return determinants(logarithm=True)
    return host_lowering(_slogdet_reference)(inputs, outputs, attrs)


def _slogdet_vjp(site: Site, gs: Value, gl: Value) -> Sequence[Value | None]:
    x, sign = site.inputs[0], site.outputs[0]
    scale = gl
    if x.dtype.is_complex:  # the sign turns with the imaginary part of d log det
        turned = negative(imag_part(multiply(conj(gs), sign)))
        scale = add(gl, multiply(turned, 1j))
    return [multiply(reshape(scale, (*scale.shape, 1, 1)), adjoint(inv(x)))]


def _slogdet_jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None, None]
    x, sign = site.inputs[0], site.outputs[0]
    moved = trace(product(inv(x), t))
    if not x.dtype.is_complex:
        return [None, moved]
    return [multiply(sign, multiply(imag_part(moved), 1j)), real_part(moved)]


def _regular_samples() -> Sequence[Sample]:
    return [s for s in _samples() if not any(s.inputs[0] is x for x in (_SINGULAR, _NIL))]


SLOGDET: Op = Op(
    name="slogdet",
    doc=(
        "The sign and the logarithm of the modulus of each determinant. Primitive: `det` overflows"
        " where the logarithm does not. Derivatives: Giles 2008, 2.2.4."
    ),
    infer=_slogdet_infer,
    reference=_slogdet_reference,
    vjp=_slogdet_vjp,
    jvp=_slogdet_jvp,
    batch=batch_stack(lambda: SLOGDET),
    lower=_slogdet_lower,
    cost=cubic_cost(2, 3),
    samples=_regular_samples,
)

RECORDS: tuple[Op, ...] = (DET, COFACTORS, SLOGDET)
