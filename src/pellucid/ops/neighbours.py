"""Neighbours: differences of neighbouring elements, running extrema, neighbouring floats, arrays on
one grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.core.shape import broadcast_shapes, normalize_axis
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add, subtract
from pellucid.ops.binary import maximum, minimum
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.casting import bitcast
from pellucid.ops.comparison import equal, greater, isnan, logical_or, not_equal, where
from pellucid.ops.create import full_like
from pellucid.ops.join import concatenate
from pellucid.ops.layout import reshape
from pellucid.ops.movement import slice_axis
from pellucid.ops.promotion import Operand, unify


def diff(
    x: Value,
    axis: int = -1,
    n: int = 1,
    prepend: Value | None = None,
    append: Value | None = None,
) -> Value:
    """Each element less the one before it along `axis`, `n` times over; of bools, whether they
    differ.

    Args:
        x: at least one axis.
        axis: along which.
        n: how often.
        prepend: put before `x` along `axis` first.
        append: put after `x` along `axis` first.

    Raises:
        ArgumentError: `n` is negative.
        ShapeError: there is no such axis, or what is put on differs in another one.
    """
    if n < 0:
        raise ArgumentError("diff", "n must be >= 0", operands={"n": n})
    axis = normalize_axis("diff", axis, x.shape)
    if n == 0:
        return x
    x = concatenate([v for v in (prepend, x, append) if v is not None], axis)
    step = not_equal if x.dtype.kind == "bool" else subtract
    for _ in range(n):
        size = x.shape[axis]
        x = step(slice_axis(x, axis, min(1, size), size), slice_axis(x, axis, 0, max(size - 1, 0)))
    return x


def nextafter(x: Operand, y: Operand) -> Value:
    """The float next to `x` in the direction of `y`; `y` where they are equal. Gradient: none.

    Raises:
        DTypeError: the operands are not floats.
    """
    a, b = unify("nextafter", x, y)
    if not a.dtype.is_float:
        raise DTypeError("nextafter", "takes floats", operands={"x": a.type, "y": b.type})
    bits = bitcast(a, f"int{a.dtype.bits}")
    # sign and magnitude: one more is one further from zero, whatever the sign
    outward = equal(greater(a, 0), greater(b, a))
    near = bitcast(where(outward, add(bits, 1), subtract(bits, 1)), a.dtype)
    least = bitcast(full_like(bits, 1), a.dtype)
    lowest = bitcast(full_like(bits, 1 - (1 << (bits.dtype.bits - 1))), a.dtype)
    near = where(equal(a, 0), where(greater(b, 0), least, lowest), near)
    near = where(equal(a, b), b, near)
    return where(logical_or(isnan(a), isnan(b)), add(a, b), near)


def cummax(x: Operand, axis: int | None = None) -> Value:
    """The greatest so far along `axis`; NaN from the first one on. `None` flattens.

    Gradient: to the element that it is; shared where several attain it.

    Cost: `log2(n)` steps, each `maximum` of what stands 1, 2, 4, … places apart.
    """
    return _running("cummax", maximum, x, axis)


def cummin(x: Operand, axis: int | None = None) -> Value:
    """The least so far along `axis`; NaN from the first one on. `None` flattens.

    Gradient and cost: as for `cummax`.
    """
    return _running("cummin", minimum, x, axis)


def _running(
    name: str, best: Callable[[Value, Value], Value], x: Operand, axis: int | None
) -> Value:
    (value,) = unify(name, x)
    if axis is None:
        value, axis = reshape(value, (value.type.size,)), 0
    at = normalize_axis(name, axis, value.shape)
    n, apart = value.shape[at], 1
    while apart < n:
        later, earlier = slice_axis(value, at, apart, n), slice_axis(value, at, 0, n - apart)
        value = concatenate([slice_axis(value, at, 0, apart), best(later, earlier)], at)
        apart *= 2
    return value


def broadcast_arrays(*xs: Value) -> list[Value]:
    """The arrays broadcast to their common shape, each in its own dtype."""
    shape = broadcast_shapes("broadcast_arrays", *(x.shape for x in xs))
    return [broadcast_to(x, shape) for x in xs]


def meshgrid(*xs: Value, indexing: str = "xy") -> list[Value]:
    """Coordinates of every point of a grid: one array per row of coordinates, all of one shape.

    Args:
        *xs: each `[n]` (or one number).
        indexing: "ij": result axes in the order of `xs`; "xy": the first two of them swapped.

    Raises:
        ShapeError: an array has more than one axis.
        ArgumentError: `indexing` is neither.
    """
    if indexing not in ("xy", "ij"):
        rule = "indexing must be 'xy' or 'ij'"
        raise ArgumentError("meshgrid", rule, operands={"indexing": indexing})
    if any(x.rank > 1 for x in xs):
        operands: dict[str, object] = {f"x{i}": x.shape for i, x in enumerate(xs)}
        raise ShapeError("meshgrid", "takes arrays of one axis", operands=operands)
    axes = list(range(len(xs)))
    if indexing == "xy":
        axes[:2] = reversed(axes[:2])
    return broadcast_arrays(
        *(reshape(x, _along(axis, len(xs), x.type.size)) for x, axis in zip(xs, axes, strict=True))
    )


def _along(axis: int, rank: int, size: int) -> Sequence[int]:
    return [size if a == axis else 1 for a in range(rank)]
