"""Philox against its authors' and NumPy's words; distributions by their moments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pellucid.core.dtype import DType, bfloat16, float16, float32, float64
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.graph.ir import Value
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops.random import (
    bernoulli,
    normal,
    permutation,
    philox,
    philox_words,
    randint,
    random_bits,
    uniform,
)
from tests.lower.execution import run_program
from tests.ops.records import Array, run, trace, type_of

STATE = np.array([0x1234567890ABCDEF, 7], np.uint64)
MANY = 20000
Draw = Callable[[Value], tuple[Value, Value]]


def draw(fn: Draw, state: Array = STATE) -> Array:
    return run(fn, state)[0]


# Random123 1.14, file kat_vectors, philox4x32 10: counter, key and words
KNOWN = [
    (("0" * 8 + " ") * 4, ("0" * 8 + " ") * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (("f" * 8 + " ") * 4, ("f" * 8 + " ") * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_rounds_give_the_authors_known_answers(counter: str, key: str, words: str) -> None:
    c = [np.array([int(w, 16)], np.uint64) for w in counter.split()]
    low, high = (int(w, 16) for w in key.split())
    got = philox(c, high << 32 | low)
    assert [int(w[0]) for w in got] == [int(w, 16) for w in words.split()]


@pytest.mark.parametrize(("key", "counter"), [(0, 0), (2**64 - 1, 2**63 + 5), (12345, 2**32 - 1)])
def test_words_are_those_of_the_definition(key: int, counter: int) -> None:
    """The round function written in Python integers, straight from the paper's section 2."""
    mask = 2**32 - 1
    got = philox_words(key, counter, 12).reshape(3, 4)
    for block in range(3):
        at = (counter + block) % 2**64
        c, k = [at & mask, at >> 32, 0, 0], [key & mask, key >> 32]
        for _ in range(10):
            p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
            c = [(q >> 32) ^ c[1] ^ k[0], q & mask, (p >> 32) ^ c[3] ^ k[1], p & mask]
            k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
        assert got[block].tolist() == c


def test_compiled_words_agree_for_long_and_odd_sizes() -> None:
    for shape in ((1,), (64,), (3, 45), (257,)):
        graph = trace(lambda s, shape=shape: random_bits(s, shape), type_of(STATE))
        words, state = run_program(lower_graph(graph), [STATE])
        count = int(np.prod(shape))
        want = philox_words(int(STATE[0]), 7, count).reshape(shape)
        np.testing.assert_array_equal(words, want)
        assert state.tolist() == [STATE[0], 7 + -(-count // 4)]


def test_the_counter_wraps_and_streams_continue() -> None:
    state = np.array([5, 2**64 - 1], np.uint64)
    words, after = run(lambda s: random_bits(s, (8,)), state)
    np.testing.assert_array_equal(words[4:], philox_words(5, 0, 4))
    assert after.tolist() == [5, 1]
    both, _ = run(lambda s: random_bits(s, (16,)), STATE)
    first, middle = run(lambda s: random_bits(s, (8,)), STATE)
    np.testing.assert_array_equal(both, np.concatenate([first, draw_bits(middle, 8)]))


def draw_bits(state: Array, count: int) -> Array:
    return draw(lambda s: random_bits(s, (count,)), state)


@pytest.mark.parametrize("dtype", [float16, bfloat16, float32, float64], ids=str)
def test_uniform(dtype: DType) -> None:
    x = draw(lambda s: uniform(s, (MANY,), dtype=dtype)).astype(np.float64)
    assert x.min() >= 0
    assert x.max() < 1
    grid = {"f16": 2.0**-11, "bf16": 2.0**-8, "f32": 2.0**-24, "f64": 2.0**-53}[dtype.short]
    assert (x / grid == np.floor(x / grid)).all()
    assert stats.kstest(x + grid / 2, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.03


def test_uniform_range() -> None:
    x = draw(lambda s: uniform(s, (MANY,), -3.0, 5.0))
    assert stats.kstest(x, "uniform", (-3, 8)).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [float32, float64, float16], ids=str)
def test_normal(dtype: DType) -> None:
    x = draw(lambda s: normal(s, (MANY + 1,), 2.0, 3.0, dtype)).astype(np.float64)
    assert x.shape == (MANY + 1,)
    assert np.isfinite(x).all()
    assert stats.kstest(x, "norm", (2, 3)).pvalue > 1e-3
    halves = x[: MANY // 2], x[MANY // 2 : 2 * (MANY // 2)]
    assert abs(np.corrcoef(*halves)[0, 1]) < 0.03


def test_bernoulli() -> None:
    for p in (0.0, 0.2, 1.0):
        x = draw(lambda s, p=p: bernoulli(s, p, (MANY,)))  # type: ignore[misc]  # mypy: lambda default
        assert x.dtype == np.bool_
        assert stats.binomtest(int(x.sum()), MANY, p).pvalue > 1e-3
    each = np.array([0.0, 1.0, 1.0], np.float32)
    assert run(bernoulli, STATE, each)[0].tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [
        (0, 10, "int64"),
        (-5, 6, "int8"),
        (-(2**63), 2**63, "int64"),
        (0, 2**64, "uint64"),
        (3, 4, "int32"),
    ],
)
def test_randint(low: int, high: int, dtype: str) -> None:
    x = draw(lambda s: randint(s, (MANY,), low, high, dtype))
    assert x.dtype == np.dtype(dtype)
    assert int(x.min()) >= low
    assert int(x.max()) < high
    bins = min(high - low, 8)
    counts = np.bincount([(int(v) - low) * bins // (high - low) for v in x], minlength=bins)
    if bins > 1 and (high - low) % bins == 0:
        assert stats.chisquare(counts).pvalue > 1e-3
    if high - low <= 11:
        assert set(x.tolist()) == set(range(low, high))


def test_permutation() -> None:
    assert sorted(draw(lambda s: permutation(s, 100)).tolist()) == list(range(100))
    rows = np.arange(12).reshape(4, 3)
    mixed, _ = run(permutation, STATE, rows)
    assert sorted(map(tuple, mixed)) == sorted(map(tuple, rows))
    tallies = np.zeros(6)
    state = STATE
    for _ in range(600):
        order, state = run(lambda s: permutation(s, 3), state)
        tallies[order[0] * 2 + (order[1] > order[2])] += 1
    assert stats.chisquare(tallies).pvalue > 1e-3


def test_functions_move_the_state_on() -> None:
    draws: list[Any] = [
        lambda s: uniform(s, (5,)),
        lambda s: normal(s, (5,)),
        lambda s: bernoulli(s, 0.5, (5,)),
        lambda s: randint(s, (5,), 0, 9),
        lambda s: permutation(s, 5),
    ]
    for fn in draws:
        first, after = run(fn, STATE)
        again, _ = run(fn, STATE)
        other, _ = run(fn, after)
        assert after[0] == STATE[0]
        assert after[1] > STATE[1]
        np.testing.assert_array_equal(first, again)
        assert after.dtype == np.uint64
        assert first.shape == other.shape
    first, after = run(lambda s: uniform(s, (64,)), STATE)
    second = draw(lambda s: uniform(s, (64,)), after)
    assert np.intersect1d(first, second).size == 0


@pytest.mark.parametrize(
    ("fn", "error", "message"),
    [
        (lambda s: uniform(s, (1,), dtype="int32"), DTypeError, "values are float16"),
        (lambda s: uniform(s, (1,), 2.0, 1.0), ArgumentError, "low must be <= high"),
        (lambda s: randint(s, (1,), 3, 3), ArgumentError, "low < high"),
        (lambda s: randint(s, (1,), 0, 300, "uint8"), ArgumentError, "within the dtype"),
        (lambda s: randint(s, (1,), 0, 3, "float32"), DTypeError, "values are integers"),
        (lambda s: bernoulli(s, 1.5), ArgumentError, r"p must be in \[0, 1\]"),
        (lambda s: random_bits(uniform(s, (2,))[0], (1,)), DTypeError, "a state is uint64"),
        (lambda s: random_bits(random_bits(s, ())[1], (-1,)), ArgumentError, "sizes must be >= 0"),
    ],
)
def test_refuses(fn: Draw, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        draw(fn)


def test_a_state_has_two_words() -> None:
    with pytest.raises(ShapeError, match="a key and a counter"):
        draw(lambda s: random_bits(s, (1,)), np.zeros(3, np.uint64))
