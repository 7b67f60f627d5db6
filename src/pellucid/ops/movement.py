"""Parts of one array: `slice` and `pad`; and by name all other movement of one array.

Each is linear, and their transposes are among themselves: slice and pad undo each other, flips are
slices with step -1. Joining several arrays is in `join.py`, which needs dtype promotion.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence

import numpy as np

from pellucid.core.dtype import Scalar, complex64, float32, int32, int64
from pellucid.core.dtype import bool_ as bool_dtype
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import normalize_axes, normalize_axis
from pellucid.core.span import ends_of, length, span
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import Index, Lowering, Pointwise, Readers
from pellucid.loop.ir import (
    Call,
    Expr,
    compare,
    const,
    iadd,
    ifloordiv,
    imax,
    imin,
    imod,
    imul,
    isub,
    select,
)
from pellucid.ops import layout
from pellucid.ops.broadcast import BROADCAST_TO, broadcast_to
from pellucid.ops.layout import (
    RESHAPE,
    TRANSPOSE,
    expand_dims,
    matrix_transpose,
    moveaxis,
    permute_dims,
    reshape,
    squeeze,
    swapaxes,
    transpose,
)
from pellucid.ops.shared import (
    Array,
    Types,
    copy_cost,
    ints,
    real,
    scalar,
    through_cost,
    zero_of,
)

__all__ = [
    "BROADCAST_TO",
    "PAD",
    "RECORDS",
    "RESHAPE",
    "SLICE",
    "TRANSPOSE",
    "broadcast_to",
    "expand_dims",
    "flip",
    "matrix_transpose",
    "moveaxis",
    "pad",
    "permute_dims",
    "reshape",
    "slice_",
    "slice_axis",
    "split",
    "squeeze",
    "swapaxes",
    "transpose",
]

Tangent = Value | None


def _slice_infer(
    x: TensorType, *, start: tuple[int, ...], stop: tuple[int, ...], step: tuple[int, ...]
) -> TensorType:
    given = {"x": x.shape, "start": start, "stop": stop, "step": step}
    if not len(start) == len(stop) == len(step) == x.rank:
        raise ShapeError("slice", "start, stop and step need one entry per axis", operands=given)
    if 0 in step:
        raise ShapeError("slice", "steps must not be zero", operands=given)
    spans = [span(*bounds) for bounds in zip(start, stop, step, strict=True)]
    for read, n in zip(spans, x.shape, strict=True):
        if length(read) and not (0 <= read[0] < n and 0 <= read[-1] < n):
            raise ShapeError("slice", "every element must lie inside its axis", operands=given)
    return TensorType(tuple(map(length, spans)), x.dtype)


def _slice_reference(
    x: Array, *, start: tuple[int, ...], stop: tuple[int, ...], step: tuple[int, ...]
) -> Array:
    key = []
    for bounds in zip(start, stop, step, strict=True):
        a, b, s = bounds
        # a stop of -1 under a negative step is before element 0; NumPy would read it as n - 1
        key.append(
            builtins.slice(a, None if b < 0 else b, s) if range(*bounds) else builtins.slice(0)
        )
    return x[tuple(key)]


def _slice_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    start, step = ints(attrs, "start"), ints(attrs, "step")

    def body(idx: Index, readers: Readers) -> Expr:
        return readers[0](
            tuple(iadd(imul(i, s), a) for i, a, s in zip(idx, start, step, strict=True))
        )

    return Pointwise(body=body)


def _slice_vjp(site: Site, g: Value) -> list[Tangent]:
    """Zeros in `x`'s shape with `g` where the slice read: flip what ran backwards, then pad."""
    shape, steps = site.inputs[0].shape, ints(site.attrs, "step")
    spans = [
        span(*b)
        for b in zip(ints(site.attrs, "start"), ints(site.attrs, "stop"), steps, strict=True)
    ]
    g = flip(g, tuple(a for a, s in enumerate(steps) if s < 0))
    low = [ends_of(r)[0] if length(r) else 0 for r in spans]
    ends = [ends_of(r)[1] + 1 if length(r) else 0 for r in spans]
    high = [n - end for n, end in zip(shape, ends, strict=True)]
    return [pad(g, low, high, interior=[abs(s) - 1 for s in steps])]


SLICE: Op = Op(
    name="slice",
    doc=(
        "Every `step`-th element from `start` up to, not including, `stop`, per axis; steps may be"
        " negative, and then a stop of -1 means down to element 0."
    ),
    infer=_slice_infer,
    reference=_slice_reference,
    vjp=_slice_vjp,
    jvp=lambda site, t: [None if t is None else emit(SLICE, t, **site.attrs)],
    batch=lambda site, batched, size: [
        slice_(
            site.inputs[0],
            (0, *ints(site.attrs, "start")),
            (size, *ints(site.attrs, "stop")),
            (1, *ints(site.attrs, "step")),
        )
    ],
    lower=_slice_lower,
    cost=copy_cost,
    samples=lambda: [
        Sample((TensorType((7, 5), float32),), {"start": (1, 0), "stop": (6, 5), "step": (2, 1)}),
        Sample(
            (TensorType((7, 5), float32),), {"start": (6, 4), "stop": (-1, 0), "step": (-1, -3)}
        ),
        Sample((TensorType((4,), int64),), {"start": (2,), "stop": (2,), "step": (1,)}),
        Sample((TensorType((0, 3), float32),), {"start": (0, 0), "stop": (0, 3), "step": (1, 2)}),
        Sample((TensorType((), float32),), {"start": (), "stop": (), "step": ()}),
        Sample((TensorType((9,), bool_dtype),), {"start": (8,), "stop": (-1,), "step": (-4,)}),
        Sample((TensorType((7,), complex64),), {"start": (6,), "stop": (0,), "step": (-2,)}),
    ],
)


def slice_(
    x: Value, start: Sequence[int], stop: Sequence[int], step: Sequence[int] | None = None
) -> Value:
    """One range per axis, already normalised: no negative starts; a stop of -1 is before element 0.

    Raises:
        ShapeError: a range leaves its axis, or there is not one per axis.
    """
    steps = (1,) * x.rank if step is None else tuple(step)
    whole = (tuple(start), tuple(stop), steps) == ((0,) * x.rank, x.shape, (1,) * x.rank)
    return x if whole else emit(SLICE, x, start=tuple(start), stop=tuple(stop), step=steps)


def slice_axis(x: Value, axis: int, start: int, stop: int) -> Value:
    """`x[..., start:stop, ...]` along one axis, both ends inside it."""
    low, high = [0] * x.rank, list(x.shape)
    low[axis], high[axis] = start, stop
    return slice_(x, low, high)


def flip(x: Value, axis: int | Sequence[int] | None = None) -> Value:
    """`x` in reverse order along the axes given, all by default."""
    axes = [a for a in normalize_axes("flip", axis, x.shape) if x.shape[a] > 1]
    if not axes:
        return x
    bounds = [(n - 1, -1, -1) if a in axes else (0, n, 1) for a, n in enumerate(x.shape)]
    start, stop, step = zip(*bounds, strict=True)
    return slice_(x, start, stop, step)


def split(x: Value, sections: int | Sequence[int], axis: int = 0) -> tuple[Value, ...]:
    """`x` cut along an axis into equal sections (an int) or sections of the sizes given.

    Raises:
        ShapeError: the sections do not add up to the axis.
    """
    axis = normalize_axis("split", axis, x.shape)
    n = x.shape[axis]
    if isinstance(sections, int):
        if sections < 1 or n % sections:
            raise ShapeError(
                "split",
                "sections must divide the axis",
                operands={"x": x.shape, "sections": sections},
                fix="use array_split for parts of unequal sizes",
            )
        sizes = [n // sections] * sections
    else:
        sizes = list(sections)
    if sum(sizes) != n or any(s < 0 for s in sizes):
        raise ShapeError(
            "split", "sizes must add up to the axis", operands={"x": x.shape, "sizes": tuple(sizes)}
        )
    ends = [sum(sizes[: k + 1]) for k in range(len(sizes))]
    return tuple(slice_axis(x, axis, e - s, e) for s, e in zip(sizes, ends, strict=True))


def _pad_infer(
    x: TensorType,
    *,
    low: tuple[int, ...],
    high: tuple[int, ...],
    interior: tuple[int, ...],
    value: Scalar,
) -> TensorType:
    given = {"x": x.shape, "low": low, "high": high, "interior": interior}
    if not len(low) == len(high) == len(interior) == x.rank:
        raise ShapeError("pad", "low, high and interior need one entry per axis", operands=given)
    if any(n < 0 for n in (*low, *high, *interior)):
        raise ShapeError("pad", "paddings must be >= 0", operands=given, fix="slice to cut off")
    sizes = zip(low, x.shape, interior, high, strict=True)
    return TensorType(tuple(a + n + max(n - 1, 0) * d + b for a, n, d, b in sizes), x.dtype)


def _pad_reference(
    x: Array,
    *,
    low: tuple[int, ...],
    high: tuple[int, ...],
    interior: tuple[int, ...],
    value: Scalar,
) -> Array:
    sizes = zip(low, x.shape, interior, high, strict=True)
    out = np.full([a + n + max(n - 1, 0) * d + b for a, n, d, b in sizes], value, x.dtype)
    ends = [a + max(n - 1, 0) * d + n for a, n, d in zip(low, x.shape, interior, strict=True)]
    spans = zip(low, ends, interior, strict=True)
    out[tuple(builtins.slice(a, e, d + 1) for a, e, d in spans)] = x
    return out


def hole_index(i: Expr, n: int, low: int, high: int, step: int) -> tuple[Expr, list[Expr]]:
    """Where position `i` of an axis reads that is padded and has `step - 1` holes between elements.

    Returns:
        The source index, clamped into `[0, n)`, and the conditions for an element being there.
    """
    at = isub(i, low)
    conditions = [compare("ge", at, 0)] if low else []
    if step > 1:
        conditions.append(compare("eq", imod(at, step), 0))
        at = ifloordiv(at, step)
    if high:
        conditions.append(compare("lt", at, n))
    at = imax(at, 0) if low else at
    return (imin(at, n - 1) if high else at), conditions


def read_inside(
    axes: Sequence[tuple[Expr, list[Expr]]], read: Callable[..., Expr], fill: Expr
) -> Expr:
    """What `read` gives at the indices that `hole_index` found, `fill` where nothing is there."""
    inside = [condition for _, conditions in axes for condition in conditions]
    value = read(*(at for at, _ in axes))
    return select(all_of(inside), value, fill) if inside else value


def all_of(conditions: Sequence[Expr]) -> Expr:
    """The conjunction of at least one condition."""
    result = conditions[0]
    for condition in conditions[1:]:
        result = Call("and", (result, condition), bool_dtype)
    return result


def _pad_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    low, high, interior = (ints(attrs, name) for name in ("low", "high", "interior"))
    shape, fill = inputs[0].shape, const(real(attrs, "value"), inputs[0].dtype)

    def body(idx: Index, readers: Readers) -> Expr:
        if 0 in shape:
            return fill
        axes = [
            hole_index(i, n, a, b, d + 1)
            for i, n, a, b, d in zip(idx, shape, low, high, interior, strict=True)
        ]
        return read_inside(axes, lambda *at: readers[0](at), fill)

    return Pointwise(body=body)


def _pad_vjp(site: Site, g: Value) -> list[Tangent]:
    low, interior = ints(site.attrs, "low"), ints(site.attrs, "interior")
    sizes = list(zip(low, site.inputs[0].shape, interior, strict=True))
    stop = [a + (n - 1) * (d + 1) + 1 if n else a for a, n, d in sizes]
    return [slice_(g, low, stop, [d + 1 for d in interior])]


PAD: Op = Op(
    name="pad",
    doc=(
        "`low` and `high` elements of `value` before and after each axis and `interior` of them"
        " between neighbours (the transpose of a strided slice)."
    ),
    infer=_pad_infer,
    reference=_pad_reference,
    vjp=_pad_vjp,
    jvp=lambda site, t: [
        None if t is None else emit(PAD, t, **{**site.attrs, "value": zero_of(t.dtype)})
    ],
    batch=lambda site, batched, size: [
        pad(
            site.inputs[0],
            (0, *ints(site.attrs, "low")),
            (0, *ints(site.attrs, "high")),
            scalar(site.attrs, "value"),
            interior=(0, *ints(site.attrs, "interior")),
        )
    ],
    lower=_pad_lower,
    cost=through_cost,
    samples=lambda: [
        Sample((TensorType((3, 4), float32),), _pads((1, 0), (2, 3), (0, 0), 1.5)),
        Sample((TensorType((3, 4), float32),), _pads((0, 2), (0, 1), (2, 1), 0.0)),
        Sample((TensorType((5,), int32),), _pads((0,), (2,), (0,), -7)),
        Sample((TensorType((0, 2), float32),), _pads((2, 0), (1, 0), (3, 0), 0.0)),
        Sample((TensorType((1,), bool_dtype),), _pads((1,), (1,), (4,), True)),
        Sample((TensorType((), float32),), _pads((), (), (), 0.0)),
        Sample((TensorType((3, 2), complex64),), _pads((1, 0), (0, 2), (1, 0), 2.5 - 1j)),
    ],
)


def _pads(
    low: tuple[int, ...], high: tuple[int, ...], interior: tuple[int, ...], value: Scalar
) -> Attrs:
    return {"low": low, "high": high, "interior": interior, "value": value}


def pad(
    x: Value,
    low: Sequence[int],
    high: Sequence[int],
    value: Scalar = 0,
    *,
    interior: Sequence[int] | None = None,
) -> Value:
    """`x` with `low`/`high` elements of `value` around each axis and `interior` between neighbours.

    Raises:
        ShapeError: an entry is negative, or there is not one per axis.
        ArgumentError: `value` does not fit the dtype (a float for integers, a number for bools).
    """
    holes = (0,) * x.rank if interior is None else tuple(interior)
    limits = np.iinfo(x.dtype.name) if x.dtype.is_integer else None
    fits = x.dtype.is_inexact if isinstance(value, float) else not isinstance(value, complex)
    fits = fits or x.dtype.is_complex
    if not fits or (limits is not None and not limits.min <= int(value.real) <= limits.max):
        raise ArgumentError(
            "pad", "the value must fit the dtype", operands={"x": x.type, "value": value}
        )
    kinds: dict[str, type] = {"bool": bool, "float": float, "complex": complex}
    fill: Scalar = kinds.get(x.dtype.kind, int)(value)
    if not any((*low, *high, *holes)) and len(low) == len(high) == x.rank:
        return x
    return emit(PAD, x, low=tuple(low), high=tuple(high), interior=holes, value=fill)


RECORDS: tuple[Op, ...] = (*layout.RECORDS, BROADCAST_TO, SLICE, PAD)
