"""The order that sorts: `argsort` as a record; `sort_values.py` sorts, `top_k.py` selects.

The order is total: NaN is last whether ascending or descending, -0.0 equals +0.0, and equal
elements keep their order, so a result never depends on the machine.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import DType, bfloat16, bool_, float32, float64, int32, int64, uint8
from pellucid.core.errors import ShapeError
from pellucid.core.shape import Shape, normalize_axis
from pellucid.core.size import likely
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
    Load,
    Stmt,
    Store,
    Var,
    compare,
    iadd,
    imax,
    imin,
    imul,
    isub,
    select,
)
from pellucid.ops.index import gather
from pellucid.ops.movement import moveaxis
from pellucid.ops.radix_sort import RadixSort
from pellucid.ops.shared import Array, Types, cast_expr, integer, nest, require_real

PARALLEL_ELEMENTS = 1 << 14
MERGED = 48  # elements of a row up to which merging is faster than counting digits
INDEX_LIMIT = 1 << 31  # elements that radix sorting can number


def _infer(x: TensorType, *, axis: int, descending: bool) -> TensorType:
    require_real("argsort", x)
    if not 0 <= axis < x.rank:
        raise ShapeError("argsort", "the axis must exist", operands={"x": x.shape, "axis": axis})
    return TensorType(x.shape, int64)


def argsort_reference(x: Array, *, axis: int, descending: bool) -> Array:
    """The indices that sort, by NumPy."""
    if x.dtype.kind not in "biu":
        x = x.astype(np.float64)
        x = -x if descending else x  # NaN stays NaN, which NumPy sorts last
    elif descending:
        x = ~x  # reverses the order of signed, unsigned and bool alike, without overflow
    return np.argsort(x, axis=axis, kind="stable").astype(np.int64)


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    axis, descending = integer(attrs, "axis"), bool(attrs["descending"])

    def build(sources: tuple[Buffer, ...], results: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
        x, out = sources[0], results[0]
        if x.size == 0:
            return ()

        shared = x.size == x.shape[axis]

        def row(before: Index, after: Index) -> tuple[Stmt, ...]:
            if MERGED < x.shape[axis] < INDEX_LIMIT:
                radix = RadixSort(x, out, (before, after), descending=descending, shared=shared)
                return radix.statements()
            return _MergeSort(x, out, before, after, descending).statements()

        loops = nest(
            "o",
            x.shape[:axis],
            lambda before: nest("t", x.shape[axis + 1 :], lambda after: row(before, after)),
        )
        first = loops[0]
        if not shared and x.size >= PARALLEL_ELEMENTS and isinstance(first, For):
            return (For(first.var, first.extent, first.body, "parallel"),)
        return loops

    return Loops(build=build)


class _MergeSort:
    """Statements that sort one row bottom-up, one unrolled pass per power of two.

    `order` and `keys` hold indices and elements twice: runs of length `w` in one half are merged in
    pairs into the other half. Which run gives the next element is computed, not branched on: on
    random data a branch would be guessed wrong every other time.
    """

    def __init__(
        self, x: Buffer, out: Buffer, before: Index, after: Index, descending: bool
    ) -> None:
        self.x, self.out, self.before, self.after = x, out, before, after
        self.descending = descending
        self.n = x.shape[len(before)]
        self.order = Buffer("order", (2, self.n), int64, "temp")
        kept = uint8 if x.dtype.kind == "bool" else x.dtype
        self.keys = Buffer("keys", (2, self.n), kept, "temp")
        self.head = Buffer("head", (1,), int64, "local")

    def statements(self) -> tuple[Stmt, ...]:
        """The row as it is, the merge passes, and the copy to the output."""
        i, passes = Var("i"), (self.n - 1).bit_length()
        item = cast_expr(Load(self.x, (*self.before, i, *self.after)), self.keys.dtype)
        start = (
            Store(self.order, (Const(0), i), i),
            Store(self.keys, (Const(0), i), item),
        )
        done = Store(
            self.out, (*self.before, i, *self.after), Load(self.order, (Const(passes % 2), i))
        )
        body = (
            For("i", Const(self.n), start),
            *(self.merge_pass(number) for number in range(passes)),
            For("i", Const(self.n), (done,)),
        )
        return (Alloc(self.order, (Alloc(self.keys, body),)),)

    def merge_pass(self, number: int) -> Stmt:
        """Merge runs of length `2**number` in pairs."""
        width, pair, step = 1 << number, Var(f"pair{number}"), Var(f"k{number}")
        low = imul(pair, 2 * width)
        middle, high = imin(iadd(low, width), self.n), imin(iadd(low, 2 * width), self.n)
        body = self.merge_step(number % 2, iadd(low, step), middle, high)
        merge = For(step.name, isub(high, low), body)
        start = Store(self.head, (Const(0),), middle)
        pairs = -(-self.n // (2 * width))
        return For(pair.name, Const(pairs), (Alloc(self.head, (start, merge)),))

    def merge_step(self, half: int, target: Expr, middle: Expr, high: Expr) -> tuple[Stmt, ...]:
        """Move the lesser of the two runs' heads to `target`; the left one if they are equal.

        Only the right run's head is kept: `target - low` elements have been moved, so the left
        run's is at `target + middle - right`.
        """
        right = Load(self.head, (Const(0),))
        left = isub(iadd(target, middle), right)
        # a head comes out of memory: it is in range, but only we know that
        spots = [(Const(half), imin(imax(head, 0), self.n - 1)) for head in (right, left)]
        earlier = self._before(*(Load(self.keys, spot) for spot in spots))
        wins = Call("or", (compare("ge", left, middle), earlier), bool_)
        swap = Call("and", (compare("lt", right, high), wins), bool_)
        at = (Const(1 - half), imin(target, self.n - 1))
        moves = [
            Store(buffer, at, select(swap, *(Load(buffer, spot) for spot in spots)))
            for buffer in (self.keys, self.order)
        ]
        return (*moves, Store(self.head, (Const(0),), iadd(right, cast_expr(swap, int64))))

    def _before(self, a: Expr, b: Expr) -> Expr:
        """Whether key `a` must come before key `b` although it stands behind it."""
        less = Call("gt" if self.descending else "lt", (a, b), bool_)
        if not a.dtype.is_float:
            return less
        number = Call("not", (Call("isnan", (a,), bool_),), bool_)
        late = Call("and", (Call("isnan", (b,), bool_), number), bool_)
        return Call("or", (less, late), bool_)


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    n = inputs[0].shape[integer(attrs, "axis")]
    passes = max(likely(n) - 1, 0).bit_length()
    return Cost(inputs[0].size * passes, inputs[0].nbytes + outputs[0].nbytes)


def _samples() -> Sequence[Sample]:
    def case(shape: Shape, axis: int, descending: bool, dtype: DType = float32) -> Sample:
        low, high = (0, 2) if dtype.kind in ("bool", "uint") else (-3, 3)
        attrs: Attrs = {"axis": axis, "descending": descending}
        return Sample((TensorType(shape, dtype),), attrs, low, high)

    hard = np.array([1.0, np.nan, -0.0, 0.0, np.inf, -np.inf, np.nan, -1.0, 0.0], np.float32)
    return [
        case((7,), 0, False),
        case((3, 5), 1, True),
        case((4, 3, 2), 1, False, float64),
        case((17,), 0, True, int32),
        case((6,), 0, False, uint8),
        case((5,), 0, True, bool_),
        case((9,), 0, False, bfloat16),
        case((1, 1), 0, False),
        case((3, 101), 1, True),
        case((70, 2), 0, False, bfloat16),
        case((90,), 0, False, uint8),
        case((0, 3), 1, False),
        case((3, 0), 1, True),
        Sample((hard,), {"axis": 0, "descending": False}),
        Sample((hard,), {"axis": 0, "descending": True}),
    ]


ARGSORT: Op = Op(
    name="argsort",
    doc=(
        "The indices that sort `x` along `axis`, stable, NaN last. Lowered to a radix sort, for few"
        " elements to a bottom-up merge sort (Knuth, The Art of Computer Programming 3, 5.2.4)."
        " Primitive: no other op compares."
    ),
    infer=_infer,
    reference=argsort_reference,
    vjp=None,
    jvp=None,
    batch=lambda site, batched, size: [
        emit(
            ARGSORT,
            site.inputs[0],
            axis=integer(site.attrs, "axis") + 1,
            descending=site.attrs["descending"],
        )
    ],
    lower=_lower,
    cost=_cost,
    samples=_samples,
)


def argsort(x: Value, axis: int = -1, *, descending: bool = False, stable: bool = True) -> Value:
    """int64 indices that sort `x` along `axis`.

    NaN is last either way, and equal elements keep their order, whatever `stable` says.

    Raises:
        ShapeError: there is no such axis.
    """
    return emit(ARGSORT, x, axis=normalize_axis("argsort", axis, x.shape), descending=descending)


def sorted_by(x: Value, order: Value, axis: int) -> Value:
    """`x` along `axis` at the places `order`."""
    last = x.rank - 1
    picked = gather(moveaxis(x, axis, -1), moveaxis(order, axis, -1), axis=last, batch=last)
    return moveaxis(picked, -1, axis)


RECORDS: tuple[Op, ...] = (ARGSORT,)
