"""Elementwise functions and operators against the reference: dtypes, shapes, special values."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pellucid as pl
from pellucid import array_api as xp

from .oracle import (
    QUICK,
    arrays,
    assert_same,
    check,
    check_jitted,
    dtypes,
    elements,
    pairs,
    to_strict,
    xps,
)

REAL = ("signed", "unsigned", "float")
NUMERIC = (*REAL, "complex")
INEXACT = ("float", "complex")
BITS = ("bool", "signed", "unsigned")
ALL = ("bool", *NUMERIC)

UNARY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("abs", "isfinite", "isinf", "isnan", "negative", "positive"), NUMERIC),
    **dict.fromkeys(("real", "conj", "round", "sign", "square"), NUMERIC),
    **dict.fromkeys(("ceil", "floor", "trunc"), REAL),
    **dict.fromkeys(("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh"), INEXACT),
    **dict.fromkeys(("exp", "expm1", "log", "log10", "log1p", "log2", "reciprocal"), INEXACT),
    **dict.fromkeys(("sin", "sinh", "sqrt", "tan", "tanh"), INEXACT),
    "bitwise_invert": BITS,
    "imag": ("complex",),
    "logical_not": ("bool",),
    "signbit": ("float",),
}
BINARY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("add", "multiply", "subtract"), NUMERIC),
    **dict.fromkeys(("equal", "not_equal"), ALL),
    **dict.fromkeys(("greater", "greater_equal", "less", "less_equal"), REAL),
    **dict.fromkeys(("maximum", "minimum"), REAL),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), BITS),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), ("bool",)),
    **dict.fromkeys(("atan2", "copysign", "hypot", "logaddexp", "nextafter"), ("float",)),
    "divide": INEXACT,
    "pow": ("float",),
}
OPERATORS = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "truediv": operator.truediv,
    "iadd": operator.iadd, "isub": operator.isub, "imul": operator.imul,
    "itruediv": operator.itruediv, "lt": operator.lt, "le": operator.le, "gt": operator.gt,
    "ge": operator.ge, "eq": operator.eq, "ne": operator.ne,
}  # fmt: skip
BIT_OPERATORS = {
    "and": operator.and_, "or": operator.or_, "xor": operator.xor, "iand": operator.iand,
    "ior": operator.ior, "ixor": operator.ixor,
}  # fmt: skip
FLOATS = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, -3.25, 100.0]


@pytest.mark.parametrize("name", UNARY)
@QUICK
@given(data=st.data())
def test_unary(name: str, data: st.DataObject) -> None:
    check(name, data.draw(arrays(dtypes(*UNARY[name]))))


@pytest.mark.parametrize("name", [n for n, kinds in UNARY.items() if "float" in kinds])
def test_unary_compiled(name: str) -> None:
    x = xp.asarray(FLOATS * 3, dtype=xp.float64)
    check_jitted(name, x)


@pytest.mark.parametrize("name", BINARY)
@QUICK
@given(data=st.data())
def test_binary(name: str, data: st.DataObject) -> None:
    first, second = data.draw(pairs(*BINARY[name]))
    if name == "nextafter":
        second = first
    shapes = data.draw(xps.mutually_broadcastable_shapes(2, max_dims=3, max_side=3)).input_shapes
    check(name, data.draw(arrays(first, shapes[0])), data.draw(arrays(second, shapes[1])))


@pytest.mark.parametrize("name", [n for n, kinds in BINARY.items() if "float" in kinds])
def test_binary_compiled(name: str) -> None:
    x, y = (xp.asarray(v.ravel()) for v in np.meshgrid(FLOATS, FLOATS))
    check_jitted(name, x, y)


@pytest.mark.parametrize("name", BINARY)
@QUICK
@given(data=st.data())
def test_binary_with_a_python_number(name: str, data: st.DataObject) -> None:
    if name == "nextafter":  # the reference takes arrays only
        return
    dtype = data.draw(dtypes(*BINARY[name]))
    x, number = data.draw(arrays(dtype)), data.draw(elements(dtype))
    check(name, x, number)
    check(name, number, x)


@pytest.mark.parametrize("name", ["floor_divide", "remainder"])
@QUICK
@given(data=st.data())
def test_division_with_a_rest(name: str, data: st.DataObject) -> None:
    first, second = data.draw(pairs(*REAL))
    x = data.draw(arrays(first, (4,), special=False))
    check(name, x, data.draw(arrays(second, (4,), special=False, least=1)))


@pytest.mark.parametrize("name", ["bitwise_left_shift", "bitwise_right_shift"])
@QUICK
@given(data=st.data())
def test_shifts(name: str, data: st.DataObject) -> None:
    dtype = data.draw(dtypes("signed", "unsigned"))
    amounts = xps.arrays(dtype, (3,), elements=st.integers(0, 7))
    check(name, data.draw(arrays(dtype, (3,))), data.draw(amounts))


@QUICK
@given(data=st.data())
def test_powers_of_integers(data: st.DataObject) -> None:
    dtype = data.draw(dtypes("signed", "unsigned"))
    powers = xps.arrays(dtype, (3,), elements=st.integers(0, 5))
    check("pow", data.draw(arrays(dtype, (3,))), data.draw(powers))


@QUICK
@given(data=st.data())
def test_clip(data: st.DataObject) -> None:
    dtype = data.draw(dtypes(*REAL))
    x = data.draw(arrays(dtype, special=False))
    low, high = sorted(data.draw(st.tuples(*2 * [elements(dtype, special=False)])))
    check("clip", x, low, high)
    check("clip", x, max=high)
    check("clip", x, xp.full(x.shape, low, dtype=dtype), high)


@QUICK
@given(data=st.data())
def test_where(data: st.DataObject) -> None:
    first, second = data.draw(pairs(*ALL))
    shapes = data.draw(xps.mutually_broadcastable_shapes(3, max_dims=2, max_side=3)).input_shapes
    kinds = (xp.bool, first, second)
    check("where", *[data.draw(arrays(d, s)) for d, s in zip(kinds, shapes, strict=True)])


@pytest.mark.parametrize("name", OPERATORS)
@QUICK
@given(data=st.data())
def test_operators(name: str, data: st.DataObject) -> None:
    _check_operator(OPERATORS[name], dtypes("float"), data)


@pytest.mark.parametrize("name", BIT_OPERATORS)
@QUICK
@given(data=st.data())
def test_operators_on_bits(name: str, data: st.DataObject) -> None:
    _check_operator(BIT_OPERATORS[name], dtypes(*BITS), data)


def _check_operator(fn: Any, kinds: Any, data: st.DataObject) -> None:
    dtype = data.draw(kinds)
    x = data.draw(arrays(dtype))
    for other in (data.draw(arrays(dtype, x.shape)), data.draw(elements(dtype))):
        with np.errstate(all="ignore"):
            want = fn(to_strict(x), to_strict(other))
        assert_same(fn(pl.asarray(x, copy=True), other), want)


@pytest.mark.parametrize("name", ["floordiv", "mod", "pow", "lshift", "rshift", "matmul"])
def test_in_place_operators_give_what_the_plain_ones_do(name: str) -> None:
    fn, plain = getattr(operator, f"i{name}"), getattr(operator, name)
    x = pl.Tensor([[7, -7], [5, 2]])
    other: Any = pl.Tensor([[1, 2], [3, 1]])
    before, y = x.numpy(), x
    want = plain(x, other)
    y = fn(y, other)
    assert y is x
    assert_same(x, to_strict(want))
    np.testing.assert_array_equal(before, [[7, -7], [5, 2]])  # what was taken before stays
