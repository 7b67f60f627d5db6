"""Differences, running extrema, next floats, searches: NumPy's meaning, compiled, derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pellucid as pl
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError

X = np.random.default_rng(0).normal(size=(3, 5))
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 1e-45, 3e38, np.inf, -np.inf, np.nan], np.float32)


def slope(fn: Callable[[Any], Any], x: np.ndarray) -> np.ndarray:
    """The gradient of the sum of squares of `fn`, by finite differences."""
    result = np.empty_like(x)
    for i in np.ndindex(*x.shape):
        step = np.zeros_like(x)
        step[i] = 1e-6
        ends = [float((fn(pl.Tensor(x + s)) ** 2).sum()) for s in (step, -step)]
        result[i] = (ends[0] - ends[1]) / 2e-6
    return result


CASES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "diff": (pl.diff, np.diff),
    "diff2": (lambda x: pl.diff(x, axis=0, n=2), lambda x: np.diff(x, axis=0, n=2)),
    "diff_more": (
        lambda x: pl.diff(x, prepend=x, append=x[:, :1]),
        lambda x: np.diff(x, prepend=x, append=x[:, :1]),
    ),
    "cummax": (lambda x: pl.cummax(x, 1), lambda x: np.maximum.accumulate(x, 1)),
    "cummin": (pl.cummin, lambda x: np.minimum.accumulate(x.ravel())),
    "meshgrid": (lambda x: pl.meshgrid(x[0], x[1])[1], lambda x: np.meshgrid(x[0], x[1])[1]),
}


@pytest.mark.parametrize("name", CASES)
def test_meaning_compiled_and_batched(name: str) -> None:
    ours, numpys = CASES[name]
    x = pl.Tensor(X)
    np.testing.assert_allclose(ours(x), numpys(X), rtol=1e-12)
    np.testing.assert_allclose(pl.jit(ours)(x), numpys(X), rtol=1e-12)
    both = pl.vmap(ours)(pl.Tensor(np.stack([X, X[::-1]])))
    np.testing.assert_allclose(both, np.stack([numpys(X), numpys(X[::-1])]), rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_derivatives_of_both_orders(name: str) -> None:
    ours, _ = CASES[name]
    x = pl.Tensor(X)

    def loss(v: Any) -> Any:
        return (ours(v) ** 2).sum()

    gradient = pl.grad(loss)
    np.testing.assert_allclose(gradient(x), slope(ours, X), rtol=1e-5, atol=1e-7)
    direction = pl.Tensor(X[::-1].copy())
    forward = pl.jvp(loss, (x,), (direction,))[1]
    np.testing.assert_allclose(forward, (gradient(x) * direction).sum(), rtol=1e-12)
    second = pl.jvp(gradient, (x,), (direction,))[1]
    ends = [gradient(x + s * direction).numpy() for s in (1e-6, -1e-6)]
    np.testing.assert_allclose(second, (ends[0] - ends[1]) / 2e-6, rtol=1e-4, atol=1e-6)


def test_running_extrema_keep_nan_and_integers() -> None:
    x = np.array([1, np.nan, 3], np.float32)
    np.testing.assert_array_equal(pl.cummax(pl.Tensor(x)), np.maximum.accumulate(x))
    y = np.array([[3, 1, 200], [255, 0, 7]], np.uint8)
    np.testing.assert_array_equal(pl.cummin(pl.Tensor(y), 1), np.minimum.accumulate(y, 1))
    assert pl.cummax(pl.zeros((0,))).shape == (0,)


def test_differences_of_bools_and_wrong_arguments() -> None:
    x = pl.Tensor([True, True, False])
    np.testing.assert_array_equal(pl.diff(x), [False, True])
    assert pl.diff(x, n=9).shape == (0,)
    with pytest.raises(ArgumentError, match="n must be >= 0, got n -1"):
        pl.diff(x, n=-1)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ml_dtypes.bfloat16])
def test_next_floats(dtype: Any) -> None:
    with np.errstate(over="ignore"):
        x, y = (v.ravel().astype(dtype) for v in np.meshgrid(SPECIAL, SPECIAL))
    want = np.where(x == y, y, np.nextafter(x, y))  # NumPy's float16: x, of another sign for zeros
    for fn in (pl.nextafter, pl.jit(pl.nextafter)):
        got = fn(pl.Tensor(x), pl.Tensor(y)).numpy()
        np.testing.assert_array_equal(got.astype(float), want.astype(float))
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want))
    with pytest.raises(DTypeError, match="nextafter: takes floats"):
        pl.nextafter(pl.Tensor([1]), pl.Tensor([2]))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 8, 1000])
def test_searches_are_numpys(side: Any, size: int) -> None:
    rng = np.random.default_rng(size)
    row = rng.integers(0, 20, size).astype(np.float32)
    row[size // 2 :: 3] = np.nan
    wanted = np.concatenate([rng.integers(-1, 21, (40,)), [np.nan, np.inf, 0.5]]).astype(np.float32)
    want = np.searchsorted(np.sort(row), wanted, side)
    t, w = pl.Tensor(row), pl.Tensor(wanted)
    np.testing.assert_array_equal(pl.searchsorted(pl.sort(t), w, side=side), want)
    np.testing.assert_array_equal(pl.searchsorted(t, w, side, pl.argsort(t)), want)
    jitted = pl.jit(lambda a, b: pl.searchsorted(pl.sort(a), b, side))
    np.testing.assert_array_equal(jitted(t, w), want)


def test_searches_check_their_arguments() -> None:
    row = pl.Tensor([1.0, 2.0])
    assert pl.searchsorted(row, 1.5).item() == 1
    with pytest.raises(ShapeError, match="x1 must have one axis"):
        pl.searchsorted(pl.ones((2, 2)), row)
    with pytest.raises(ArgumentError, match="side must be 'left' or 'right', got side up"):
        pl.searchsorted(row, row, side="up")
    with pytest.raises(ShapeError, match="sorter must have x1's shape"):
        pl.searchsorted(row, row, sorter=pl.Tensor([0]))


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.bool_])
@pytest.mark.parametrize("invert", [False, True])
def test_membership_is_numpys(dtype: Any, invert: bool) -> None:
    rng = np.random.default_rng(1)
    x, y = (rng.integers(0, 9, shape).astype(dtype) for shape in ((4, 5), (2, 2)))
    if dtype == np.float32:
        x[0, 0] = y[0, 0] = np.nan
    want = np.isin(x, y, invert=invert)
    for fn in (pl.isin, pl.jit(pl.isin, static_argnames=("invert",))):
        np.testing.assert_array_equal(fn(pl.Tensor(x), pl.Tensor(y), invert=invert), want)
    assert pl.isin(pl.Tensor(x), pl.zeros((0,), dtype=dtype)).any().item() is False


def test_grids_check_their_arguments() -> None:
    with pytest.raises(ArgumentError, match="indexing must be 'xy' or 'ij', got indexing yx"):
        pl.meshgrid(pl.ones(2), pl.ones(3), indexing="yx")
    with pytest.raises(ShapeError, match="takes arrays of one axis"):
        pl.meshgrid(pl.ones((2, 2)))
    assert [g.shape for g in pl.meshgrid(pl.ones(2), pl.ones(3), pl.ones(4))] == [(3, 2, 4)] * 3
