"""How far compiled functions of complex numbers are from complex128: docs/accuracy.md's bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl

U = 2.0**-24  # unit roundoff of float32
BOUND = 8 * U
COUNT = 20_000

# the powers of ten between which the parts' magnitudes lie
RANGES = {
    "exp": (-4, 1.5), "expm1": (-6, 1), "log": (-6, 6), "log1p": (-6, 3), "sqrt": (-12, 12),
    "sin": (-4, 1.2), "cos": (-4, 1.2), "tan": (-4, 0.8), "sinh": (-4, 1.2), "cosh": (-4, 1.2),
    "tanh": (-4, 0.8), "asin": (-4, 2), "acos": (-4, 2), "atan": (-4, 2), "asinh": (-4, 2),
    "acosh": (-4, 2), "atanh": (-4, 2), "abs": (-12, 12), "reciprocal": (-8, 8),
}  # fmt: skip


def _numbers(low: float, high: float) -> NDArray[Any]:
    rng = np.random.default_rng(7)
    sizes = 10 ** rng.uniform(low, high, (2, COUNT)) * rng.choice([-1, 1], (2, COUNT))
    return np.asarray(sizes[0] + 1j * sizes[1]).astype(np.complex64)


def _exact(name: str, z: NDArray[Any]) -> NDArray[Any]:
    longer = {"a" + n: "arc" + n for n in "sin cos tan sinh cosh tanh".split()}
    if name in ("expm1", "log1p"):  # NumPy's cancel; ours in complex128 are checked elsewhere
        return getattr(pl, name)(pl.Tensor(z)).numpy()  # type: ignore[no-any-return]
    return np.asarray(getattr(np, longer.get(name, name))(z))


@pytest.mark.parametrize("name", RANGES)
def test_errors_stay_within_the_bound(name: str) -> None:
    z = _numbers(*RANGES[name])
    found = pl.jit(getattr(pl, name))(pl.Tensor(z)).numpy()
    exact = _exact(name, z.astype(np.complex128))
    assert (abs(found - exact) <= BOUND * abs(exact)).all()


def test_quotients_stay_within_the_bound() -> None:
    a, b = _numbers(-6, 6), _numbers(-6, 6)[::-1].copy()
    found = pl.jit(pl.divide)(pl.Tensor(a), pl.Tensor(b)).numpy()
    exact = a.astype(np.complex128) / b.astype(np.complex128)
    assert (abs(found - exact) <= BOUND * abs(exact)).all()
