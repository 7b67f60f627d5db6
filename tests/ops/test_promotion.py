"""dtype and shape rules of the functions: the array API's, with weak Python scalars."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid import ops
from pellucid.core import dtype as dt
from pellucid.core.dtype import DType
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.graph.ir import GraphBuilder, TensorType, Value
from pellucid.ops.promotion import Operand
from tests.ops.records import run1, trace


def _value(shape: tuple[int, ...], dtype: DType) -> Value:
    return GraphBuilder().input(TensorType(shape, dtype))


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (dt.float32, dt.float64, dt.float64),
        (dt.float16, dt.bfloat16, dt.float32),
        (dt.int8, dt.uint8, dt.int16),
        (dt.int32, dt.float16, dt.float16),
        (dt.bool_, dt.uint8, dt.uint8),
        (dt.int64, 2, dt.int64),
        (dt.int8, 2.5, dt.float32),
        (dt.float16, 2.5, dt.float16),
        (dt.uint8, True, dt.uint8),
        (dt.float64, 1, dt.float64),
    ],
)
def test_add_promotes(left: DType, right: DType | float, expected: DType) -> None:
    with GraphBuilder() as builder:
        x = builder.input(TensorType((2,), left))
        y: Operand = (
            right if not isinstance(right, DType) else builder.input(TensorType((2,), right))
        )
        assert ops.add(x, y).dtype == expected
        assert ops.add(y, x).dtype == expected


def test_scalars_alone_take_their_default_dtype() -> None:
    with GraphBuilder():
        assert ops.add(1, 2).dtype == dt.int64
        assert ops.add(1, 2.0).dtype == dt.float32
        assert ops.logical_or(True, False).dtype == dt.bool_


def test_integers_divide_as_float32() -> None:
    got = run1(ops.divide, np.array([1, 2], np.int64), np.array([4, 0], np.int64))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, np.array([0.25, np.inf], np.float32))


def test_operands_broadcast() -> None:
    got = run1(ops.multiply, np.arange(3.0)[:, None], np.arange(4.0))
    np.testing.assert_array_equal(got, np.outer(np.arange(3.0), np.arange(4.0)))


def test_equal_operands_make_no_extra_nodes() -> None:
    graph = trace(ops.add, TensorType((3,), dt.float32), TensorType((3,), dt.float32))
    assert [n.op.name for n in graph.nodes] == ["add"]


def test_shapes_that_do_not_broadcast_are_refused() -> None:
    with (
        pytest.raises(ShapeError, match=r"add: shapes do not broadcast at axis -1"),
        GraphBuilder(),
    ):
        ops.add(_value((2, 3), dt.float32), _value((4,), dt.float32))


def test_arithmetic_on_bools_names_the_logical_functions() -> None:
    with pytest.raises(DTypeError, match=r"subtract: takes numbers, not bool.*logical_and"):
        ops.subtract(_value((2,), dt.bool_), _value((2,), dt.bool_))


def test_unsigned_64_meets_no_signed_integer() -> None:
    with pytest.raises(DTypeError, match="uint64 and signed integers"):
        ops.add(_value((2,), dt.uint64), _value((2,), dt.int8))


def test_a_scalar_must_fit_the_integer_dtype() -> None:
    with (
        pytest.raises(DTypeError, match=r"add: the Python int does not fit.*scalar 300"),
        GraphBuilder(),
    ):
        ops.add(_value((2,), dt.uint8), 300)


def test_other_objects_are_refused() -> None:
    with pytest.raises(ArgumentError, match="takes graph values and Python scalars, got it list"):
        ops.add(_value((2,), dt.uint8), [1, 2])  # type: ignore[arg-type]  # what the test is about


def test_bits_of_floats_are_refused() -> None:
    x = _value((2,), dt.float32)
    with pytest.raises(DTypeError, match="is not defined on float"), GraphBuilder():
        ops.bitwise_and(x, x)
