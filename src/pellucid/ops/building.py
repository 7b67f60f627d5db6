"""Arrays built from few numbers: diagonals, triangles, powers, values spaced by a factor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import DTypeLike, as_dtype, float32, int64
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import check_shape
from pellucid.graph.ir import Value
from pellucid.loop.functions import cast_array
from pellucid.ops.arithmetic import add, multiply
from pellucid.ops.binary import floor_divide, remainder
from pellucid.ops.casting import astype
from pellucid.ops.comparison import equal, greater_equal, where
from pellucid.ops.create import constant, iota, ones_like
from pellucid.ops.einsum import diagonal
from pellucid.ops.join import concatenate, repeat
from pellucid.ops.layout import expand_dims
from pellucid.ops.movement import flip, pad
from pellucid.ops.ranges import eye
from pellucid.ops.scan import cumprod
from pellucid.ops.stacking import ravel


def diag(x: Value, k: int = 0) -> Value:
    """A vector as the `k`-th diagonal of a matrix of zeros; of a matrix, its `k`-th diagonal.

    Raises:
        ShapeError: `x` is neither vector nor matrix.
    """
    if x.rank == 2:
        return diagonal(x, k)
    if x.rank != 1:
        raise ShapeError("diag", "takes a vector or a matrix", operands={"x": x.type})
    size = x.shape[0] + abs(k)
    # element i is the one of row i above the main diagonal, of column i below it
    spread = expand_dims(pad(x, (0,), (abs(k),)), 1 if k >= 0 else 0)
    row, column = iota((size, size), 0), iota((size, size), 1)
    return where(equal(column, add(row, k)), spread, 0)


def diagflat(x: Value, k: int = 0) -> Value:
    """All elements of `x` as the `k`-th diagonal of a matrix of zeros."""
    return diag(ravel(x), k)


def tri(rows: int, columns: int | None = None, k: int = 0, dtype: DTypeLike = float32) -> Value:
    """Ones on and below the `k`-th diagonal, zeros above; `[rows, columns]`, square by default."""
    shape = check_shape("tri", (rows, rows if columns is None else columns))
    return astype(greater_equal(add(iota(shape, 0), k), iota(shape, 1)), dtype)


def identity(n: int, dtype: DTypeLike = float32) -> Value:
    """The identity matrix `[n, n]`."""
    rows, columns = check_shape("identity", (n, n))
    return eye(rows, columns, dtype=dtype)


def indices(shape: Sequence[int], dtype: DTypeLike = int64) -> Value:
    """For each axis the position along it, `[rank, *shape]`."""
    sizes = check_shape("indices", shape)
    if not sizes:
        raise ArgumentError("indices", "needs at least one axis", operands={"shape": sizes})
    return concatenate([expand_dims(iota(sizes, a, dtype), 0) for a in range(len(sizes))], 0)


def vander(x: Value, columns: int | None = None, increasing: bool = False) -> Value:
    """Powers of a vector's elements, `[n, columns]`; the highest first unless `increasing`.

    Raises:
        ShapeError: `x` is no vector.
    """
    if x.rank != 1:
        raise ShapeError("vander", "takes a vector", operands={"x": x.type})
    count = x.shape[0] if columns is None else columns
    bases = repeat(expand_dims(x, 1), max(count - 1, 0), 1)
    ones = ones_like(expand_dims(x, 1))
    powers = concatenate([ones, cumprod(bases, 1)], 1) if count else bases
    return powers if increasing else flip(powers, 1)


def logspace(
    start: float, stop: float, num: int = 50, base: float = 10.0, dtype: DTypeLike = float32
) -> Value:
    """`base` to the power of `num` evenly spaced exponents; a constant of the program.

    Raises:
        ArgumentError: `num` is negative.
    """
    _check_count("logspace", num)
    return constant(cast_array(np.logspace(start, stop, num, base=base), as_dtype(dtype)))


def geomspace(start: float, stop: float, num: int = 50, dtype: DTypeLike = float32) -> Value:
    """`num` values from `start` to `stop`, each the one before times a constant.

    Raises:
        ArgumentError: `num` is negative, or `start` or `stop` is 0.
    """
    _check_count("geomspace", num)
    if start == 0 or stop == 0:
        operands: dict[str, object] = {"start": start, "stop": stop}
        raise ArgumentError("geomspace", "start and stop must not be 0", operands=operands)
    return constant(cast_array(np.geomspace(start, stop, num), as_dtype(dtype)))


def _check_count(op: str, num: int) -> None:
    if num < 0:
        raise ArgumentError(op, "num must be >= 0", operands={"num": num})


def unravel_index(positions: Value, shape: Sequence[int]) -> tuple[Value, ...]:
    """For positions in row-major order, the position along each axis of `shape`."""
    rest, found = positions, []
    for n in reversed(check_shape("unravel_index", shape)):
        found.append(remainder(rest, n))
        rest = floor_divide(rest, n)
    return tuple(found[::-1])


def ravel_multi_index(positions: Sequence[Value], shape: Sequence[int]) -> Value:
    """The position in row-major order of one position per axis of `shape`.

    Raises:
        ShapeError: there is not one per axis.
    """
    sizes = check_shape("ravel_multi_index", shape)
    if len(positions) != len(sizes) or not sizes:
        operands: dict[str, object] = {"positions": len(positions), "shape": sizes}
        raise ShapeError("ravel_multi_index", "needs one array per axis", operands=operands)
    flat = positions[0]
    for at, n in zip(positions[1:], sizes[1:], strict=True):
        flat = add(multiply(flat, n), at)
    return flat
