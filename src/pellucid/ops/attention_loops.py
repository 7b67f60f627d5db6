"""Attention as loops over blocks of queries and of keys: no matrix of all scores is ever held.

Enters: the buffers of one `attention` or `attention_grad`. Leaves: statements. A block of scores
lies turned, `[keys, queries]`, so that what belongs to a query (its greatest score, its sum) is one
element of a row that runs beside it: a maximum over keys compares whole rows. Of the operands only
the block of queries is turned for that; keys and values are read where they lie.

Sources: online softmax: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018);
blocks and recomputation: Dao, "FlashAttention-2" (2023). Here the query loop is outermost in both
directions, and the gradients of keys and values are partial sums over interleaved query blocks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pellucid.core.dtype import DType
from pellucid.core.shape import Shape, size_of
from pellucid.loop.compute import Index
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    If,
    Load,
    Store,
    compare,
    const,
    iadd,
    ifloordiv,
    imin,
    imul,
    isub,
    select,
)
from pellucid.ops.nests import Body, Nests

BLOCK = 64  # queries, and keys: 16 KB of scores, beside as much of keys and values
CAUSAL_BLOCK = 32  # less is wasted beside the diagonal
ROWS = 8  # blocks are multiples, so that register tiles fill them
LANES = 16
FEWEST_TASKS = 8  # parallel pieces of a gradient, whatever the number of heads


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Sizes and options of one attention."""

    lead: Shape
    queries: int
    keys: int
    width: int
    depth: int
    causal: bool
    scale: float
    dtype: DType

    @property
    def block(self) -> int:
        """Queries a block."""
        return _even(self.queries, CAUSAL_BLOCK if self.causal else BLOCK, LANES)

    @property
    def blocks(self) -> int:
        """Blocks of queries, the last perhaps short."""
        return -(-self.queries // self.block)

    @property
    def rows(self) -> int:
        """Keys a block."""
        return _even(self.keys, CAUSAL_BLOCK if self.causal else BLOCK, ROWS)

    @property
    def parts(self) -> int:
        """Partial sums for the gradients of keys and values."""
        return min(self.blocks, -(-FEWEST_TASKS // max(1, size_of(self.lead))))


def _even(extent: int, most: int, multiple: int) -> int:
    """The size of equal blocks of at most about `most`."""
    if extent <= most:
        return extent
    return -(-extent // -(-extent // most) // multiple) * multiple


def forward_loops(problem: Problem, sources: Sequence[Buffer], outs: Sequence[Buffer]) -> Body:
    """The output and each row's log-sum-exp; sources are queries, keys, values and maybe a mask."""
    return _Forward(problem, sources, outs).statements()


def backward_loops(problem: Problem, sources: Sequence[Buffer], outs: Sequence[Buffer]) -> Body:
    """Gradients of queries, keys, values; sources are these, the output's gradient, log-sum-exp,
    each row's `sum(gradient * output)`, and maybe a mask.
    """
    return _Backward(problem, sources, outs).statements()


class _Nests(Nests):
    """Names loops and blocks, and writes what both directions share."""

    def __init__(self, problem: Problem, sources: Sequence[Buffer], mask: int) -> None:
        super().__init__()
        self.p = problem
        self.q, self.k, self.v = sources[:3]
        self.mask = sources[mask] if len(sources) > mask else None
        self.lead: Index = ()
        self.block: Expr = Const(0)

    def tile(self, hint: str, *shape: int) -> Buffer:
        """A block in scratch memory, or a row of one beside the registers."""
        return Buffer(self.name(hint), shape, self.p.dtype, "temp" if len(shape) > 1 else "local")

    def over_lead(self, body: Callable[[Expr], Body], blocks: int, hint: str) -> Body:
        """`body` for every batch, head and block."""

        def inside(*variables: Expr) -> Body:
            self.lead = variables[:-1]
            return body(variables[-1])

        names = {f"h{axis}_": n for axis, n in enumerate(self.p.lead)}
        return self.nest(inside, **names, **{hint: blocks})

    def start(self) -> Expr:
        """The first query of the block."""
        return imul(self.block, self.p.block)

    def present(self) -> Expr:
        """Queries in the block."""
        whole = self.p.queries % self.p.block == 0
        return Const(self.p.block) if whole else imin(self.p.block, self.left())

    def left(self) -> Expr:
        """Queries from the start of the block on."""
        return isub(self.p.queries, self.start())

    def query(self, i: Expr) -> Expr:
        """The position of query `i` of a block; behind the last one, the last one again."""
        at = iadd(self.start(), i)
        return at if self.p.queries % self.p.block == 0 else imin(at, self.p.queries - 1)

    def number(self, value: float) -> Const:
        """A literal."""
        return const(value, self.p.dtype)

    def turned(self, target: Buffer, source: Buffer, scale: float = 1.0) -> Body:
        """A block of rows of `source` with its queries along memory."""

        def body(i: Expr, d: Expr) -> Body:
            value = Load(source, (*self.lead, self.query(i), d))
            return (Store(target, (d, i), _times(value, self.number(scale))),)

        return self.nest(body, i=self.p.block, d=target.shape[0])

    def filled(self, target: Buffer, value: float) -> Body:
        """A block of one number."""
        names = {f"z{axis}_": n for axis, n in enumerate(target.shape)}
        return self.nest(lambda *idx: (Store(target, idx, self.number(value)),), **names)

    def over_keys(self, body: Callable[[Expr, int], Body]) -> Body:
        """`body` of the first key and the number of keys, for every block the queries look at."""
        p = self.p
        full, rest = divmod(p.keys, p.rows)
        last = iadd(self.start(), p.block - 1)  # query of the block, which sees the most keys
        seen = imin(full, iadd(ifloordiv(last, p.rows), 1)) if p.causal else Const(full)
        made: Body = self.nest(lambda b: body(imul(b, p.rows), p.rows), kb=seen) if full else ()
        if rest:
            tail = body(Const(full * p.rows), rest)
            made += (If(compare("ge", last, full * p.rows), tail),) if p.causal else tail
        return made

    def scores(self, target: Buffer, turned: Buffer, first: Expr, rows: int) -> Body:
        """`keys @ queries.T`, the scale being in the queries, with what is masked at -inf."""
        made = self.products(target, turned, self.k, first, rows)
        if self.mask is not None:
            made += self._masked(target, self.mask, first, rows)
        if self.p.causal:
            made += self._ahead(target, first, rows)
        return made

    def products(
        self, target: Buffer, turned: Buffer, source: Buffer, first: Expr, rows: int
    ) -> Body:
        """`target[j, i] = sum over d of source[first + j, d] * turned[d, i]`."""

        def step(j: Expr, i: Expr, d: Expr) -> Body:
            row = Load(source, (*self.lead, iadd(first, j), d))
            return (_add(target, (j, i), _times(Load(turned, (d, i)), row)),)

        zero = self.nest(
            lambda j, i: (Store(target, (j, i), self.number(0)),), j=rows, i=self.p.block
        )
        return zero + self.nest(step, j=rows, i=self.p.block, d=turned.shape[0])

    def _masked(self, target: Buffer, mask: Buffer, first: Expr, rows: int) -> Body:
        def body(j: Expr, i: Expr) -> Body:
            idx = (*self.lead, self.query(i), iadd(first, j))
            at = tuple(Const(0) if n == 1 else x for x, n in zip(idx, mask.shape, strict=True))
            old, read = Load(target, (j, i)), Load(mask, at)
            new = _hidden(read, old) if mask.dtype.kind == "bool" else _plus(old, read)
            return (Store(target, (j, i), new),)

        return self.nest(body, j=rows, i=self.p.block)

    def _ahead(self, target: Buffer, first: Expr, rows: int) -> Body:
        """Keys behind their query hidden, in the blocks that the diagonal crosses."""

        def body(j: Expr, i: Expr) -> Body:
            seen = compare("le", iadd(first, j), iadd(self.start(), i))
            return (Store(target, (j, i), _hidden(seen, Load(target, (j, i)))),)

        crossed = compare("gt", iadd(first, rows - 1), self.start())
        return (If(crossed, self.nest(body, j=rows, i=self.p.block)),)


class _Forward(_Nests):
    def __init__(self, problem: Problem, sources: Sequence[Buffer], outs: Sequence[Buffer]) -> None:
        super().__init__(problem, sources, 3)
        self.out, self.lse = outs
        self.turned_q = self.tile("queries", problem.width, problem.block)
        self.sums = self.tile("sums", problem.block, problem.depth)
        self.top, self.total = self.tile("top", problem.block), self.tile("total", problem.block)

    def statements(self) -> Body:
        return self.over_lead(self._block, self.p.blocks, "b")

    def _block(self, block: Expr) -> Body:
        self.block = block
        body = self.turned(self.turned_q, self.q, self.p.scale)
        body += self.filled(self.top, -math.inf) + self.filled(self.total, 0)
        body += self.filled(self.sums, 0) + self.over_keys(self._keys) + self._finish()
        return _holding((self.turned_q, self.sums, self.top, self.total), body)

    def _keys(self, first: Expr, rows: int) -> Body:
        """One block of keys: its scores, and the running maximum, sum and output brought up to
        date.
        """
        scores = self.tile("scores", rows, self.p.block)
        before, factor = self.tile("before", self.p.block), self.tile("factor", self.p.block)
        shift = self.tile("shift", self.p.block)
        body = self.scores(scores, self.turned_q, first, rows)
        body += self.nest(lambda i: (_copy(before, self.top, i),), i=self.p.block)
        body += self.nest(
            lambda j, i: (_update("max", self.top, (i,), Load(scores, (j, i))),),
            j=rows, i=self.p.block,
        )  # fmt: skip
        body += self.nest(lambda i: self._rescale(i, before, shift, factor), i=self.p.block)
        body += self.nest(lambda j, i: self._raise(scores, shift, (j, i)), j=rows, i=self.p.block)
        body += self._mix(scores, factor, first, rows)
        return _holding((scores, before, shift, factor), body)

    def _rescale(self, i: Expr, before: Buffer, shift: Buffer, factor: Buffer) -> Body:
        """What sums so far shrink by; a row that has seen nothing but -inf stays at 0."""
        top, down = Load(self.top, (i,)), Load(shift, (i,))
        nothing = compare("eq", top, self.number(-math.inf))
        ratio = _exp(_minus(Load(before, (i,)), down))
        return (
            Store(shift, (i,), select(nothing, self.number(0), top)),
            Store(factor, (i,), ratio),
            Store(self.total, (i,), _times(Load(self.total, (i,)), Load(factor, (i,)))),
        )

    def _raise(self, scores: Buffer, shift: Buffer, at: Index) -> Body:
        lifted = _exp(_minus(Load(scores, at), Load(shift, at[1:])))
        return Store(scores, at, lifted), _add(self.total, at[1:], Load(scores, at))

    def _mix(self, weights: Buffer, factor: Buffer, first: Expr, rows: int) -> Body:
        """`sums = factor * sums + weights.T @ values`."""

        def shrink(i: Expr, d: Expr) -> Body:
            return (_update("mul", self.sums, (i, d), Load(factor, (i,))),)

        def step(i: Expr, d: Expr, j: Expr) -> Body:
            value = Load(self.v, (*self.lead, iadd(first, j), d))
            return (_add(self.sums, (i, d), _times(Load(weights, (j, i)), value)),)

        made = self.nest(shrink, i=self.p.block, d=self.p.depth)
        return made + self.nest(step, i=self.p.block, d=self.p.depth, j=rows)

    def _finish(self) -> Body:
        share = self.tile("share", self.p.block)
        masked = self.mask is not None

        def close(i: Expr) -> Body:
            total = Load(self.total, (i,))
            none = compare("eq", total, self.number(0))
            divisor = select(none, self.number(1), total) if masked else total
            raised = _plus(Load(self.top, (i,)), Call("log", (total,), self.p.dtype))
            empty = self.number(math.inf if masked else math.nan)
            at = (*self.lead, iadd(self.start(), i))
            return (
                Store(share, (i,), Call("div", (self.number(1), divisor), self.p.dtype)),
                Store(self.lse, at, select(none, empty, raised)),
            )

        def store(i: Expr, d: Expr) -> Body:
            at = (*self.lead, iadd(self.start(), i), d)
            return (Store(self.out, at, _times(Load(self.sums, (i, d)), Load(share, (i,)))),)

        made = self.nest(close, i=self.present())
        made += self.nest(store, i=self.present(), d=self.p.depth)
        return _holding((share,), made)


class _Backward(_Nests):
    def __init__(self, problem: Problem, sources: Sequence[Buffer], outs: Sequence[Buffer]) -> None:
        super().__init__(problem, sources, 6)
        self.g, self.lse, self.delta = sources[3:6]
        self.dq, self.dk, self.dv = outs
        p = problem
        self.turned_q = self.tile("queries", p.width, p.block)
        self.turned_g = self.tile("cotangents", p.depth, p.block)
        self.sums = self.tile("sums", p.block, p.width)
        self.level, self.mean = self.tile("level", p.block), self.tile("mean", p.block)
        self.part: Expr = Const(0)
        shape = (*p.lead, p.parts, p.keys)
        self.keys = self.tile("keys", *shape, p.width)
        self.values = self.tile("values", *shape, p.depth)

    def statements(self) -> Body:
        made = self.over_lead(self._part, self.p.parts, "p")
        if self.p.parts == 1:
            return made
        made += self._gathered(self.dk, self.keys) + self._gathered(self.dv, self.values)
        return _holding((self.keys, self.values), made)

    def _target(self, whole: Buffer, partial: Buffer, *at: Expr) -> Load:
        """Where a gradient is summed up: in place, or in this part's share."""
        if self.p.parts == 1:
            return Load(whole, (*self.lead, *at))
        return Load(partial, (*self.lead, self.part, *at))

    def _part(self, part: Expr) -> Body:
        """Every `parts`-th block of queries, so that causal parts are equally long."""
        self.part = part
        p = self.p
        body: Body = ()
        for whole, partial, n in ((self.dk, self.keys, p.width), (self.dv, self.values, p.depth)):

            def clear(j: Expr, d: Expr, whole: Buffer = whole, partial: Buffer = partial) -> Body:
                place = self._target(whole, partial, j, d)
                return (Store(place.buffer, place.indices, self.number(0)),)

            body += self.nest(clear, j=p.keys, d=n)
        count = ifloordiv(isub(p.blocks + p.parts - 1, part), p.parts)
        body += self.nest(lambda t: self._block(iadd(imul(t, p.parts), part)), t=count)
        return body

    def _block(self, block: Expr) -> Body:
        self.block = block
        body = self.turned(self.turned_q, self.q, self.p.scale)
        body += self.turned(self.turned_g, self.g)
        body += self.nest(self._rows, i=self.p.block) + self.filled(self.sums, 0)
        body += self.over_keys(self._keys)

        def store(i: Expr, d: Expr) -> Body:
            at = (*self.lead, iadd(self.start(), i), d)
            return (Store(self.dq, at, Load(self.sums, (i, d))),)

        body += self.nest(store, i=self.present(), d=self.p.width)
        held = (self.turned_q, self.turned_g, self.sums, self.level, self.mean)
        return _holding(held, body)

    def _rows(self, i: Expr) -> Body:
        at = (*self.lead, self.query(i))
        return Store(self.level, (i,), Load(self.lse, at)), Store(
            self.mean, (i,), Load(self.delta, at)
        )

    def _keys(self, first: Expr, rows: int) -> Body:
        """One block of keys: weights from their log-sum-exp, then all that depends on them."""
        p = self.p
        weights, slopes = self.tile("weights", rows, p.block), self.tile("slopes", rows, p.block)
        body = self.scores(weights, self.turned_q, first, rows)
        body += self.products(slopes, self.turned_g, self.v, first, rows)

        def weigh(j: Expr, i: Expr) -> Body:
            at = (j, i)
            raised = _exp(_minus(Load(weights, at), Load(self.level, (i,))))
            gap = _minus(Load(slopes, at), Load(self.mean, (i,)))
            slope = _times(_times(Load(weights, at), gap), self.number(p.scale))
            return Store(weights, at, raised), Store(slopes, at, slope)

        body += self.nest(weigh, j=rows, i=p.block)
        body += self._spread(self.dv, self.values, weights, self.g, first, rows)
        body += self._spread(self.dk, self.keys, slopes, self.q, first, rows)

        def gather(i: Expr, d: Expr, j: Expr) -> Body:
            key = Load(self.k, (*self.lead, iadd(first, j), d))
            return (_add(self.sums, (i, d), _times(Load(slopes, (j, i)), key)),)

        body += self.nest(gather, i=p.block, d=p.width, j=rows)
        return _holding((weights, slopes), body)

    def _spread(
        self, whole: Buffer, partial: Buffer, tile: Buffer, source: Buffer, first: Expr, rows: int
    ) -> Body:
        """`whole[first + j, d] += sum over i of tile[j, i] * source[i, d]`."""

        def step(j: Expr, d: Expr, i: Expr) -> Body:
            place = self._target(whole, partial, iadd(first, j), d)
            row = Load(source, (*self.lead, iadd(self.start(), i), d))
            return (_add(place.buffer, place.indices, _times(Load(tile, (j, i)), row)),)

        return self.nest(step, j=rows, d=source.shape[-1], i=self.present())

    def _gathered(self, whole: Buffer, partial: Buffer) -> Body:
        """The parts' sums, in order."""
        *outer, last = [(f"g{axis}_", n) for axis, n in enumerate(whole.shape)]
        split = len(self.p.lead)

        def part(idx: Index, number: Expr) -> Load:
            return Load(partial, (*idx[:split], number, *idx[split:]))

        def first(*idx: Expr) -> Body:
            return (Store(whole, idx, part(idx, Const(0))),)

        def more(*variables: Expr) -> Body:
            *around, number, column = variables
            idx = (*around, column)
            return (_add(whole, idx, part(idx, iadd(number, 1))),)

        made = self.nest(first, **dict((*outer, last)))
        return made + self.nest(more, **dict((*outer, ("p", self.p.parts - 1), last)))


def _holding(buffers: Sequence[Buffer], body: Body) -> Body:
    for buffer in reversed(buffers):
        body = (Alloc(buffer, body),)
    return body


def _call(fn: str, *args: Expr) -> Expr:
    return Call(fn, args, args[0].dtype)


def _times(a: Expr, b: Expr) -> Expr:
    return a if isinstance(b, Const) and b.value == 1 else _call("mul", a, b)


def _plus(a: Expr, b: Expr) -> Expr:
    return _call("add", a, b)


def _minus(a: Expr, b: Expr) -> Expr:
    return _call("sub", a, b)


def _exp(a: Expr) -> Expr:
    return _call("exp_bounded", a)


def _hidden(seen: Expr, score: Expr) -> Expr:
    return select(seen, score, const(-math.inf, score.dtype))


def _update(fn: str, buffer: Buffer, at: Index, term: Expr) -> Store:
    return Store(buffer, at, Call(fn, (Load(buffer, at), term), buffer.dtype))


def _add(buffer: Buffer, at: Index, term: Expr) -> Store:
    return _update("add", buffer, at, term)


def _copy(target: Buffer, source: Buffer, i: Expr) -> Store:
    return Store(target, (i,), Load(source, (i,)))
