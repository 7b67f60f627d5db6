"""Elementwise functions against NumPy and SciPy, at edges above all, and their subgradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pellucid import ops
from pellucid.core.dtype import float16, float32, int64
from pellucid.core.errors import DTypeError
from pellucid.graph.ir import GraphBuilder, TensorType, Value
from tests.ops.gradient import grad
from tests.ops.records import Array, run1

SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e-30, 3e4, np.inf, -np.inf, np.nan])
UNARY = [
    "abs", "sign", "exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sqrt", "sin", "cos",
    "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "floor",
    "ceil", "round", "trunc", "isnan", "isinf", "isfinite", "square", "reciprocal", "negative",
    "signbit", "logical_not",
]  # fmt: skip
BINARY = [
    "add", "subtract", "multiply", "divide", "floor_divide", "remainder", "pow", "maximum",
    "minimum", "atan2", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal",
    "logical_and", "logical_or", "logical_xor", "hypot", "logaddexp", "copysign",
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", UNARY)
def test_unary_is_numpys(name: str, dtype: Any) -> None:
    x = SPECIAL.astype(dtype)
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x)
    got = run1(getattr(ops, name), x)
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("name", BINARY)
def test_binary_is_numpys(name: str) -> None:
    x, y = (v.ravel() for v in np.meshgrid(SPECIAL, SPECIAL))
    with np.errstate(all="ignore"):
        expected = getattr(np, name)(x, y)
        if name == "floor_divide":  # with an infinity the array API wants the quotient's floor
            expected = np.where(np.isinf(x) | np.isinf(y), np.floor(x / y), expected)
    got = run1(getattr(ops, name), x, y)
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "peer"), [("erf", "erf"), ("xlogy", "xlogy"), ("sigmoid", "expit")]
)
def test_special_functions_are_scipys(name: str, peer: str) -> None:
    special = pytest.importorskip("scipy.special", reason="scipy is not installed")
    arrays = [np.linspace(-40, 40, 161)]
    if name == "xlogy":
        arrays = [np.array([0.0, 0.0, 1.0, 2.0]), np.array([0.0, np.nan, 0.0, 3.0])]
    np.testing.assert_allclose(
        run1(getattr(ops, name), *arrays), getattr(special, peer)(*arrays), rtol=1e-13
    )


def test_integer_edges() -> None:
    a = np.array([7, -7, 5, -5, np.iinfo(np.int64).min], np.int64)
    b = np.array([2, 2, 0, -3, -1], np.int64)
    np.testing.assert_array_equal(run1(ops.floor_divide, a, b)[:4], [3, -4, 0, 1])
    np.testing.assert_array_equal(run1(ops.remainder, a, b), [1, 1, 0, -2, 0])


def test_integer_powers() -> None:
    a, b = np.array([2, -1, -1, 1, 3, 0]), np.array([10, -3, -2, -5, -1, 0])
    np.testing.assert_array_equal(run1(ops.pow, a, b), [1024, -1, 1, 1, 0, 1])
    np.testing.assert_array_equal(run1(lambda x: ops.pow(x, 2), a), a * a)


def test_casts_saturate() -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e10, -3.9, 255.9], np.float32)
    np.testing.assert_array_equal(
        run1(lambda v: ops.astype(v, "uint8"), x), [0, 255, 0, 255, 0, 255]
    )
    np.testing.assert_array_equal(
        run1(lambda v: ops.astype(v, "int8"), x), [0, 127, -128, 127, -3, 127]
    )


@pytest.mark.parametrize("exponent", [2, 1, 0.5, -0.5, -1, 3, 0, 2.5])
def test_power_of_a_scalar(exponent: float) -> None:
    x = np.array([0.5, 1.0, 4.0])
    np.testing.assert_allclose(run1(lambda v: ops.pow(v, exponent), x), x**exponent)
    (got,) = grad(lambda v: ops.pow(v, exponent), x)
    np.testing.assert_allclose(got, exponent * x ** (exponent - 1))


def test_clip_is_numpys() -> None:
    x = np.array([-3.0, -1.0, 0.0, 1.0, 3.0, np.nan])
    np.testing.assert_array_equal(run1(lambda v: ops.clip(v, -1, 1), x), np.clip(x, -1, 1))
    np.testing.assert_array_equal(run1(lambda v: ops.clip(v, None, 1), x), np.clip(x, None, 1))
    np.testing.assert_array_equal(run1(lambda v: ops.clip(v, 2, 1), x), np.clip(x, 2, 1))


@pytest.mark.parametrize(
    ("fn", "x", "expected"),
    [
        (ops.abs, [-2.0, 0.0, 3.0], [-1.0, 0.0, 1.0]),
        (ops.relu, [-1.0, 0.0, -0.0, 2.0], [0.0, 0.0, 0.0, 1.0]),
        (lambda x: ops.clip(x, -1, 1), [-2.0, -1.0, 0.0, 1.0, 2.0], [0.0, 1.0, 1.0, 1.0, 0.0]),
        (lambda x: ops.maximum(x, 1.0), [0.0, 1.0, 2.0], [0.0, 0.5, 1.0]),
        (lambda x: ops.minimum(x, 1.0), [0.0, 1.0, 2.0], [1.0, 0.5, 0.0]),
        (ops.floor, [0.5, 1.5], [0.0, 0.0]),
        (ops.sign, [0.5, 0.0], [0.0, 0.0]),
        (lambda x: ops.pow(x, 0), [0.0, 2.0], [0.0, 0.0]),
        (ops.softplus, [0.0, -1000.0, 1000.0], [0.5, 0.0, 1.0]),
        (ops.sigmoid, [0.0, -1000.0, 1000.0], [0.25, 0.0, 0.0]),
        (ops.elu, [0.0, -1000.0, 1000.0], [1.0, 0.0, 1.0]),
        (lambda x: ops.logaddexp(x, 1.0), [1.0, -1000.0, 1000.0], [0.5, 0.0, 1.0]),
    ],
)
def test_subgradients(fn: Callable[[Value], Value], x: list[float], expected: list[float]) -> None:
    (got,) = grad(fn, np.array(x))
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_where_sends_the_gradient_to_the_side_chosen() -> None:
    cond, x, y = np.array([True, False]), np.array([1.0, 2.0]), np.array([3.0, 4.0])
    np.testing.assert_array_equal(run1(ops.where, cond, x, y), [1.0, 4.0])
    got = grad(lambda a, b: ops.where(ops.greater(a, 1.5), a, b), x, y)
    np.testing.assert_array_equal(got, [[0.0, 1.0], [1.0, 0.0]])


def test_isnan_of_integers_is_false() -> None:
    np.testing.assert_array_equal(run1(ops.isnan, np.arange(3)), [False] * 3)


def test_rounding_keeps_integers() -> None:
    x = np.arange(3)
    assert run1(ops.round, x).dtype == x.dtype


def test_bitcast_refuses_other_widths() -> None:
    with pytest.raises(
        DTypeError, match="bitcast: both dtypes must be real numbers of the same width"
    ):
        with GraphBuilder() as builder:
            ops.bitcast(builder.input(TensorType((2,), float32)), "float64")


def test_nothing_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run1(ops.log, np.array([0.0, -1.0]))
        run1(lambda x: ops.astype(x, float16), np.array([1e30]))


@pytest.mark.parametrize(
    ("start", "stop", "step"), [(0, 5, 1), (5, 0, -2), (1, 10, 3), (0.0, 1.0, 0.25), (3, 3, 1)]
)
def test_arange_is_numpys(start: float, stop: float, step: float) -> None:
    expected = np.arange(start, stop, step)
    got: Array = run1(lambda: ops.arange(start, stop, step))
    assert got.dtype == (np.int64 if expected.dtype == np.int64 else np.float32)
    np.testing.assert_allclose(got, expected)


def test_creation() -> None:
    np.testing.assert_array_equal(run1(lambda: ops.eye(3, 4, 1)), np.eye(3, 4, 1))
    np.testing.assert_array_equal(run1(lambda: ops.eye(3, k=-1)), np.eye(3, k=-1))
    np.testing.assert_allclose(run1(lambda: ops.linspace(0, 1, 7)), np.linspace(0, 1, 7), rtol=1e-6)
    assert run1(lambda: ops.full(3, 7)).dtype == int64.numpy
    assert run1(lambda: ops.zeros((2, 0))).shape == (2, 0)
