"""Random valid graphs, for testing passes, lowering and code generation against the interpreter.

`random_graph(seed, size)` is deterministic. Graphs mix dtypes, broadcasting, movement, reductions,
contractions, constants, values used many times and dead nodes. Two properties make them fair to
compare across targets:

- float values stay below `BOUND`, so that small differences in rounding stay small;
- what jumps (comparisons, rounding, sorting, float to int) is only applied to values that every
target gets exactly:
  inputs, integers, and what moves, negates, compares or selects them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid import ops
from pellucid.core import dtype as dt
from pellucid.core.dtype import DType
from pellucid.core.shape import size_of
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value
from pellucid.ops.sort import sort

BOUND = 100.0
FLOATS = (dt.float32,) * 6 + (dt.float64,) * 2 + (dt.float16, dt.bfloat16)
DISCRETE = (dt.int32, dt.int64, dt.uint8, dt.int8, dt.bool_, dt.uint32)
SIZES = (1, 1, 2, 3, 3, 4, 5, 7, 8, 17)
MAX_ELEMENTS = 4096
MAX_RANK = 4

EPSILON = {"float64": 1e-9, "float32": 2e-4, "float16": 0.1, "bfloat16": 0.5}


def random_graph(seed: int, size: int) -> Graph:
    """A graph of about `size` ops functions (each one or more nodes)."""
    with GraphBuilder(f"random_{seed}") as builder:
        maker = _Maker(builder, np.random.default_rng(seed))
        for _ in range(maker.between(1, 4)):
            maker.input()
        for _ in range(size):
            maker.step()
        return builder.finish(maker.outputs())


def random_inputs(graph: Graph, seed: int) -> list[NDArray[Any]]:
    """Arrays for a graph's inputs: floats in [-2, 2), small integers, bools."""
    rng = np.random.default_rng(seed)
    return [random_array(v.type, rng) for v in graph.inputs]


def random_array(type: TensorType, rng: np.random.Generator) -> NDArray[Any]:
    """One array of the type."""
    if type.dtype.is_float:
        return np.asarray(rng.uniform(-2, 2, type.shape)).astype(type.dtype.numpy)
    low = 0 if type.dtype.kind != "int" else -9
    high = 2 if type.dtype.kind == "bool" else 10
    return np.asarray(rng.integers(low, high, type.shape)).astype(type.dtype.numpy)


def tolerance(graph: Graph) -> float:
    """How far results may differ, relative to the larger of 1 and the largest value."""
    types = [v.dtype.name for v in graph.inputs]
    types += [v.dtype.name for n in graph.nodes for v in n.outputs]
    return max((EPSILON[t] for t in types if t in EPSILON), default=0.0)


def assert_same_results(
    graph: Graph, got: Sequence[NDArray[Any]], expected: Sequence[NDArray[Any]]
) -> None:
    """Integers and bools equal; floats within `tolerance(graph)`, NaN where NaN is expected."""
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if a.dtype.kind in "biu":
            np.testing.assert_array_equal(a, b)
            continue
        wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
        finite = np.abs(wide_b[np.isfinite(wide_b)])
        scale = max(1.0, float(finite.max())) if finite.size else 1.0
        np.testing.assert_allclose(wide_a, wide_b, rtol=0, atol=tolerance(graph) * scale)


class _Maker:
    """The state of one generation: values so far, a bound on each, and which of them are exact."""

    def __init__(self, builder: GraphBuilder, rng: np.random.Generator) -> None:
        self.builder, self.rng = builder, rng
        self.values: list[Value] = []
        self.bounds: dict[Value, float] = {}
        self.exact: set[Value] = set()

    # Choice.

    def between(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def one_of(self, items: Sequence[Any]) -> Any:
        return items[self.between(0, len(items) - 1)]

    def pick(self, fits: Callable[[Value], bool] = lambda v: True) -> Value | None:
        """A value that fits, later ones more often."""
        found = [v for v in self.values if fits(v)]
        if not found:
            return None
        return found[max(self.between(0, len(found) - 1), self.between(0, len(found) - 1))]

    def dtype(self) -> DType:
        chosen: DType = self.one_of(FLOATS if self.rng.random() < 0.75 else DISCRETE)
        return chosen

    def shape(self) -> tuple[int, ...]:
        shape = tuple(self.one_of(SIZES) for _ in range(self.between(0, MAX_RANK - 1)))
        return (0, *shape) if self.rng.random() < 0.02 else shape

    # Values.

    def keep(self, value: Value, bound: float, *, exact: bool) -> None:
        if size_of(value.shape) > MAX_ELEMENTS or value.rank > MAX_RANK:
            return
        if value.dtype.is_float and bound > BOUND:
            value, bound, exact = ops.sin(value), 1.0, False
        self.values.append(value)
        self.bounds[value] = bound
        if exact or not value.dtype.is_float:
            self.exact.add(value)

    def derive(self, value: Value, *operands: Value, bound: float | None = None) -> None:
        """Keep a value that is as exact, and by default as bounded, as its operands."""
        limit = max(self.bounds[v] for v in operands) if bound is None else bound
        self.keep(value, limit, exact=all(v in self.exact for v in operands))

    def input(self) -> None:
        self.keep(self.builder.input(TensorType(self.shape(), self.dtype())), 2.0, exact=True)

    def outputs(self) -> list[Value]:
        """The last value and some others; what leads to none of them is dead."""
        others = [v for v in self.values[:-1] if self.rng.random() < 0.15]
        return [*others, self.values[-1]]

    def step(self) -> None:
        table = _STEPS if self.rng.random() < 0.9 else _RARE
        self.one_of(table)(self)


def _is_float(value: Value) -> bool:
    return value.dtype.is_float


def _is_number(value: Value) -> bool:
    return value.dtype.kind != "bool"


def _constant(m: _Maker) -> None:
    type = TensorType(m.shape(), m.dtype())
    if m.rng.random() < 0.3:
        m.keep(ops.full(type.shape, 1, type.dtype), 1.0, exact=True)
    else:
        m.keep(ops.constant(random_array(type, m.rng)), 2.0, exact=True)


def _unary(m: _Maker) -> None:
    x = m.pick(_is_float)
    if x is not None:
        fn, bound = m.one_of(_UNARY)
        m.keep(fn(x), bound(m.bounds[x]), exact=False)


def _exact_unary(m: _Maker) -> None:
    x = m.pick(_is_number)
    if x is not None:
        m.derive(m.one_of([ops.negative, ops.abs])(x), x)


def _jump(m: _Maker) -> None:
    x = m.pick(lambda v: v.dtype.is_float and v in m.exact)
    if x is not None:
        fn = m.one_of([ops.floor, ops.ceil, ops.round, ops.trunc, ops.sign])
        m.derive(fn(x), x, bound=m.bounds[x] + 1)


def _partner(m: _Maker, x: Value) -> Value:
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


def _binary(m: _Maker) -> None:
    x = m.pick(_is_float)
    if x is not None:
        y = _partner(m, x)
        fn, bound = m.one_of(_BINARY)
        m.keep(fn(x, y), bound(m.bounds[x], m.bounds[y]), exact=False)


def _min_max(m: _Maker) -> None:
    x = m.pick(_is_number)
    if x is not None:
        y = _partner(m, x)
        m.derive(m.one_of([ops.maximum, ops.minimum])(x, y), x, y)


def _scalar(m: _Maker) -> None:
    x = m.pick(_is_float)
    if x is not None:
        number = float(m.one_of([0.5, 1.0, 2.0, -1.5, 0.0]))
        fn = m.one_of([ops.add, ops.multiply, ops.subtract, ops.maximum])
        m.keep(fn(x, number), 2 * m.bounds[x] + 2, exact=False)


def _integer(m: _Maker) -> None:
    x = m.pick(lambda v: v.dtype.is_integer)
    if x is not None:
        m.keep(m.one_of(_INTEGER)(x, _partner(m, x)), 9.0, exact=True)


def _logic(m: _Maker) -> None:
    x = m.pick(lambda v: v.dtype.kind == "bool")
    if x is not None:
        fn = m.one_of([ops.logical_and, ops.logical_or, ops.logical_xor])
        m.keep(ops.logical_not(fn(x, _partner(m, x))), 1.0, exact=True)


def _compare(m: _Maker) -> None:
    x = m.pick(lambda v: v in m.exact)
    if x is not None:
        y = _partner(m, x)
        if y in m.exact:
            m.keep(m.one_of(_COMPARE)(x, y), 1.0, exact=True)


def _where(m: _Maker) -> None:
    condition = m.pick(lambda v: v.dtype.kind == "bool")
    if condition is not None:
        x = m.pick(lambda v: _broadcasts(v.shape, condition.shape))
        if x is not None:
            y = _partner(m, x)
            if _broadcasts(y.shape, condition.shape):
                m.derive(ops.where(condition, x, y), x, y)


def _cast(m: _Maker) -> None:
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


def _reduce(m: _Maker) -> None:
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


def _any_all(m: _Maker) -> None:
    x = m.pick(lambda v: v.dtype.kind == "bool" and v.rank > 0)
    if x is not None:
        fn = m.one_of([ops.any, ops.all])
        m.keep(fn(x, axis=m.between(0, x.rank - 1)), 1.0, exact=True)


def _cumulative(m: _Maker) -> None:
    x = m.pick(lambda v: v.dtype.is_float and v.rank > 0)
    if x is not None:
        axis = m.between(0, x.rank - 1)
        m.keep(ops.cumsum(x, axis=axis), m.bounds[x] * (x.shape[axis] + 1), exact=False)


def _arg_reduce(m: _Maker) -> None:
    x = m.pick(lambda v: v in m.exact and _is_number(v) and v.rank > 0 and 0 not in v.shape)
    if x is not None:
        fn = m.one_of([ops.argmax, ops.argmin])
        m.keep(fn(x, axis=m.between(0, x.rank - 1)), 20.0, exact=True)


def _sort(m: _Maker) -> None:
    x = m.pick(lambda v: v in m.exact and _is_number(v) and v.rank > 0)
    if x is not None:
        m.derive(sort(x, axis=m.between(0, x.rank - 1)), x)


def _softmax(m: _Maker) -> None:
    x = m.pick(lambda v: v.dtype.is_float and v.rank > 0 and 0 not in v.shape)
    if x is not None:
        axis = m.between(0, x.rank - 1)
        powers = ops.exp(ops.subtract(x, ops.max(x, axis=axis, keepdims=True)))
        total = ops.sum(powers, axis=axis, keepdims=True)
        m.keep(ops.divide(powers, total), 1.0, exact=False)


def _matmul(m: _Maker) -> None:
    x = m.pick(lambda v: v.dtype.is_float and v.rank >= 2)
    if x is None:
        return
    y = m.pick(lambda v: v.dtype == x.dtype and v.rank == 2 and v.shape[0] == x.shape[-1])
    if y is None:
        type = TensorType((x.shape[-1], m.one_of(SIZES)), x.dtype)
        y = ops.constant(random_array(type, m.rng))
        m.keep(y, 2.0, exact=True)
    m.keep(ops.matmul(x, y), m.bounds[x] * m.bounds[y] * (x.shape[-1] + 1), exact=False)


def _transpose(m: _Maker) -> None:
    x = m.pick(lambda v: v.rank > 1)
    if x is not None:
        m.derive(ops.transpose(x, tuple(map(int, m.rng.permutation(x.rank)))), x)


def _reshape(m: _Maker) -> None:
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


def _broadcast(m: _Maker) -> None:
    x = m.pick(lambda v: v.rank < MAX_RANK)
    if x is not None:
        kept = tuple(m.one_of(SIZES) if n == 1 else n for n in x.shape)
        m.derive(ops.broadcast_to(x, (m.one_of((2, 3)), *kept)), x)


def _slice(m: _Maker) -> None:
    x = m.pick(lambda v: v.rank > 0)
    if x is None:
        return
    key = []
    for n in x.shape:
        start = m.between(0, max(0, n - 1))
        step = m.one_of([1, 1, 2, 3])
        key.append(slice(start, m.between(start, n), step))
    m.derive(ops.getitem(x, tuple(key)), x)


def _flip(m: _Maker) -> None:
    x = m.pick(lambda v: v.rank > 0)
    if x is not None:
        m.derive(ops.flip(x, axis=m.between(0, x.rank - 1)), x)


def _pad(m: _Maker) -> None:
    x = m.pick(lambda v: 0 < v.rank)
    if x is not None:
        low = tuple(m.between(0, 2) for _ in x.shape)
        high = tuple(m.between(0, 2) for _ in x.shape)
        m.derive(ops.pad(x, low, high), x)


def _concatenate(m: _Maker) -> None:
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


def _take(m: _Maker) -> None:
    x = m.pick(lambda v: v.rank > 0 and 0 not in v.shape)
    if x is not None:
        axis = m.between(0, x.rank - 1)
        rows = ops.constant(m.rng.integers(0, x.shape[axis], m.between(1, 5)))
        m.derive(ops.take(x, rows, axis=axis), x)


def _triangle(m: _Maker) -> None:
    x = m.pick(lambda v: v.rank >= 2)
    if x is not None:
        m.derive(m.one_of([ops.tril, ops.triu])(x), x)


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
_STEPS: tuple[Callable[[_Maker], None], ...] = (
    _unary, _unary, _unary, _binary, _binary, _binary, _binary, _scalar, _exact_unary, _min_max,
    _integer, _where, _cast, _reduce, _reduce, _reduce, _matmul, _transpose, _reshape, _broadcast,
    _slice, _concatenate, _softmax, _compare,
)  # fmt: skip
_RARE: tuple[Callable[[_Maker], None], ...] = (
    _constant, _jump, _logic, _any_all, _cumulative, _arg_reduce, _sort, _flip, _pad, _take,
    _triangle,
)  # fmt: skip
