"""Reductions and scans against NumPy: axes, empty axes, NaN, dtypes, products with zeros."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from pellucid import ops
from pellucid.autodiff.forward import tangent_graph
from pellucid.autodiff.reverse import value_and_vjp_graph
from pellucid.compile import compile_graph
from pellucid.core.config import current_config
from pellucid.core.dtype import float32
from pellucid.core.errors import ShapeError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import GraphBuilder, TensorType
from pellucid.ops import statistics
from pellucid.runtime.executable import Executable
from tests.ops.gradient import grad
from tests.ops.records import Array, run1, trace, type_of

NO_CACHE = dataclasses.replace(current_config(), cache=False)
X = np.random.default_rng(0).normal(size=(2, 3, 4))
AXES: list[Any] = [None, 0, -1, (0, 2), (1,), ()]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["sum", "prod", "max", "min", "mean", "var", "std"])
def test_reduction_is_numpys(name: str, axis: Any, keepdims: bool) -> None:
    got = run1(lambda x: getattr(ops, name)(x, axis=axis, keepdims=keepdims), X)
    expected = np.asarray(getattr(np, name)(X, axis=axis, keepdims=keepdims))
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["any", "all", "count_nonzero"])
def test_counting_is_numpys(name: str, axis: Any) -> None:
    x = np.trunc(X)
    expected = np.asarray(getattr(np, name)(x, axis=axis))
    np.testing.assert_array_equal(run1(lambda v: getattr(ops, name)(v, axis=axis), x), expected)


def test_correction() -> None:
    got = run1(lambda x: ops.var(x, -1, correction=1), X)
    np.testing.assert_allclose(got, X.var(-1, ddof=1))


def test_variance_of_large_numbers_does_not_cancel() -> None:
    x = np.array([10000.0, 10001.0, 10002.0], np.float32)
    np.testing.assert_allclose(run1(ops.var, x), 2 / 3, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "summed"),
    [(np.int8, np.int64), (np.uint8, np.uint64), (np.bool_, np.int64), (np.float16, np.float16)],
)
def test_dtype_of_sums(given: Any, summed: Any) -> None:
    x = np.ones(300).astype(given)
    for fn in (ops.sum, ops.cumsum):
        got = run1(fn, x)
        assert got.dtype == summed
        assert got.reshape(-1)[-1] == 300


def test_half_precision_sums_in_float32() -> None:
    x = np.full(4096, 1.0, np.float16)
    assert run1(ops.sum, x) == 4096  # adding in float16 would stop at 2048
    big = np.full(100, 6e4, np.float16)
    np.testing.assert_allclose(run1(ops.mean, big).astype(np.float32), 6e4, rtol=1e-3)


def test_reducing_nothing() -> None:
    empty = np.zeros((0, 3))
    np.testing.assert_array_equal(run1(lambda x: ops.sum(x, 0), empty), np.zeros(3))
    np.testing.assert_array_equal(run1(lambda x: ops.prod(x, 0), empty), np.ones(3))
    np.testing.assert_array_equal(run1(lambda x: ops.mean(x, 0), empty), np.full(3, np.nan))
    assert run1(lambda x: ops.max(x, 1), empty).shape == (0,)


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_extremum_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(
        ShapeError, match=r"no element to choose.*Fix: give it at least one element"
    ):
        with GraphBuilder() as builder:
            getattr(ops, name)(builder.input(TensorType((0, 3), float32)), axis=0)


def test_bad_axes_are_refused() -> None:
    with GraphBuilder() as builder:
        x = builder.input(TensorType((2, 3), float32))
        with pytest.raises(ShapeError, match=r"sum: axis must be in \[-2, 2\), got axis 2"):
            ops.sum(x, 2)
        with pytest.raises(ShapeError, match="an axis is named twice"):
            ops.sum(x, (0, -2))


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_positions_are_numpys(name: str, axis: int | None, keepdims: bool) -> None:
    cases: list[Array] = [
        np.array([[1.0, 3.0, 3.0], [2.0, np.nan, np.nan], [-np.inf] * 3, [np.inf] * 3]),
        np.array([[1, 3, 3], [0, 0, -1]]),
        np.array([[True, False], [False, False]]),
    ]
    for x in cases:
        got = run1(lambda v: getattr(ops, name)(v, axis, keepdims), x)
        assert got.dtype == np.int64
        np.testing.assert_array_equal(got, getattr(np, name)(x, axis=axis, keepdims=keepdims))


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("n", [2 * statistics._BLOCK - 1, 2 * statistics._BLOCK, 9001])
def test_positions_in_long_rows_are_numpys(name: str, n: int) -> None:
    rng = np.random.default_rng(n)
    plain = rng.integers(-1000, 1000, n).astype(np.float32)
    late, hole = plain.copy(), plain.copy()
    late[-1] = {"argmax": np.inf, "argmin": -np.inf}[name]
    hole[[n // 2, n - 2]] = np.nan
    cases: list[Array] = [plain, late, hole, np.zeros(n), rng.integers(0, 9, n, np.int32)]
    for x in [*cases, np.full(n, {"argmax": -np.inf, "argmin": np.inf}[name])]:
        got = run1(getattr(ops, name), x)
        np.testing.assert_array_equal(got, getattr(np, name)(x))
        graph = trace(getattr(ops, name), type_of(x))
        compiled = Executable(compile_graph(graph, config=NO_CACHE)).run([x])[0]
        np.testing.assert_array_equal(compiled, getattr(np, name)(x))


def test_extremum_shares_its_gradient_among_ties() -> None:
    (got,) = grad(lambda x: ops.max(x, 1), np.array([[1.0, 3.0, 3.0], [2.0, 1.0, 0.0]]))
    np.testing.assert_array_equal(got, [[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize("x", [[2.0, 3.0, 4.0], [2.0, 0.0, 4.0], [0.0, 3.0, 0.0]])
def test_gradient_of_a_product_with_zeros(x: list[float]) -> None:
    (got,) = grad(ops.prod, np.array(x))
    np.testing.assert_allclose(got, [x[1] * x[2], x[0] * x[2], x[0] * x[1]])


def test_gradient_of_a_deviation_of_zero_is_zero() -> None:
    (got,) = grad(ops.std, np.array([1.0, 1.0]))
    np.testing.assert_array_equal(got, [0.0, 0.0])


@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("name", ["cumsum", "cumprod"])
def test_scans_are_numpys(name: str, axis: int | None) -> None:
    x = X[0]
    np.testing.assert_allclose(
        run1(lambda v: getattr(ops, name)(v, axis), x), getattr(np, name)(x, axis)
    )


def test_derivatives_of_a_running_product_with_zeros() -> None:
    a, b, c = x = np.array([2.0, 0.0, 3.0])
    # the sum of the products is a + ab + abc
    (got,) = grad(ops.cumprod, x)
    np.testing.assert_allclose(got, [1 + b + b * c, a + a * c, a * b])
    both = value_and_vjp_graph(trace(ops.cumprod, type_of(x)), [0])
    ones = np.ones(3)
    _, hessian_times_ones = interpret(tangent_graph(both, (True, False)), x, ones, ones)
    np.testing.assert_allclose(hessian_times_ones, [1 + b + c, 1 + c + a, b + a])


def test_linear_recurrence() -> None:
    a, b = np.array([0.5, 2.0, 3.0]), np.array([1.0, 1.0, 1.0])
    np.testing.assert_allclose(run1(ops.linear_recurrence, a, b), [1.0, 3.0, 10.0])
    back = run1(lambda x, y: ops.linear_recurrence(x, y, reverse=True), a, b)
    np.testing.assert_allclose(back, [2.5, 3.0, 1.0])
