"""Random numbers from a counter: the record `random_bits`, and distributions made of its words.

A state is `u64[2]`: a key and a counter. Every function takes one and returns it moved on past what
it used, so the same state gives the same numbers on every target, eager or compiled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pellucid.core.dtype import (
    DType,
    DTypeLike,
    Real,
    as_dtype,
    bfloat16,
    float16,
    float32,
    float64,
    int64,
    uint32,
    uint64,
)
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.core.shape import Shape, check_shape, size_of
from pellucid.core.size import Size
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
    as_expr,
    compare,
    const,
    iadd,
    ifloordiv,
    imin,
    imod,
    imul,
)
from pellucid.ops.arithmetic import add, multiply, subtract
from pellucid.ops.binary import remainder
from pellucid.ops.casting import astype
from pellucid.ops.comparison import bitwise_left_shift, bitwise_or, bitwise_right_shift, less
from pellucid.ops.create import constant, iota
from pellucid.ops.layout import reshaped_index
from pellucid.ops.movement import broadcast_to, reshape, slice_axis
from pellucid.ops.parts import make_complex
from pellucid.ops.shared import Array, Types, cast_expr, nest
from pellucid.ops.sizes import size_value
from pellucid.ops.sort import argsort
from pellucid.ops.take import take
from pellucid.ops.unary import cos, log, sqrt

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
WORDS = 4
LANES = 16
"""Blocks computed side by side, so that each round is a few vector operations."""
_LOW = 0xFFFFFFFF


# the record --------------------------------------------------------------------------------------


def _infer(state: TensorType, *, shape: Shape) -> TensorType:
    if state.dtype != uint64:
        raise DTypeError("random_bits", "a state is uint64", operands={"state": state})
    if state.rank == 0 or state.shape[-1] != 2:
        rule = "a state is a key and a counter, [..., 2]"
        raise ShapeError("random_bits", rule, operands={"state": state})
    return TensorType((*state.shape[:-1], *shape), uint32)


def _reference(state: Array, *, shape: Shape) -> Array:
    rows, count = state.reshape(-1, 2), size_of(shape)
    words = [philox_words(int(key), int(counter), count) for key, counter in rows]
    found = np.concatenate(words) if words else np.zeros(0, np.uint32)
    return found.reshape((*state.shape[:-1], *shape))


def philox_words(key: int, counter: int, count: int) -> Array:
    """`count` words of Philox4x32-10 from a counter on whose upper 64 bits are zero."""
    with np.errstate(over="ignore"):
        blocks = np.uint64(counter) + np.arange(-(-count // WORDS), dtype=np.uint64)
    none = np.zeros_like(blocks)
    c = philox((blocks & np.uint64(_LOW), blocks >> np.uint64(32), none, none), key)
    return np.stack(c, axis=-1).reshape(-1)[:count].astype(np.uint32)


def philox(counter: Sequence[Array], key: int) -> tuple[Array, ...]:
    """The bijection itself: four 32-bit words (held in uint64) to four, ten rounds."""
    c, low, half = tuple(counter), np.uint64(_LOW), np.uint64(32)
    for number in range(ROUNDS):
        k = [np.uint64(((key >> 32 * i) + number * WEYL[i]) & _LOW) for i in range(2)]
        p, q = c[0] * np.uint64(MULTIPLIERS[0]), c[2] * np.uint64(MULTIPLIERS[1])
        c = ((q >> half) ^ c[1] ^ k[0], q & low, (p >> half) ^ c[3] ^ k[1], p & low)
    return c


def _u64(fn: str, a: Expr, b: Expr | int) -> Expr:
    return Call(fn, (a, const(b, uint64) if isinstance(b, int) else b), uint64)


def _round(c: Buffer, p: Buffer, key: tuple[Expr, Expr], number: int, lane: Expr) -> list[Stmt]:
    """One round on the lane's four words; the order of the stores lets each read what it needs."""
    word = [Load(c, (Const(i), lane)) for i in range(WORDS)]
    product = [Load(p, (Const(i), lane)) for i in range(2)]
    k = [_u64("and", _u64("add", key[i], number * WEYL[i]), _LOW) for i in range(2)]
    values = [
        (p, 0, _u64("mul", word[0], MULTIPLIERS[0])),
        (p, 1, _u64("mul", word[2], MULTIPLIERS[1])),
        (c, 0, _u64("xor", _u64("xor", _u64("shr", product[1], 32), word[1]), k[0])),
        (c, 1, _u64("and", product[1], _LOW)),
        (c, 2, _u64("xor", _u64("xor", _u64("shr", product[0], 32), word[3]), k[1])),
        (c, 3, _u64("and", product[0], _LOW)),
    ]
    return [Store(buffer, (Const(row), lane), value) for buffer, row, value in values]


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    """Blocks of `LANES` counters: four words in a local array each, ten rounds, guarded stores."""

    def build(sources: tuple[Buffer, ...], results: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
        (state,), (out,) = sources, results
        lead = len(state.shape) - 1
        count = size_of(out.shape[lead:])
        chunks = -(-count // (WORDS * LANES))
        if out.size == 0:
            return ()

        def row(idx: Index) -> tuple[Stmt, ...]:
            body = _chunk(state, out, idx, count)
            return (For("chunk", as_expr(chunks), body, "parallel" if chunks >= 256 else "serial"),)

        return nest("o", state.shape[:-1], row)

    return Loops(build=build)


def _chunk(state: Buffer, out: Buffer, row: Index, count: int) -> tuple[Stmt, ...]:
    c = Buffer("words", (WORDS, LANES), uint64, "local")
    p = Buffer("products", (2, LANES), uint64, "local")
    lane, chunk = Var("lane"), Var("chunk")
    key, counter = (Load(state, (*row, Const(i))) for i in range(2))
    block = _u64("add", counter, cast_expr(iadd(imul(chunk, LANES), lane), uint64))
    start = (
        Store(c, (Const(0), lane), _u64("and", block, _LOW)),
        Store(c, (Const(1), lane), _u64("shr", block, 32)),
        Store(c, (Const(2), lane), const(0, uint64)),
        Store(c, (Const(3), lane), const(0, uint64)),
    )
    halves = (_u64("and", key, _LOW), _u64("shr", key, 32))
    rounds = [s for number in range(ROUNDS) for s in _round(c, p, halves, number, lane)]
    compute = For("lane", Const(LANES), (*start, *rounds), "vector")
    return (Alloc(c, (Alloc(p, (compute, *_write_out(c, out, row, count))),)),)


def _write_out(c: Buffer, out: Buffer, row: Index, count: int) -> tuple[Stmt, ...]:
    """Words of the chunk in order, as far as the output goes."""
    i, shape = Var("i"), out.shape[len(row) :]
    flat = iadd(imul(Var("chunk"), WORDS * LANES), i)
    word = Load(c, (imod(i, WORDS), ifloordiv(i, WORDS)))
    at = reshaped_index((imin(flat, count - 1),), shape, (count,))
    store = Store(out, (*row, *at), cast_expr(word, uint32))
    inside: tuple[Stmt, ...] = (store,)
    if count % (WORDS * LANES):
        inside = (If(compare("lt", flat, count), inside),)
    return (For("i", Const(WORDS * LANES), inside),)


def _moved(blocks: int) -> Value:
    """What is added to a state whose next numbers are so many blocks on."""
    if isinstance(blocks, Size):
        return multiply(constant(np.array([0, 1], np.uint64)), size_value(blocks, uint64))
    return constant(np.array([0, blocks], np.uint64))


def _cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    blocks = -(-outputs[0].size // WORDS)
    return Cost(blocks * ROUNDS * 10, inputs[0].nbytes + outputs[0].nbytes)


def _samples() -> Sequence[Sample]:
    def case(shape: Shape, *states: tuple[int, int]) -> Sample:
        state = np.array(states[0] if len(states) == 1 else states, np.uint64)
        return Sample((state,), {"shape": shape})

    return [
        case((7,), (0, 0)),
        case((3, 5, 2), (0x299F31D0A4093822, 0x85A308D3243F6A88)),
        case((130,), (2**64 - 1, 2**64 - 2)),
        case((), (1, 2)),
        case((0, 3), (1, 2)),
        case((1,), (5, 6), (7, 8), (9, 2**32 - 1)),
    ]


RANDOM_BITS: Op = Op(
    name="random_bits",
    doc=(
        "32 random bits per element from `u64[2]` (key, counter): word `i % 4` of the Philox4x32-10"
        " block `counter + i // 4`. Source: Salmon et al., Parallel Random Numbers: As Easy as"
        " 1, 2, 3 (SC 2011). Primitive: as a graph of integer operations it would be 200 nodes."
    ),
    infer=_infer,
    reference=_reference,
    vjp=None,
    jvp=None,
    batch=lambda site, batched, size: [emit(RANDOM_BITS, site.inputs[0], **site.attrs)],
    lower=_lower,
    cost=_cost,
    samples=_samples,
)


def random_bits(state: Value, shape: int | Sequence[int]) -> tuple[Value, Value]:
    """uint32 words of this shape, and the state after them."""
    sizes = check_shape("random_bits", shape)
    count = size_of(sizes)
    words = reshape(emit(RANDOM_BITS, state, shape=(count,)), sizes)
    moved = _moved(-(-count // WORDS))
    return words, add(state, moved)


# distributions -----------------------------------------------------------------------------------


def _float_dtype(op: str, dtype: DTypeLike) -> DType:
    target = as_dtype(dtype)
    if not target.is_float or target.bits < 16:
        rule = "values are float16, bfloat16, float32, float64 or complex"
        raise DTypeError(op, rule, operands={"dtype": target})
    return target


def _paired(shape: int | Sequence[int]) -> Shape:
    return (2, *check_shape("random", shape))


def _of_halves(pairs: Value) -> Value:
    """The complex numbers of which `pairs[0]` are the real and `pairs[1]` the imaginary parts."""
    parts = (reshape(slice_axis(pairs, 0, k, k + 1), pairs.shape[1:]) for k in range(2))
    return make_complex(*parts)


def _fraction(words: Value, dtype: DType, bits: int) -> Value:
    """The upper `bits` of each word as a multiple of `2**-bits`, exact and below 1."""
    return multiply(astype(bitwise_right_shift(words, 32 - bits), dtype), 2.0**-bits)


def _unit(state: Value, shape: Shape, dtype: DType) -> tuple[Value, Value]:
    if dtype == float64:
        words, state = random_bits(state, (2, *shape))
        high, low = (reshape(slice_axis(words, 0, i, i + 1), shape) for i in range(2))
        top = multiply(astype(bitwise_right_shift(high, 5), float64), 2.0**-27)
        rest = multiply(astype(bitwise_right_shift(low, 6), float64), 2.0**-53)
        return add(top, rest), state
    words, state = random_bits(state, shape)
    bits = {float16: 11, bfloat16: 8}.get(dtype, 24)
    return astype(_fraction(words, float32, bits), dtype), state


def uniform(
    state: Value,
    shape: int | Sequence[int] = (),
    low: float = 0.0,
    high: float = 1.0,
    dtype: DTypeLike = float32,
) -> tuple[Value, Value]:
    """Evenly distributed over `[low, high)` up to rounding, and the new state; each part of complex
    numbers on its own.

    Raises:
        DTypeError: `dtype` is neither complex nor a float of at least 16 bits.
        ArgumentError: `low` is above `high`.
    """
    if as_dtype(dtype).is_complex:
        pairs, state = uniform(state, _paired(shape), low, high, as_dtype(dtype).real)
        return _of_halves(pairs), state
    target = _float_dtype("uniform", dtype)
    if low > high:
        raise ArgumentError("uniform", "low must be <= high", operands={"low": low, "high": high})
    sizes = check_shape("uniform", shape)
    values, state = _unit(state, sizes, target)
    if (low, high) != (0.0, 1.0):
        values = add(multiply(values, high - low), low)
    return values, state


def normal(
    state: Value,
    shape: int | Sequence[int] = (),
    mean: float = 0.0,
    std: float = 1.0,
    dtype: DTypeLike = float32,
) -> tuple[Value, Value]:
    """Normally distributed, and the new state.

    Two uniforms (u, v) give `sqrt(-2 ln(1 - u))` times the cosine and the sine of `2 pi v`. Of a
    complex number each part has half the variance, so that `std` is the whole number's.

    Source: Box and Muller, A Note on the Generation of Random Normal Deviates (1958).

    Raises:
        DTypeError: `dtype` is neither complex nor a float of at least 16 bits.
    """
    if as_dtype(dtype).is_complex:
        real = as_dtype(dtype).real
        pairs, state = normal(state, _paired(shape), 0.0, std * math.sqrt(0.5), real)
        values = _of_halves(pairs)
        return add(values, mean) if mean != 0.0 else values, state
    target = _float_dtype("normal", dtype)
    sizes = check_shape("normal", shape)
    count = size_of(sizes)
    half, work = -(-count // 2), float64 if target == float64 else float32
    pairs, state = _unit(state, (2, half), work)
    radius = sqrt(multiply(log(subtract(1.0, slice_axis(pairs, 0, 0, 1))), -2.0))
    turn = multiply(slice_axis(pairs, 0, 1, 2), 2.0 * math.pi)
    # sin(a) = cos(a - pi / 2): one elementwise expression for both halves
    phase = multiply(iota((2, half), 0, work), 0.5 * math.pi)
    values = multiply(radius, cos(subtract(turn, phase)))
    values = reshape(slice_axis(reshape(values, (2 * half,)), 0, 0, count), sizes)
    values = multiply(values, std) if std != 1.0 else values
    return astype(add(values, mean) if mean != 0.0 else values, target), state


def bernoulli(
    state: Value, p: Value | Real = 0.5, shape: int | Sequence[int] | None = None
) -> tuple[Value, Value]:
    """True with probability `p`, and the new state.

    Args:
        state: `u64[2]`.
        p: one probability, or one per element.
        shape: of the result; `p`'s by default.

    Raises:
        ArgumentError: a known `p` is outside `[0, 1]`.
    """
    if not isinstance(p, Value) and not 0 <= p <= 1:
        raise ArgumentError("bernoulli", "p must be in [0, 1]", operands={"p": p})
    wanted = (p.shape if isinstance(p, Value) else ()) if shape is None else shape
    sizes = check_shape("bernoulli", wanted)
    values, state = _unit(state, sizes, float32)
    limit = broadcast_to(astype(p, float32), sizes) if isinstance(p, Value) else float(p)
    return less(values, limit), state


def randint(
    state: Value,
    shape: int | Sequence[int],
    low: int,
    high: int,
    dtype: DTypeLike = int64,
) -> tuple[Value, Value]:
    """Integers in `[low, high)`, and the new state.

    64 random bits modulo the span: no value is likelier than another by more than `span / 2**64`.

    Raises:
        ArgumentError: the range is empty or does not fit the dtype.
        DTypeError: the dtype is not an integer.
    """
    target = as_dtype(dtype)
    if not target.is_integer:
        raise DTypeError("randint", "values are integers", operands={"dtype": target})
    info = np.iinfo(target.name)
    if not info.min <= low < high <= info.max + 1:
        operands: dict[str, object] = {"low": low, "high": high, "dtype": target}
        raise ArgumentError("randint", "needs low < high within the dtype", operands=operands)
    sizes = check_shape("randint", shape)
    values, state = _words64(state, sizes)
    if high - low < 1 << 64:
        values = remainder(values, high - low)
    # two's complement: adding low modulo 2**64, then keeping the target's bits, is the sum itself
    return astype(add(values, low % (1 << 64)), target), state


def _words64(state: Value, shape: Shape) -> tuple[Value, Value]:
    words, state = random_bits(state, (2, *shape))
    low, high = (astype(reshape(slice_axis(words, 0, i, i + 1), shape), uint64) for i in range(2))
    return bitwise_or(bitwise_left_shift(high, 32), low), state


def permutation(state: Value, x: int | Value) -> tuple[Value, Value]:
    """`0 … x - 1` in random order, or `x` shuffled along its first axis; and the new state.

    Sorts 64-bit random keys, so all orders are equally likely unless two keys are equal (below
    `x**2 / 2**65`).

    Raises:
        ShapeError: `x` has no axes.
    """
    if isinstance(x, Value) and x.rank == 0:
        raise ShapeError("permutation", "needs an axis", operands={"x": x.shape})
    count = x.shape[0] if isinstance(x, Value) else x
    keys, state = _words64(state, check_shape("permutation", (count,)))
    order = argsort(keys)
    return (take(x, order, axis=0) if isinstance(x, Value) else order), state


RECORDS: tuple[Op, ...] = (RANDOM_BITS,)
