"""Sorting many rows side by side, each in a lane, by a network of comparisons.

A network compares fixed places in a fixed order, whatever the elements are: sixteen rows are sorted
by the minimum and the maximum of two vectors at a time, without a branch. Runs of 16 elements are
sorted by Batcher's odd-even mergesort, then runs are merged in pairs by bitonic merging, whose
first step compares mirrored places so that all steps are ascending. Up to four steps are done on
sixteen places in registers before they go back to memory. Places behind the row's end hold the
greatest key and stay there; loops leave out what only they would take part in.
Source: K. Batcher, Sorting Networks and their Applications (1968).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pellucid.core.dtype import DType
from pellucid.loop.compute import Index
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
    const,
    iadd,
    imul,
    isub,
)

STEPS = 4  # done at a time, on 2**STEPS places
RUN = 1 << STEPS
Pairs = Sequence[tuple[int, int]]


class Network:
    """Statements that sort `lanes` rows of `n` keys side by side.

    Args:
        n: elements of a row.
        lanes: rows.
        kept: the keys' dtype, unsigned.
    """

    def __init__(self, n: int, lanes: int, kept: DType) -> None:
        self.n, self.lanes, self.kept = n, lanes, kept
        self.levels = max(1, (n - 1).bit_length())
        self.keys = Buffer("keys", (1 << self.levels, lanes), kept, "temp")
        self.row = Var("r")

    def build(
        self, read: Callable[[Expr, Expr], Expr], write: Callable[[Expr, Expr, Expr], Stmt]
    ) -> tuple[Stmt, ...]:
        """The keys read, sorted and written.

        Args:
            read: the key of an element, given its place in the row and the row's lane.
            write: the statement that stores a key's element, given place, lane and key.
        """
        body = (*self._fill(read), *self._sort(), *self._empty(write))
        return (Alloc(self.keys, body),)

    def _fill(self, read: Callable[[Expr, Expr], Expr]) -> Iterator[Stmt]:
        """Rows turned into lanes, in square blocks."""

        def block(start: Expr, size: int) -> tuple[Stmt, ...]:
            at = iadd(start, Var("e"))
            step = Store(self.keys, (at, self.row), read(at, self.row))
            return (self._lanes((For("e", Const(size), (step,), "unroll"),)),)

        yield from self._blocks(block)
        if self.n < self.keys.shape[0]:
            last = const((1 << self.kept.bits) - 1, self.kept)
            step = Store(self.keys, (iadd(Var("b"), self.n), self.row), last)
            yield For("b", Const(self.keys.shape[0] - self.n), (self._lanes((step,)),))

    def _empty(self, write: Callable[[Expr, Expr, Expr], Stmt]) -> Iterator[Stmt]:
        def block(start: Expr, size: int) -> tuple[Stmt, ...]:
            at = iadd(start, Var("e"))
            step = write(at, self.row, Load(self.keys, (at, self.row)))
            return (For("e", Const(size), (self._lanes((step,)),), "unroll"),)

        yield from self._blocks(block)

    def _blocks(self, block: Callable[[Expr, int], tuple[Stmt, ...]]) -> Iterator[Stmt]:
        whole, rest = divmod(self.n, RUN)
        if whole:
            yield For("b", Const(whole), block(imul(Var("b"), RUN), RUN))
        if rest:
            yield from block(Const(whole * RUN), rest)

    def _lanes(self, body: tuple[Stmt, ...]) -> For:
        return For(self.row.name, Const(self.lanes), body, "vector")

    def _sort(self) -> Iterator[Stmt]:
        first = min(self.levels, STEPS)
        size, high = 1 << first, Var("h")
        places = [iadd(imul(high, size), s) for s in range(size)]
        yield For("h", Const(-(-self.n // size)), self._step(places, odd_even_pairs(size)))
        for level in range(first + 1, self.levels + 1):
            yield self._mirrored(level)
            for low, count in _chunks(level - STEPS):
                yield self._halved(low, count)

    def _mirrored(self, level: int) -> Stmt:
        """Runs merged in pairs: mirrored places compared, then halves of halves."""
        size, low, half = 1 << level, level - STEPS, RUN // 2
        high, inside = imul(Var("h"), size), Var("l")
        lower = [iadd(iadd(high, inside), s << low) for s in range(half)]
        mirror = isub((1 << low) - 1, inside)
        upper = [iadd(iadd(high, mirror), size // 2 + (s << low)) for s in range(half)]
        pairs = [(s, RUN - 1 - s) for s in range(half)]
        pairs += [pair for part in (0, half) for pair in halving_pairs(part, half)]
        count = -(-(self.n - size // 2) // size)  # of pairs whose second run has elements
        inner = For("l", Const(1 << low), self._step([*lower, *upper], pairs))
        return For("h", Const(count), (inner,))

    def _halved(self, low: int, count: int) -> Stmt:
        """The steps that compare places `2**(low + count - 1)` to `2**low` apart."""
        size = 1 << (low + count)
        start = iadd(imul(Var("h"), size), Var("l"))
        places = [iadd(start, s << low) for s in range(1 << count)]
        inner = For("l", Const(1 << low), self._step(places, halving_pairs(0, 1 << count)))
        return For("h", Const(-(-self.n // size)), (inner,))

    def _step(self, places: Sequence[Expr], pairs: Pairs) -> tuple[Stmt, ...]:
        """The comparisons of some places, in registers."""
        held = [Buffer(f"v{k}", (), self.kept, "local") for k in range(len(places))]
        lesser = Buffer("lesser", (), self.kept, "local")
        at: list[Index] = [(place, self.row) for place in places]
        body = [Store(b, (), Load(self.keys, i)) for b, i in zip(held, at, strict=True)]
        for low, high in pairs:
            both = Load(held[low], ()), Load(held[high], ())
            body += [
                Store(lesser, (), Call("min", both, self.kept)),
                Store(held[high], (), Call("max", both, self.kept)),
                Store(held[low], (), Load(lesser, ())),
            ]
        body += [Store(self.keys, i, Load(b, ())) for b, i in zip(held, at, strict=True)]
        block: tuple[Stmt, ...] = tuple(body)
        for buffer in (*held, lesser):
            block = (Alloc(buffer, block),)
        return (self._lanes(block),)


def odd_even_pairs(n: int) -> list[tuple[int, int]]:
    """The comparisons that sort `n` places, a power of two, in order."""
    pairs = []
    for run in (1 << p for p in range((n - 1).bit_length())):
        for apart in (run >> s for s in range(run.bit_length())):
            for start in range(apart % run, n - apart, 2 * apart):
                for low in range(start, min(start + apart, n - apart)):
                    if low // (2 * run) == (low + apart) // (2 * run):
                        pairs.append((low, low + apart))
    return pairs


def halving_pairs(start: int, size: int) -> list[tuple[int, int]]:
    """The comparisons that sort `size` places from `start` on which hold a bitonic sequence."""
    return [
        (start + place, start + place + apart)
        for apart in (size >> s for s in range(1, size.bit_length()))
        for place in range(size)
        if not place & apart
    ]


def _chunks(steps: int) -> list[tuple[int, int]]:
    """That many halving steps in parts of at most `STEPS`: the last distance's log, how many."""
    parts = -(-steps // STEPS)
    sizes = [steps // parts + (k < steps % parts) for k in range(parts)]
    lows = [sum(sizes[k + 1 :]) for k in range(parts)]
    return list(zip(lows, sizes, strict=True))
