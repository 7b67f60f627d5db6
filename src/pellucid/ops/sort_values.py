"""Sorting values without their places: `sort` as a record.

Keys that sort as the elements do are sorted alone and turned back into elements: many rows side by
side in lanes (`sort_network.py`), long ones digit by digit (`radix_sort.py`). NaN is last whether
ascending or descending. Zeros have no place to be told apart by: -0.0 is less than 0.0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pellucid.core.dtype import (
    DType,
    as_dtype,
    bfloat16,
    bool_,
    float32,
    float64,
    int32,
    int64,
    uint8,
)
from pellucid.core.errors import ShapeError
from pellucid.core.shape import Shape, normalize_axis, size_of
from pellucid.core.size import likely
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.loop.compute import Loops, Lowering
from pellucid.loop.ir import Buffer, Const, Expr, For, Load, Stmt, Store, Var, iadd, imul
from pellucid.ops.create import zeros_like
from pellucid.ops.index import scatter_add
from pellucid.ops.layout import reshape
from pellucid.ops.movement import moveaxis
from pellucid.ops.radix_sort import RadixSort
from pellucid.ops.shared import Array, Types, nest, require_real
from pellucid.ops.sort import PARALLEL_ELEMENTS, argsort, sorted_by
from pellucid.ops.sort_keys import key_dtype, key_value, keys_of, value_key, values_of
from pellucid.ops.sort_network import Network

MOST_LANES = 16
VECTOR_BYTES = 64
FEWEST_LANES = 8  # for which a network pays, in long rows
SHORT = 64  # elements that a network sorts faster even in few lanes
LONGEST = 1 << 14  # elements: longer rows leave the second-level cache
_Places = Callable[[Expr], tuple[Expr, Expr]]


def _infer(x: TensorType, *, descending: bool) -> TensorType:
    require_real("sort", x)
    if x.rank != 3:
        raise ShapeError("sort", "takes rows with an axis before and one behind", operands={"x": x})
    return x


def _reference(x: Array, *, descending: bool) -> Array:
    keys = np.sort(keys_of(x, descending), axis=1)
    return values_of(keys, as_dtype(x.dtype), descending)


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    descending = bool(attrs["descending"])

    def build(sources: tuple[Buffer, ...], results: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
        x, out = sources[0], results[0]
        if x.size == 0:
            return ()
        made = _Sort(x, out, descending)
        rows = x.shape[0] * x.shape[2]
        short = x.shape[1] <= SHORT or (rows >= FEWEST_LANES and x.shape[1] <= LONGEST)
        return made.side_by_side() if short else made.one_by_one()

    return Loops(build=build)


class _Sort:
    """The loops over rows of `x[outer, n, inner]`."""

    def __init__(self, x: Buffer, out: Buffer, descending: bool) -> None:
        self.x, self.out, self.descending = x, out, descending
        self.outer, self.n, self.inner = x.shape

    def one_by_one(self) -> tuple[Stmt, ...]:
        """Each row by the digits of its keys."""
        shared = self.outer * self.inner == 1

        def row(before: Expr, after: Expr) -> tuple[Stmt, ...]:
            radix = RadixSort(
                self.x, self.out, ((before,), (after,)),
                descending=self.descending, shared=shared, values=True,
            )  # fmt: skip
            return radix.statements()

        loops = nest("o", (self.outer,), lambda o: nest("t", (self.inner,), lambda t: row(*o, *t)))
        return loops if shared else self._parallel(loops)

    def side_by_side(self) -> tuple[Stmt, ...]:
        """Rows in lanes: neighbours in memory, or rows far apart that are turned round."""
        if self.inner == 1:
            return self._groups("g", self.outer, lambda r: (r, Const(0)))
        if self.outer == 1:
            return self._groups("g", self.inner, lambda r: (Const(0), r))
        body = self._groups("g", self.inner, lambda r: (Var("o"), r), parallel=False)
        return self._parallel((For("o", Const(self.outer), body),))

    def _groups(
        self, name: str, rows: int, places: _Places, *, parallel: bool = True
    ) -> tuple[Stmt, ...]:
        lanes = max(1, min(MOST_LANES, VECTOR_BYTES // key_dtype(self.x.dtype).itemsize))
        whole, rest = divmod(rows, lanes)
        made: tuple[Stmt, ...] = ()
        if whole:
            body = self._network(lanes, imul(Var(name), lanes), places)
            made = (For(name, Const(whole), body),)
            made = self._parallel(made) if parallel else made
        return made + (self._network(rest, Const(whole * lanes), places) if rest else ())

    def _network(self, lanes: int, first: Expr, places: _Places) -> tuple[Stmt, ...]:
        def at(place: Expr, lane: Expr) -> tuple[Expr, Expr, Expr]:
            before, after = places(iadd(first, lane))
            return before, place, after

        def read(place: Expr, lane: Expr) -> Expr:
            return value_key(Load(self.x, at(place, lane)), self.descending)

        def write(place: Expr, lane: Expr, key: Expr) -> Stmt:
            value = key_value(key, self.out.dtype, self.descending)
            return Store(self.out, at(place, lane), value)

        return Network(self.n, lanes, key_dtype(self.x.dtype)).build(read, write)

    def _parallel(self, loops: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        (first,) = loops
        if isinstance(first, For) and self.x.size >= PARALLEL_ELEMENTS:
            return (For(first.var, first.extent, first.body, "parallel"),)
        return loops


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    (x,) = inputs
    passes = max(likely(x.shape[1]) - 1, 0).bit_length()
    return Cost(x.size * passes, 2 * x.nbytes)


def _order(site: Site) -> Value:
    """The places that sort the record's operand."""
    return argsort(site.inputs[0], 1, descending=bool(site.attrs["descending"]))


def _vjp(site: Site, g: Value) -> Sequence[Value | None]:
    if not g.dtype.is_float:
        return [None]
    order, moved = moveaxis(_order(site), 1, 2), moveaxis(g, 1, 2)
    return [moveaxis(scatter_add(zeros_like(moved), order, moved, axis=2, batch=2), 2, 1)]


def _batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    x = site.inputs[0]
    flat = reshape(x, (size * x.shape[1], *x.shape[2:]))
    return [reshape(emit(SORT, flat, **site.attrs), x.shape)]


def _samples() -> Sequence[Sample]:
    def case(shape: Shape, descending: bool = False, dtype: DType = float32) -> Sample:
        low, high = (0, 2) if dtype.kind in ("bool", "uint") else (-3, 3)
        return Sample((TensorType(shape, dtype),), {"descending": descending}, low, high)

    hard = np.array([1.0, np.nan, -0.0, 0.0, np.inf, -np.inf, np.nan, -1.0, 0.0], np.float32)
    return [
        case((1, 7, 1)),
        case((18, 5, 1), True),
        case((3, 33, 2), False, float64),
        case((1, 17, 20), True, int32),
        case((1, 70, 1), False, int64),
        case((9, 6, 1), False, bfloat16),
        case((2, 90, 1), True),
        case((6, 16, 1), False, uint8),
        case((1, 5, 3), True, bool_),
        case((2, 1, 1)),
        case((0, 3, 1)),
        case((3, 0, 2), True),
        *(Sample((hard[None, :, None],), {"descending": d}) for d in (False, True)),
    ]


SORT: Op = Op(
    name="sort",
    doc=(
        "Rows `x[:, i, :]` in order, NaN last, zeros by their sign. Lowered to a sorting network"
        " for many rows, to a radix sort for long ones. Primitive: values alone are sorted several"
        " times as fast as with their places."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=lambda site, t: [None if t is None else sorted_by(t, _order(site), 1)],
    batch=_batch,
    lower=_lower,
    cost=_cost,
    samples=_samples,
)


def sort(x: Value, axis: int = -1, *, descending: bool = False, stable: bool = True) -> Value:
    """`x` sorted along `axis`; NaN last either way, -0.0 less than 0.0.

    Gradient: each element's goes back to where it came from.

    Raises:
        ShapeError: there is no such axis.
    """
    axis = normalize_axis("sort", axis, x.shape)
    rows = (size_of(x.shape[:axis]), x.shape[axis], size_of(x.shape[axis + 1 :]))
    return reshape(emit(SORT, reshape(x, rows), descending=descending), x.shape)


RECORDS: tuple[Op, ...] = (SORT,)
