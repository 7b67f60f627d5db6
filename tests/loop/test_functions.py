"""The scalar functions: types, edge cases, casts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pellucid.core.dtype import (
    REAL,
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint32,
    uint64,
)
from pellucid.core.errors import ArgumentError, DTypeError
from pellucid.loop.functions import FUNCTIONS, call, cast, evaluate, function, result_dtype
from pellucid.loop.ir import Const, Var, const


def value(fn: str, dtype: DType, *args: float, result: DType | None = None) -> object:
    arrays = [np.array(a, dtype.numpy) for a in args]
    return evaluate(fn, result or dtype, *arrays).item()


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("dtype", REAL, ids=str)
def test_every_function_gives_its_result_dtype(name: str, dtype: DType) -> None:
    fn = function(name)
    fits = dtype.kind in fn.kinds and (fn.rule != "dot" or dtype == int32)
    if not fits or (fn.rule == "pack" and dtype.bits * fn.arity != 32):
        with pytest.raises(DTypeError):
            result_dtype(name, [dtype] * fn.arity, dtype)
        return
    args = [dtype] * fn.arity
    if fn.rule == "select":
        args[0] = bool_
    expected = result_dtype(name, args, dtype)
    arrays = [np.ones(3, a.numpy) for a in args]
    result = evaluate(name, expected, *arrays)
    assert result.dtype == expected.numpy
    assert result.shape == (3,)


@pytest.mark.parametrize(
    ("fn", "dtype", "args", "expected"),
    [
        ("floordiv", int32, (-7, 2), -4),
        ("floordiv", int32, (5, 0), 0),
        ("floordiv", float32, (-7.0, 2.0), -4.0),
        ("mod", int64, (-7, 3), 2),
        ("mod", int64, (7, -3), -2),
        ("mod", uint8, (7, 0), 0),
        ("pow", int32, (2, 10), 1024),
        ("pow", int32, (2, -1), 0),
        ("pow", int32, (-1, -3), -1),
        ("pow", int32, (1, -5), 1),
        ("pow", int32, (0, -1), 0),
        ("shl", int32, (1, 31), -(2**31)),
        ("shl", int32, (1, 32), 0),
        ("shl", int32, (1, -1), 0),
        ("shr", int32, (-8, 1), -4),
        ("shr", int32, (-8, 40), -1),
        ("shr", int32, (8, 40), 0),
        ("shr", uint32, (2**31, 31), 1),
        ("add", int8, (127, 1), -128),
        ("neg", uint8, (1,), 255),
        ("abs", int8, (-128,), -128),
        ("round", float32, (2.5,), 2.0),
        ("trunc", float64, (-2.7,), -2.0),
        ("floor", int32, (3,), 3),
        ("not", bool_, (1,), False),
        ("not", int32, (0,), -1),
        ("fma", float32, (2.0, 3.0, 4.0), 10.0),
        ("erf", float64, (0.5,), math.erf(0.5)),
        ("rsqrt", float64, (4.0,), 0.5),
    ],
)
def test_values(fn: str, dtype: DType, args: tuple[float, ...], expected: object) -> None:
    assert value(fn, dtype, *args) == expected


@pytest.mark.parametrize("fn", ["max", "min"])
def test_max_and_min_propagate_nan(fn: str) -> None:
    for args in ((math.nan, 1.0), (1.0, math.nan)):
        assert math.isnan(float(str(value(fn, float32, *args))))


@pytest.mark.parametrize(
    ("source", "target", "x", "expected"),
    [
        (float32, int8, 300.0, 127),
        (float32, int8, -300.0, -128),
        (float32, int32, math.nan, 0),
        (float32, int64, 1e30, 2**63 - 1),
        (float64, uint64, 1e30, 2**64 - 1),
        (float64, uint8, -3.0, 0),
        (float32, int32, -2.9, -2),
        (float32, uint8, math.inf, 255),
        (bfloat16, int16, 1e30, 32767),
        (float32, bool_, 0.5, True),
        (int32, int8, 130, -126),
        (bool_, float32, True, 1.0),
        (float16, float64, 0.5, 0.5),
    ],
)
def test_casts_saturate(source: DType, target: DType, x: float, expected: object) -> None:
    assert value("cast", source, x, result=target) == expected


def test_bitcast_keeps_the_bits() -> None:
    assert value("bitcast", float32, 1.0, result=uint32) == 0x3F800000
    with pytest.raises(DTypeError, match="not as wide"):
        result_dtype("bitcast", [float32], int64)


def test_low_precision_is_rounded_once() -> None:
    x = np.array([1.0, 3.0], float16.numpy)
    expected = np.exp(x.astype(np.float32)).astype(np.float16)
    np.testing.assert_array_equal(evaluate("exp", float16, x), expected)


def test_call_infers_and_refuses() -> None:
    assert call("lt", Var("i"), Const(3)).dtype == bool_
    assert cast(Var("i"), int64) == Var("i")
    assert cast(Var("i"), float32).dtype == float32
    with pytest.raises(DTypeError, match="one dtype"):
        call("add", Var("i"), const(1.0, float32))
    with pytest.raises(ArgumentError, match="did you mean 'floor"):
        call("flor", Var("i"))
    with pytest.raises(ArgumentError, match="takes 2 arguments"):
        call("add", Var("i"))
    with pytest.raises(ArgumentError, match="needs a result dtype"):
        call("cast", Var("i"))
