"""The reference implementation as an oracle: what a function gives there, it must give here."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# the strategies are an opt-in of hypothesis, made for the namespace under test
from hypothesis.extra.array_api import make_strategies_namespace

import pellucid as pl
from pellucid import array_api as xp
from pellucid.core.dtype import DType

strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
xps = make_strategies_namespace(xp, api_version="2024.12")

QUICK = settings(
    max_examples=8,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
KINDS = {
    "bool": ("bool",),
    "signed": ("int8", "int16", "int32", "int64"),
    "unsigned": ("uint8", "uint16", "uint32", "uint64"),
    "float": ("float32", "float64"),
    "complex": ("complex64", "complex128"),
}
BOUND = {"bool": 1, "int": 100, "uint": 100, "float": 1000.0, "complex": 100.0}
SHAPES = xps.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def dtypes(*kinds: str) -> st.SearchStrategy[DType]:
    """The dtypes of some kinds."""
    return st.sampled_from([getattr(xp, name) for kind in kinds for name in KINDS[kind]])


def pairs(*kinds: str) -> st.SearchStrategy[tuple[DType, DType]]:
    """Two dtypes that the standard promotes."""
    known = [getattr(xp, name) for kind in kinds for name in KINDS[kind]]
    return st.sampled_from([(a, b) for a in known for b in known if _promotes(a, b)])


def _promotes(a: DType, b: DType) -> bool:
    try:
        strict.result_type(to_strict(a), to_strict(b))
    except TypeError:
        return False
    return True


def elements(dtype: DType, special: bool = True, least: float | None = None) -> Any:
    """Numbers of a dtype: moderate ones, and NaN, infinities and both zeros where `special`."""
    if dtype.kind == "bool":
        return st.booleans()
    bound = BOUND[dtype.kind]
    if dtype.is_integer:
        low = 0 if dtype.kind == "uint" else -bound
        return st.integers(int(low if least is None else least), int(bound))
    if dtype.kind == "complex":
        return st.complex_numbers(max_magnitude=bound, allow_subnormal=False, width=64)
    low = -bound if least is None else least
    floats = st.floats(low, bound, width=32, allow_subnormal=False)
    return floats | st.sampled_from([0.0, -0.0, np.inf, -np.inf, np.nan]) if special else floats


def arrays(
    dtype: Any, shape: Any = SHAPES, special: bool = True, least: float | None = None
) -> st.SearchStrategy[pl.Tensor]:
    """Tensors of a dtype (or a strategy of dtypes) and a shape (or a strategy of shapes)."""
    if isinstance(dtype, st.SearchStrategy):
        return dtype.flatmap(lambda d: arrays(d, shape, special, least))
    made: st.SearchStrategy[pl.Tensor] = xps.arrays(
        dtype, shape, elements=elements(dtype, special, least)
    )
    return made


def to_strict(value: Any) -> Any:
    """Tensors, dtypes and containers of them as the reference's."""
    if isinstance(value, pl.Tensor):
        return strict.asarray(value.numpy().copy())
    if isinstance(value, DType):
        return getattr(strict, value.name)
    if isinstance(value, (list, tuple)):
        return type(value)(map(to_strict, value))
    return value


def expected(name: str, *args: Any, **kwargs: Any) -> Any:
    """What the reference gives."""
    named = {k: to_strict(v) for k, v in kwargs.items()}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return getattr(strict, name)(*map(to_strict, args), **named)


def check(name: str, *args: Any, **kwargs: Any) -> None:
    """Compare a function of the namespace with the reference's."""
    assert_same(getattr(xp, name)(*args, **kwargs), expected(name, *args, **kwargs))


def check_jitted(name: str, *args: Any) -> None:
    """Compare a function of the namespace, compiled, with the reference's."""
    assert_same(pl.jit(getattr(xp, name))(*args), expected(name, *args))


def assert_same(got: Any, want: Any) -> None:
    """Same structure, dtypes, shapes and elements."""
    if isinstance(want, (list, tuple)):
        assert len(got) == len(want)
        for g, w in zip(got, want, strict=True):
            assert_same(g, w)
        return
    if isinstance(want, (bool, int, float)):
        assert got == want
        return
    array = np.asarray(want._array)
    assert isinstance(got, pl.Tensor)
    assert got.dtype.name == array.dtype.name
    assert got.shape == array.shape
    rough = {"float32": 2e-5, "complex64": 2e-5, "float64": 1e-12, "complex128": 1e-12}
    near = rough.get(got.dtype.name, 0)
    np.testing.assert_allclose(got.numpy(), array, rtol=near, atol=near * 10)
