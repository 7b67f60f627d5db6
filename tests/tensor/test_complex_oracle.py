"""Complex functions beside array-api-strict, on arrays that hypothesis draws."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

import pellucid as pl

xp: Any = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")

Array = NDArray[Any]
UNARY = (
    "abs acos acosh asin asinh atan atanh conj cos cosh exp expm1 imag isfinite isinf isnan log"
    " log10 log1p log2 negative real reciprocal round sign sin sinh sqrt square tan tanh"
).split()
BINARY = ("add", "subtract", "multiply", "divide", "equal", "not_equal", "pow")
REDUCTIONS = ("sum", "prod", "mean", "any", "all", "count_nonzero", "cumulative_sum")
STANDARD = "bool int8 int32 uint16 float32 float64 complex64 complex128".split()
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


def _numbers(dtype: str) -> st.SearchStrategy[complex]:
    width = 64 if dtype == "complex64" else 128
    return st.complex_numbers(max_magnitude=30, allow_subnormal=False, width=width)  # type: ignore[arg-type]  # a number of bits


def _arrays(dtype: str) -> st.SearchStrategy[Array]:
    return hnp.arrays(dtype, SHAPES, elements=_numbers(dtype))


def _agree(got: pl.Tensor, want: Any) -> None:
    expected = np.asarray(want)
    assert (got.shape, got.numpy().dtype) == (expected.shape, expected.dtype)
    wide = expected.dtype in (np.complex128, np.float64)
    tolerance = 1e-11 if wide else 2e-4
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(got.numpy(), expected, rtol=tolerance, atol=tolerance)


both = pytest.mark.parametrize("dtype", ["complex64", "complex128"])
few = settings(max_examples=15, deadline=None)


@both
@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_array(name: str, dtype: str) -> None:
    @few
    @given(_arrays(dtype))
    def check(array: Array) -> None:
        if name in ("log", "log2", "log10", "reciprocal"):
            assume((abs(array) > 1e-3).all())
        with np.errstate(all="ignore"):
            want = getattr(xp, name)(xp.asarray(array))
        assume(np.isfinite(np.asarray(want)).all())
        _agree(getattr(pl, name)(pl.Tensor(array)), want)

    check()


@both
@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_arrays(name: str, dtype: str) -> None:
    @few
    @given(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), st.data())
    def check(shapes: Any, data: st.DataObject) -> None:
        a, b = (data.draw(hnp.arrays(dtype, s, elements=_numbers(dtype))) for s in shapes[0])
        if name == "pow":
            a, b = a / 10, b / 10
        with np.errstate(all="ignore"):
            want = getattr(xp, name)(xp.asarray(a), xp.asarray(b))
        assume(np.isfinite(np.asarray(want)).all())
        scale = max(1.0, float(abs(np.asarray(want)).max(initial=0)))
        assume(scale < 1e6)
        _agree(getattr(pl, name)(pl.Tensor(a), pl.Tensor(b)), want)

    check()


@both
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str, dtype: str) -> None:
    @few
    @given(hnp.arrays(dtype, (2, 3), elements=_numbers(dtype)), st.sampled_from([0, 1]))
    def check(array: Array, axis: int) -> None:
        want = getattr(xp, name)(xp.asarray(array / 10), axis=axis)
        _agree(getattr(pl, name)(pl.Tensor(array / 10), axis=axis), want)

    check()


@pytest.mark.parametrize(("a", "b"), list(itertools.product(STANDARD, STANDARD)))
def test_promotion_where_the_standard_has_it(a: str, b: str) -> None:
    try:
        want = str(xp.result_type(getattr(xp, a), getattr(xp, b)))
    except TypeError:
        return  # beyond the standard
    made = pl.where(pl.Tensor([True]), pl.ones((1,), dtype=a), pl.ones((1,), dtype=b))
    assert made.dtype.name == want.rpartition(".")[2].strip("'>")
