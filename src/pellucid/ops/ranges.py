"""Evenly spaced values and the identity matrix, computed from positions."""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from pellucid.core.dtype import DTypeLike, as_dtype, complex64, float32, float64, int64
from pellucid.core.errors import ArgumentError
from pellucid.core.shape import check_shape
from pellucid.core.size import is_static
from pellucid.core.span import Span, length, span
from pellucid.graph.ir import Value
from pellucid.loop.functions import cast_array
from pellucid.ops.arithmetic import add, multiply
from pellucid.ops.casting import astype
from pellucid.ops.comparison import equal
from pellucid.ops.create import constant, iota


def arange(
    start: int | float,
    stop: int | float | None = None,
    step: int | float = 1,
    dtype: DTypeLike | None = None,
) -> Value:
    """`start, start + step, …` below `stop`; int64 if all three are ints, else float32.

    Raises:
        ArgumentError: `step` is 0, or a number is infinite or NaN.
    """
    first, last = (0, start) if stop is None else (start, stop)
    if isinstance(step, int) and not is_static(first, last):
        return _open_range(span(cast("int", first), cast("int", last), step), dtype)
    given: dict[str, object] = {"start": first, "stop": last, "step": step}
    if step == 0 or not all(map(math.isfinite, (first, last, step))):
        rule = "start, stop and step must be finite, and step not 0"
        raise ArgumentError("arange", rule, operands=given)
    whole = all(isinstance(v, int) for v in (first, last, step))
    target = as_dtype(dtype) if dtype is not None else (int64 if whole else float32)
    count = max(0, math.ceil((last - first) / step))
    if whole:
        values = range(int(first), int(last), int(step))
        count = len(values)
        if count and not all(-(2**63) <= v < 2**63 for v in (values[0], values[-1])):
            raise ArgumentError("arange", "the numbers must fit int64", operands=given)
    work = int64 if whole else (float64 if target == float64 else float32)
    ramp = iota((count,), 0, work)
    if step != 1:
        ramp = multiply(ramp, step)
    return astype(add(ramp, first) if first != 0 else ramp, target)


def _open_range(numbers: Span, dtype: DTypeLike | None) -> Value:
    """The numbers from one size to another."""
    ramp = iota((length(numbers),), 0, int64)
    if numbers.step != 1:
        ramp = multiply(ramp, numbers.step)
    return astype(add(ramp, numbers.start), int64 if dtype is None else dtype)


def linspace(
    start: complex,
    stop: complex,
    num: int,
    dtype: DTypeLike | None = None,
    endpoint: bool = True,
) -> Value:
    """`num` evenly spaced values from `start` to `stop`, which is included if `endpoint`.

    The end is exact; computed in float64 or complex128, so it is a constant of the program. The
    dtype is float32, or complex64 for complex ends, unless given.

    Raises:
        ArgumentError: `num` is negative.
    """
    if num < 0:
        raise ArgumentError("linspace", "num must be >= 0", operands={"num": num})
    values = np.linspace(start, stop, num, endpoint=endpoint)
    usual = complex64 if values.dtype.kind == "c" else float32
    return constant(cast_array(values, usual if dtype is None else as_dtype(dtype)))


def eye(rows: int, columns: int | None = None, k: int = 0, dtype: DTypeLike | None = None) -> Value:
    """Ones on the `k`-th diagonal, zeros elsewhere; `[rows, columns]`, square by default.

    float32 by default.
    """
    shape = check_shape("eye", (rows, rows if columns is None else columns))
    row, column = iota(shape, 0), iota(shape, 1)
    k = max(-shape[0], min(k, shape[1]))  # what is further out has no elements
    if k != 0:
        row = add(row, k)
    return astype(equal(row, column), float32 if dtype is None else dtype)
