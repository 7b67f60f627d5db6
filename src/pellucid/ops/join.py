"""Several arrays as one, and one array repeated: `concatenate` and what is built from it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import bool_, complex64, float32, int64
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import normalize_axis
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import Index, Loops, Lowering
from pellucid.loop.ir import Buffer, Load, Stmt, Store, iadd
from pellucid.ops.arithmetic import add
from pellucid.ops.casting import astype
from pellucid.ops.comparison import greater_equal, less, less_equal, where
from pellucid.ops.create import iota, zeros_like
from pellucid.ops.movement import (
    broadcast_to,
    expand_dims,
    pad,
    reshape,
    slice_axis,
    split,
    squeeze,
)
from pellucid.ops.promotion import common_dtype
from pellucid.ops.shared import (
    Array,
    Types,
    copy_cost,
    integer,
    nest,
    require_equal_dtypes,
)


def _infer(*xs: TensorType, axis: int) -> TensorType:
    if not xs:
        raise ShapeError("concatenate", "at least one array is needed")
    names: dict[str, object] = {f"x{i}": x for i, x in enumerate(xs)}
    first = xs[0]
    if not 0 <= axis < first.rank:
        names["axis"] = axis
        raise ShapeError("concatenate", "the axis must be one of the arrays'", operands=names)
    rests = {(*x.shape[:axis], *x.shape[axis + 1 :], x.rank) for x in xs}
    if len(rests) > 1:
        raise ShapeError("concatenate", f"shapes may differ at axis {axis} only", operands=names)
    require_equal_dtypes("concatenate", *xs)
    total = sum(x.shape[axis] for x in xs)
    return TensorType((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype)


def _reference(*xs: Array, axis: int) -> Array:
    return np.concatenate(xs, axis=axis)


def _vjp(site: Site, g: Value) -> Sequence[Value | None]:
    axis = integer(site.attrs, "axis")
    return split(g, [x.shape[axis] for x in site.inputs], axis)


def _jvp(site: Site, *tangents: Value | None) -> Sequence[Value | None]:
    if all(t is None for t in tangents):
        return [None]
    pairs = zip(tangents, site.inputs, strict=True)
    filled = [zeros_like(x) if t is None else t for t, x in pairs]
    return [emit(CONCATENATE, *filled, **site.attrs)]


def _batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    pairs = zip(site.inputs, batched, strict=True)
    full = [x if b else broadcast_to(x, (size, *x.shape)) for x, b in pairs]
    return [emit(CONCATENATE, *full, axis=integer(site.attrs, "axis") + 1)]


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    axis = integer(attrs, "axis")

    def build(sources: tuple[Buffer, ...], results: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
        statements: list[Stmt] = []
        offset = 0
        for number, source in enumerate(sources):
            statements += _copy(f"p{number}_", source, results[0], axis, offset)
            offset += source.shape[axis]
        return tuple(statements)

    return Loops(build=build)


def _copy(prefix: str, source: Buffer, target: Buffer, axis: int, offset: int) -> tuple[Stmt, ...]:
    def body(idx: Index) -> tuple[Stmt, ...]:
        at = (*idx[:axis], iadd(idx[axis], offset), *idx[axis + 1 :])
        return (Store(target, at, Load(source, idx)),)

    return nest(prefix, source.shape, body)


def _samples() -> Sequence[Sample]:
    def types(*shapes: tuple[int, ...]) -> tuple[TensorType, ...]:
        return tuple(TensorType(shape, float32) for shape in shapes)

    return [
        Sample(types((2, 3), (4, 3)), {"axis": 0}),
        Sample(types((2, 3, 1), (2, 0, 1), (2, 1, 1)), {"axis": 1}),
        Sample(types((5,)), {"axis": 0}),
        Sample(types((0, 2), (0, 1)), {"axis": 1}),
        Sample((TensorType((3,), int64), TensorType((1,), int64)), {"axis": 0}),
        Sample((TensorType((3, 2), complex64), TensorType((3, 1), complex64)), {"axis": 1}),
        Sample((TensorType((1, 2), bool_), TensorType((1, 7), bool_)), {"axis": 1}),
    ]


CONCATENATE: Op = Op(
    name="concatenate",
    doc=(
        "Arrays one after another along an axis. Primitive: a sum of padded arrays would say the"
        " same, but would read and add zeros."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=_batch,
    lower=_lower,
    cost=copy_cost,
    samples=_samples,
)


def concatenate(xs: Sequence[Value], axis: int | None = 0) -> Value:
    """The arrays one after another along `axis`; `None` flattens them first. Dtypes are promoted.

    Raises:
        ShapeError: there are no arrays, or they differ in another axis.
    """
    if not xs:
        raise ShapeError("concatenate", "at least one array is needed")
    dtype = common_dtype("concatenate", list(xs))
    parts = [astype(x, dtype) for x in xs]
    if axis is None:
        parts, axis = [reshape(x, (-1,) if x.type.size else (0,)) for x in parts], 0
    axis = normalize_axis("concatenate", axis, parts[0].shape)
    return parts[0] if len(parts) == 1 else emit(CONCATENATE, *parts, axis=axis)


def stack(xs: Sequence[Value], axis: int = 0) -> Value:
    """Arrays of one shape along a new axis, at this position of the result.

    Raises:
        ShapeError: there are no arrays, or their shapes differ.
    """
    shapes = {x.shape for x in xs}
    if len(shapes) != 1:
        names: dict[str, object] = {f"x{i}": x.shape for i, x in enumerate(xs)}
        raise ShapeError("stack", "needs at least one array, all of one shape", operands=names)
    axis = normalize_axis("stack", axis, xs[0].shape, new=1)
    return concatenate([expand_dims(x, axis) for x in xs], axis)


def unstack(x: Value, axis: int = 0) -> tuple[Value, ...]:
    """The parts of `x` along an axis, which they drop."""
    axis = normalize_axis("unstack", axis, x.shape)
    return tuple(squeeze(part, axis) for part in split(x, (1,) * x.shape[axis], axis))


def tile(x: Value, repetitions: int | Sequence[int]) -> Value:
    """`x` as a whole repeated so many times along each axis, as NumPy's `tile`."""
    counts = (repetitions,) if isinstance(repetitions, int) else tuple(repetitions)
    if any(n < 0 for n in counts):
        raise ArgumentError("tile", "repetitions must be >= 0", operands={"it": counts})
    counts = (1,) * (x.rank - len(counts)) + counts
    shape = (1,) * (len(counts) - x.rank) + x.shape
    apart = [size for n in shape for size in (1, n)]
    repeated = [size for n, r in zip(shape, counts, strict=True) for size in (r, n)]
    whole = [n * r for n, r in zip(shape, counts, strict=True)]
    return reshape(broadcast_to(reshape(x, apart), repeated), whole)


def repeat(x: Value, repeats: int, axis: int | None = None) -> Value:
    """Each element of `x` repeated along an axis; along the flattened array by default."""
    if repeats < 0:
        raise ArgumentError("repeat", "repeats must be >= 0", operands={"repeats": repeats})
    if axis is None:
        x, axis = reshape(x, (x.type.size,)), 0
    axis = normalize_axis("repeat", axis, x.shape)
    shape = list(x.shape)
    apart = expand_dims(x, axis + 1)
    wide = broadcast_to(apart, (*shape[: axis + 1], repeats, *shape[axis + 1 :]))
    shape[axis] *= repeats
    return reshape(wide, shape)


def roll(x: Value, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Value:
    """`x` moved along axes by `shift`; what falls off the end comes in again in front."""
    if axis is None:
        flat = reshape(x, (x.type.size,))
        total = shift if isinstance(shift, int) else sum(shift)
        return reshape(roll(flat, total, 0), x.shape)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    shifts = (shift,) * len(axes) if isinstance(shift, int) else tuple(shift)
    if len(shifts) != len(axes):
        operands: dict[str, object] = {"shift": shifts, "axis": axes}
        raise ShapeError("roll", "one shift per axis is needed", operands=operands)
    for a, s in zip(axes, shifts, strict=True):
        x = _roll_axis(x, s, normalize_axis("roll", a, x.shape))
    return x


def _roll_axis(x: Value, shift: int, axis: int) -> Value:
    n = x.shape[axis]
    cut = -shift % n if n else 0
    if cut == 0:
        return x
    # padded, both parts are read where they lie, and one kernel has them all
    front, back = ([0] * x.rank for _ in range(2))
    front[axis], back[axis] = n - cut, cut
    none = [0] * x.rank
    first = pad(slice_axis(x, axis, cut, n), none, back)
    second = pad(slice_axis(x, axis, 0, cut), front, none)
    return where(less(iota(x.shape, axis), n - cut), first, second)


def _positions(op: str, x: Value, k: int) -> tuple[Value, Value]:
    """Column index and row index plus `k`, for the last two axes."""
    if x.rank < 2:
        raise ShapeError(op, "needs at least two axes", operands={"x": x.shape})
    plane = x.shape[-2:]
    row = iota(plane, 0)
    return iota(plane, 1), (add(row, k) if k else row)


def tril(x: Value, k: int = 0) -> Value:
    """`x` with zeros above the `k`-th diagonal of its last two axes."""
    column, limit = _positions("tril", x, k)
    return where(broadcast_to(less_equal(column, limit), x.shape), x, zeros_like(x))


def triu(x: Value, k: int = 0) -> Value:
    """`x` with zeros below the `k`-th diagonal of its last two axes."""
    column, limit = _positions("triu", x, k)
    return where(broadcast_to(greater_equal(column, limit), x.shape), x, zeros_like(x))


RECORDS: tuple[Op, ...] = (CONCATENATE,)
