"""Reading and writing by index arrays: `gather`, its transpose `scatter_add`, and `scatter_set`.

One geometry for all three. With `b = batch` and `a = axis` (b <= a), an array `x` is seen as
`[batch.., middle.., n, tail..]` where `n = x.shape[a]`, indices as `[batch.., k..]`, and what is
read or written as `[batch.., middle.., k.., tail..]`. `take` is b = 0, `take_along_axis` has
b = a = rank - 1.

An index outside `[0, n)`, negative ones included, reads NaN (0 for integers, False for bools) and
writes nothing; the public functions wrap negative indices first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pellucid.core.dtype import DType, bool_, float32, float64, int32, int64, uint8
from pellucid.core.errors import DTypeError, ShapeError
from pellucid.core.shape import Shape, size_of
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.loop.compute import Index, Loops, Lowering, Pointwise, Readers
from pellucid.loop.ir import (
    Buffer,
    Call,
    Expr,
    For,
    If,
    Load,
    Stmt,
    Store,
    compare,
    const,
    imax,
    imin,
    select,
)
from pellucid.ops.comparison import equal, where
from pellucid.ops.create import full, iota, zeros
from pellucid.ops.movement import broadcast_to, moveaxis, reshape
from pellucid.ops.scatter_rows import scatter_rows
from pellucid.ops.shared import (
    Array,
    Types,
    cast_expr,
    integer,
    nest,
    require_equal_dtypes,
    zero_of,
)

PARALLEL_ELEMENTS = 1 << 15
"""A scatter of fewer updates than this is not worth waking threads for."""

LEAST_ROW = 16
"""Elements of a row from which on a scatter goes by parts of the result."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """The parts of the shapes, as the module's head names them."""

    batch: Shape
    middle: Shape
    n: int
    tail: Shape
    k: Shape

    @property
    def read(self) -> Shape:
        """The shape of what is read or written."""
        return self.batch + self.middle + self.k + self.tail

    @property
    def flat(self) -> tuple[int, int, int, int]:
        """Sizes of batch, middle, k and tail."""
        return size_of(self.batch), size_of(self.middle), size_of(self.k), size_of(self.tail)


def _geometry(op: str, x: TensorType, idx: TensorType, axis: int, batch: int) -> Geometry:
    given: dict[str, object] = {"x": x, "indices": idx, "axis": axis, "batch": batch}
    if not idx.dtype.is_integer:
        raise DTypeError(op, "indices must be integers", operands=given)
    if not 0 <= batch <= axis < x.rank or batch > idx.rank:
        raise ShapeError(op, "needs 0 <= batch <= axis < rank of x", operands=given)
    if x.shape[:batch] != idx.shape[:batch]:
        raise ShapeError(op, "the batch axes must be equal", operands=given)
    middle, tail = x.shape[batch:axis], x.shape[axis + 1 :]
    return Geometry(x.shape[:batch], middle, x.shape[axis], tail, idx.shape[batch:])


def _site_geometry(types: Types, attrs: Attrs) -> Geometry:
    return _geometry("gather", types[0], types[1], integer(attrs, "axis"), integer(attrs, "batch"))


def _fill(dtype: DType, nan: bool) -> float | int | bool:
    return math.nan if nan and dtype.is_float else zero_of(dtype)


def _valid(raw: Expr, n: int) -> tuple[Expr, Expr]:
    """Whether an index is inside `[0, n)`, and the index clamped into it."""
    at = cast_expr(raw, int64)
    inside = Call("and", (compare("ge", at, 0), compare("lt", at, n)), bool_)
    return inside, imin(imax(at, 0), n - 1)


# The references see x as [B, n, M, T] and what is read as [B, K, M, T]: the index arrays then stand
# side by side, where NumPy's advanced indexing leaves their axes.


def _planes(x: Array, geometry: Geometry) -> Array:
    b, m, _, t = geometry.flat
    return x.reshape(b, m, geometry.n, t).transpose(0, 2, 1, 3)


def _updates(u: Array, geometry: Geometry) -> Array:
    return u.reshape(geometry.flat).transpose(0, 2, 1, 3)


def _array_geometry(x: Array, idx: Array, axis: int, batch: int) -> Geometry:
    middle, tail = x.shape[batch:axis], x.shape[axis + 1 :]
    return Geometry(x.shape[:batch], middle, x.shape[axis], tail, idx.shape[batch:])


def _flat_indices(idx: Array, geometry: Geometry) -> tuple[Array, Array]:
    """Indices as int64 `[B, K]`, and where they are inside."""
    flat = idx.reshape(geometry.flat[0], geometry.flat[2])
    if flat.dtype == np.uint64:
        flat = np.minimum(flat, np.uint64(np.iinfo(np.int64).max))
    flat = flat.astype(np.int64)
    return flat, (flat >= 0) & (flat < geometry.n)


# gather: the record ------------------------------------------------------------------------------


def _gather_infer(
    x: TensorType, indices: TensorType, *, axis: int, batch: int, nan: bool
) -> TensorType:
    return TensorType(_geometry("gather", x, indices, axis, batch).read, x.dtype)


def _gather_reference(x: Array, indices: Array, *, axis: int, batch: int, nan: bool) -> Array:
    geometry = _array_geometry(x, indices, axis, batch)
    b, m, k, t = geometry.flat
    fill = math.nan if nan and x.dtype.kind not in "biu" else 0
    at, inside = _flat_indices(indices, geometry)
    out = np.full((b, k, m, t), fill, x.dtype)
    if geometry.n and out.size:
        rows = np.arange(b)[:, None]
        read = _planes(x, geometry)[rows, np.clip(at, 0, geometry.n - 1)]
        out = np.where(inside[:, :, None, None], read, out)
    return out.transpose(0, 2, 1, 3).reshape(geometry.read)


def _gather_lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    geometry = _site_geometry(inputs, attrs)
    axis, batch, count = integer(attrs, "axis"), integer(attrs, "batch"), len(geometry.k)
    fill = const(_fill(inputs[0].dtype, bool(attrs["nan"])), inputs[0].dtype)

    def body(idx: Index, readers: Readers) -> Expr:
        if geometry.n == 0:
            return fill
        raw = readers[1]((*idx[:batch], *idx[axis : axis + count]))
        inside, at = _valid(raw, geometry.n)
        return select(inside, readers[0]((*idx[:axis], at, *idx[axis + count :])), fill)

    return Pointwise(body=body)


def _gather_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    x, idx = site.inputs
    return [scatter_add(zeros(x.shape, x.dtype), idx, g, **_where(site)), None]


def _gather_jvp(site: Site, t: Value | None, _: Value | None) -> Sequence[Value | None]:
    if t is None:
        return [None]
    return [gather(t, site.inputs[1], nan=bool(site.attrs["nan"]), **_where(site))]


def _where(site: Site) -> dict[str, int]:
    return {"axis": integer(site.attrs, "axis"), "batch": integer(site.attrs, "batch")}


def _gather_batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    (x, idx), axis, batch = site.inputs, *_where(site).values()
    nan = bool(site.attrs["nan"])
    if not batched[1] and batch == 0:
        return [gather(x, idx, axis=axis + 1, nan=nan)]
    if not batched[0] and batch == 0:
        return [moveaxis(gather(x, idx, axis=axis, nan=nan), axis, 0)]
    x, idx = _all_batched(site.inputs, batched, size)
    return [gather(x, idx, axis=axis + 1, batch=batch + 1, nan=nan)]


def _all_batched(values: Sequence[Value], batched: Sequence[bool], size: int) -> list[Value]:
    pairs = zip(values, batched, strict=True)
    return [x if b else broadcast_to(x, (size, *x.shape)) for x, b in pairs]


def _gather_samples() -> Sequence[Sample]:
    def case(
        shape: Shape, idx: object, axis: int, batch: int = 0, dtype: DType = float32
    ) -> Sample:
        attrs: Attrs = {"axis": axis, "batch": batch, "nan": True}
        return Sample((TensorType(shape, dtype), np.asarray(idx, np.int64)), attrs)

    inside = [
        case((5, 3), [4, 0, 0, 2], 0),
        case((2, 3, 4), [[1, 1, 0], [2, 0, 1]], 1),
        case((2, 5, 3), [[0, 4, 1], [1, 1, 3]], 1, 1),
        case((2, 3), 1, 1),
        case((0, 3), np.zeros((2, 0)), 1),
        case((7,), [3, 6, 1], 0, 0, int32),
        case((3, 2), [[1], [0], [1]], 1, 1, bool_),
    ]
    holes = Sample(
        (TensorType((3, 2), uint8), np.array([-1, 3, 2], np.int32)),
        {"axis": 0, "batch": 0, "nan": True},
        0,
        200,
    )
    nothing = Sample(
        (TensorType((4, 0), float32), np.array([0, 9], np.int32)),
        {"axis": 1, "batch": 0, "nan": False},
    )
    return [*inside, holes, nothing]


def _gather_cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    return Cost(0, inputs[1].nbytes + 2 * outputs[0].nbytes)


GATHER: Op = Op(
    name="gather",
    doc=(
        "Elements of `x` at index arrays along `axis`; the first `batch` axes of both go together."
        " An index outside the axis gives NaN (0 if not `nan` or not a float)."
    ),
    infer=_gather_infer,
    reference=_gather_reference,
    vjp=_gather_vjp,
    jvp=_gather_jvp,
    batch=_gather_batch,
    lower=_gather_lower,
    cost=_gather_cost,
    samples=_gather_samples,
)


def gather(x: Value, indices: Value, *, axis: int, batch: int = 0, nan: bool = True) -> Value:
    """The record as a function; `take` and `take_along_axis` are kinder.

    Args:
        x: `[*batch, *middle, n, *tail]`, with `n` at `axis`, which is counted from the front.
        indices: integers, `[*batch, *which]`, in `[0, n)`; negative ones are outside.
        axis: where the indices point.
        batch: how many leading axes both share.
        nan: whether an index outside gives NaN; else, and for other dtypes than floats, 0.

    Returns:
        `[*batch, *middle, *which, *tail]`.

    Raises:
        ShapeError: `batch` axes differ, or `axis` is not behind them.
        DTypeError: indices are no integers.
    """
    return emit(GATHER, x, indices, axis=axis, batch=batch, nan=nan)


# scatter: the records ----------------------------------------------------------------------------


def _scatter_infer(
    x: TensorType, indices: TensorType, updates: TensorType, *, axis: int, batch: int
) -> TensorType:
    geometry = _geometry("scatter", x, indices, axis, batch)
    if updates.shape != geometry.read:
        operands: dict[str, object] = {"updates": updates.shape, "x": x.shape, "indices": indices}
        raise ShapeError("scatter", f"updates must be {geometry.read}", operands=operands)
    require_equal_dtypes("scatter", x, updates)
    return x


def _scatter_add_infer(
    x: TensorType, indices: TensorType, updates: TensorType, *, axis: int, batch: int
) -> TensorType:
    if x.dtype.kind == "bool":
        raise DTypeError("scatter_add", "bools are not added", operands={"x": x})
    return _scatter_infer(x, indices, updates, axis=axis, batch=batch)


def _scatter_reference(
    x: Array, indices: Array, updates: Array, *, axis: int, batch: int, adding: bool
) -> Array:
    geometry = _array_geometry(x, indices, axis, batch)
    out = np.array(x, order="C")
    at, inside = _flat_indices(indices, geometry)
    b, k = np.nonzero(inside)
    if out.size and b.size:
        planes, values = _planes(out, geometry), _updates(updates, geometry)[b, k]
        if adding:
            np.add.at(planes, (b, at[b, k]), values)
        else:
            planes[b, at[b, k]] = values  # of equal indices the last one stays
    return out


def _scatter_loops(inputs: Types, attrs: Attrs, adding: bool) -> Lowering:
    geometry = _site_geometry(inputs, attrs)
    batch = integer(attrs, "batch")

    def build(sources: tuple[Buffer, ...], results: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
        x, out = sources[0], results[0]
        copy = nest("c", x.shape, lambda idx: (Store(out, idx, Load(x, idx)),))
        if 0 in x.shape:
            return copy
        if _is_of_rows(geometry) and sources[2].size >= PARALLEL_ELEMENTS:
            buffers = (*sources[:3], out)
            return scatter_rows(buffers, len(geometry.k), adding=adding)
        return (*copy, *_scatter_nest((*sources, out), geometry, batch, adding))

    return Loops(build=build)


def _is_of_rows(geometry: Geometry) -> bool:
    """Whether updates are whole rows of one table, long enough for vectors."""
    return not geometry.batch + geometry.middle and size_of(geometry.tail) >= LEAST_ROW


def _scatter_nest(
    buffers: tuple[Buffer, ...], geometry: Geometry, batch: int, adding: bool
) -> tuple[Stmt, ...]:
    """Independent axes outside (parallel where large), then the indices in order, then the tail."""
    _, indices, updates, out = buffers
    outer = geometry.batch + geometry.middle

    def write(before: Index, k: Index, after: Index) -> tuple[Stmt, ...]:
        inside, at = _valid(Load(indices, (*before[:batch], *k)), geometry.n)
        value: Expr = Load(updates, (*before, *k, *after))
        target = (*before, at, *after)
        if adding:
            value = Call("add", (Load(out, target), value), out.dtype)
        return (If(inside, (Store(out, target, value),)),)

    def updates_of(before: Index) -> tuple[Stmt, ...]:
        return nest(
            "k", geometry.k, lambda k: nest("t", geometry.tail, lambda t: write(before, k, t))
        )

    loops = nest("o", outer, updates_of)
    first = loops[0]
    if updates.size >= PARALLEL_ELEMENTS and outer and isinstance(first, For):
        return (For(first.var, first.extent, first.body, "parallel"),)
    return loops


def _scatter_add_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    return [g, None, gather(g, site.inputs[1], nan=False, **_where(site))]


def _scatter_set_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    _, idx, updates = site.inputs
    kept = scatter_set(g, idx, zeros(updates.shape, g.dtype), **_where(site))
    won = where(_winners(site), gather(g, idx, nan=False, **_where(site)), 0)
    return [kept, None, won]


def _winners(site: Site) -> Value:
    """Which updates of a `scatter_set` were not overwritten by a later one; bool, their shape."""
    (_, idx, updates), batch = site.inputs, integer(site.attrs, "batch")
    geometry = _site_geometry([v.type for v in site.inputs], site.attrs)
    numbers = reshape(iota((idx.type.size,), 0, int64), idx.shape)
    nobody = full((*geometry.batch, geometry.n), -1, int64)
    owner = scatter_set(nobody, idx, numbers, axis=batch, batch=batch)
    mine = equal(gather(owner, idx, axis=batch, batch=batch), numbers)
    apart = (1,) * len(geometry.middle), (1,) * len(geometry.tail)
    return broadcast_to(
        reshape(mine, (*geometry.batch, *apart[0], *geometry.k, *apart[1])), updates.shape
    )


def _scatter_jvp(op: Op, site: Site, tangents: Sequence[Value | None]) -> Sequence[Value | None]:
    x, idx, updates = site.inputs
    tx, _, tu = tangents
    if tx is None and tu is None:
        return [None]
    tx = zeros(x.shape, x.dtype) if tx is None else tx
    tu = zeros(updates.shape, updates.dtype) if tu is None else tu
    return [emit(op, tx, idx, tu, **site.attrs)]


def _scatter_batch(op: Op, site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    axis, batch = _where(site).values()
    shared = not batched[1] and batch == 0
    need = (batched[0], batched[1] or shared, batched[2])
    x, idx, updates = _all_batched(site.inputs, need, size)
    return [emit(op, x, idx, updates, axis=axis + 1, batch=0 if shared else batch + 1)]


def _scatter_samples(adding: bool) -> Sequence[Sample]:
    def case(
        shape: Shape, idx: object, updates: Shape, axis: int, batch: int, dtype: DType
    ) -> Sample:
        inputs = (TensorType(shape, dtype), np.asarray(idx, np.int64), TensorType(updates, dtype))
        return Sample(inputs, {"axis": axis, "batch": batch})

    samples = [
        case((5, 3), [4, 0, 0, 2], (4, 3), 0, 0, float32),
        case((2, 3, 4), [[1, 1], [2, 0]], (2, 2, 2, 4), 1, 0, float64),
        case((2, 5, 3), [[0, 4, 1], [1, 1, 3]], (2, 3, 3), 1, 1, float32),
        case((2, 1, 5), [[0, 4, 0], [1, 1, 3]], (2, 1, 3), 2, 1, float32),
        case((4,), [-1, 4, 3], (3,), 0, 0, int32),
        case((0, 3), [1], (0, 1), 1, 0, float32),
        case((3, 1), np.zeros((0,)), (0, 1), 0, 0, float32),
    ]
    return samples if adding else [*samples, case((7,), [2, 2, 5], (3,), 0, 0, bool_)]


def _scatter_cost(inputs: Types, adding: int) -> Cost:
    x, indices, updates = inputs
    moved = 2 * x.nbytes + indices.nbytes + (2 + adding) * updates.nbytes
    return Cost(adding * updates.size, moved)


SCATTER_ADD: Op = Op(
    name="scatter_add",
    doc=(
        "`x` with `updates` added at index arrays along `axis`, one after another in their order,"
        " so that the result is the same on every run; an index outside the axis adds nothing."
    ),
    infer=_scatter_add_infer,
    reference=lambda x, i, u, **attrs: _scatter_reference(x, i, u, adding=True, **attrs),
    vjp=_scatter_add_vjp,
    jvp=lambda site, *tangents: _scatter_jvp(SCATTER_ADD, site, tangents),
    batch=lambda site, batched, size: _scatter_batch(SCATTER_ADD, site, batched, size),
    lower=lambda inputs, outputs, attrs: _scatter_loops(inputs, attrs, adding=True),
    cost=lambda inputs, outputs, attrs: _scatter_cost(inputs, 1),
    samples=lambda: _scatter_samples(adding=True),
)

SCATTER_SET: Op = Op(
    name="scatter_set",
    doc=(
        "`x` with its elements at index arrays along `axis` replaced by `updates`; of equal indices"
        " the last one stays, an index outside the axis writes nothing."
    ),
    infer=_scatter_infer,
    reference=lambda x, i, u, **attrs: _scatter_reference(x, i, u, adding=False, **attrs),
    vjp=_scatter_set_vjp,
    jvp=lambda site, *tangents: _scatter_jvp(SCATTER_SET, site, tangents),
    batch=lambda site, batched, size: _scatter_batch(SCATTER_SET, site, batched, size),
    lower=lambda inputs, outputs, attrs: _scatter_loops(inputs, attrs, adding=False),
    cost=lambda inputs, outputs, attrs: _scatter_cost(inputs, 0),
    samples=lambda: _scatter_samples(adding=False),
)


def scatter_add(x: Value, indices: Value, updates: Value, *, axis: int, batch: int = 0) -> Value:
    """A copy of `x` in which updates are added; an index outside adds nothing.

    Those of equal indices are added one after another.

    Args:
        x: `[*batch, *middle, n, *tail]`, with `n` at `axis`, which is counted from the front.
        indices: integers, `[*batch, *which]`, in `[0, n)`; negative ones are outside.
        updates: `[*batch, *middle, *which, *tail]`, what `gather` with these indices would give.
        axis: where the indices point.
        batch: how many leading axes both share.

    Raises:
        ShapeError: the shapes do not fit each other.
        DTypeError: indices are no integers.
    """
    return emit(SCATTER_ADD, x, indices, updates, axis=axis, batch=batch)


def scatter_set(x: Value, indices: Value, updates: Value, *, axis: int, batch: int = 0) -> Value:
    """A copy of `x` in which updates are written; an index outside writes nothing.

    Of equal indices the last one stays.

    Args:
        x: `[*batch, *middle, n, *tail]`, with `n` at `axis`, which is counted from the front.
        indices: integers, `[*batch, *which]`, in `[0, n)`; negative ones are outside.
        updates: `[*batch, *middle, *which, *tail]`, what `gather` with these indices would give.
        axis: where the indices point.
        batch: how many leading axes both share.

    Raises:
        ShapeError: the shapes do not fit each other.
        DTypeError: indices are no integers.
    """
    return emit(SCATTER_SET, x, indices, updates, axis=axis, batch=batch)


RECORDS: tuple[Op, ...] = (GATHER, SCATTER_ADD, SCATTER_SET)
