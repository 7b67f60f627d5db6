"""Operators against NumPy: both orders, scalars, arrays, broadcasting, promotion."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError

Array = NDArray[Any]
X = np.array([[1.5, -2.0, 3.0], [4.0, 0.5, -6.0]], np.float32)
Y = np.array([2.0, -3.0, 0.75], np.float32)
I = np.array([[7, -3, 5], [2, 6, -8]], np.int32)  # noqa: E741  # integers
J = np.array([2, 3, 4], np.int32)
FLOATS: list[Callable[[Any, Any], Any]] = [
    operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod,
    operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge,
]  # fmt: skip
BITS: list[Callable[[Any, Any], Any]] = [
    operator.and_, operator.or_, operator.xor, operator.lshift, operator.rshift,
]  # fmt: skip


def check(result: object, expected: Array) -> None:
    assert isinstance(result, pl.Tensor)
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-6)
    assert result.dtype.name == expected.dtype.name


@pytest.mark.parametrize("op", FLOATS, ids=lambda o: o.__name__)
def test_operators_on_floats(op: Callable[[Any, Any], Any]) -> None:
    check(op(pl.Tensor(X), pl.Tensor(Y)), op(X, Y))
    check(op(pl.Tensor(X), 2.0), op(X, np.float32(2)))
    check(op(2.0, pl.Tensor(X)), op(np.float32(2), X))
    check(op(X, pl.Tensor(Y)), op(X, Y))
    check(op(pl.Tensor(X), Y), op(X, Y))
    check(op([2.0, -3.0, 0.75], pl.Tensor(X)), op(Y, X))


@pytest.mark.parametrize("op", [*FLOATS[:3], *FLOATS[4:], *BITS], ids=lambda o: o.__name__)
def test_operators_on_integers(op: Callable[[Any, Any], Any]) -> None:
    check(op(pl.Tensor(I), pl.Tensor(J)), op(I, J))
    check(op(pl.Tensor(I), 3), op(I, np.int32(3)))
    check(op(13, pl.Tensor(J)), op(np.int32(13), J))
    check(op(I, pl.Tensor(J)), op(I, J))


def test_power_and_matrix_product() -> None:
    x = pl.Tensor(Y)
    check(x**2, Y**2)
    check(2.0**x, np.float32(2) ** Y)
    check(pl.Tensor(np.abs(X)) ** x, np.abs(X) ** Y)
    check(pl.Tensor(J) ** 2, J**2)
    check(pl.Tensor(X) @ pl.Tensor(X.T), X @ X.T)
    check(X @ pl.Tensor(X.T), X @ X.T)
    check(pl.Tensor(X) @ Y, X @ Y)


def test_unary_operators() -> None:
    x = pl.Tensor(X)
    check(-x, -X)
    check(abs(x), abs(X))
    check(~pl.Tensor(I), ~I)
    check(~pl.Tensor(X > 0), ~(X > 0))
    assert +x is x


@pytest.mark.parametrize(
    ("dtype", "scalar", "expected"),
    [
        ("float16", 2.0, "float16"), ("bfloat16", 2, "bfloat16"), ("float64", 0.1, "float64"),
        ("int8", 2, "int8"), ("uint8", 1.5, "float32"), ("int64", 1.5, "float32"),
        ("bool", 1, "int64"), ("bool", 1.0, "float32"), ("float32", True, "float32"),
    ],
)  # fmt: skip
def test_python_scalars_take_the_tensors_dtype_where_it_can(
    dtype: str, scalar: float, expected: str
) -> None:
    x = pl.ones(2).astype(dtype)
    for result in (x * scalar, scalar * x, pl.jit(lambda x: x * scalar)(x)):
        assert result.dtype.name == expected
    if type(scalar) is not bool:
        assert pl.jit(operator.mul)(x, scalar).dtype.name == expected


@pytest.mark.parametrize("scalar", [300, -1])
def test_scalars_that_do_not_fit_are_refused(scalar: int) -> None:
    message = f"add: the scalar {scalar} does not fit, got dtype u8"
    for add in (operator.add, lambda a, b: b + a):
        with pytest.raises(DTypeError, match=message):
            add(pl.ones(2).astype("uint8"), scalar)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("int8", "uint8", "int16"), ("int32", "float16", "float16"), ("bool", "int8", "int8"),
        ("float16", "bfloat16", "float32"), ("uint32", "int8", "int64"),
        ("float32", "float64", "float64"),
    ],
)  # fmt: skip
def test_tensors_promote(a: str, b: str, expected: str) -> None:
    x, y = pl.ones(2).astype(a), pl.ones(2).astype(b)
    assert (x + y).dtype.name == (y + x).dtype.name == expected


def test_numpy_scalars_are_arrays_with_a_dtype() -> None:
    x = pl.ones(2)
    assert (np.float32(2) * x).dtype == pl.float32
    assert (np.float64(2) * x).dtype == (x * np.float64(2)).dtype == pl.float64


def test_integers_never_divide_by_zero() -> None:
    zero = pl.Tensor([0, 0])
    assert (pl.Tensor([5, -5]) // zero).tolist() == [0, 0]
    assert (pl.Tensor([5, -5]) % zero).tolist() == [0, 0]


@pytest.mark.parametrize("other", [None, "a", object(), {1: 2}], ids=lambda v: type(v).__name__)
def test_what_is_no_operand_is_refused_by_name(other: Any) -> None:
    x = pl.ones((2, 3))
    message = rf"add: takes tensors, numbers and arrays, got tensor f32\[2, 3\] and it {type(other).__name__}"  # noqa: E501
    runs: list[Callable[[pl.Tensor], Any]] = [lambda x: x + other, pl.jit(lambda x: x + other)]
    for run in runs:
        with pytest.raises(DTypeError, match=message):
            run(x)
    different: list[Any] = [x == other, x != other]
    assert different == [False, True]


def test_shapes_that_do_not_broadcast_are_named() -> None:
    with pytest.raises(ShapeError, match=r"add: .*axis -1, got a \(2, 3\) and b \(2,\)"):
        pl.ones((2, 3)) + pl.ones(2)
    with pytest.raises(ShapeError, match=r"matmul: inner dims must match, got a f32\[2, 3\] and b"):
        pl.ones((2, 3)) @ pl.ones((2, 3))


def test_types_without_a_meaning_are_refused() -> None:
    with pytest.raises(DTypeError, match=r"is not defined on float, got a f32"):
        pl.ones(2) & 1
    with pytest.raises(DTypeError, match="uint64 and signed integers"):
        pl.Tensor([1]) + pl.Tensor([1], dtype="uint64")
    with pytest.raises(ArgumentError, match=r"maximum: needs at least one Tensor. Fix:"):
        pl.maximum(1, 2)


def test_in_place_operators_keep_the_object_and_its_dtype() -> None:
    x = y = pl.Tensor(Y)
    x += 1
    x *= 2
    x -= pl.Tensor([1.0, 2.0, 3.0])
    x /= 4.0
    assert x is y
    check(x, ((Y + 1) * 2 - np.array([1, 2, 3], np.float32)) / 4)
    n = pl.Tensor([1, 2])
    with pytest.raises(ShapeError, match=r"in-place operator: .* tensor i64\[2\] and result f32"):
        n += 0.5
    with pytest.raises(ShapeError, match="write x = x"):
        n += pl.Tensor([[1, 2], [3, 4]])


def test_other_names_see_no_in_place_change() -> None:
    x = pl.ones((2, 2))
    view, copy, row = x.reshape(4), x.detach(), x[0]
    x[0, 0] = 5.0
    assert view.tolist() == [1.0] * 4
    assert copy.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert row.tolist() == [1.0, 1.0]
