"""What a kernel means, in NumPy: the oracle for the loop verifier, every schedule step and every
code generator.

Enters: a kernel and its arrays. Leaves: the output arrays, written in place. Loops run one
iteration after the other, except that a nest of loops around one store runs as one NumPy operation
where that gives the same elements in the same order. Contents of fresh buffers are poison (NaN,
garbage), so that reading before writing shows. Indices outside a buffer raise.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import int64
from pellucid.core.errors import ArgumentError, IndexRangeError
from pellucid.loop.functions import evaluate
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
)
from pellucid.loop.rewrite import free_vars, walk_expr

Array = NDArray[Any]
MOST_AT_ONCE = 1 << 20
_PLAIN: Mapping[str, Callable[..., int]] = MappingProxyType(
    {"add": operator.add, "sub": operator.sub, "mul": operator.mul, "min": min, "max": max}
)
_AT: Mapping[str, np.ufunc] = MappingProxyType(
    {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
    | {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}
)


@dataclass(frozen=True, slots=True)
class _State:
    """What is in scope: arrays by buffer name, loop variables as ints or as arrays, the shuffler of
    parallel loops.
    """

    arrays: dict[str, Array]
    vars: dict[str, Any]
    shuffle: Random | None


def run_kernel(kernel: Kernel, *arrays: Array, seed: int | None = None) -> None:
    """Run a kernel on arrays for all its parameters, inputs then outputs; outputs are written in
    place.

    Args:
        kernel: what to run.
        arrays: one C- or otherwise laid-out array per parameter, of its shape and dtype.
        seed: run the iterations of parallel loops in a random order drawn from this seed.

    Raises:
        ArgumentError: arrays that do not fit the parameters.
        IndexRangeError: an index outside its buffer.
    """
    if len(arrays) != len(kernel.params):
        operands = {"count": len(arrays)}
        raise ArgumentError(kernel.name, f"takes {len(kernel.params)} arrays", operands=operands)
    for buffer, array in zip(kernel.params, arrays, strict=True):
        if array.shape != buffer.shape or array.dtype != buffer.dtype.numpy:
            rule = f"{buffer.name} must be {buffer.dtype.short}{list(buffer.shape)}"
            raise ArgumentError(
                kernel.name, rule, operands={"it": f"{array.dtype}{list(array.shape)}"}
            )
    named = {b.name: a for b, a in zip(kernel.params, arrays, strict=True)}
    shuffle = None if seed is None else Random(seed)
    with np.errstate(all="ignore"):
        _run_block(kernel.body, _State(named, {}, shuffle))


def _run_block(block: tuple[Stmt, ...], state: _State) -> None:
    for stmt in block:
        match stmt:
            case Store():
                _run_store(stmt, state, ())
            case For():
                _run_for(stmt, state)
            case If():
                _run_block(stmt.then if _value(stmt.cond, state) else stmt.orelse, state)
            case Alloc():
                arrays = {**state.arrays, stmt.buffer.name: _poison(stmt.buffer)}
                _run_block(stmt.body, replace(state, arrays=arrays))
            case Prefetch():
                pass


def _poison(buffer: Buffer) -> Array:
    if buffer.dtype.is_float:
        return np.full(buffer.shape, np.nan, buffer.dtype.numpy)
    if buffer.dtype.kind == "bool":
        return np.ones(buffer.shape, np.bool_)
    raw = np.full((*buffer.shape, buffer.dtype.itemsize), 0xA5, np.uint8)
    return raw.view(buffer.dtype.numpy).reshape(buffer.shape)


def _run_for(loop: For, state: _State) -> None:
    nest = _nest_at_once(loop, state)
    if nest is not None:
        _run_store(nest[1], _bind(nest[0], state), tuple(n for _, n in nest[0]))
        return
    order = list(range(int(_value(loop.extent, state))))
    if loop.kind == "parallel" and state.shuffle is not None:
        state.shuffle.shuffle(order)
    for i in order:
        _run_block(loop.body, replace(state, vars={**state.vars, loop.var: i}))


def _nest_at_once(loop: For, state: _State) -> tuple[list[tuple[str, int]], Store] | None:
    """The loops (variable, extent) around one store, if they can run as one NumPy operation."""
    axes: list[tuple[str, int]] = []
    stmt: Stmt = loop
    while isinstance(stmt, For):
        if free_vars(stmt.extent) & {v for v, _ in axes}:
            return None
        axes.append((stmt.var, max(0, int(_value(stmt.extent, state)))))
        if len(stmt.body) != 1:
            return None
        stmt = stmt.body[0]
    if not isinstance(stmt, Store) or math.prod(n for _, n in axes) > MOST_AT_ONCE:
        return None
    independent = not _reads(stmt.value, stmt.buffer) or _update(stmt) is not None
    inside = any(_reads(i, stmt.buffer) for i in stmt.indices)
    return (axes, stmt) if independent and not inside else None


def _bind(axes: list[tuple[str, int]], state: _State) -> _State:
    rank = len(axes)
    grids = {
        v: np.arange(n).reshape((1,) * k + (n,) + (1,) * (rank - k - 1))
        for k, (v, n) in enumerate(axes)
    }
    return replace(state, vars={**state.vars, **grids})


def _reads(expr: Expr, buffer: Buffer) -> bool:
    return any(isinstance(e, Load) and e.buffer == buffer for e in walk_expr(expr))


def _update(store: Store) -> tuple[str, Expr] | None:
    """`(fn, term)` where the store is `x = fn(x, term)` and `term` does not read x's buffer."""
    value, own = store.value, Load(store.buffer, store.indices)
    if not isinstance(value, Call):
        return None
    fn, args = value.fn, value.args
    if fn == "fma":
        fn, args = "add", (args[2], Call("mul", args[:2], value.dtype))
    if fn not in _AT or own not in args:
        return None
    term = args[1] if args[0] == own else args[0]
    return None if _reads(term, store.buffer) else (fn, term)


def _run_store(store: Store, state: _State, grid: tuple[int, ...]) -> None:
    if 0 in grid:
        return
    where = _position(store.buffer, store.indices, state, grid)
    target = state.arrays[store.buffer.name]
    update = _update(store) if grid else None
    if update is None:
        value = _value(store.value, state)
        varies = any(isinstance(i, np.ndarray) and i.ndim for i in where)
        target[where] = value if varies or not np.ndim(value) else value.reshape(-1)[-1]
        return
    fn, term = update
    value = np.broadcast_to(np.asarray(_value(term, state)), grid)
    _accumulate(fn, target, where, value)


def _accumulate(fn: str, target: Array, where: tuple[Any, ...], value: Array) -> None:
    """`target[where] = fn(target[where], value)`, one element after the other."""
    if any(isinstance(i, np.ndarray) and i.ndim for i in where):
        _AT[fn].at(target, where, value)
        return
    start = np.asarray(target[where])[None]
    terms = np.concatenate([start, value.reshape(-1)])
    target[where] = _AT[fn].accumulate(terms, dtype=target.dtype)[-1]


def _position(
    buffer: Buffer, indices: tuple[Expr, ...], state: _State, grid: tuple[int, ...] = ()
) -> tuple[Any, ...]:
    values = [_value(i, state) for i in indices]
    for axis, (value, size) in enumerate(zip(values, buffer.shape, strict=True)):
        low, high = (
            (value.min(), value.max())
            if isinstance(value, np.ndarray) and value.ndim
            else (value, value)
        )
        if low < 0 or high >= size:
            bad = int(low if low < 0 else high)
            raise IndexRangeError(buffer.name, f"index {bad} is outside axis {axis} of size {size}")
    if grid and any(isinstance(v, np.ndarray) and v.ndim for v in values):
        return tuple(np.broadcast_to(np.asarray(v), grid) for v in values)
    return tuple(values)


def _value(expr: Expr, state: _State) -> Any:
    match expr:
        case Const():
            return _literal(expr)
        case Var():
            return state.vars[expr.name]
        case Load():
            return state.arrays[expr.buffer.name][_position(expr.buffer, expr.indices, state)]
        case Call():
            return _apply(expr, [_value(a, state) for a in expr.args])


def _literal(expr: Const) -> Any:
    return expr.value if expr.dtype == int64 else expr.dtype.numpy.type(expr.value)


def _apply(expr: Call, args: list[Any]) -> Any:
    plain = _PLAIN.get(expr.fn)
    if plain is not None and all(type(a) is int for a in args):
        return plain(*args)
    return evaluate(expr.fn, expr.dtype, *args)[()]
