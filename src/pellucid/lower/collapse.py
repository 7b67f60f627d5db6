"""Merge loops that always walk two adjacent axes together, in every buffer they touch.

`for i0 in 12: for i1 in 64: y[i0, i1, j]` over row-major memory is one loop over 768 rows; buffers
are seen under the merged shape. Fewer, longer loops make for shorter kernels and simpler schedules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pellucid.core.shape import Shape
from pellucid.loop.compute import Index
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Load,
    Prefetch,
    Stmt,
    Store,
    Var,
    as_expr,
    imul,
)
from pellucid.loop.sizes import is_fixed

Pair = tuple[str, str]  # variables of a loop and of the only loop in it
Place = tuple[Buffer, int]  # axes k and k + 1 of a buffer


def collapse_axes(kernel: Kernel) -> Kernel:
    """The kernel with every mergeable pair of loops merged.

    `for i in 2 { for j in 3 { y[i, j] = x[i, j] } }` -> `for i in 6 { y[i] = x[i] }`
    """
    while True:
        pairs = _mergeable(kernel)
        component = next(filter(None, (_component(p, pairs) for p in pairs)), None)
        if component is None:
            return kernel
        places = frozenset().union(*(pairs[p] for p in component))
        kernel = _Merge(component, places).kernel(kernel)


def _mergeable(kernel: Kernel) -> dict[Pair, frozenset[Place]]:
    """Pairs that index nothing but adjacent whole axes, each with the places it merges."""
    extents = dict(_nested(kernel.body))
    accesses = list(_accesses(kernel.body))
    numbers = {name for e in _numbers(kernel.body) for name in _names(e)}
    pairs = {p: _places(p, n, accesses) for p, n in extents.items() if not numbers & set(p)}
    good = {p: places for p, places in pairs.items() if places}
    while True:
        covered = {(b, p) for p, places in good.items() for b, _ in places}
        broken = {
            (buffer, k)
            for places in good.values()
            for buffer, k in places
            for other, idx in accesses
            if other == buffer and (buffer, _pair_at(idx, k)) not in covered
        }
        kept = {p: places for p, places in good.items() if not places & broken}
        if len(kept) == len(good):
            return good
        good = kept


def _component(pair: Pair, pairs: Mapping[Pair, frozenset[Place]]) -> frozenset[Pair] | None:
    """The pairs that must merge together with `pair`; None where two of them share a loop."""
    found = {pair}
    while True:
        places = frozenset().union(*(pairs[p] for p in found))
        grown = {p for p, own in pairs.items() if own & places}
        if grown == found:
            break
        found = grown
    names = [name for p in found for name in p]
    axes = {(b, k + 1) for b, k in places}
    return None if len(set(names)) != len(names) or axes & places else frozenset(found)


def _places(
    pair: Pair, extent: Expr, accesses: Sequence[tuple[Buffer, Index]]
) -> frozenset[Place] | None:
    """Where the pair indexes, or None where it does so in any other way than side by side."""
    found = set()
    for buffer, idx in accesses:
        used = [k for k, i in enumerate(idx) if _names(i) & set(pair)]
        if not used:
            continue
        k = used[0]
        if used != [k, k + 1] or _pair_at(idx, k) != pair or as_expr(buffer.shape[k + 1]) != extent:
            return None
        found.add((buffer, k))
    return frozenset(found)


def _pair_at(idx: Index, k: int) -> Pair | None:
    first, second = idx[k], idx[k + 1]
    if isinstance(first, Var) and isinstance(second, Var):
        return first.name, second.name
    return None


class _Merge:
    """Rewrites a kernel with some pairs of loops and the axes they walk made one."""

    def __init__(self, pairs: frozenset[Pair], places: frozenset[Place]) -> None:
        self.outer = {p[0]: p[1] for p in pairs}
        self.places: dict[Buffer, list[int]] = {}
        for buffer, k in places:
            self.places.setdefault(buffer, []).append(k)

    def kernel(self, kernel: Kernel) -> Kernel:
        """The rewritten kernel."""
        params = tuple(self._buffer(b) for b in kernel.params)
        return replace(kernel, params=params, body=self._body(kernel.body))

    def _buffer(self, buffer: Buffer) -> Buffer:
        return replace(buffer, shape=self._shape(buffer))

    def _shape(self, buffer: Buffer) -> Shape:
        shape = list(buffer.shape)
        for k in sorted(self.places.get(buffer, ()), reverse=True):
            shape[k : k + 2] = [shape[k] * shape[k + 1]]
        return tuple(shape)

    def _index(self, buffer: Buffer, idx: Index) -> Index:
        out = [self._expr(i) for i in idx]
        for k in sorted(self.places.get(buffer, ()), reverse=True):
            out[k : k + 2] = [out[k]]
        return tuple(out)

    def _body(self, stmts: Sequence[Stmt]) -> tuple[Stmt, ...]:
        return tuple(self._stmt(s) for s in stmts)

    def _stmt(self, stmt: Stmt) -> Stmt:
        match stmt:
            case Store():
                idx = self._index(stmt.buffer, stmt.indices)
                return Store(self._buffer(stmt.buffer), idx, self._expr(stmt.value))
            case For():
                return self._loop(stmt)
            case If():
                cond = self._expr(stmt.cond)
                return If(cond, self._body(stmt.then), self._body(stmt.orelse))
            case Prefetch():
                idx = self._index(stmt.buffer, stmt.indices)
                return replace(stmt, buffer=self._buffer(stmt.buffer), indices=idx)
            case Alloc():
                return Alloc(self._buffer(stmt.buffer), self._body(stmt.body))

    def _loop(self, loop: For) -> For:
        inner = loop.body[0]
        if loop.var in self.outer and isinstance(inner, For) and inner.var == self.outer[loop.var]:
            extent = imul(loop.extent, inner.extent)
            return replace(loop, extent=extent, body=self._body(inner.body))
        return replace(loop, extent=self._expr(loop.extent), body=self._body(loop.body))

    def _expr(self, expr: Expr) -> Expr:
        if isinstance(expr, Load):
            return Load(self._buffer(expr.buffer), self._index(expr.buffer, expr.indices))
        if isinstance(expr, Call):
            return replace(expr, args=tuple(self._expr(a) for a in expr.args))
        return expr


def _nested(stmts: Sequence[Stmt]) -> Iterator[tuple[Pair, Expr]]:
    """Directly nested serial loops whose extents do not vary, with the inner extent."""
    for stmt in stmts:
        if isinstance(stmt, For) and len(stmt.body) == 1:
            inner = stmt.body[0]
            if isinstance(inner, For) and _countable(stmt) and _countable(inner):
                yield (stmt.var, inner.var), inner.extent
        yield from _nested(_children(stmt))


def _countable(loop: For) -> bool:
    return loop.kind == "serial" and is_fixed(loop.extent)


def _children(stmt: Stmt) -> tuple[Stmt, ...]:
    match stmt:
        case For() | Alloc():
            return stmt.body
        case If():
            return (*stmt.then, *stmt.orelse)
        case Store() | Prefetch():
            return ()


def _accesses(stmts: Sequence[Stmt]) -> Iterator[tuple[Buffer, Index]]:
    """Every buffer element read or written."""
    for stmt in stmts:
        if isinstance(stmt, Store):
            yield stmt.buffer, stmt.indices
            for i in stmt.indices:
                yield from _loads(i)
        for expr in _own(stmt):
            yield from _loads(expr)
        yield from _accesses(_children(stmt))


def _own(stmt: Stmt) -> tuple[Expr, ...]:
    match stmt:
        case Store():
            return (stmt.value,)
        case For():
            return (stmt.extent,)
        case If():
            return (stmt.cond,)
        case Alloc() | Prefetch():
            return ()


def _numbers(stmts: Sequence[Stmt]) -> Iterator[Expr]:
    """Expressions in which a variable counts as a number, with the loads taken out."""
    for stmt in stmts:
        for expr in _own(stmt):
            yield _without_loads(expr)
        yield from _numbers(_children(stmt))


def _without_loads(expr: Expr) -> Expr:
    if isinstance(expr, Load):
        return Const(0)
    if isinstance(expr, Call):
        return replace(expr, args=tuple(_without_loads(a) for a in expr.args))
    return expr


def _loads(expr: Expr) -> Iterator[tuple[Buffer, Index]]:
    if isinstance(expr, Load):
        yield expr.buffer, expr.indices
    for child in _parts(expr):
        yield from _loads(child)


def _names(expr: Expr) -> set[str]:
    if isinstance(expr, Var):
        return {expr.name}
    return {name for child in _parts(expr) for name in _names(child)}


def _parts(expr: Expr) -> tuple[Expr, ...]:
    if isinstance(expr, Call):
        return expr.args
    return expr.indices if isinstance(expr, Load) else ()
