"""Indexing keys, NumPy's rules: `x[key]`, and copies of `x` with `x[key]` replaced or added to.

A key holds integers, slices, `...`, `None` and index arrays: NumPy arrays or lists known now, or
integer Values. A bool mask selects a number of elements that depends on its values, so it must be
known now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeAlias

import numpy as np

from pellucid.core.dtype import Scalar, int64
from pellucid.core.errors import IndexRangeError, TraceError
from pellucid.core.shape import Shape, broadcast_shapes, size_of
from pellucid.core.size import Size
from pellucid.core.span import Span, ends_of, length, sliced, span
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add, multiply
from pellucid.ops.casting import astype
from pellucid.ops.comparison import greater_equal, less, logical_and, where
from pellucid.ops.create import constant, full, iota
from pellucid.ops.index import gather, scatter_add, scatter_set
from pellucid.ops.movement import broadcast_to, flip, moveaxis, pad, reshape, slice_, transpose
from pellucid.ops.promotion import as_value
from pellucid.ops.shared import Array
from pellucid.ops.take import wrapped_indices

Entry: TypeAlias = "int | slice | EllipsisType | Value | Array | list[object] | None"
Key: TypeAlias = "Entry | tuple[Entry, ...]"


@dataclass(frozen=True, slots=True)
class Plan:
    """A key worked out for one shape.

    Attributes:
        spans: one range per axis of `x`; an int is a range of length 1, an array the whole axis.
        shape: the sliced array's shape, with the ints' axes dropped and new axes put in.
        arrays: index arrays, not negative, by their axis in `shape`.
        front: a slice stands between the arrays, so their common axes come first.
        known: no array is a Value, so every index has been checked.
    """

    spans: tuple[Span, ...]
    shape: Shape
    arrays: tuple[tuple[int, Value], ...]
    front: bool
    known: bool


def _normalized(key: Key, shape: Shape) -> list[Entry]:
    """The key as a list that covers every axis, with slices for what `...` stands for.

    Raises:
        TraceError: a mask is a Value.
        IndexRangeError: too many indices, or something that is not an index.
    """
    entries = [_checked(e) for e in (key if isinstance(key, tuple) else (key,))]
    used = sum(_axes_of(e) for e in entries)
    dots = [i for i, e in enumerate(entries) if e is Ellipsis]
    operands: dict[str, object] = {"x": shape, "indices": used}
    if len(dots) > 1:
        raise IndexRangeError("getitem", "a key has at most one ...", operands=operands)
    if used > len(shape):
        raise IndexRangeError("getitem", "there are more indices than axes", operands=operands)
    at = dots[0] if dots else len(entries)
    whole: list[Entry] = [slice(None)] * (len(shape) - used)
    # `...` stays in the list: it separates index arrays even where it stands for no axis
    return entries[:at] + whole + entries[at:]


def _checked(entry: Entry) -> Entry:
    if isinstance(entry, Value) and entry.dtype.kind == "bool":
        raise TraceError(
            "getitem",
            "how many elements a bool mask selects must be known while recording",
            operands={"mask": entry.type},
            fix="use where(mask, x, other) to keep the shape",
        )
    if isinstance(entry, list | tuple | np.ndarray):
        array = np.asarray(entry)
        return array.astype(np.int64) if array.size == 0 and array.dtype != np.bool_ else array
    if isinstance(entry, bool | np.bool_):
        return np.asarray(entry)  # a mask over no axis
    if isinstance(entry, int | np.integer):
        return int(entry)
    if isinstance(entry, Size):
        return entry
    if entry is None or entry is Ellipsis or isinstance(entry, slice | Value):
        return entry
    operands: dict[str, object] = {"it": repr(entry)}
    raise IndexRangeError("getitem", "takes ints, slices, ..., None and arrays", operands=operands)


def _axes_of(entry: Entry) -> int:
    if entry is None or entry is Ellipsis:
        return 0
    return entry.ndim if isinstance(entry, np.ndarray) and entry.dtype == np.bool_ else 1


def _int_span(index: int, n: int) -> Span:
    if not -n <= index < n:
        operands: dict[str, object] = {"index": index, "size": n}
        raise IndexRangeError("getitem", f"the index must be in [{-n}, {n})", operands=operands)
    first = index if index >= 0 else index + n
    return span(first, first + 1)


def mask_fits(mask: Sequence[int], sizes: Sequence[int]) -> bool:
    """Whether a mask has the axes' sizes; the array API lets one of size 0 stand for any."""
    pairs = zip(mask, sizes, strict=False)
    return len(mask) == len(sizes) and all(m in (n, 0) for m, n in pairs)


def _index_arrays(entry: Value | Array, sizes: Shape) -> list[Value]:
    """One index array, or for a mask one per axis that it covers."""
    if isinstance(entry, np.ndarray) and entry.dtype == np.bool_:
        if not mask_fits(entry.shape, sizes):
            operands: dict[str, object] = {"mask": entry.shape, "axes": sizes}
            rule = "a mask must have the shape of the axes it covers"
            raise IndexRangeError("getitem", rule, operands=operands)
        return [
            wrapped_indices("getitem", i, n) for i, n in zip(entry.nonzero(), sizes, strict=True)
        ]
    return [wrapped_indices("getitem", entry, sizes[0])]


def make_plan(key: Key, shape: Shape) -> Plan:
    """Works out what `x[key]` reads for an `x` of this shape.

    Raises:
        IndexRangeError: an index is outside its axis, or the key does not fit the shape.
        TraceError: a bool mask is a Value.
    """
    entries = _normalized(key, shape)
    spans: list[Span] = []
    kept: list[int] = []
    arrays: list[tuple[int, Value]] = []
    for entry in entries:
        axis = len(spans)
        if entry is None:
            kept.append(1)
        elif isinstance(entry, int | Size):
            spans.append(_int_span(entry, shape[axis]))
        elif isinstance(entry, slice):
            spans.append(sliced(entry, shape[axis]))
            kept.append(length(spans[-1]))
        elif isinstance(entry, np.ndarray) and _axes_of(entry) == 0:
            arrays.append((len(kept), constant(np.arange(int(entry)))))
            kept.append(1)
        elif isinstance(entry, Value | np.ndarray):
            sizes = shape[axis : axis + _axes_of(entry)]
            for n, indices in zip(sizes, _index_arrays(entry, sizes), strict=True):
                arrays.append((len(kept), indices))
                spans.append(span(0, n))
                kept.append(n)
    known = not any(isinstance(e, Value) for e in entries)
    return Plan(tuple(spans), tuple(kept), tuple(arrays), _is_split(entries), known)


def _is_split(entries: Sequence[Entry]) -> bool:
    """Whether a slice, `...` or new axis stands between index arrays (ints count among them)."""
    advanced = [i for i, e in enumerate(entries) if isinstance(e, int | Size | Value | np.ndarray)]
    return bool(advanced) and advanced[-1] - advanced[0] >= len(advanced)


def getitem(x: Value, key: Key) -> Value:
    """`x[key]` after NumPy's rules.

    Args:
        x: any array.
        key: integers, slices, `...`, `None`, index arrays (NumPy, lists, integer Values) and bool
            NumPy masks, alone or in a tuple.

    Raises:
        IndexRangeError: an index is outside its axis, or the key does not fit the shape. An index
            that is known only later reads NaN, 0 or False there instead.
        TraceError: a bool mask is a Value.

    Gradient: the cotangent at the places read, added up where one place was read often.
    """
    return _apply(x, make_plan(key, x.shape))


def _apply(x: Value, plan: Plan) -> Value:
    y = reshape(_sliced(x, plan.spans), plan.shape)
    if not plan.arrays:
        return y
    y, indices, axis = _one_array(y, plan)
    y = gather(y, indices, axis=axis)
    if plan.front and axis:
        y = moveaxis(y, range(axis, axis + indices.rank), range(indices.rank))
    return y


def _sliced(x: Value, spans: Sequence[Span]) -> Value:
    # an empty range may start outside its axis; a slice may not
    spans = [s if length(s) else range(0) for s in spans]
    return slice_(x, [s.start for s in spans], [s.stop for s in spans], [s.step for s in spans])


def _one_array(y: Value, plan: Plan) -> tuple[Value, Value, int]:
    """Several indexed axes merged into one, and one index array into it."""
    axes = [axis for axis, _ in plan.arrays]
    if len(axes) == 1:
        return y, plan.arrays[0][1], axes[0]
    wide = [astype(i, int64) for _, i in plan.arrays]
    shape = broadcast_shapes("getitem", *(i.shape for i in wide))
    indices, stride = [broadcast_to(i, shape) for i in wide], 1
    sizes = [y.shape[a] for a in axes]
    total = full(shape, 0, int64)
    for i, n in zip(reversed(indices), reversed(sizes), strict=True):
        total, stride = add(total, multiply(i, stride)), stride * n
    if not plan.known:
        total = where(_all_inside(indices, sizes), total, -1)
    others = [a for a in range(y.rank) if a not in axes]
    before = 0 if plan.front else axes[0]
    order = [*others[:before], *axes, *others[before:]]
    y = transpose(y, order)
    merged = (*y.shape[:before], size_of(sizes), *y.shape[before + len(axes) :])
    return reshape(y, merged), total, before


def _all_inside(indices: Sequence[Value], sizes: Sequence[int]) -> Value:
    tests = [
        logical_and(greater_equal(i, 0), less(i, n)) for i, n in zip(indices, sizes, strict=True)
    ]
    result = tests[0]
    for test in tests[1:]:
        result = logical_and(result, test)
    return result


def index_set(x: Value, key: Key, value: Value | Scalar) -> Value:
    """A copy of `x` with `x[key]` replaced by `value`, broadcast to it and cast to `x`'s dtype.

    Of places named twice the last one stays; indices out of range that are known only later write
    nothing. A mask may be a Value where it is the whole key and `value` is one element.

    Raises:
        IndexRangeError, TraceError: as `getitem`.
        ShapeError: `value` does not broadcast to `x[key]`.
    """
    mask = key[0] if isinstance(key, tuple) and len(key) == 1 else key
    if isinstance(mask, Value) and mask.dtype.kind == "bool":
        if not isinstance(value, Value) or value.rank == 0:
            return _masked(x, mask, value)
    plan = make_plan(key, x.shape)
    if plan.arrays:
        return _scattered(x, plan, value, adding=False)
    written = full(_basic_shape(plan), True)
    return where(
        _placed(written, plan, x.shape), _placed(_fitted(x, plan, value), plan, x.shape), x
    )


def _masked(x: Value, mask: Value, value: Value | Scalar) -> Value:
    if not mask_fits(mask.shape, x.shape[: mask.rank]):
        operands: dict[str, object] = {"mask": mask.shape, "x": x.shape}
        rule = "a mask must have the shape of the axes it covers"
        raise IndexRangeError("index_set", rule, operands=operands)
    if mask.type.size == 0:
        return x
    wide = reshape(mask, (*mask.shape, *(1,) * (x.rank - mask.rank)))
    return where(wide, as_value("index_set", value, x.dtype), x)


def index_add(x: Value, key: Key, value: Value | Scalar) -> Value:
    """A copy of `x` with `value` added to `x[key]`, as often as a place is named.

    Raises:
        IndexRangeError, TraceError, ShapeError: as `index_set`.
        DTypeError: `x` is bool.
    """
    plan = make_plan(key, x.shape)
    if plan.arrays:
        return _scattered(x, plan, value, adding=True)
    return add(x, _placed(_fitted(x, plan, value), plan, x.shape))


def _basic_shape(plan: Plan) -> Shape:
    return tuple(length(s) for s in plan.spans)


def _fitted(x: Value, plan: Plan, value: Value | Scalar) -> Value:
    """`value` in `x`'s dtype and the sliced array's shape, before ints drop axes."""
    fitted = broadcast_to(as_value("index_set", value, x.dtype), plan.shape)
    return reshape(fitted, _basic_shape(plan))


def _placed(part: Value, plan: Plan, shape: Shape) -> Value:
    """`part` where the spans read, zeros elsewhere."""
    part = flip(part, [a for a, s in enumerate(plan.spans) if s.step < 0])
    low = [ends_of(s)[0] if length(s) else 0 for s in plan.spans]
    ends = [ends_of(s)[1] + 1 if length(s) else 0 for s in plan.spans]
    high = [n - end for n, end in zip(shape, ends, strict=True)]
    holes = [abs(s.step) - 1 if length(s) > 1 else 0 for s in plan.spans]
    return pad(part, low, high, interior=holes)


def _scattered(x: Value, plan: Plan, value: Value | Scalar, adding: bool) -> Value:
    scatter = scatter_add if adding else scatter_set
    source = as_value("index_set", value, x.dtype)
    whole = plan.shape == x.shape and _basic_shape(plan) == x.shape
    if whole and len(plan.arrays) == 1 and all(s.step == 1 for s in plan.spans):
        ((axis, indices),) = plan.arrays
        shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
        if not plan.front:
            return scatter(x, indices, broadcast_to(source, shape), axis=axis)
    # positions count from 1, because a gather out of range reads 0; 0 - 1 then writes nothing
    numbers = reshape(add(iota((x.type.size,), 0, int64), 1), x.shape)
    positions = add(_apply(numbers, plan), -1)
    updates = broadcast_to(source, positions.shape)
    flat = scatter(reshape(x, (x.type.size,)), positions, updates, axis=0)
    return reshape(flat, x.shape)
