"""The pseudoinverse, and what is built on it: least squares.

Derivative: Golub and Pereyra, The differentiation of pseudo-inverses and nonlinear least squares
problems whose variables separate, 1973, equation 4.12: products with the pseudoinverse itself, so
that repeated singular values do no harm.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import DType, complex64, float32, float64
from pellucid.core.errors import DTypeError, ShapeError
from pellucid.core.shape import broadcast_shapes
from pellucid.graph.ir import TensorType, Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import host_lowering
from pellucid.ops.arithmetic import add, multiply, negative, subtract
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.casting import astype
from pellucid.ops.create import scalar
from pellucid.ops.identity import stop_gradient
from pellucid.ops.matrices import (
    adjoint,
    batch_stack,
    check_matrices,
    cubic_cost,
    guarded,
    matrices,
    product,
)
from pellucid.ops.promotion import Operand, as_value
from pellucid.ops.shared import Array

_EPSILON = {float32: float(np.finfo(np.float32).eps), float64: float(np.finfo(np.float64).eps)}


def pinv(x: Value, rtol: Operand | None = None) -> Value:
    """The Moore-Penrose inverse of each matrix.

    Args:
        x: float or complex, `[..., m, n]`.
        rtol: singular values up to `rtol` times the greatest count as 0; a number, or one for each
            matrix, broadcast with `[...]`. By default `max(m, n)` times the dtype's epsilon.

    Returns:
        `[..., n, m]`, of the dtype of `x`.

    Raises:
        LinAlgError: a matrix is not finite.

    Gradient: to `x`, as far as its rank does not change.
    """
    value = matrices("pinv", x)
    return emit(PINV, *with_tolerance("pinv", value, rtol))


def with_tolerance(op: str, x: Value, rtol: Operand | None) -> tuple[Value, Value]:
    """The matrices and one tolerance for each, their stacks broadcast; the default for `None`."""
    real = x.dtype.real
    if rtol is None:
        given = multiply(as_value(op, max(x.shape[-2:]), real), _EPSILON[real])
    else:
        given = rtol if isinstance(rtol, Value) else scalar(rtol, real, op)
    if given.dtype.kind in ("bool", "complex"):
        raise DTypeError(op, "rtol must be a real number", operands={"rtol": given.type})
    lead = broadcast_shapes(op, x.shape[:-2], given.shape)
    limit = broadcast_to(stop_gradient(astype(given, real)), lead)
    return broadcast_to(x, (*lead, *x.shape[-2:])), limit


def lstsq(a: Value, b: Value, rtol: Operand | None = None) -> Value:
    """The `x` of least norm that minimises the norm of `a @ x - b`.

    Args:
        a: `[..., m, n]`, of any rank.
        b: a vector `[m]`, or matrices `[..., m, k]`; stacks broadcast.
        rtol: as for `pinv`.

    Returns:
        `[..., n]` for a vector, else `[..., n, k]`.

    Raises:
        ShapeError: `b` has another number of rows.
    """
    value = matrices("lstsq", a)
    rows = b.shape[0] if b.rank == 1 else b.shape[-2] if b.rank else None
    if rows != value.shape[-2]:
        operands: dict[str, object] = {"a": value.type, "b": b.type}
        raise ShapeError("lstsq", "b needs as many rows as a has", operands=operands)
    return product(pinv(value, rtol), b)


def _infer(x: TensorType, rtol: TensorType) -> TensorType:
    check_matrices("pinv", x)
    if rtol.shape != x.shape[:-2] or rtol.dtype != x.dtype.real:
        operands: dict[str, object] = {"x": x, "rtol": rtol}
        raise ShapeError("pinv", "takes one real tolerance per matrix", operands=operands)
    *stack, m, n = x.shape
    return TensorType((*stack, n, m), x.dtype)


def _reference(x: Array, rtol: Array) -> Array:
    result: Array = guarded("pinv", "the singular values did not converge", "", _pinv, x, rtol)
    return result


def _pinv(x: Array, rtol: Array) -> Array:
    made: Array = np.linalg.pinv(x, rcond=rtol)
    return made


def _vjp(site: Site, g: Value) -> Sequence[Value | None]:
    x, (p,) = site.inputs[0], site.outputs
    ph, gh = adjoint(p), adjoint(g)
    result = negative(product(ph, g, ph))
    left = product(gh, p, ph)
    result = add(result, subtract(left, product(x, p, left)))
    right = product(ph, p, gh)
    return [add(result, subtract(right, product(right, p, x))), None]


def _jvp(site: Site, t: Value | None, _: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None]
    x, (p,) = site.inputs[0], site.outputs
    ph, th = adjoint(p), adjoint(t)
    result = negative(product(p, t, p))
    left = product(p, ph, th)
    result = add(result, subtract(left, product(left, x, p)))
    right = product(th, ph, p)
    return [add(result, subtract(right, product(p, x, right)))]


def _samples() -> Sequence[Sample]:
    rng = np.random.default_rng(9)

    def case(*shape: int, dtype: DType = float64) -> Sample:
        x: Array = np.asarray(rng.normal(size=shape), dtype.numpy)
        return Sample((x, np.full(shape[:-2], 1e-6, dtype.numpy)))

    turned = rng.normal(size=(3, 2)) + 1j * rng.normal(size=(3, 2))
    return [
        case(3, 3),
        case(4, 2),
        case(2, 2, 3, dtype=float32),
        Sample((turned.astype(complex64.numpy), np.asarray(1e-6, np.float32))),
        Sample((TensorType((0, 3), float64), np.array(1e-6))),
        Sample((TensorType((0, 3, 2), float32), TensorType((0,), float32))),
    ]


PINV: Op = Op(
    name="pinv",
    doc=(
        "The Moore-Penrose inverse of each matrix, singular values up to `rtol` times the greatest"
        " left out. Primitive: composed of `svd` its gradient would be NaN where singular values"
        " are equal. Derivatives: Golub and Pereyra 1973."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=batch_stack(lambda: PINV),
    lower=host_lowering(_reference),
    cost=cubic_cost(16),
    samples=_samples,
)

RECORDS: tuple[Op, ...] = (PINV,)
