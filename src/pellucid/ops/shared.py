"""What records share: typed access to attributes, common costs, index helpers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from numpy.typing import NDArray

from pellucid.core.dtype import DType, Real, Scalar, float8_e4m3fn, float32
from pellucid.core.errors import DTypeError
from pellucid.graph.ir import Attrs, TensorType
from pellucid.graph.op import Cost
from pellucid.loop.compute import Index
from pellucid.loop.ir import Call, Const, Expr, For, Stmt, Var, as_expr, iadd, imul

Array = NDArray[Any]
Types = Sequence[TensorType]


def ints(attrs: Attrs, name: str) -> tuple[int, ...]:
    """The attribute as a tuple of ints."""
    return cast("tuple[int, ...]", attrs[name])


def integer(attrs: Attrs, name: str) -> int:
    """The attribute as an int."""
    return cast("int", attrs[name])


def scalar(attrs: Attrs, name: str) -> Scalar:
    """The attribute as a Python scalar."""
    return cast("Scalar", attrs[name])


def real(attrs: Attrs, name: str) -> Real:
    """The attribute as a real Python number."""
    return cast("Real", attrs[name])


def no_cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    """Nothing is computed or moved."""
    return Cost(0, 0)


def copy_cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    """Every output byte is read once and written once."""
    return Cost(0, 2 * sum(t.nbytes for t in outputs))


def through_cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    """Every input byte is read once, every output byte is written once."""
    return Cost(0, sum(t.nbytes for t in (*inputs, *outputs)))


def accumulator(dtype: DType) -> DType:
    """The dtype partial sums are kept in: float32 for narrower floats, else the dtype itself."""
    return float32 if dtype.is_float and dtype.bits < 32 else dtype


def cast_expr(value: Expr, dtype: DType) -> Expr:
    """`value` converted, or itself where it already has the dtype."""
    return value if value.dtype == dtype else Call("cast", (value,), dtype)


def zero_of(dtype: DType) -> Real:
    """The dtype's zero as a Python scalar."""
    return {"bool": False, "float": 0.0, "complex": 0.0}.get(dtype.kind, 0)


def lowest(dtype: DType) -> Real:
    """The least value: minus infinity (-448 for float8_e4m3fn), False, the integer minimum."""
    if dtype.is_float:
        return -448.0 if dtype == float8_e4m3fn else -math.inf  # that one has no infinities
    if dtype.kind == "bool":
        return False
    return -(1 << (dtype.bits - 1)) if dtype.kind == "int" else 0


def flatten_index(idx: Sequence[Expr], sizes: Sequence[int]) -> Expr:
    """The row-major position of `idx` in an array of these sizes."""
    flat: Expr = Const(0)
    for i, n in zip(idx, sizes, strict=True):
        flat = iadd(imul(flat, n), i) if n != 1 else flat  # an axis of size 1 has index 0
    return flat


def insert_axes(idx: Index, red: Index, axes: Sequence[int]) -> Index:
    """The full index of an element: `red` at `axes` (sorted), `idx` at the others."""
    result = list(idx)
    for axis, r in zip(axes, red, strict=True):
        result.insert(axis, r)
    return tuple(result)


def require_equal_dtypes(op: str, *types: TensorType) -> None:
    """All operands have one dtype.

    Raises:
        DTypeError: they do not.
    """
    if len({t.dtype for t in types}) > 1:
        names = dict(zip("abcdefgh", types, strict=False))
        raise DTypeError(op, "dtypes must be equal", operands=names, fix="cast with astype")


def require_real(op: str, x: TensorType) -> None:
    """The operand is not complex.

    Raises:
        DTypeError: it is.
    """
    if x.dtype.is_complex:
        fix = "take abs(x), real(x) or imag(x) first"
        raise DTypeError(op, "takes real numbers", operands={"x": x}, fix=fix)


def nest(
    prefix: str, extents: Sequence[int], body: Callable[[Index], tuple[Stmt, ...]]
) -> tuple[Stmt, ...]:
    """Serial loops over these extents, variables `<prefix>0`, `<prefix>1`, …, around `body`."""
    names = [f"{prefix}{axis}" for axis in range(len(extents))]
    result = body(tuple(Var(name) for name in names))
    for name, extent in zip(reversed(names), reversed(extents), strict=True):
        result = (For(name, as_expr(extent), result),)
    return result
