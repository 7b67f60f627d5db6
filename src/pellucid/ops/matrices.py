"""What the records on matrices share: adjoints, checks, errors that name the matrix at fault.

A matrix is the last two axes; all axes before them are a stack. Derivative rules follow one
convention: the gradient of a real number by a complex `z` is `dL/d(re z) + i dL/d(im z)`, so a vjp
rule is the adjoint of the jvp rule under the real inner product `Re sum(conj(a) * b)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pellucid.core.dtype import as_dtype, complex64, complex128, float32, float64
from pellucid.core.errors import DTypeError, LinAlgError, ShapeError
from pellucid.core.shape import size_of
from pellucid.graph.ir import TensorType, Value, emit_all
from pellucid.graph.op import Cost, Op, Site
from pellucid.ops.arithmetic import add, multiply
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.comparison import equal, where
from pellucid.ops.contraction import matmul
from pellucid.ops.create import iota
from pellucid.ops.layout import matrix_transpose, reshape
from pellucid.ops.parts import conj
from pellucid.ops.promotion import floating
from pellucid.ops.ranges import eye
from pellucid.ops.shared import Array, Types

DTYPES = (float32, float64, complex64, complex128)
"""What LAPACK computes with."""


def adjoint(x: Value) -> Value:
    """The conjugate transpose of the last two axes."""
    return matrix_transpose(conj(x))


def product(*factors: Value) -> Value:
    """The matrix product of two or more, from the left."""
    result = factors[0]
    for factor in factors[1:]:
        result = matmul(result, factor)
    return result


def hermitian(x: Value) -> Value:
    """The Hermitian part, `(x + x^H) / 2`."""
    half = multiply(x, 0.5)
    return add(half, adjoint(half))


def hermitian_array(x: Array) -> Array:
    """As `hermitian`; halved first, so that no sum overflows."""
    half = x * x.dtype.type(0.5)
    result: Array = half + np.conj(np.swapaxes(half, -1, -2))
    return result


def columns_times(x: Value, scale: Value) -> Value:
    """Each column of the matrices times its entry of `scale`, `[..., columns]`."""
    return multiply(x, reshape(scale, (*scale.shape[:-1], 1, scale.shape[-1])))


def rows_times(scale: Value, x: Value) -> Value:
    """Each row of the matrices times its entry of `scale`, `[..., rows]`."""
    return multiply(reshape(scale, (*scale.shape, 1)), x)


def on_diagonal(line: Value) -> Value:
    """Square matrices with `line`, `[..., n]`, on the diagonal and zeros elsewhere."""
    n = line.shape[-1]
    return where(_is_diagonal(n), reshape(line, (*line.shape, 1)), 0)


def only_diagonal(x: Value) -> Value:
    """Square matrices with zeros off the diagonal."""
    return where(_is_diagonal(x.shape[-1]), x, 0)


def off_diagonal(x: Value) -> Value:
    """Square matrices with zeros on the diagonal."""
    return where(_is_diagonal(x.shape[-1]), 0, x)


def identity_like(x: Value) -> Value:
    """The identity of the size and dtype of square matrices `x`, for each of the stack."""
    return broadcast_to(eye(x.shape[-1], dtype=x.dtype), x.shape)


def _is_diagonal(n: int) -> Value:
    return equal(iota((n, n), 0), iota((n, n), 1))


# checks -----------------------------------------------------------------------------------------


def matrices(op: str, x: Value, *, square: bool = False) -> Value:
    """`x` as matrices that LAPACK can take: integers and bools as float32.

    Raises:
        ShapeError: `x` has fewer than two axes, or is not square and must be.
        DTypeError: a float of another width.
    """
    value = floating(op, x)
    check_matrices(op, value.type, square=square)
    return value


def check_matrices(op: str, x: TensorType, *, square: bool = False) -> None:
    """Refuse what are no matrices, or none that LAPACK takes; as `matrices`."""
    if x.rank < 2:
        fix = "give it a leading axis for the rows, as x[None, :]" if x.rank == 1 else ""
        raise ShapeError(op, "takes matrices, at least two axes", operands={"x": x}, fix=fix)
    if square and x.shape[-1] != x.shape[-2]:
        raise ShapeError(
            op, "the matrices must be square", operands={"x": x},
            fix="use pinv or lstsq for matrices that are not" if op in ("inv", "solve") else "",
        )  # fmt: skip
    check_dtype(op, x)


def check_dtype(op: str, x: TensorType) -> None:
    """Refuse dtypes that LAPACK does not compute with.

    Raises:
        DTypeError: the dtype is none of float32, float64, complex64 and complex128.
    """
    if x.dtype not in DTYPES:
        rule = "takes float32, float64, complex64 and complex128"
        fix = "cast it with .astype('float32')"
        raise DTypeError(op, rule, operands={"x": x}, fix=fix)


def guarded(op: str, rule: str, fix: str, factorise: Callable[..., Any], *arrays: Array) -> Any:
    """`factorise(*arrays)`, where a failure says which matrix of the stack it was.

    Args:
        op: the operator that refuses.
        rule: what the matrix must be.
        fix: the mend.
        factorise: a function of `numpy.linalg`; its first array is the matrices.
        *arrays: its operands, of one stack.

    Raises:
        LinAlgError: LAPACK could not factorise a matrix.
    """
    try:
        return factorise(*arrays)
    except np.linalg.LinAlgError:
        raise _at_fault(op, rule, fix, factorise, arrays) from None


def _at_fault(
    op: str, rule: str, fix: str, factorise: Callable[..., Any], arrays: Sequence[Array]
) -> LinAlgError:
    x = arrays[0]
    operands: dict[str, object] = {"x": TensorType(x.shape, as_dtype(x.dtype))}
    stack = x.shape[:-2]
    for place in np.ndindex(stack):
        try:
            factorise(*[a[place] for a in arrays])
        except np.linalg.LinAlgError:
            if stack:
                operands["failed at"] = f"x[{', '.join(map(str, place))}]"
            if not np.isfinite(x[place]).all():
                rule, fix = "the matrix must be finite, but holds NaN or infinity", ""
            break
    return LinAlgError(op, rule, operands=operands, fix=fix)


# rules for records whose every operand and result is a stack of matrices (or vectors) ------------


def batch_stack(op: Callable[[], Op]) -> Callable[..., Sequence[Value]]:
    """The batching rule of a record that works on stacks: one axis more in front of the stack."""

    def batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
        pairs = zip(site.inputs, batched, strict=True)
        full = [v if b else broadcast_to(v, (size, *v.shape)) for v, b in pairs]
        return emit_all(op(), *full, **site.attrs)

    return batch


def cubic_cost(count: int, of: int = 1) -> Callable[..., Cost]:
    """Cost of `count * m * n * min(m, n) / of` operations per matrix `[m, n]` of the first operand.

    Factors: Golub and Van Loan, Matrix Computations, 4th ed., the tables of chapters 3, 5 and 8.
    """

    def cost(inputs: Types, outputs: Types, attrs: object) -> Cost:
        *stack, m, n = inputs[0].shape
        moved = sum(t.nbytes for t in (*inputs, *outputs))
        return Cost(count * size_of(stack) * m * n * min(m, n) // of, moved)

    return cost
