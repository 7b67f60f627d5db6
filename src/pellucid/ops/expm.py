"""The exponential of a matrix.

Source: Higham, The scaling and squaring method for the matrix exponential revisited, 2005: the
Padé approximant of degree 13 of the matrix over a power of 2, squared as many times. The derivative
is a block of the exponential of a matrix of twice the size: Mathias, A chain rule for matrix
functions and applications, 1996.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import complex64, float32, float64
from pellucid.graph.ir import TensorType, Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import host_lowering
from pellucid.ops.create import zeros_like
from pellucid.ops.join import concatenate
from pellucid.ops.matrices import adjoint, batch_stack, check_matrices, cubic_cost, matrices
from pellucid.ops.movement import slice_axis
from pellucid.ops.shared import Array

_MOST = 5.371920351148152
"""The 1-norm up to which the approximant is exact to double precision (Higham's theta 13)."""
_PADE = (
    64764752532480000.0, 32382376266240000.0, 7771770303897600.0, 1187353796428800.0,
    129060195264000.0, 10559470521600.0, 670442572800.0, 33522128640.0, 1323241920.0, 40840800.0,
    960960.0, 16380.0, 182.0, 1.0,
)  # fmt: skip


def expm(x: Value) -> Value:
    """The exponential of each square matrix: the sum of its powers over factorials.

    Args:
        x: float or complex, `[..., n, n]`.

    Returns:
        As `x`; NaN for a matrix that is not finite.

    Raises:
        ShapeError: the matrices are not square.

    Gradient: for every matrix, of any order.
    """
    return emit(EXPM, matrices("expm", x, square=True))


def _infer(x: TensorType) -> TensorType:
    check_matrices("expm", x, square=True)
    return x


def _reference(x: Array) -> Array:
    """In double precision, each matrix of a stack with its own number of squarings."""
    wide = x.astype(np.result_type(x.dtype, np.float64))
    if x.size == 0:
        return x.copy()
    norm = np.abs(wide).sum(axis=-2).max(axis=-1)
    known = np.isfinite(norm)
    halvings = np.ceil(np.log2(np.maximum(np.where(known, norm, 1) / _MOST, 1))).astype(int)
    scaled = np.where(known[..., None, None], wide, 0) * np.exp2(-halvings)[..., None, None]
    made = _approximant(scaled)
    for done in range(int(halvings.max())):
        made = np.where((halvings > done)[..., None, None], made @ made, made)
    result: Array = np.where(known[..., None, None], made, np.nan).astype(x.dtype)
    return result


def _approximant(x: Array) -> Array:
    """`q(x)^-1 p(x)` with `q(x) = p(-x)`: even and odd powers apart, from x^2, x^4 and x^6."""
    one = np.broadcast_to(np.eye(x.shape[-1]), x.shape)
    second = x @ x
    fourth = second @ second
    powers = (one, second, fourth, second @ fourth)

    def half(first: int) -> Array:
        c = _PADE[first::2]
        high = sum(c[k + 3] * powers[k] for k in (1, 2, 3))
        made: Array = sum(c[k] * powers[k] for k in range(4)) + powers[3] @ high
        return made

    odd, even = x @ half(1), half(0)
    made: Array = np.linalg.solve(even - odd, even + odd)
    return made


def _slope(x: Value, t: Value) -> Value:
    """How the exponential moves with `t`: the upper right block of that of `[[x, t], [0, x]]`."""
    n, row, column = x.shape[-1], x.rank - 2, x.rank - 1
    upper = concatenate([x, t], -1)
    block = concatenate([upper, concatenate([zeros_like(x), x], -1)], -2)
    return slice_axis(slice_axis(emit(EXPM, block), row, 0, n), column, n, 2 * n)


def _vjp(site: Site, g: Value) -> Sequence[Value | None]:
    return [_slope(adjoint(site.inputs[0]), g)]


def _jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    return [None if t is None else _slope(site.inputs[0], t)]


def _samples() -> Sequence[Sample]:
    x = np.random.default_rng(13).normal(size=(3, 3))
    return [
        Sample((x,)),
        Sample((np.stack([x / 3, 5 * x]).astype(np.float32) / 5,)),
        Sample((np.array([[0.0, 1.0], [0.0, 0.0]]),)),
        Sample(((x * (1 + 0.5j)).astype(complex64.numpy),)),
        Sample((TensorType((0, 0), float64),)),
        Sample((TensorType((0, 2, 2), float32),)),
    ]


EXPM: Op = Op(
    name="expm",
    doc=(
        "The exponential of each square matrix, by Higham's scaling and squaring. Primitive: how"
        " often it squares depends on the numbers. Derivatives: Mathias 1996."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=batch_stack(lambda: EXPM),
    lower=host_lowering(_reference),
    cost=cubic_cost(30),
    samples=_samples,
)

RECORDS: tuple[Op, ...] = (EXPM,)
