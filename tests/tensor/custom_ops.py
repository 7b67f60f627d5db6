"""Operators that the tests of custom operators share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import pellucid as pl
from pellucid import extend

Array = NDArray[Any]
RNG = np.random.default_rng(0)


def rand(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def close(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(got.numpy(), want, rtol=tolerance, atol=tolerance)


def smooth_nest(inputs: Any, outputs: Any) -> str:
    (n,) = inputs[0].shape
    return f"""
kernel smooth(x: f32[{n}]) -> (y: f32[{n}]) {{
  for i in 0..{n}:
    y[i] = x[i] * 0.5 + x[min(i + 1, {n - 1})] * 0.5
}}
"""


def smooth_schedule(schedule: extend.Schedule, target: Any) -> None:
    schedule.apply(extend.split, "i", 8)


def smooth_of(x: Array) -> Array:
    return np.asarray((x + np.append(x[1:], x[-1:])) * np.float32(0.5))


def smooth_vjp(inputs: Any, outputs: Any, cotangents: Any) -> Any:
    (g,) = cotangents
    return pl.concatenate([g[:1], g[1:-1] + g[:-2], g[-2:-1] + 2.0 * g[-1:]]) * 0.5


def smooth_op(schedule: Any = smooth_schedule, name: str = "test_smooth") -> extend.CustomOp:
    return extend.custom_op(
        name,
        "(n) -> (n)",
        {"float32": extend.loops(smooth_nest, schedule=schedule, closed=True)},
        reference=smooth_of,
        vjp=smooth_vjp,
    )


def axpy_op(name: str = "test_axpy") -> extend.CustomOp:
    def axpy(x: Array, y: Array, a: float) -> Array:
        return np.asarray(x.dtype.type(a) * x + y)

    return extend.custom_op(
        name, "(...), (...) -> (...)", {"float32": axpy, "int32": axpy},
        vjp=lambda inputs, outputs, cotangents, a: (cotangents[0] * a, cotangents[0]),
    )  # fmt: skip
