"""What random graphs grow by: a step picks operands that fit, applies a function, keeps the result.

A step that finds no operand does nothing. `STEPS` are the common ones, `RARE` the others.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from pellucid import ops
from pellucid.core import dtype as dt
from pellucid.core.shape import size_of
from pellucid.graph.ir import TensorType, Value
from tests.random_maker import BOUND, MAX_RANK, SIZES, Maker, random_array


def _is_float(value: Value) -> bool:
    return value.dtype.is_float


def _is_number(value: Value) -> bool:
    return value.dtype.kind != "bool"


def _constant(m: Maker) -> None:
    type = TensorType(m.shape(), m.dtype())
    if m.rng.random() < 0.3:
        m.keep(ops.full(type.shape, 1, type.dtype), 1.0, exact=True)
    else:
        m.keep(ops.constant(random_array(type, m.rng)), 2.0, exact=True)


def _unary(m: Maker) -> None:
    x = m.pick(_is_float)
    if x is not None:
        fn, bound = m.one_of(_UNARY)
        m.keep(fn(x), bound(m.bounds[x]), exact=False)


def _rare_unary(m: Maker) -> None:
    x = m.pick(_is_float)
    if x is not None:
        fn, bound = m.one_of(_RARE_UNARY)
        m.keep(fn(x), bound(m.bounds[x]), exact=False)


def _exact_unary(m: Maker) -> None:
    x = m.pick(_is_number)
    if x is not None:
        m.derive(m.one_of([ops.negative, ops.abs])(x), x)


def _jump(m: Maker) -> None:
    x = m.pick(lambda v: v.dtype.is_float and v in m.exact)
    if x is not None:
        fn = m.one_of([ops.floor, ops.ceil, ops.round, ops.trunc, ops.sign])
        m.derive(fn(x), x, bound=m.bounds[x] + 1)


def _partner(m: Maker, x: Value) -> Value:
    """A value of the same dtype whose shape broadcasts with `x`'s; made if there is none."""
    y = m.pick(lambda v: v.dtype == x.dtype and _broadcasts(v.shape, x.shape))
    if y is not None and m.rng.random() < 0.85:
        return y
    shape = tuple(1 if m.rng.random() < 0.3 else n for n in x.shape)
    made = ops.constant(random_array(TensorType(shape[m.between(0, len(shape)) :], x.dtype), m.rng))
    m.keep(made, 2.0, exact=True)
    return made


def _broadcasts(a: Sequence[int], b: Sequence[int]) -> bool:
    pairs = itertools.zip_longest(reversed(a), reversed(b), fillvalue=1)
    return all(m == n or 1 in (m, n) for m, n in pairs)


def _binary(m: Maker) -> None:
    x = m.pick(_is_float)
    if x is not None:
        y = _partner(m, x)
        fn, bound = m.one_of(_BINARY)
        m.keep(fn(x, y), bound(m.bounds[x], m.bounds[y]), exact=False)


def _min_max(m: Maker) -> None:
    x = m.pick(_is_number)
    if x is not None:
        y = _partner(m, x)
        m.derive(m.one_of([ops.maximum, ops.minimum])(x, y), x, y)


def _scalar(m: Maker) -> None:
    x = m.pick(_is_float)
    if x is not None:
        number = float(m.one_of([0.5, 1.0, 2.0, -1.5, 0.0]))
        fn = m.one_of([ops.add, ops.multiply, ops.subtract, ops.maximum])
        m.keep(fn(x, number), 2 * m.bounds[x] + 2, exact=False)


def _integer(m: Maker) -> None:
    x = m.pick(lambda v: v.dtype.is_integer)
    if x is not None:
        m.keep(m.one_of(_INTEGER)(x, _partner(m, x)), 9.0, exact=True)


def _logic(m: Maker) -> None:
    x = m.pick(lambda v: v.dtype.kind == "bool")
    if x is not None:
        fn = m.one_of([ops.logical_and, ops.logical_or, ops.logical_xor])
        m.keep(ops.logical_not(fn(x, _partner(m, x))), 1.0, exact=True)


def _compare(m: Maker) -> None:
    x = m.pick(lambda v: v in m.exact)
    if x is not None:
        y = _partner(m, x)
        if y in m.exact:
            m.keep(m.one_of(_COMPARE)(x, y), 1.0, exact=True)


def _where(m: Maker) -> None:
    condition = m.pick(lambda v: v.dtype.kind == "bool")
    if condition is not None:
        x = m.pick(lambda v: _broadcasts(v.shape, condition.shape))
        if x is not None:
            y = _partner(m, x)
            if _broadcasts(y.shape, condition.shape):
                m.derive(ops.where(condition, x, y), x, y)


def _cast(m: Maker) -> None:
    x = m.pick()
    if x is None:
        return
    target = m.dtype()
    if x.dtype.is_integer and target.is_float:
        m.derive(ops.astype(ops.remainder(x, 7), target), x, bound=7.0)
    elif x.dtype.is_float and (target.is_float or x in m.exact):
        # a rounded wide value may round to either neighbour, which then counts as inexact
        m.keep(ops.astype(x, target), m.bounds[x] + 1, exact=x in m.exact)
    elif not x.dtype.is_float:
        m.keep(ops.astype(x, target), 1.0, exact=True)


def _reduce(m: Maker) -> None:
    x = m.pick(lambda v: _is_number(v) and v.rank > 0)
    if x is None:
        return
    axes = sorted({m.between(0, x.rank - 1) for _ in range(m.between(1, x.rank))})
    count = size_of([x.shape[a] for a in axes])
    keepdims = bool(m.rng.random() < 0.5)
    if m.rng.random() < 0.5 and count:
        fn = m.one_of([ops.max, ops.min])
        m.derive(fn(x, axis=tuple(axes), keepdims=keepdims), x)
    else:
        fn = m.one_of([ops.sum, ops.mean]) if x.dtype.is_float and count else ops.sum
        total = fn(x, axis=tuple(axes), keepdims=keepdims)
        m.keep(total, m.bounds[x] * max(count, 1), exact=False)


def _any_all(m: Maker) -> None:
    x = m.pick(lambda v: v.dtype.kind == "bool" and v.rank > 0)
    if x is not None:
        fn = m.one_of([ops.any, ops.all])
        m.keep(fn(x, axis=m.between(0, x.rank - 1)), 1.0, exact=True)


def _cumulative(m: Maker) -> None:
    x = m.pick(lambda v: v.dtype.is_float and v.rank > 0)
    if x is not None:
        axis = m.between(0, x.rank - 1)
        m.keep(ops.cumsum(x, axis=axis), m.bounds[x] * (x.shape[axis] + 1), exact=False)


def _arg_reduce(m: Maker) -> None:
    x = m.pick(lambda v: v in m.exact and _is_number(v) and v.rank > 0 and 0 not in v.shape)
    if x is not None:
        fn = m.one_of([ops.argmax, ops.argmin])
        m.keep(fn(x, axis=m.between(0, x.rank - 1)), 20.0, exact=True)


def _sort(m: Maker) -> None:
    x = m.pick(lambda v: v in m.exact and _is_number(v) and v.rank > 0)
    if x is not None:
        m.derive(ops.sort(x, axis=m.between(0, x.rank - 1)), x)


def _softmax(m: Maker) -> None:
    x = m.pick(lambda v: v.dtype.is_float and v.rank > 0 and 0 not in v.shape)
    if x is not None:
        axis = m.between(0, x.rank - 1)
        powers = ops.exp(ops.subtract(x, ops.max(x, axis=axis, keepdims=True)))
        total = ops.sum(powers, axis=axis, keepdims=True)
        m.keep(ops.divide(powers, total), 1.0, exact=False)


def _matmul(m: Maker) -> None:
    x = m.pick(lambda v: v.dtype.is_float and v.rank >= 2)
    if x is None:
        return
    y = m.pick(lambda v: v.dtype == x.dtype and v.rank == 2 and v.shape[0] == x.shape[-1])
    if y is None:
        type = TensorType((x.shape[-1], m.one_of(SIZES)), x.dtype)
        y = ops.constant(random_array(type, m.rng))
        m.keep(y, 2.0, exact=True)
    m.keep(ops.matmul(x, y), m.bounds[x] * m.bounds[y] * (x.shape[-1] + 1), exact=False)


def _transpose(m: Maker) -> None:
    x = m.pick(lambda v: v.rank > 1)
    if x is not None:
        m.derive(ops.transpose(x, tuple(map(int, m.rng.permutation(x.rank)))), x)


def _reshape(m: Maker) -> None:
    x = m.pick()
    if x is None:
        return
    if x.rank > 1 and m.rng.random() < 0.6:
        axis = m.between(0, x.rank - 2)
        merged = x.shape[axis] * x.shape[axis + 1]
        m.derive(ops.reshape(x, (*x.shape[:axis], merged, *x.shape[axis + 2 :])), x)
    elif m.rng.random() < 0.5:
        m.derive(ops.expand_dims(x, axis=m.between(0, x.rank)), x)
    else:
        m.derive(ops.reshape(x, (size_of(x.shape),)), x)


def _broadcast(m: Maker) -> None:
    x = m.pick(lambda v: v.rank < MAX_RANK)
    if x is not None:
        kept = tuple(m.one_of(SIZES) if n == 1 else n for n in x.shape)
        m.derive(ops.broadcast_to(x, (m.one_of((2, 3)), *kept)), x)


def _slice(m: Maker) -> None:
    x = m.pick(lambda v: v.rank > 0)
    if x is None:
        return
    key = []
    for n in x.shape:
        start = m.between(0, max(0, n - 1))
        step = m.one_of([1, 1, 2, 3])
        key.append(slice(start, m.between(start, n), step))
    m.derive(ops.getitem(x, tuple(key)), x)


def _flip(m: Maker) -> None:
    x = m.pick(lambda v: v.rank > 0)
    if x is not None:
        m.derive(ops.flip(x, axis=m.between(0, x.rank - 1)), x)


def _pad(m: Maker) -> None:
    x = m.pick(lambda v: 0 < v.rank)
    if x is not None:
        low = tuple(m.between(0, 2) for _ in x.shape)
        high = tuple(m.between(0, 2) for _ in x.shape)
        m.derive(ops.pad(x, low, high), x)


def _concatenate(m: Maker) -> None:
    x = m.pick(lambda v: v.rank > 0)
    if x is not None:
        axis = m.between(0, x.rank - 1)
        y = m.pick(lambda v: v.dtype == x.dtype and _joins(v.shape, x.shape, axis))
        other = x if y is None else y
        m.derive(ops.concatenate([x, other], axis=axis), x, other)


def _joins(a: Sequence[int], b: Sequence[int], axis: int) -> bool:
    return len(a) == len(b) and all(
        m == n for i, (m, n) in enumerate(zip(a, b, strict=True)) if i != axis
    )


def _take(m: Maker) -> None:
    x = m.pick(lambda v: v.rank > 0 and 0 not in v.shape)
    if x is not None:
        axis = m.between(0, x.rank - 1)
        rows = ops.constant(m.rng.integers(0, x.shape[axis], m.between(1, 5)))
        m.derive(ops.take(x, rows, axis=axis), x)


def _triangle(m: Maker) -> None:
    x = m.pick(lambda v: v.rank >= 2)
    if x is not None:
        m.derive(m.one_of([ops.tril, ops.triu])(x), x)


def _pow(m: Maker) -> None:
    x = m.pick(_is_float)
    if x is not None:
        base = ops.add(ops.abs(x), 0.5)
        m.keep(ops.pow(base, ops.tanh(_partner(m, x))), m.bounds[x] + 2.0, exact=False)


def _products(m: Maker) -> None:
    x = m.pick(lambda v: v.dtype.is_float and v.rank > 0)
    if x is not None:
        fn = m.one_of([ops.prod, ops.cumulative_prod])
        m.keep(fn(ops.tanh(x), axis=m.between(0, x.rank - 1)), 1.0, exact=False)


def _shift(m: Maker) -> None:
    x = m.pick(lambda v: v.dtype.is_integer)
    if x is not None:
        by = ops.bitwise_and(_partner(m, x), 63)
        m.keep(m.one_of([ops.bitwise_left_shift, ops.bitwise_right_shift])(x, by), 9.0, exact=True)


def _bits(m: Maker) -> None:
    x = m.pick(lambda v: v.dtype.name == "float32" and v in m.exact)
    if x is not None:
        m.keep(ops.bitcast(x, dt.int32), 9.0, exact=True)


def _random_bits(m: Maker) -> None:
    state = ops.constant(m.rng.integers(0, 1000, 2).astype(np.uint64))
    bits, _ = ops.random_bits(state, m.shape())
    m.keep(bits, 9.0, exact=True)


def _identity(m: Maker) -> None:
    x = m.pick()
    if x is not None:
        m.derive(m.one_of([ops.barrier, ops.stop_gradient])(x), x)


def _scatter(m: Maker) -> None:
    x = m.pick(lambda v: _is_float(v) and v.rank > 0 and 0 not in v.shape)
    if x is not None:
        rows = ops.constant(m.rng.integers(0, x.shape[0], 3))
        fn = m.one_of([ops.index_add, ops.index_set])
        updates = ops.constant(random_array(TensorType((3, *x.shape[1:]), x.dtype), m.rng))
        m.keep(fn(x, rows, updates), m.bounds[x] + 6.0, exact=False)


def _image(m: Maker) -> Value | None:
    """Some value as `[N, C, H, W]`."""
    x = m.pick(lambda v: _is_float(v) and v.rank >= 2 and 0 not in v.shape)
    return None if x is None else ops.reshape(x, ((1,) * (4 - x.rank) + x.shape))


def _convolve(m: Maker) -> None:
    x = _image(m)
    if x is None:
        return
    shape = (m.between(1, 3), x.shape[1], m.between(1, min(3, x.shape[2])), 1)
    w = ops.constant(random_array(TensorType(shape, x.dtype), m.rng))
    stride, padding = m.between(1, 2), m.between(0, 1)
    bound = BOUND * 2.0 * size_of(shape)
    m.keep(ops.conv2d(x, w, stride=stride, padding=padding), bound, exact=False)


def _pool(m: Maker) -> None:
    x = _image(m)
    if x is not None:
        window = (m.between(1, min(3, x.shape[2])), m.between(1, min(3, x.shape[3])))
        fn = m.one_of([ops.max_pool2d, ops.avg_pool2d])
        m.keep(fn(x, window, stride=m.between(1, 2)), BOUND, exact=False)


_UNARY: tuple[tuple[Callable[[Value], Value], Callable[[float], float]], ...] = (
    (ops.sin, lambda b: 1.0),
    (ops.cos, lambda b: 1.0),
    (ops.tanh, lambda b: 1.0),
    (ops.erf, lambda b: 1.0),
    (ops.atan, lambda b: 2.0),
    (ops.square, lambda b: b * b),
    (lambda x: ops.exp(ops.negative(ops.abs(x))), lambda b: 1.0),
    (lambda x: ops.exp(ops.tanh(x)), lambda b: 3.0),
    (lambda x: ops.log(ops.add(ops.abs(x), 0.5)), lambda b: b + 1.0),
    (lambda x: ops.sqrt(ops.add(ops.abs(x), 0.25)), lambda b: b + 1.0),
    (lambda x: ops.rsqrt(ops.add(ops.square(x), 0.5)), lambda b: 2.0),
    (lambda x: ops.log1p(ops.abs(x)), lambda b: b),
    (lambda x: ops.expm1(ops.sin(x)), lambda b: 2.0),
    (lambda x: ops.reciprocal(ops.add(ops.abs(x), 1.0)), lambda b: 1.0),
    (lambda x: ops.reciprocal(ops.add(ops.exp(ops.negative(ops.tanh(x))), 1.0)), lambda b: 1.0),
    (lambda x: ops.maximum(x, 0.0), lambda b: b),
    (lambda x: ops.multiply(x, ops.erf(x)), lambda b: b),
)
_RARE_UNARY: tuple[tuple[Callable[[Value], Value], Callable[[float], float]], ...] = (
    (ops.asinh, lambda b: b),
    (lambda x: ops.sinh(ops.sin(x)), lambda b: 2.0),
    (lambda x: ops.cosh(ops.sin(x)), lambda b: 2.0),
    (lambda x: ops.tan(ops.sin(x)), lambda b: 2.0),
    (lambda x: ops.exp2(ops.sin(x)), lambda b: 2.0),
    (lambda x: ops.log2(ops.add(ops.abs(x), 0.5)), lambda b: b + 1.0),
    (lambda x: ops.log10(ops.add(ops.abs(x), 0.5)), lambda b: b + 1.0),
    (lambda x: ops.asin(ops.multiply(ops.sin(x), 0.875)), lambda b: 2.0),
    (lambda x: ops.acos(ops.multiply(ops.sin(x), 0.875)), lambda b: 4.0),
    (lambda x: ops.atanh(ops.multiply(ops.tanh(x), 0.875)), lambda b: 2.0),
    (lambda x: ops.acosh(ops.add(ops.abs(x), 1.5)), lambda b: b + 1.0),
    (lambda x: ops.atan2(x, ops.add(ops.abs(x), 0.5)), lambda b: 4.0),
)
_BINARY: tuple[tuple[Callable[[Value, Value], Value], Callable[[float, float], float]], ...] = (
    (ops.add, lambda a, b: a + b),
    (ops.subtract, lambda a, b: a + b),
    (ops.multiply, lambda a, b: a * b),
    (lambda x, y: ops.divide(x, ops.add(ops.abs(y), 1.0)), lambda a, b: a),
)
_INTEGER: tuple[Callable[[Value, Value], Value], ...] = (
    ops.add, ops.subtract, ops.multiply, ops.floor_divide, ops.remainder,
    ops.bitwise_and, ops.bitwise_or, ops.bitwise_xor,
)  # fmt: skip
_COMPARE: tuple[Callable[[Value, Value], Value], ...] = (
    ops.equal, ops.not_equal, ops.less, ops.less_equal, ops.greater, ops.greater_equal,
)  # fmt: skip
STEPS: tuple[Callable[[Maker], None], ...] = (
    _unary, _unary, _unary, _binary, _binary, _binary, _binary, _scalar, _exact_unary, _min_max,
    _integer, _where, _cast, _reduce, _reduce, _reduce, _matmul, _transpose, _reshape, _broadcast,
    _slice, _concatenate, _softmax, _compare,
)  # fmt: skip
RARE: tuple[Callable[[Maker], None], ...] = (
    _constant, _jump, _logic, _any_all, _cumulative, _arg_reduce, _sort, _flip, _pad, _take,
    _triangle, _rare_unary, _rare_unary, _pow, _products, _shift, _bits, _random_bits, _identity,
    _scatter, _convolve, _pool,
)  # fmt: skip
