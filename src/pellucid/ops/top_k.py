"""The first few elements in sorted order, found without sorting the rest.

NaN is last, and of equal elements the first ones count, as in `sort.py`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import DType, bfloat16, bool_, float32, float64, int32, int64, uint8
from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import Shape, normalize_axis
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample
from pellucid.loop.compute import Index, Loops, Lowering
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    For,
    If,
    Load,
    Stmt,
    Store,
    Var,
    compare,
    const,
    iadd,
    imin,
    imul,
    isub,
    select,
)
from pellucid.ops.arithmetic import add, multiply
from pellucid.ops.create import iota
from pellucid.ops.movement import moveaxis, pad, reshape, slice_axis
from pellucid.ops.shared import Array, Types, cast_expr, integer, nest, require_real
from pellucid.ops.sort import PARALLEL_ELEMENTS, argsort, argsort_reference, sorted_by
from pellucid.ops.sort_keys import key_dtype, sort_key

MOST = 256  # elements that are ranked by comparing each with each
LEAST_SHARE = 4  # times as many elements as are wanted, for selecting to pay
BLOCK = 8192  # elements of a long row whose first ones are found apart
_SCAN = 64  # elements that are looked at together when the chosen ones are collected


def _infer(x: TensorType, *, k: int, descending: bool) -> TensorType:
    require_real("top_k", x)
    if not (x.rank and 0 < k <= x.shape[-1]):
        raise ShapeError("first_k", "k must be in the last axis", operands={"x": x.shape, "k": k})
    return TensorType((*x.shape[:-1], k), int64)


def _reference(x: Array, *, k: int, descending: bool) -> Array:
    order = argsort_reference(x, axis=x.ndim - 1, descending=descending)
    return np.ascontiguousarray(order[..., :k])


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    k, descending = integer(attrs, "k"), bool(attrs["descending"])

    def build(sources: tuple[Buffer, ...], results: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
        x, out = sources[0], results[0]
        if out.size == 0:
            return ()
        loops = nest("o", x.shape[:-1], lambda row: _Select(x, out, row, k, descending).build())
        first = loops[0]
        if len(x.shape) > 1 and x.size >= PARALLEL_ELEMENTS and isinstance(first, For):
            return (For(first.var, first.extent, first.body, "parallel"),)
        return loops

    return Loops(build=build)


class _Select:
    """Statements that find the first `k` of one row.

    The key of the last of them is found bit by bit from the top, by counting the keys below: passes
    over a row that lies in cache, without a branch. Then the keys up to it are collected, and each
    is put where as many of them as come before it say.
    """

    def __init__(self, x: Buffer, out: Buffer, row: Index, k: int, descending: bool) -> None:
        self.x, self.out, self.row, self.k, self.descending = x, out, row, k, descending
        self.n = x.shape[-1]
        kept = key_dtype(x.dtype)
        self.keys = Buffer("keys", (self.n,), kept, "temp")
        self.last = Buffer("last", (), kept, "local")
        self.below = Buffer("below", (), int32, "local")
        self.less, self.equal = (Buffer(b, (), int64, "local") for b in ("less", "equal"))
        self.chosen = Buffer("chosen", (k,), kept, "local")
        self.places = Buffer("places", (k,), int32, "local")

    def build(self) -> tuple[Stmt, ...]:
        """All of them, in the memory they need."""
        i = Var("i")
        key = sort_key(Load(self.x, (*self.row, i)), self.descending)
        body: tuple[Stmt, ...] = (
            _vector("i", self.n, Store(self.keys, (i,), key)),
            *self._find_last(),
            *self._collect(),
            *self._rank(),
        )
        for buffer in (
            self.keys, self.last, self.below, self.less, self.equal, self.chosen, self.places,
        ):  # fmt: skip
            body = (Alloc(buffer, body),)
        return body

    def _count_below(self, key: Expr) -> tuple[Stmt, ...]:
        """`below` as the number of keys less than `key`."""
        less = Call("lt", (Load(self.keys, (Var("i"),)), key), bool_)
        count = Call("add", (Load(self.below, ()), cast_expr(less, int32)), int32)
        start = Store(self.below, (), const(0, int32))
        return (start, _vector("i", self.n, Store(self.below, (), count)))

    def _find_last(self) -> tuple[Stmt, ...]:
        """`last` as the greatest key with fewer than `k` keys below it: the k-th in order."""
        kept = self.last.dtype
        last, trial = Load(self.last, ()), Buffer("trial", (), kept, "local")
        shift = cast_expr(isub(kept.bits - 1, Var("bit")), kept)
        bit = Call("shl", (const(1, kept), shift), kept)
        few = Call("lt", (Load(self.below, ()), const(self.k, int32)), bool_)
        step = (
            Store(trial, (), Call("or", (last, bit), kept)),
            *self._count_below(Load(trial, ())),
            Store(self.last, (), select(few, Load(trial, ()), last)),
        )
        start = Store(self.last, (), const(0, kept))
        return (start, For("bit", Const(kept.bits), (Alloc(trial, step),)))

    def _collect(self) -> tuple[Stmt, ...]:
        """The keys below `last`, then as many equal ones as are wanted, both in their order."""
        start = (
            *self._count_below(Load(self.last, ())),
            Store(self.less, (), Const(0)),
            Store(self.equal, (), cast_expr(Load(self.below, ()), int64)),
        )
        blocks, rest = divmod(self.n, _SCAN)
        whole = For("block", Const(blocks), self._block(imul(Var("block"), _SCAN), _SCAN))
        return (*start, whole, *self._block(Const(blocks * _SCAN), rest))

    def _block(self, start: Expr, size: int) -> tuple[Stmt, ...]:
        """Take what is wanted of `size` keys; most blocks have nothing."""
        if not size:
            return ()
        some, j = Buffer("some", (), int32, "local"), Var("j")
        key, last = Load(self.keys, (iadd(start, j),)), Load(self.last, ())
        wanted = cast_expr(Call("le", (key, last), bool_), int32)
        count = Store(some, (), Call("add", (Load(some, ()), wanted), int32))
        is_equal = Call("eq", (key, last), bool_)
        room = compare("lt", Load(self.equal, ()), self.k)
        take = If(
            Call("lt", (key, last), bool_),
            self._take(self.less, key, iadd(start, j)),
            (
                If(
                    Call("and", (is_equal, room), bool_),
                    self._take(self.equal, key, iadd(start, j)),
                ),
            ),
        )
        found = Call("gt", (Load(some, ()), const(0, int32)), bool_)
        body = (
            Store(some, (), const(0, int32)),
            _vector("j", size, count),
            If(found, (For("j", Const(size), (take,)),)),
        )
        return (Alloc(some, body),)

    def _take(self, counter: Buffer, key: Expr, place: Expr) -> tuple[Stmt, ...]:
        # a counter comes out of memory: it is in range, but only we know that
        at = (_within(Load(counter, ()), self.k),)
        return (
            Store(self.chosen, at, key),
            Store(self.places, at, cast_expr(place, int32)),
            Store(counter, (), iadd(Load(counter, ()), 1)),
        )

    def _rank(self) -> tuple[Stmt, ...]:
        """Each chosen element to the output, behind those that come before it."""
        rank, a, b = Buffer("rank", (), int32, "local"), Var("a"), Var("b")
        mine, other = Load(self.chosen, (a,)), Load(self.chosen, (b,))
        earlier = Call("lt", (Load(self.places, (b,)), Load(self.places, (a,))), bool_)
        tie = Call("and", (Call("eq", (other, mine), bool_), earlier), bool_)
        before = Call("or", (Call("lt", (other, mine), bool_), tie), bool_)
        count = Call("add", (Load(rank, ()), cast_expr(before, int32)), int32)
        at = _within(cast_expr(Load(rank, ()), int64), self.k)
        body = (
            Store(rank, (), const(0, int32)),
            _vector("b", self.k, Store(rank, (), count)),
            Store(self.out, (*self.row, at), cast_expr(Load(self.places, (a,)), int64)),
        )
        return (For("a", Const(self.k), (Alloc(rank, body),)),)


def _vector(var: str, extent: int, body: Stmt) -> For:
    return For(var, Const(extent), (body,), "vector")


def _within(place: Expr, n: int) -> Expr:
    return imin(Call("max", (place, Const(0)), int64), n - 1)


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    (x,) = inputs
    return Cost(x.size * key_dtype(x.dtype).bits, x.nbytes + outputs[0].nbytes)


def _samples() -> Sequence[Sample]:
    def case(shape: Shape, k: int, descending: bool, dtype: DType = float32) -> Sample:
        low, high = (0, 2) if dtype.kind in ("bool", "uint") else (-3, 3)
        attrs: Attrs = {"k": k, "descending": descending}
        return Sample((TensorType(shape, dtype),), attrs, low, high)

    hard = np.array([1.0, np.nan, -0.0, 0.0, np.inf, -np.inf, np.nan, -1.0, 0.0], np.float32)
    return [
        case((7,), 2, True),
        case((3, 133), 5, False),
        case((2, 2, 17), 17, True, float64),
        case((70,), 3, True, int32),
        case((65,), 6, False, uint8),
        case((9,), 1, False, bfloat16),
        case((0, 3), 2, False),
        *(Sample((hard,), {"k": k, "descending": d}) for d in (True, False) for k in (4, 9)),
    ]


FIRST_K: Op = Op(
    name="first_k",
    doc=(
        "The indices of the first `k` elements of each row in sorted order, in order. Lowered to a"
        " search for the last one's key, bit by bit. Primitive: sorting all is far more work."
    ),
    infer=_infer,
    reference=_reference,
    vjp=None,
    jvp=None,
    batch=lambda site, batched, size: [emit(FIRST_K, site.inputs[0], **site.attrs)],
    lower=_lower,
    cost=_cost,
    samples=_samples,
)


def top_k(x: Value, k: int, axis: int = -1, *, largest: bool = True) -> tuple[Value, Value]:
    """The `k` largest (or smallest) elements along `axis`, in order, and their int64 indices.

    Of equal elements the first ones; NaN counts as smaller than anything (or larger).

    Raises:
        ArgumentError: `k` is not in `[0, size of the axis]`.
    """
    axis = normalize_axis("top_k", axis, x.shape)
    n = x.shape[axis]
    if not 0 <= k <= n:
        raise ArgumentError("top_k", "k must be in the axis", operands={"k": k, "x": x.shape})
    if not 0 < k <= MOST or k * LEAST_SHARE > n:
        order = slice_axis(argsort(x, axis, descending=largest), axis, 0, k)
    else:
        order = moveaxis(_first(moveaxis(x, axis, -1), k, largest), -1, axis)
    return sorted_by(x, order, axis), order


def _first(x: Value, k: int, descending: bool) -> Value:
    """The first `k` places along the last axis; of a long row, the first of those of its blocks."""
    n = x.shape[-1]
    blocks = -(-n // BLOCK)
    if n < 2 * BLOCK or blocks * k * LEAST_SHARE > n:
        return emit(FIRST_K, x, k=k, descending=descending)
    size = -(-n // blocks)
    rest = blocks * size - n
    if rest:
        x = pad(x, (0,) * x.rank, (*(0,) * (x.rank - 1), rest), _last_of_all(x.dtype, descending))
    outer = x.shape[:-1]
    parts = reshape(x, (*outer, blocks, size))
    places = emit(FIRST_K, parts, k=k, descending=descending)
    found = sorted_by(parts, places, x.rank)
    starts = multiply(iota((*outer, blocks, k), x.rank - 1, int64), size)
    flat = (*outer, blocks * k)
    best = _first(reshape(found, flat), k, descending)
    return sorted_by(reshape(add(places, starts), flat), best, x.rank - 1)


def _last_of_all(dtype: DType, descending: bool) -> float | int | bool:
    """An element that nothing comes after; behind the others, it is never chosen."""
    if dtype.is_float:
        return float("nan")
    if dtype.kind == "bool":
        return not descending
    signed = dtype.kind == "int"
    low = -(1 << (dtype.bits - 1)) if signed else 0
    return low if descending else (1 << (dtype.bits - signed)) - 1


RECORDS: tuple[Op, ...] = (FIRST_K,)
