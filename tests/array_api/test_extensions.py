"""The extensions `linalg` and `fft`: names, parameters, shapes and dtypes as array-api-strict's."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy

import pellucid as pl
from pellucid import array_api as xp

strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
BOTH = [(xp.linalg, strict.linalg), (xp.fft, strict.fft)]
FLOATS = ("float32", "float64", "complex64", "complex128")
each = settings(max_examples=25, deadline=None)


@pytest.mark.parametrize(("ours", "theirs"), BOTH, ids=["linalg", "fft"])
def test_every_function_takes_the_standards_parameters(
    ours: ModuleType, theirs: ModuleType
) -> None:
    assert set(theirs.__all__) <= set(ours.__all__)
    for name in theirs.__all__:
        wanted = inspect.signature(getattr(theirs, name)).parameters.values()
        own = inspect.signature(getattr(ours, name)).parameters
        named = [p.name for p in wanted if p.kind is p.KEYWORD_ONLY]
        assert set(named) <= set(own), name
        assert len(own) >= len(wanted), name
        for parameter in (p for p in wanted if p.kind is p.KEYWORD_ONLY):
            assert own[parameter.name].default == parameter.default, name


def check(call: Any, *arrays: np.ndarray) -> None:
    """Fails unless `call(namespace, *arrays)` has the same shapes, dtypes and fields in both."""
    ours: Any = call(xp, *map(pl.Tensor, arrays))
    theirs: Any = call(strict, *map(strict.asarray, arrays))
    if hasattr(theirs, "_fields"):
        assert ours._fields == theirs._fields
    else:
        ours, theirs = (ours,), (theirs,)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert str(a.numpy().dtype) == str(np.asarray(b).dtype)


@st.composite
def _matrices(draw: Any, square: bool = False) -> np.ndarray:
    """Finite matrices of at least one row and column, in a stack that may be empty."""
    stack = draw(numpy.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    m, n = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    shape = (*stack, n if square else m, n)
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    made = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    dtype = draw(st.sampled_from(FLOATS))
    made = made + 4 * np.eye(n) if square else made
    return np.asarray(made if "complex" in dtype else made.real, dtype)


SQUARE = [
    "det", "eigh", "eigvalsh", "inv", "slogdet", "matrix_power", "trace", "cholesky",
]  # fmt: skip
ANY = ["svd", "svdvals", "qr", "pinv", "matrix_rank", "matrix_norm", "diagonal", "vector_norm"]


@each
@given(name=st.sampled_from(SQUARE), x=_matrices(square=True))
def test_functions_of_square_matrices(name: str, x: np.ndarray) -> None:
    if name == "cholesky":
        x = x @ np.conj(np.swapaxes(x, -1, -2))
    more = (3,) if name == "matrix_power" else ()
    check(lambda namespace, a: getattr(namespace.linalg, name)(a, *more), x)


@each
@given(name=st.sampled_from(ANY), x=_matrices())
def test_functions_of_matrices(name: str, x: np.ndarray) -> None:
    check(lambda namespace, a: getattr(namespace.linalg, name)(a), x)


@each
@given(a=_matrices(square=True), data=st.data())
def test_solve_and_products(a: np.ndarray, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(FLOATS))
    n = a.shape[-1]
    right = np.ones((*a.shape[:-2], n, data.draw(st.integers(0, 3))), dtype)
    for name in ("solve", "matmul"):
        check(lambda namespace, a, b, name=name: getattr(namespace.linalg, name)(a, b), a, right)
    line = np.ones(n, dtype)
    check(lambda namespace, a, b: namespace.linalg.solve(a, b), a, line)
    check(lambda namespace, a, b: namespace.linalg.vecdot(a, b), a, line)
    check(lambda namespace, a, b: namespace.linalg.outer(a, b), line, line)
    three = np.ones((*a.shape[:-2], 3, n), dtype)
    check(lambda namespace, a, b: namespace.linalg.cross(a, b, axis=-2), three, three)


KINDS = {"fft": "c", "ifft": "c", "irfft": "c", "hfft": "c", "rfft": "f", "ihfft": "f"}
PLANES = {"fftn": "c", "ifftn": "c", "irfftn": "c", "rfftn": "f"}


@each
@given(
    name=st.sampled_from([*KINDS, *PLANES, "fftshift", "ifftshift"]),
    shape=numpy.array_shapes(min_dims=1, max_dims=3, min_side=2, max_side=5),
    wide=st.booleans(),
)
def test_transforms(name: str, shape: tuple[int, ...], wide: bool) -> None:
    kind = {**KINDS, **PLANES}.get(name, "f")
    dtype = {"f": ("float32", "float64"), "c": ("complex64", "complex128")}[kind][wide]
    check(lambda namespace, x: getattr(namespace.fft, name)(x), np.ones(shape, dtype))


@pytest.mark.parametrize("name", ["fftfreq", "rfftfreq"])
def test_frequencies(name: str) -> None:
    for kwargs in ({}, {"d": 0.5}, {"dtype": "float32"}):
        made = getattr(xp.fft, name)(7, device="cpu", **kwargs)
        wanted = {k: strict.float32 if k == "dtype" else v for k, v in kwargs.items()}
        assert made.dtype == pl.float32
        np.testing.assert_allclose(
            made.numpy(), np.asarray(getattr(strict.fft, name)(7, **wanted)), rtol=1e-6
        )
