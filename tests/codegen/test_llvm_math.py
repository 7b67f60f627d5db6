"""Error in units in the last place of the vector math, against float64, over all of float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special
from numpy.typing import NDArray

from pellucid.core.dtype import float32, float64
from pellucid.core.target import Target
from pellucid.loop.functions import evaluate
from pellucid.loop.ir import Buffer, Call, Const, For, Kernel, Load, Store, Var
from tests.codegen.native import run
from tests.codegen.targets import each_target

Array = NDArray[Any]
REFERENCES: dict[str, Callable[[Array], Array]] = {
    "exp": np.exp, "exp_bounded": lambda x: evaluate("exp_bounded", float64, x),
    "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log1p": np.log1p,
    "log2": np.log2, "log10": np.log10, "tanh": np.tanh, "erf": scipy.special.erf, "sin": np.sin,
    "cos": np.cos, "sinh": np.sinh, "cosh": np.cosh,
}  # fmt: skip
LIMIT = 2.0


def arguments() -> Array:
    """Every exponent of both signs with many mantissas, dense stretches, and the special values."""
    patterns = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32).view(np.float32)
    spans = [(-12, 12), (-104, 90), (0.5, 2), (-1e5, 1e5), (-5e6, 5e6), (-1e-3, 1e-3)]
    dense = [np.linspace(low, high, 1 << 16) for low, high in spans]
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 1e-45, -1e-45, 1.1754944e-38]
    return np.concatenate(
        [patterns, *(d.astype(np.float32) for d in dense), np.array(special, np.float32)]
    )


def ulp(got: Array, exact: Array) -> Array:
    """Distance in float32 spacings; infinite for a wrong NaN, infinity or sign of zero."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
        # Beyond the largest number, distances are measured in its spacing.
        step = np.minimum(np.spacing(np.abs(rounded)).astype(np.float64), 2.0**104)
        step = np.where(np.isfinite(rounded), step, 2.0**104)
        far = np.abs(got.astype(np.float64) - exact) / step
    far = np.where(same, 0.0, np.nan_to_num(far, nan=np.inf))
    signs = np.isnan(rounded) | (np.signbit(got) == np.signbit(rounded))
    return np.where(signs, far, np.inf)


def unary(name: str, n: int) -> Kernel:
    x, y, i = Buffer("x", (n,), float32), Buffer("y", (n,), float32), Var("i")
    store = Store(y, (i,), Call(name, (Load(x, (i,)),), float32))
    return Kernel("k", (x, y), 1, (For("i", Const(n), (store,), "vector"),))


@each_target
@pytest.mark.parametrize("name", REFERENCES)
def test_at_most_two_units_in_the_last_place(name: str, target: Target) -> None:
    x = arguments()
    got = np.full(x.shape, 7, np.float32)
    run(unary(name, x.size), target, x, got)
    with np.errstate(all="ignore"):
        errors = ulp(got, REFERENCES[name](x.astype(np.float64)))
    worst = int(errors.argmax())
    assert errors[worst] <= LIMIT, f"{name}({x[worst]!r}) = {got[worst]!r}: {errors[worst]} ulp"


@each_target
def test_pow_of_ordinary_and_special_numbers(target: Target) -> None:
    rng = np.random.default_rng(0)
    edges = np.array(
        [0.0, -0.0, 1, -1, 2, -2, 3, 0.5, -0.5, np.inf, -np.inf, np.nan, 1e-45, -3], np.float32
    )
    a, b = (grid.ravel() for grid in np.meshgrid(edges, edges))
    a = np.concatenate([a, np.exp(rng.normal(size=9999) * 9).astype(np.float32)])
    b = np.concatenate([b, (rng.normal(size=9999) * 4).astype(np.float32)])
    n, i = a.size, Var("i")
    x, y, z = (Buffer(name, (n,), float32) for name in "xyz")
    store = Store(z, (i,), Call("pow", (Load(x, (i,)), Load(y, (i,))), float32))
    got = np.full(n, 7, np.float32)
    run(Kernel("k", (x, y, z), 1, (For("i", Const(n), (store,), "vector"),)), target, a, b, got)
    with np.errstate(all="ignore"):
        errors = ulp(got, np.power(a.astype(np.float64), b.astype(np.float64)))
    worst = int(errors.argmax())
    assert errors[worst] <= 1, f"{a[worst]!r} ** {b[worst]!r} = {got[worst]!r}"
