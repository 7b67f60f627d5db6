"""Sorting one row by the digits of its keys, the least digit first.

Each pass counts how often each digit occurs, turns the counts into places, and moves every element
to the next place of its digit, which keeps the order of equal ones. A long row is cut into parts
that threads count and move at once: a part's places of a digit follow those of the parts before it.
Source: D. Knuth, The Art of Computer Programming 3, 5.2.5; Zagha, Blelloch, Radix Sort for Vector
Multiprocessors (1991).
"""

from __future__ import annotations

from pellucid.core.dtype import int32, int64
from pellucid.loop.compute import Index
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    For,
    Load,
    LoopKind,
    Stmt,
    Store,
    Var,
    const,
    iadd,
    imin,
    imul,
    isub,
)
from pellucid.ops.shared import cast_expr
from pellucid.ops.sort_keys import key_digit, key_dtype, key_value, sort_key, value_key

DIGITS = 256
SHARED_ELEMENTS = 1 << 17  # of a row that threads share
PARTS = 8


class RadixSort:
    """Statements that write the indices which sort one row of `x` to `out`, or what is sorted.

    `keys` and `order` hold keys and indices twice: a pass moves them from one half to the other.
    """

    def __init__(
        self,
        x: Buffer,
        out: Buffer,
        around: tuple[Index, Index],
        *,
        descending: bool,
        shared: bool,
        values: bool = False,
    ) -> None:
        self.x, self.out = x, out
        self.before, self.after = around
        self.descending, self.values = descending, values
        self.n = x.shape[len(self.before)]
        self.kept = key_dtype(x.dtype)
        self.keys = Buffer("keys", (2, self.n), self.kept, "temp")
        self.order = Buffer("order", (2, self.n), int32, "temp")
        self.parts = PARTS if shared and self.n >= SHARED_ELEMENTS else 1
        self.kind: LoopKind = "parallel" if self.parts > 1 else "serial"
        self.counts = Buffer("counts", (self.parts, DIGITS), int32, "temp")

    def statements(self) -> tuple[Stmt, ...]:
        """The keys, then one pass per digit."""
        i = Var("i")
        make = value_key if self.values else sort_key
        key = make(Load(self.x, (*self.before, i, *self.after)), self.descending)
        body: tuple[Stmt, ...] = (
            For("i", Const(self.n), (Store(self.keys, (Const(0), i), key),), "vector"),
        )
        for number in range(self.kept.bits // 8):
            body += self._pass(number)
        for buffer in (self.keys, self.counts) if self.values else (
            self.keys, self.order, self.counts,
        ):  # fmt: skip
            body = (Alloc(buffer, body),)
        return body

    def _pass(self, number: int) -> tuple[Stmt, ...]:
        part, v = Var(f"part{number}"), Var("v")
        clear = For("v", Const(DIGITS), (Store(self.counts, (part, v), const(0, int32)),), "vector")
        return (
            For(part.name, Const(self.parts), (clear, self._count(number, part)), self.kind),
            self._places(),
            For(part.name, Const(self.parts), (self._move(number, part),), self.kind),
        )

    def _each(self, part: Var, name: str) -> tuple[Expr, Expr]:
        """How many elements a part has, and the place of the one of loop `name`."""
        size = -(-self.n // self.parts)
        start = imul(part, size) if self.parts > 1 else Const(0)
        extent = imin(size, isub(self.n, start)) if self.n % size else Const(size)
        return extent, iadd(start, Var(name))

    def _count(self, number: int, part: Var) -> Stmt:
        extent, at = self._each(part, "c")
        spot = (part, key_digit(Load(self.keys, (Const(number % 2), at)), number))
        more = Call("add", (Load(self.counts, spot), const(1, int32)), int32)
        return For("c", extent, (Store(self.counts, spot, more),))

    def _places(self) -> Stmt:
        """Counts as the places where each part's elements of each digit start."""
        place, count = (Buffer(b, (), int32, "local") for b in ("place", "count"))
        spot = (Var("p"), Var("v"))
        step = (
            Store(count, (), Load(self.counts, spot)),
            Store(self.counts, spot, Load(place, ())),
            Store(place, (), Call("add", (Load(place, ()), Load(count, ())), int32)),
        )
        over_parts = For("p", Const(self.parts), (Alloc(count, step),))
        start = Store(place, (), const(0, int32))
        return Alloc(place, (start, For("v", Const(DIGITS), (over_parts,))))

    def _move(self, number: int, part: Var) -> Stmt:
        half, last = Const(number % 2), 8 * (number + 1) == self.kept.bits
        extent, at = self._each(part, "m")
        key, spot = Buffer("key", (), self.kept, "local"), Buffer("spot", (), int64, "local")
        place = (part, key_digit(Load(key, ()), number))
        # a place comes out of memory: it is in range, but only we know that
        inside = imin(Call("max", (Load(spot, ()), Const(0)), int64), self.n - 1)
        more = Call("add", (Load(self.counts, place), const(1, int32)), int32)
        body: tuple[Stmt, ...] = (
            Store(key, (), Load(self.keys, (half, at))),
            Store(spot, (), cast_expr(Load(self.counts, place), int64)),
            Store(self.counts, place, more),
        )
        if last:
            item = self._result(Load(key, ()), number, at)
            body += (Store(self.out, (*self.before, inside, *self.after), item),)
        else:
            other = (Const(1 - number % 2), inside)
            body += (Store(self.keys, other, Load(key, ())),)
            body += () if self.values else (Store(self.order, other, self._place(number, at)),)
        return For("m", extent, (Alloc(key, (Alloc(spot, body),)),))

    def _place(self, number: int, at: Expr) -> Expr:
        """Where the element at `at` in pass `number` stood in the row, int32."""
        return Load(self.order, (Const(number % 2), at)) if number else cast_expr(at, int32)

    def _result(self, key: Expr, number: int, at: Expr) -> Expr:
        if self.values:
            return key_value(key, self.out.dtype, self.descending)
        return cast_expr(self._place(number, at), int64)
