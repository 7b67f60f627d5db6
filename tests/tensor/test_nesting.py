"""Every nesting order of the transforms, two and three deep, against finite differences."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl

Fn = Callable[[Any], Any]
RNG = np.random.default_rng(0)
W = pl.Parameter(RNG.standard_normal((3, 3)))
X = RNG.standard_normal(3)
ALONG = np.array([1.0, -2.0, 0.5])
STEP = 3e-3


def program(x: pl.Tensor) -> Any:
    """Matrix product, tanh, softmax, where, index arrays, a reversed slice, sum and max."""
    h = (x * 2).tanh() @ W
    p = h.softmax()
    picked = pl.where(h > 0, h * h, h.exp())[np.array([0, 2, 2])]
    return (picked * p[::-1]).sum() + p.max()


def summed_grad(f: Fn) -> Fn:
    return lambda x: pl.grad(f)(x).sum()


def derivative_along(f: Fn) -> Fn:
    return lambda x: pl.jvp(f, (x,), (pl.Tensor(ALONG),))[1]


def pulled_back(f: Fn) -> Fn:
    def g(x: pl.Tensor) -> pl.Tensor:
        y, pull = pl.vjp(f, x)
        total: pl.Tensor = pull(y * 1.0)[0].sum()
        return total

    return g


def over_two(f: Fn) -> Fn:
    return lambda x: pl.vmap(f)(pl.stack([x, x * 0.5])).sum()


TRANSFORMS: dict[str, Callable[[Fn], Fn]] = {
    "grad": summed_grad,
    "jvp": derivative_along,
    "vjp": pulled_back,
    "vmap": over_two,
    "jit": pl.jit,
    "checkpoint": pl.checkpoint,
}


def numeric(names: Sequence[str], x: NDArray[Any]) -> float:
    """What the nested transforms mean, by differences of fourth order."""
    if not names:
        return float(program(pl.Tensor(x)))
    name, *rest = names

    def slope(v: NDArray[Any]) -> float:
        near = numeric(rest, x + STEP * v) - numeric(rest, x - STEP * v)
        far = numeric(rest, x + 2 * STEP * v) - numeric(rest, x - 2 * STEP * v)
        return (8 * near - far) / (12 * STEP)

    if name == "grad":
        return slope(np.ones(3))
    if name == "jvp":
        return slope(ALONG)
    if name == "vjp":
        return numeric(rest, x) * slope(np.ones(3))
    if name == "vmap":
        return numeric(rest, x) + numeric(rest, x * 0.5)
    return numeric(rest, x)


def check(names: tuple[str, ...]) -> None:
    f: Fn = program
    for name in reversed(names):
        f = TRANSFORMS[name](f)
    np.testing.assert_allclose(f(pl.Tensor(X)).item(), numeric(names, X), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("names", [*itertools.product(TRANSFORMS, repeat=2)], ids="-".join)
def test_two_deep(names: tuple[str, ...]) -> None:
    check(names)


@pytest.mark.slow
@pytest.mark.parametrize("names", [*itertools.product(TRANSFORMS, repeat=3)], ids="-".join)
def test_three_deep(names: tuple[str, ...]) -> None:
    check(names)
