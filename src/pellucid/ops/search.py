"""Places in sorted rows: `searchsorted` and what is built from it.

Compositions: a binary search over `n` elements is `log2(n)` gathers, so no record is needed.
"""

from __future__ import annotations

from pellucid.core.dtype import bool_, int64, uint8
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add, subtract
from pellucid.ops.binary import minimum
from pellucid.ops.casting import astype
from pellucid.ops.comparison import (
    equal,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    where,
)
from pellucid.ops.create import full
from pellucid.ops.index import gather
from pellucid.ops.layout import reshape
from pellucid.ops.promotion import Operand, as_value, common_dtype
from pellucid.ops.reduction import any
from pellucid.ops.sort_values import sort
from pellucid.ops.take import take


def searchsorted(x1: Value, x2: Operand, side: str = "left", sorter: Value | None = None) -> Value:
    """Where each element of `x2` would go into the sorted row `x1`, as int64 of `x2`'s shape.

    With `side="left"` before elements equal to it (`x1[i-1] < v <= x1[i]`), with `"right"` after
    them. NaN comes last, as `sort` puts it.

    Args:
        x1: `[n]`, ascending, or in the order of `sorter`.
        x2: any shape; dtypes are promoted.
        side: "left" or "right".
        sorter: integer `[n]` that sorts `x1`, as from `argsort`.

    Raises:
        ShapeError: `x1` has not exactly one axis, or `sorter` another shape.
        ArgumentError: `side` is neither.

    Cost: `log2(n)` gathers of `x2`'s size.
    """
    if x1.rank != 1:
        raise ShapeError("searchsorted", "x1 must have one axis", operands={"x1": x1.shape})
    if side not in ("left", "right"):
        rule = "side must be 'left' or 'right'"
        raise ArgumentError("searchsorted", rule, operands={"side": side})
    if sorter is not None:
        if sorter.shape != x1.shape:
            operands: dict[str, object] = {"x1": x1.shape, "sorter": sorter.shape}
            raise ShapeError("searchsorted", "sorter must have x1's shape", operands=operands)
        x1 = take(x1, sorter, 0)
    dtype = common_dtype("searchsorted", (x1, x2))
    row, wanted = (
        as_value("searchsorted", v, uint8 if dtype == bool_ else dtype) for v in (x1, x2)
    )
    return _descend(row, wanted, after=side == "right")


def _descend(row: Value, wanted: Value, after: bool) -> Value:
    """How many elements of `row` stand before each of `wanted`, found bit by bit."""
    n = row.shape[0]
    count = full(wanted.shape, 0, int64)
    for bit in reversed(range(n.bit_length())):
        probe = add(count, 1 << bit)
        element = gather(row, subtract(minimum(probe, n), 1), axis=0)
        ahead = logical_and(less_equal(probe, n), _stands_before(element, wanted, after))
        count = where(ahead, probe, count)
    return count


def _stands_before(element: Value, wanted: Value, after: bool) -> Value:
    """`element < wanted`, or `<=` if `after`, with NaN the greatest number."""
    plain = (less_equal if after else less)(element, wanted)
    if not element.dtype.is_float:
        return plain
    last = isnan(wanted) if after else logical_and(isnan(wanted), logical_not(isnan(element)))
    return logical_or(plain, last)


def isin(x1: Operand, x2: Operand, invert: bool = False) -> Value:
    """Which elements of `x1` are among those of `x2`, as bool of `x1`'s shape; NaN is in nothing.

    Args:
        x1: any shape.
        x2: any shape; dtypes are promoted.
        invert: which are not instead.
    """
    dtype = common_dtype("isin", (x1, x2))
    wide = uint8 if dtype == bool_ else dtype
    wanted, row = (astype(as_value("isin", v, dtype), wide) for v in (x1, x2))
    if row.type.size == 0:
        return full(wanted.shape, invert)
    row = reshape(row, (row.type.size,))
    if wide.is_complex:  # which have no order to search in
        hits = equal(reshape(wanted, (*wanted.shape, 1)), row)
        found = any(hits, -1)
        return logical_not(found) if invert else found
    row = sort(row, 0)
    place = minimum(searchsorted(row, wanted), row.shape[0] - 1)
    found = equal(gather(row, place, axis=0), wanted)
    return logical_not(found) if invert else found
