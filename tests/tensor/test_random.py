"""Random tensors: one stream per generator, the same eager and jitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import pellucid as pl
from pellucid import nn
from pellucid.core.errors import ArgumentError

DRAWS: dict[str, Callable[[pl.Generator], pl.Tensor]] = {
    "uniform": lambda g: g.uniform((3, 5)),
    "uniform64": lambda g: g.uniform((7,), -2.0, 3.0, "float64"),
    "normal": lambda g: g.normal((5, 3), 1.0, 2.0),
    "bernoulli": lambda g: g.bernoulli((17,), 0.3),
    "randint": lambda g: g.randint((4, 4), -5, 5),
    "permutation": lambda g: g.permutation(13),
    "rand": lambda g: pl.rand(2, 3, generator=g),
    "randn": lambda g: pl.randn((2, 3), generator=g),
}
each_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS.keys())
Draw = Callable[[pl.Generator], pl.Tensor]


@pytest.fixture(autouse=True)
def _default_stream() -> Iterator[None]:
    pl.manual_seed(0)
    yield
    pl.manual_seed(0)


@each_draw
def test_jitted_numbers_are_the_eager_ones(draw: Draw) -> None:
    eager, compiled = pl.Generator(5), pl.Generator(5)
    jitted = pl.jit(lambda: draw(compiled))
    for _ in range(3):
        want, got = draw(eager), jitted()
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got.numpy(), want.numpy())
    np.testing.assert_array_equal(eager.state.numpy(), compiled.state.numpy())


@each_draw
def test_seed_decides_and_state_advances(draw: Draw) -> None:
    g = pl.Generator(9)
    first, second = draw(g).numpy().copy(), draw(g).numpy().copy()
    assert (first != second).any()
    np.testing.assert_array_equal(draw(g.manual_seed(9)).numpy(), first)
    np.testing.assert_array_equal(draw(pl.Generator(9)).numpy(), first)
    assert (draw(pl.Generator(10)).numpy() != first).any()


def test_numbers_of_consecutive_draws_are_never_shared() -> None:
    g = pl.Generator(1)
    values = np.concatenate([g.uniform((n,), dtype="float64").numpy() for n in (1, 3, 4, 5, 2)])
    assert len(np.unique(values)) == 15


def test_two_generators_do_not_disturb_each_other() -> None:
    a, b = pl.Generator(1), pl.Generator(2)
    alone = [pl.Generator(1).uniform((4,)).numpy(), pl.Generator(2).uniform((4,)).numpy()]
    got_b, got_a = b.uniform((4,)).numpy(), a.uniform((4,)).numpy()
    np.testing.assert_array_equal(got_a, alone[0])
    np.testing.assert_array_equal(got_b, alone[1])
    assert abs(np.corrcoef(a.normal((4096,)).numpy(), b.normal((4096,)).numpy())[0, 1]) < 0.06


def test_default_generator() -> None:
    assert pl.manual_seed(3) is pl.default_generator
    first = pl.rand(4).numpy().copy()
    pl.Generator(3).uniform((4,))  # has its own state
    pl.manual_seed(3)
    np.testing.assert_array_equal(pl.rand(4).numpy(), first)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3, 4)])
def test_shapes_and_dtypes(shape: tuple[int, ...]) -> None:
    g = pl.Generator(0)
    assert pl.rand(*shape).shape == pl.rand(shape).shape == pl.randn(list(shape)).shape == shape
    assert (pl.randint(0, 9, shape).shape, pl.randint(0, 9, shape).dtype) == (shape, pl.int64)
    assert (g.bernoulli(shape).shape, g.bernoulli(shape).dtype) == (shape, pl.bool_)
    assert pl.rand(shape, dtype=pl.float64).dtype == pl.float64
    assert pl.randn(shape, dtype="float16").dtype == pl.float16
    assert g.randint(shape, 0, 5, "uint8").dtype == pl.uint8


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_uniform_lies_in_its_range(dtype: str) -> None:
    x = pl.Generator(4).uniform((40_000,), dtype=dtype).astype("float64").numpy()
    assert x.min() >= 0.0
    assert x.max() < 1.0
    assert abs(x.mean() - 0.5) < 0.01
    assert abs(x.var() - 1 / 12) < 0.003
    counts, _ = np.histogram(x, 10, (0.0, 1.0))
    assert (abs(counts - 4000) < 300).all()


def test_moments() -> None:
    g = pl.Generator(6)
    x = g.normal((40_000,), 3.0, 0.5, "float64").numpy()
    z = (x - 3.0) / 0.5
    assert abs(z.mean()) < 0.03
    assert abs(z.var() - 1.0) < 0.05
    assert abs((z**3).mean()) < 0.08
    assert abs((z**4).mean() - 3.0) < 0.25
    y = g.uniform((40_000,), -2.0, 6.0).numpy()
    assert y.min() >= -2.0
    assert y.max() < 6.0
    assert abs(y.mean() - 2.0) < 0.05
    assert abs(g.bernoulli((40_000,), 0.2).numpy().mean() - 0.2) < 0.01


def test_integers_fill_their_range() -> None:
    x = pl.Generator(7).randint((6000,), -3, 3).numpy()
    values, counts = np.unique(x, return_counts=True)
    assert values.tolist() == [-3, -2, -1, 0, 1, 2]
    assert (abs(counts - 1000) < 150).all()
    assert pl.randint(4, 5, (3,)).numpy().tolist() == [4, 4, 4]


@pytest.mark.parametrize("n", [0, 1, 2, 257])
def test_permutation_is_one(n: int) -> None:
    p = pl.randperm(n)
    assert (p.shape, p.dtype) == ((n,), pl.int64)
    assert sorted(p.numpy().tolist()) == list(range(n))
    if n > 2:
        assert (p.numpy() != np.arange(n)).any()


def test_certain_and_impossible_events() -> None:
    g = pl.Generator(0)
    assert g.bernoulli((100,), 1.0).numpy().all()
    assert not g.bernoulli((100,), 0.0).numpy().any()


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "1", None], ids=repr)
def test_bad_seeds(seed: Any) -> None:
    with pytest.raises(ArgumentError, match=r"manual_seed: seed must be in \[0, 2\*\*64\)"):
        pl.manual_seed(seed)
    with pytest.raises(ArgumentError, match="got seed"):
        pl.Generator(seed)


def test_numpy_integer_as_seed() -> None:
    seed: Any = np.int64(3)
    want = pl.Generator(3).uniform((4,)).numpy()
    np.testing.assert_array_equal(pl.Generator(seed).uniform((4,)).numpy(), want)


def test_largest_seed() -> None:
    assert (pl.Generator(2**64 - 1).uniform((4,)).numpy() != pl.rand(4).numpy()).any()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_bad_probability(p: float) -> None:
    with pytest.raises(ArgumentError, match=r"bernoulli: p must be in \[0, 1\]"):
        pl.Generator(0).bernoulli((2,), p)


@pytest.mark.parametrize("std", [-1.0, float("nan")])
def test_bad_deviation(std: float) -> None:
    with pytest.raises(ArgumentError, match="normal: std must be >= 0, got std"):
        pl.Generator(0).normal((2,), 0.0, std)


def test_no_deviation() -> None:
    assert pl.Generator(0).normal((2,), 4.0, 0.0).numpy().tolist() == [4.0, 4.0]


def test_empty_integer_range_is_refused() -> None:
    with pytest.raises(ArgumentError, match="randint"):
        pl.randint(5, 5, (2,))


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
def test_dropout(compiled: bool) -> None:
    layer = nn.Dropout(0.25)
    x = pl.ones((64, 64))
    call = pl.jit(layer) if compiled else layer
    y, again = call(x).numpy().copy(), call(x).numpy().copy()
    assert sorted(np.unique(y).tolist()) == [0.0, np.float32(1 / 0.75)]
    assert abs((y == 0.0).mean() - 0.25) < 0.04
    assert (y != again).any()
    layer.eval()
    np.testing.assert_array_equal(call(x).numpy(), x.numpy())
    layer.train()
    assert (call(x).numpy() == 0.0).any()


def test_dropout_is_the_same_eager_and_jitted() -> None:
    layer, x = nn.Dropout(0.5), pl.ones((33,))
    pl.manual_seed(8)
    want = layer(x).numpy().copy()
    pl.manual_seed(8)
    np.testing.assert_array_equal(pl.jit(layer)(x).numpy(), want)


def test_drawing_inside_a_trained_function_has_no_gradient() -> None:
    p = pl.Parameter([1.0, 2.0])
    noise = pl.rand(2)
    assert not noise.requires_grad
    (p * noise).sum().backward()
    assert p.grad is not None
    np.testing.assert_array_equal(p.grad.numpy(), noise.numpy())
