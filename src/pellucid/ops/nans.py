"""Reductions that leave NaN out, and what replaces or compares around it."""

from __future__ import annotations

import math
from collections.abc import Callable

import ml_dtypes

from pellucid.core.dtype import bool_
from pellucid.graph.ir import Value
from pellucid.ops.arithmetic import add, divide, multiply, subtract
from pellucid.ops.binary import maximum, minimum
from pellucid.ops.casting import astype
from pellucid.ops.comparison import (
    equal,
    greater,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    where,
)
from pellucid.ops.create import scalar
from pellucid.ops.parts import imag_part, make_complex, real_part
from pellucid.ops.promotion import Operand, refuse_complex, unify
from pellucid.ops.reduction import Axis, all, max, min, prod, sum
from pellucid.ops.scan import cumprod, cumsum
from pellucid.ops.shared import accumulator
from pellucid.ops.statistics import argmax, argmin, count_nonzero
from pellucid.ops.unary import abs, sqrt


def _valid(name: str, x: Operand) -> tuple[Value, Value]:
    (value,) = unify(name, x)
    return value, logical_not(isnan(value))


def nansum(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """The sum of what is no NaN; 0 where all is."""
    value, valid = _valid("nansum", x)
    return sum(where(valid, value, 0), axis, keepdims=keepdims)


def nanprod(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """The product of what is no NaN; 1 where all is."""
    value, valid = _valid("nanprod", x)
    return prod(where(valid, value, 1), axis, keepdims=keepdims)


def nancumsum(x: Operand, axis: int | None = None) -> Value:
    """`cumsum` with 0 for NaN."""
    value, valid = _valid("nancumsum", x)
    return cumsum(where(valid, value, 0), axis)


def nancumprod(x: Operand, axis: int | None = None) -> Value:
    """`cumprod` with 1 for NaN."""
    value, valid = _valid("nancumprod", x)
    return cumprod(where(valid, value, 1), axis)


def nanmean(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """The mean of what is no NaN; NaN where all is. Narrow floats are averaged in float32."""
    (value,) = unify("nanmean", x, to_float=True)
    wide = astype(value, accumulator(value.dtype))
    return astype(_nanmean(wide, axis, keepdims), value.dtype)


def _nanmean(x: Value, axis: Axis, keepdims: bool) -> Value:
    valid = logical_not(isnan(x))
    count = astype(count_nonzero(valid, axis, keepdims), x.dtype)
    return divide(sum(where(valid, x, 0), axis, keepdims=keepdims), count)


def nanvar(x: Operand, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Value:
    """The variance of what is no NaN, over its number less `correction`; NaN where nothing is."""
    (value,) = unify("nanvar", x, to_float=True)
    wide = astype(value, accumulator(value.dtype))
    return astype(_nanvar(wide, axis, correction, keepdims), value.dtype)


def _nanvar(x: Value, axis: Axis, correction: float, keepdims: bool) -> Value:
    valid = logical_not(isnan(x))
    centred = where(valid, subtract(x, _nanmean(x, axis, True)), 0)
    count = astype(count_nonzero(valid, axis, keepdims), x.dtype)
    free = subtract(count, correction)
    total = sum(multiply(centred, centred), axis, keepdims=keepdims)
    return where(greater(free, 0), divide(total, where(greater(free, 0), free, 1)), math.nan)


def nanstd(x: Operand, axis: Axis = None, correction: float = 0.0, keepdims: bool = False) -> Value:
    """The root of `nanvar`. Gradient: 0 where it is 0."""
    variance = nanvar(x, axis, correction, keepdims)
    flat = equal(variance, 0)
    return where(flat, 0, sqrt(where(flat, 1, variance)))


def nanmax(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """The greatest of what is no NaN; NaN where all is."""
    return _nan_extremum("nanmax", max, x, axis, keepdims)


def nanmin(x: Operand, axis: Axis = None, keepdims: bool = False) -> Value:
    """The least of what is no NaN; NaN where all is."""
    return _nan_extremum("nanmin", min, x, axis, keepdims)


def _nan_extremum(
    name: str, extremum: Callable[..., Value], x: Operand, axis: Axis, keepdims: bool
) -> Value:
    value, valid = _valid(name, x)
    if not value.dtype.is_float:
        return extremum(value, axis, keepdims)
    worst = -math.inf if extremum is max else math.inf
    found = extremum(where(valid, value, worst), axis, keepdims)
    return where(equal(count_nonzero(valid, axis, keepdims), 0), math.nan, found)


def nanargmax(x: Operand, axis: int | None = None, keepdims: bool = False) -> Value:
    """The position of the greatest of what is no NaN; 0 where all is (where NumPy raises)."""
    value, valid = _valid("nanargmax", x)
    refuse_complex("nanargmax", value)
    if not value.dtype.is_float:  # there are no NaNs to pass over
        return argmax(value, axis, keepdims)
    return argmax(where(valid, value, -math.inf), axis, keepdims)


def nanargmin(x: Operand, axis: int | None = None, keepdims: bool = False) -> Value:
    """The position of the least of what is no NaN; 0 where all is (where NumPy raises)."""
    value, valid = _valid("nanargmin", x)
    refuse_complex("nanargmin", value)
    if not value.dtype.is_float:  # there are no NaNs to pass over
        return argmin(value, axis, keepdims)
    return argmin(where(valid, value, math.inf), axis, keepdims)


def nan_to_num(
    x: Operand, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Value:
    """`x` with numbers for NaN and infinities: by default 0 and the dtype's greatest and least.

    Complex numbers: each part on its own.
    """
    (value,) = unify("nan_to_num", x)
    if value.dtype.is_complex:
        parts = (real_part(value), imag_part(value))
        return make_complex(*(nan_to_num(part, nan, posinf, neginf) for part in parts))
    if not value.dtype.is_float:
        return value
    most = float(ml_dtypes.finfo(value.dtype.numpy).max)  # type: ignore[no-untyped-call]
    high, low = (most if posinf is None else posinf), (-most if neginf is None else neginf)
    ends = where(isposinf(value), high, where(isneginf(value), low, value))
    return where(isnan(value), nan, ends)


def isposinf(x: Operand) -> Value:
    """Whether each element is +inf."""
    (value,) = unify("isposinf", x)
    return logical_and(isinf(value), greater(value, 0))


def isneginf(x: Operand) -> Value:
    """Whether each element is -inf."""
    (value,) = unify("isneginf", x)
    return logical_and(isinf(value), less(value, 0))


def fmax(x: Operand, y: Operand) -> Value:
    """The greater of two; where one is NaN, the other."""
    a, b = unify("fmax", x, y)
    return where(isnan(a), b, where(isnan(b), a, maximum(a, b)))


def fmin(x: Operand, y: Operand) -> Value:
    """The lesser of two; where one is NaN, the other."""
    a, b = unify("fmin", x, y)
    return where(isnan(a), b, where(isnan(b), a, minimum(a, b)))


def isclose(
    x: Operand, y: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Value:
    """Whether `|x - y| <= atol + rtol * |y|`, for each element; equal infinities are close."""
    a, b = unify("isclose", x, y, to_float=True)
    near = less_equal(abs(subtract(a, b)), add(multiply(abs(b), rtol), atol))
    close = logical_or(equal(a, b), logical_and(logical_and(isfinite(a), isfinite(b)), near))
    return logical_or(close, logical_and(isnan(a), isnan(b))) if equal_nan else close


def allclose(
    x: Operand, y: Operand, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Value:
    """Whether `isclose` holds for all elements, a bool scalar."""
    return all(isclose(x, y, rtol, atol, equal_nan))


def array_equal(x: Value, y: Value, equal_nan: bool = False) -> Value:
    """Whether two arrays have one shape and equal elements, a bool scalar."""
    if x.shape != y.shape:
        return scalar(False, bool_)
    same = equal(x, y)
    return all(logical_or(same, logical_and(isnan(x), isnan(y))) if equal_nan else same)
