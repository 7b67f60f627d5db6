"""A size as data: the number of elements along an axis that is known only when a program runs.

A record, because no composition of others can name a size that is in no tensor.
"""

from __future__ import annotations

import numpy as np

from pellucid.core.dtype import DType, float32, int64
from pellucid.core.size import Size
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Op, Sample
from pellucid.loop.compute import Lowering, Pointwise
from pellucid.loop.ir import as_expr
from pellucid.ops.shared import Array, Types, cast_expr, integer, no_cost


def _reference(*, size: int, dtype: DType) -> Array:
    return np.asarray(size).astype(dtype.numpy)


def _lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    size, dtype = integer(attrs, "size"), outputs[0].dtype
    return Pointwise(body=lambda idx, readers: cast_expr(as_expr(size), dtype), elementwise=True)


SIZE: Op = Op(
    name="size",
    doc="A size as a scalar: what a mean divides by where the program is for any batch.",
    infer=lambda *, size, dtype: TensorType((), dtype),
    reference=_reference,
    vjp=lambda site, g: [],
    jvp=lambda site: [None],
    batch=None,
    lower=_lower,
    cost=no_cost,
    samples=lambda: [
        Sample((), {"size": 12, "dtype": int64}),
        Sample((), {"size": 0, "dtype": float32}),
    ],
)


def size_value(size: Size, dtype: DType) -> Value:
    """The size as a rank-0 value."""
    return emit(SIZE, size=size, dtype=dtype)


RECORDS: tuple[Op, ...] = (SIZE,)
