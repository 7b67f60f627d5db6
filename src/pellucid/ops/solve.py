"""Systems of linear equations and inverses.

Derivatives: Giles, An extended collection of matrix derivative results for forward and reverse
mode algorithmic differentiation, 2008, sections 2.2.3 and 2.3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import complex64, float32, float64, int32
from pellucid.core.errors import DTypeError, ShapeError
from pellucid.core.shape import Shape, broadcast_shapes, size_of
from pellucid.graph.ir import Attrs, TensorType, Value, emit_all
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.loop.compute import Lowering, host_lowering
from pellucid.loop.ir import Const, Load, compare, select
from pellucid.ops.arithmetic import negative, subtract
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.casting import astype
from pellucid.ops.elimination import elimination, is_small
from pellucid.ops.join import tril, triu
from pellucid.ops.layout import expand_dims, moveaxis, reshape, squeeze
from pellucid.ops.matrices import (
    adjoint,
    batch_stack,
    check_dtype,
    check_matrices,
    cubic_cost,
    guarded,
    matrices,
    product,
)
from pellucid.ops.movement import flip
from pellucid.ops.promotion import common_dtype
from pellucid.ops.regular import SINGULAR, regular
from pellucid.ops.shared import Array, Types


def solve(a: Value, b: Value) -> Value:
    """The `x` of `a @ x = b`.

    Args:
        a: `[..., n, n]`.
        b: a vector `[n]`, or matrices `[..., n, k]`; stacks broadcast, dtypes are promoted.

    Returns:
        `[..., n]` for a vector, else `[..., n, k]`.

    Raises:
        LinAlgError: a matrix is singular.
        ShapeError: `a` is not square, or `b` has another number of rows.
    """
    return _solve("solve", a, b)


def solve_triangular(a: Value, b: Value, upper: bool = False) -> Value:
    """The `x` of `a @ x = b` for triangular `a`; what lies in its other triangle is not looked at.

    Args:
        a: `[..., n, n]`.
        b: as for `solve`.
        upper: whether the upper triangle of `a` counts, else the lower.

    Raises:
        LinAlgError: there is a zero on a diagonal.
        ShapeError: as `solve`.
    """
    if not isinstance(a, Value) or a.rank < 2:
        matrices("solve_triangular", a)
    if upper:
        return _solve("solve_triangular", triu(a), b)
    # upside down it is upper triangular: elimination has nothing to do there and swaps no rows
    rows = -1 if b.rank == 1 else -2
    turned = _solve("solve_triangular", flip(tril(a), (-2, -1)), flip(b, rows))
    return flip(turned, rows)


def solve_lower(a: Value, b: Value) -> Value:
    """`solve_triangular` for a factor whose upper triangle is zeros, of the stack of `b`."""
    return flip(solved(flip(a, (-2, -1)), flip(b, -2)), -2)


def solve_upper(a: Value, b: Value) -> Value:
    """`solve_triangular` for a factor whose lower triangle is zeros, of the stack of `b`."""
    return solved(a, b)


def solved(a: Value, b: Value, op: str = "solve") -> Value:
    """`solve` for operands of one dtype, stack and height."""
    x, wrong = emit_all(SOLVE, a, b)
    return regular(op, x, wrong, a) if is_small(a.type) else x


def inv(x: Value) -> Value:
    """The inverse of each matrix, `[..., n, n]`.

    Raises:
        LinAlgError: a matrix is singular.
        ShapeError: the matrices are not square.
    """
    value = matrices("inv", x, square=True)
    y, wrong = emit_all(INV, value)
    return regular("inv", y, wrong, value) if is_small(value.type) else y


def _solve(op: str, a: Value, b: Value) -> Value:
    a, b = _promoted(op, a, b)
    n, vector = a.shape[-1], b.rank == 1
    columns = expand_dims(b, -1) if vector else b
    if columns.shape[-2] != n:
        operands: dict[str, object] = {"a": a.type, "b": b.type}
        fix = "give a stack of vectors as matrices of one column, b[..., None]"
        fits = b.rank > 1 and b.shape[-1] == n
        rule = "b needs as many rows as a has"
        raise ShapeError(op, rule, operands=operands, fix=fix if fits else "")
    lead = broadcast_shapes(op, a.shape[:-2], columns.shape[:-2])
    if a.rank == 2 and lead:
        result = _apart(solved(a, _beside(columns), op), columns.shape)
    else:
        a = broadcast_to(a, (*lead, n, n))
        result = solved(a, broadcast_to(columns, (*lead, *columns.shape[-2:])), op)
    return squeeze(result, -1) if vector else result


def _promoted(op: str, a: Value, b: Value) -> tuple[Value, Value]:
    """The operands in one dtype, the matrices known to be square, the right side to have rows."""
    matrices(op, a, square=True)
    if not isinstance(b, Value) or b.rank == 0:
        operands: dict[str, object] = {"a": a.type, "b": b.type if isinstance(b, Value) else b}
        raise ShapeError(op, "b must be a vector or matrices", operands=operands)
    dtype = common_dtype(op, (a, b))
    dtype = dtype if dtype.is_inexact else float32
    x, y = astype(a, dtype), astype(b, dtype)
    check_dtype(op, y.type)
    return x, y


def _beside(b: Value) -> Value:
    """The columns of a stack of right sides beside each other."""
    *lead, n, k = b.shape
    return reshape(moveaxis(b, -2, 0), (n, size_of(lead) * k))


def _apart(x: Value, shape: Shape) -> Value:
    """The inverse of `_beside`."""
    *lead, n, k = shape
    return moveaxis(reshape(x, (n, *lead, k)), 0, -2)


# the records ------------------------------------------------------------------------------------


def _infer(a: TensorType, b: TensorType) -> tuple[TensorType, TensorType]:
    operands: dict[str, object] = {"a": a, "b": b}
    check_matrices("solve", a, square=True)
    if b.shape[:-1] != a.shape[:-1]:
        raise ShapeError("solve", "operands need one stack and one height", operands=operands)
    if a.dtype != b.dtype:
        raise DTypeError("solve", "operands need one dtype", operands=operands)
    return b, TensorType(a.shape[:-2], int32)


def _reference(a: Array, b: Array) -> tuple[Array, Array]:
    return guarded("solve", *SINGULAR[:2], np.linalg.solve, a, b), _none_wrong(a)


def _none_wrong(a: Array) -> Array:
    return np.zeros(a.shape[:-2], np.int32)


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    if not is_small(inputs[0]):
        return host_lowering(_reference)(inputs, outputs, attrs)
    return elimination(
        inputs[1].shape[-1],
        lambda sources: lambda at, i, c: Load(sources[1], (*at, i, c)),
    )


def _vjp(site: Site, g: Value, _: None) -> Sequence[Value | None]:
    a, x = site.inputs[0], site.outputs[0]
    of_b = solved(adjoint(a), g)
    wanted = not site.wanted or site.wanted[0]
    return [negative(product(of_b, adjoint(x))) if wanted else None, of_b]


def _jvp(site: Site, ta: Value | None, tb: Value | None) -> Sequence[Value | None]:
    a, x = site.inputs[0], site.outputs[0]
    side = tb
    if ta is not None:
        moved = product(ta, x)
        side = negative(moved) if tb is None else subtract(tb, moved)
    return [None if side is None else solved(a, side), None]


def _batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    a, b = site.inputs
    if not batched[0] and a.rank == 2:
        x, wrong = emit_all(SOLVE, a, _beside(b))
        return [_apart(x, b.shape), broadcast_to(wrong, (size,))]
    return batch_stack(lambda: SOLVE)(site, batched, size)


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    a, b = inputs
    n, k = b.shape[-2:]
    flops = size_of(a.shape[:-2]) * (2 * n * n * n // 3 + 2 * n * n * k)
    return Cost(flops, a.nbytes + 2 * b.nbytes)


def _regular(*shape: int) -> Array:
    """Random matrices far from singular."""
    rng = np.random.default_rng(4)
    made: Array = rng.normal(size=shape) + 3 * np.eye(shape[-1])
    return made


def _samples() -> Sequence[Sample]:
    def case(a: Shape, b: Shape, dtype: type = np.float64) -> Sample:
        side = np.random.default_rng(5).normal(size=b)
        return Sample((_regular(*a).astype(dtype), side.astype(dtype)))

    turned = _regular(3, 3) * (1 + 0.2j), np.ones((3, 2)) * (1 - 1j)
    return [
        case((3, 3), (3, 2)),
        case((2, 3, 3), (2, 3, 1), np.float32),
        case((1, 1), (1, 4)),
        Sample((turned[0].astype(complex64.numpy), turned[1].astype(complex64.numpy))),
        case((0, 0), (0, 2)),
        case((3, 3), (3, 0)),
        case((0, 2, 2), (0, 2, 2)),
    ]


SOLVE: Op = Op(
    name="solve",
    doc=(
        "The `x` of `a @ x = b`, stack by stack, by elimination with partial pivoting, and 1 per"
        " matrix where loops met a pivot of 0. Primitive: the order of the rows depends on the"
        " numbers. Derivatives: Giles 2008, 2.3.1."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=_batch,
    lower=_lower,
    cost=_cost,
    samples=_samples,
)


def _inv_infer(x: TensorType) -> tuple[TensorType, TensorType]:
    check_matrices("inv", x, square=True)
    return x, TensorType(x.shape[:-2], int32)


def _inv_reference(x: Array) -> tuple[Array, Array]:
    return guarded("inv", *SINGULAR, x), _none_wrong(x)


def _inv_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    x = inputs[0]
    if not is_small(x):
        return host_lowering(_inv_reference)(inputs, outputs, attrs)
    one, zero = Const(1.0, x.dtype), Const(0.0, x.dtype)
    return elimination(
        x.shape[-1], lambda sources: lambda at, i, c: select(compare("eq", i, c), one, zero)
    )


def _inv_vjp(site: Site, g: Value, _: None) -> Sequence[Value | None]:
    turned = adjoint(site.outputs[0])
    return [negative(product(turned, g, turned))]


def _inv_jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    y = site.outputs[0]
    return [None if t is None else negative(product(y, t, y)), None]


def _inv_samples() -> Sequence[Sample]:
    return [
        Sample((_regular(3, 3),)),
        Sample((_regular(2, 2, 2).astype(np.float32),)),
        Sample(((_regular(3, 3) * (1 + 0.5j)).astype(complex64.numpy),)),
        Sample((TensorType((0, 0), float64),)),
        Sample((TensorType((0, 1, 1), float32),)),
    ]


INV: Op = Op(
    name="inv",
    doc=(
        "The inverse of each matrix. Primitive beside `solve`: its derivatives are products with"
        " itself, where those of `solve` would factorise again. Derivatives: Giles 2008, 2.2.3."
    ),
    infer=_inv_infer,
    reference=_inv_reference,
    vjp=_inv_vjp,
    jvp=_inv_jvp,
    batch=batch_stack(lambda: INV),
    lower=_inv_lower,
    cost=cubic_cost(2),
    samples=_inv_samples,
)

RECORDS: tuple[Op, ...] = (SOLVE, INV)
