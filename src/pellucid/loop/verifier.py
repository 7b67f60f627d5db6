"""Whether a kernel keeps the loop IR's rules; run after every schedule step in tests.

Enters: a kernel. Leaves: nothing, or a `VerifyError`. Checked: names in scope and not hidden,
ranks, dtypes, literals that fit, inputs not written, constant `unroll` extents, every index inside
its buffer (proved by `bounds.py`, or tried out), and no two iterations of a `parallel` loop on one
element where a concrete pair can be found. Not checked: reading before writing (the interpreter's
poison shows it).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from pellucid.core.dtype import bool_, int64
from pellucid.core.errors import PellucidError, VerifyError
from pellucid.loop.functions import result_dtype
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
    Open,
    Prefetch,
    Stmt,
    Store,
    Var,
)
from pellucid.loop.printer import print_expr
from pellucid.loop.rewrite import Block, constant, expressions, walk_expr
from pellucid.loop.witness import Place, Point, evaluate_index, out_of_bounds, points

_MOST_RACE_POINTS = 512


@dataclass(frozen=True, slots=True)
class _Scope:
    """The kernel's name, its inputs, the buffers in scope by name, and where we are."""

    kernel: str
    inputs: frozenset[Buffer]
    buffers: dict[str, Buffer]
    place: Place


def verify_kernel(kernel: Kernel) -> None:
    """Check a kernel.

    Raises:
        VerifyError: a rule is broken; an index out of bounds and a race come with an example.
    """
    if not 0 <= kernel.outputs <= len(kernel.params):
        raise VerifyError(kernel.name, "more outputs than parameters")
    named = {b.name: b for b in kernel.params}
    if len(named) != len(kernel.params) or any(b.scope != "param" for b in kernel.params):
        raise VerifyError(kernel.name, "parameters must have scope param and names of their own")
    inputs = frozenset(kernel.params[: len(kernel.params) - kernel.outputs])
    _block(kernel.body, _Scope(kernel.name, inputs, named, Place()))


def _block(block: Block, scope: _Scope) -> None:
    for stmt in block:
        for expr in expressions(stmt):
            _expression(expr, scope)
        match stmt:
            case Store():
                _store(stmt, scope)
            case For():
                _for(stmt, scope)
            case If():
                _if(stmt, scope)
            case Alloc():
                _alloc(stmt, scope)
            case Prefetch():
                _element(Load(stmt.buffer, stmt.indices), scope)


def _store(stmt: Store, scope: _Scope) -> None:
    _access(Load(stmt.buffer, stmt.indices), scope)
    if stmt.buffer in scope.inputs:
        raise VerifyError(scope.kernel, f"input {stmt.buffer.name} is written")
    if stmt.value.dtype != stmt.buffer.dtype:
        operands = {"the buffer": stmt.buffer.dtype, "the value": stmt.value.dtype}
        rule = f"a store to {stmt.buffer.name} must have its dtype"
        raise VerifyError(scope.kernel, rule, operands=operands, fix="insert a cast")


def _for(loop: For, scope: _Scope) -> None:
    if loop.var in scope.place.facts.extents or loop.var in scope.buffers:
        raise VerifyError(scope.kernel, f"the name {loop.var!r} is already in scope")
    if loop.extent.dtype != int64:
        raise VerifyError(scope.kernel, f"the extent of {loop.var!r} must be int64")
    if loop.kind == "unroll" and constant(loop.extent) is None:
        raise VerifyError(scope.kernel, f"the extent of unroll loop {loop.var!r} must be constant")
    if scope.place.facts.upper(loop.extent) <= 0:
        return
    inside = replace(scope, place=scope.place.enter(loop))
    _block(loop.body, inside)
    if loop.kind == "parallel":
        _race(loop, inside)


def _if(stmt: If, scope: _Scope) -> None:
    if stmt.cond.dtype != bool_:
        raise VerifyError(scope.kernel, "a condition must be bool")
    _block(stmt.then, replace(scope, place=scope.place.assume(stmt.cond, True)))
    _block(stmt.orelse, replace(scope, place=scope.place.assume(stmt.cond, False)))


def _alloc(stmt: Alloc, scope: _Scope) -> None:
    name = stmt.buffer.name
    if name in scope.buffers or name in scope.place.facts.extents:
        raise VerifyError(scope.kernel, f"the name {name!r} is already in scope")
    if stmt.buffer.scope == "param":
        raise VerifyError(scope.kernel, f"allocated buffer {name} cannot have scope param")
    _block(stmt.body, replace(scope, buffers={**scope.buffers, name: stmt.buffer}))


def _expression(expr: Expr, scope: _Scope) -> None:
    for part in walk_expr(expr):
        match part:
            case Const():
                _literal(part, scope)
            case Var():
                if part.name not in scope.place.facts.extents and not isinstance(part, Open):
                    raise VerifyError(scope.kernel, f"variable {part.name!r} is not in scope")
            case Load():
                _access(part, scope)
            case Call():
                _call(part, scope)


def _literal(expr: Const, scope: _Scope) -> None:
    value, dtype = expr.value, expr.dtype
    fits = isinstance(value, float if dtype.is_float else (bool if dtype == bool_ else int))
    if fits and dtype.is_integer:
        limits = np.iinfo(dtype.name)
        fits = limits.min <= value <= limits.max
    if not fits:
        raise VerifyError(scope.kernel, f"the literal {value!r} is not a {dtype}")


def _call(expr: Call, scope: _Scope) -> None:
    try:
        dtype = result_dtype(expr.fn, [a.dtype for a in expr.args], expr.dtype)
    except PellucidError as error:
        raise VerifyError(scope.kernel, f"in {print_expr(expr)}: {error}") from error
    if dtype != expr.dtype:
        rule = f"{print_expr(expr)} has dtype {dtype}, not {expr.dtype}"
        raise VerifyError(scope.kernel, rule)


def _element(load: Load, scope: _Scope) -> None:
    name = load.buffer.name
    if scope.buffers.get(name) != load.buffer:
        raise VerifyError(scope.kernel, f"buffer {name!r} is not in scope")
    if len(load.indices) != len(load.buffer.shape):
        operands = {"indices": len(load.indices), "axes": len(load.buffer.shape)}
        raise VerifyError(scope.kernel, f"{name} needs one index per axis", operands=operands)
    if any(i.dtype != int64 for i in load.indices):
        raise VerifyError(scope.kernel, f"indices of {name} must be int64", fix="insert a cast")


def _access(load: Load, scope: _Scope) -> None:
    _element(load, scope)
    for axis in range(len(load.indices)):
        error = out_of_bounds(scope.kernel, load, axis, scope.place)
        if error is not None:
            raise error


@dataclass(frozen=True, slots=True)
class _Touch:
    """An access inside a parallel loop."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    store: bool
    place: Place


def _touches(block: Block, place: Place) -> Iterator[_Touch]:
    for stmt in block:
        yield from _own_touches(stmt, place)
        match stmt:
            case For():
                yield from _touches(stmt.body, place.enter(stmt))
            case If():
                yield from _touches(stmt.then, place.assume(stmt.cond, True))
                yield from _touches(stmt.orelse, place.assume(stmt.cond, False))
            case Alloc():
                inner = _touches(stmt.body, place)
                yield from (t for t in inner if t.buffer != stmt.buffer)
            case Store() | Prefetch():
                pass


def _own_touches(stmt: Stmt, place: Place) -> Iterator[_Touch]:
    if isinstance(stmt, Store):
        yield _Touch(stmt.buffer, stmt.indices, True, place)
    for expr in expressions(stmt):
        for load in walk_expr(expr):
            if isinstance(load, Load):
                yield _Touch(load.buffer, load.indices, False, place)


def _race(loop: For, scope: _Scope) -> None:
    """Find two iterations of a parallel loop, the loops around it at 0, that meet on an element."""
    around = {v: 0 for v in scope.place.facts.extents if v != loop.var}
    touches = list(_touches(loop.body, scope.place))
    stored = {t.buffer for t in touches if t.store}
    for buffer in sorted(stored, key=lambda b: b.name):
        writers: dict[tuple[int, ...], int] = {}
        mine = sorted((t for t in touches if t.buffer == buffer), key=lambda t: not t.store)
        for touch in mine:
            for element, i in _elements(touch, loop.var, around):
                other = writers.setdefault(element, i) if touch.store else writers.get(element, i)
                if other != i:
                    rule = (
                        f"iterations {other} and {i} of parallel loop {loop.var!r} both touch "
                        f"{buffer.name}{list(element)}, at least one writing"
                    )
                    raise VerifyError(scope.kernel, rule)


def _elements(touch: _Touch, var: str, around: Point) -> Iterator[tuple[tuple[int, ...], int]]:
    about = (*touch.indices, Var(var))
    for count, point in enumerate(points(touch.place, about, around)):
        element = [evaluate_index(i, point) for i in touch.indices]
        if count < _MOST_RACE_POINTS and None not in element:
            yield tuple(i for i in element if i is not None), point[var]
