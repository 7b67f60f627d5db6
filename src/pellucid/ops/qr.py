"""The QR decomposition.

Derivatives: Seeger, Hetzel, Dai, Meissner and Lawrence, Auto-differentiating linear algebra, 2017,
section 3.2; complex matrices and the vectors that a complete decomposition adds are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import complex64, float32, float64
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.graph.ir import TensorType, Value, emit_all
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import host_lowering
from pellucid.ops.arithmetic import add, negative, subtract
from pellucid.ops.create import zeros_like
from pellucid.ops.einsum import diagonal
from pellucid.ops.join import concatenate, tril, triu
from pellucid.ops.matrices import (
    adjoint,
    batch_stack,
    check_matrices,
    cubic_cost,
    guarded,
    matrices,
    on_diagonal,
    product,
)
from pellucid.ops.movement import slice_axis
from pellucid.ops.parts import real_part
from pellucid.ops.shared import Array
from pellucid.ops.solve import solve_lower, solve_upper
from pellucid.ops.svd import spread_matrices

MODES = ("reduced", "complete")


def qr(x: Value, mode: str = "reduced") -> tuple[Value, Value]:
    """The decomposition `x = Q R` into orthonormal columns and an upper triangular matrix.

    Args:
        x: float or complex, `[..., m, n]`; k is the smaller of m and n.
        mode: "reduced" (`Q` `[..., m, k]`, `R` `[..., k, n]`) or "complete" (`Q` square, `R` of
            the shape of `x`).

    Returns:
        `Q` and `R`, of the dtype of `x`.

    Raises:
        ArgumentError: there is no such mode.

    Gradient: needs linearly independent columns, the first k; LinAlgError otherwise.
    """
    if mode not in MODES:
        fix = f"use one of {', '.join(map(repr, MODES))}"
        raise ArgumentError("qr", "no such mode", operands={"mode": repr(mode)}, fix=fix)
    value = matrices("qr", x)
    m, n = value.shape[-2:]
    if m >= n:
        q, r = emit_all(QR, value, complete=mode == "complete")
        return q, r
    # the first m columns settle Q; R's other columns are the rest in terms of it
    last = value.rank - 1
    q, r = emit_all(QR, slice_axis(value, last, 0, m), complete=False)
    return q, concatenate([r, product(adjoint(q), slice_axis(value, last, m, n))], -1)


def _infer(x: TensorType, *, complete: bool) -> tuple[TensorType, TensorType]:
    check_matrices("qr", x)
    *stack, m, n = x.shape
    if m < n:
        raise ShapeError("qr", "needs at least as many rows as columns", operands={"x": x})
    k = m if complete else n
    return TensorType((*stack, m, k), x.dtype), TensorType((*stack, k, n), x.dtype)


def _reference(x: Array, *, complete: bool) -> tuple[Array, Array]:
    def factorise(a: Array) -> tuple[Array, Array]:
        return np.linalg.qr(a, "complete" if complete else "reduced")

    q, r = guarded("qr", "the matrix could not be factorised", "", factorise, x)
    return q, r


def _halves(x: Value, axis: int, n: int) -> tuple[Value, Value | None]:
    """The first n entries along a negative axis and the others, `None` where there are none."""
    size = x.shape[axis]
    if size == n:
        return x, None
    at = x.rank + axis
    return slice_axis(x, at, 0, n), slice_axis(x, at, n, size)


def _vjp(site: Site, gq: Value, gr: Value) -> Sequence[Value | None]:
    q, r = site.outputs
    n = r.shape[-1]
    (q1, q2), (r1, _) = _halves(q, -1, n), _halves(r, -2, n)
    (g1, g2), (h1, _) = _halves(gq, -1, n), _halves(gr, -2, n)
    if q2 is not None and g2 is not None:  # the others move to stay orthogonal
        g1 = subtract(g1, product(q2, product(adjoint(g2), q1)))
    inner = subtract(product(h1, adjoint(r1)), product(adjoint(q1), g1))
    upper = triu(inner, 1)
    inner = add(add(upper, adjoint(upper)), on_diagonal(real_part(diagonal(inner))))
    return [adjoint(solve_upper(r1, adjoint(add(g1, product(q1, inner)))))]


def _jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None, None]
    q, r = site.outputs
    n = r.shape[-1]
    (q1, q2), (r1, r2) = _halves(q, -1, n), _halves(r, -2, n)
    scaled = adjoint(solve_lower(adjoint(r1), adjoint(t)))
    inner = product(adjoint(q1), scaled)
    step = add(
        add(triu(inner, 1), on_diagonal(real_part(diagonal(inner)))), adjoint(tril(inner, -1))
    )
    dq, dr = subtract(scaled, product(q1, step)), product(step, r1)
    if q2 is not None and r2 is not None:
        dq2 = negative(product(q1, product(adjoint(dq), q2)))
        dq, dr = concatenate([dq, dq2], -1), concatenate([dr, zeros_like(r2)], -2)
    return [dq, dr]


def _samples() -> Sequence[Sample]:
    def case(x: Array | TensorType, complete: bool = False) -> Sample:
        return Sample((x,), {"complete": complete})

    return [
        case(spread_matrices(3, 3)),
        case(spread_matrices(4, 2)),
        case(spread_matrices(2, 2, 2).astype(np.float32), complete=True),
        case((spread_matrices(3, 2) * (1 + 0.5j)).astype(complex64.numpy)),
        case(TensorType((3, 0), float64), complete=True),
        case(TensorType((0, 0), float32)),
        case(TensorType((0, 3, 2), float32)),
    ]


QR: Op = Op(
    name="qr",
    doc=(
        "`x = Q R` for matrices of at least as many rows as columns, by Householder reflections."
        " Primitive: a recurrence over the columns. Derivatives: Seeger et al. 2017, 3.2."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=batch_stack(lambda: QR),
    lower=host_lowering(_reference),
    cost=cubic_cost(4),
    samples=_samples,
)

RECORDS: tuple[Op, ...] = (QR,)
