"""Values from nothing: `constant` and `iota`, and arrays of one value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import (
    DType,
    DTypeLike,
    Scalar,
    as_dtype,
    bfloat16,
    complex64,
    default_dtype,
    float32,
    int32,
    int64,
    uint8,
)
from pellucid.core.errors import ArgumentError, DTypeError, ShapeError
from pellucid.core.shape import Shape, check_shape, normalize_axis
from pellucid.graph.ir import ArrayAttr, Attrs, TensorType, Value, emit
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.loop.compute import Index, Loops, Lowering, Pointwise, Readers
from pellucid.loop.ir import Buffer, Call, Expr, Stmt, Store, const
from pellucid.ops.broadcast import broadcast_to
from pellucid.ops.shared import Types, integer


def constant(array: NDArray[Any]) -> Value:
    """A literal array (copied); its dtype must have a Pellucid twin."""
    return emit(CONSTANT, value=ArrayAttr(np.asarray(array)))


def scalar(value: Scalar, dtype: DType, op: str = "constant") -> Value:
    """A rank-0 literal.

    Raises:
        DTypeError: an int outside the integer dtype's range, or a complex number for a real dtype.
    """
    return constant(scalar_array(value, dtype, op))


def scalar_array(value: Scalar, dtype: DType, op: str) -> NDArray[Any]:
    """A rank-0 array.

    Raises:
        DTypeError: an int outside the integer dtype's range, or a complex number for a real dtype.
    """
    operands: dict[str, object] = {"scalar": value, "dtype": dtype}
    if isinstance(value, complex):
        if not dtype.is_complex:
            raise DTypeError(op, "a complex number needs a complex dtype", operands=operands)
    elif dtype.is_integer:
        info = np.iinfo(dtype.name)
        if not info.min <= value <= info.max:
            fix = "cast the array to a wider dtype with .astype"
            raise DTypeError(
                op, "the Python int does not fit the dtype", operands=operands, fix=fix
            )
    with np.errstate(all="ignore"):
        return np.array(value).astype(dtype.numpy)


def iota(shape: Sequence[int], axis: int = 0, dtype: DTypeLike = int64) -> Value:
    """`out[..., i, ...] = i` along `axis`.

    Raises:
        ShapeError: `axis` is out of range.
        DTypeError: the dtype is bool.
    """
    sizes = check_shape("iota", shape)
    return emit(IOTA, shape=sizes, axis=normalize_axis("iota", axis, sizes), dtype=as_dtype(dtype))


def full(shape: int | Sequence[int], fill_value: Scalar, dtype: DTypeLike | None = None) -> Value:
    """An array of one value, of `dtype` or what the scalar's type implies: bool, int64, float32."""
    target = default_dtype(fill_value) if dtype is None else as_dtype(dtype)
    sizes = check_shape("full", shape)
    literal = scalar(fill_value, target, op="full")
    return broadcast_to(literal, sizes)


def zeros(shape: int | Sequence[int], dtype: DTypeLike = float32) -> Value:
    """An array of zeros."""
    return full(shape, 0, dtype)


def ones(shape: int | Sequence[int], dtype: DTypeLike = float32) -> Value:
    """An array of ones."""
    return full(shape, 1, dtype)


def full_like(x: Value, fill_value: Scalar, dtype: DTypeLike | None = None) -> Value:
    """`full` with the shape of `x`, and its dtype unless another is given."""
    return full(x.shape, fill_value, x.dtype if dtype is None else dtype)


def zeros_like(x: Value, dtype: DTypeLike | None = None) -> Value:
    """Zeros with the shape of `x`."""
    return full_like(x, 0, dtype)


def ones_like(x: Value, dtype: DTypeLike | None = None) -> Value:
    """Ones with the shape of `x`."""
    return full_like(x, 1, dtype)


def _infer_constant(*, value: ArrayAttr) -> TensorType:
    return TensorType(value.array.shape, as_dtype(value.array.dtype))


def _infer_iota(*, shape: Shape, axis: int, dtype: DType) -> TensorType:
    if not 0 <= axis < len(shape):
        raise ShapeError("iota", f"axis must be in [0, {len(shape)})", operands={"axis": axis})
    if dtype.kind == "bool":
        raise DTypeError("iota", "counts in numbers", operands={"dtype": dtype})
    return TensorType(shape, dtype)


def _constant_reference(*, value: ArrayAttr) -> NDArray[Any]:
    return value.array


def _iota_reference(*, shape: Shape, axis: int, dtype: DType) -> NDArray[Any]:
    with np.errstate(all="ignore"):
        line = np.arange(shape[axis]).astype(dtype.numpy)
    aligned = line.reshape([shape[axis] if i == axis else 1 for i in range(len(shape))])
    return np.broadcast_to(aligned, shape).copy()


def _batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    value = site.outputs[0]
    return (broadcast_to(value, (size, *value.shape)),)


def _lower_constant(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    value = attrs["value"]
    if not isinstance(value, ArrayAttr):
        raise ArgumentError("constant", "value must be an array", operands={"value": value})
    flat, dtype = value.array.reshape(-1), outputs[0].dtype
    if flat.size and (flat == flat[0]).all():
        literal = const(flat[0].item(), dtype)

        def body(index: Index, readers: Readers) -> Expr:
            return literal

        return Pointwise(body=body)

    def build(sources: tuple[Buffer, ...], results: tuple[Buffer, ...]) -> tuple[Stmt, ...]:
        out = results[0]
        return tuple(
            Store(out, tuple(const(int(i)) for i in where), const(value.array[where].item(), dtype))
            for where in np.ndindex(*out.shape)
        )

    return Loops(build=build)


def _lower_iota(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
    axis, dtype = integer(attrs, "axis"), outputs[0].dtype

    def body(index: Index, readers: Readers) -> Expr:
        position = index[axis]
        return position if dtype == int64 else Call("cast", (position,), dtype)

    return Pointwise(body=body)


def _written_cost(inputs: Types, outputs: Types, attrs: Attrs) -> Cost:
    return Cost(0, outputs[0].nbytes)


def _constant_samples() -> Sequence[Sample]:
    arrays = (
        np.array(1.5, np.float32), np.zeros((0, 3), np.float32), np.array([[1, -2, 3]], np.int32),
        np.array([True, False]), np.full((3, 5), 2.0), np.array([1.5, np.inf], bfloat16.numpy),
        np.array([1.5 - 2j, 0j], np.complex64), np.full((2, 2), 1j), np.array(2 - 3j),
    )  # fmt: skip
    return [Sample((), {"value": ArrayAttr(a)}) for a in arrays]


def _iota_samples() -> Sequence[Sample]:
    cases = (
        ((5,), 0, int64),
        ((3, 5), 1, float32),
        ((2, 1, 3), 2, uint8),
        ((0, 3), 0, int32),
        ((4,), 0, complex64),
    )
    return [Sample((), {"shape": s, "axis": a, "dtype": d}) for s, a, d in cases]


CONSTANT: Op = Op(
    name="constant",
    doc="A literal array, held as an attribute. Primitive: it is where data enters a program.",
    infer=_infer_constant,
    reference=_constant_reference,
    vjp=None,
    jvp=None,
    batch=_batch,
    lower=_lower_constant,
    cost=_written_cost,
    samples=_constant_samples,
)

IOTA: Op = Op(
    name="iota",
    doc="Positions along one axis. Primitive: loops know their index, so it costs no memory.",
    infer=_infer_iota,
    reference=_iota_reference,
    vjp=None,
    jvp=None,
    batch=_batch,
    lower=_lower_iota,
    cost=_written_cost,
    samples=_iota_samples,
)

RECORDS: tuple[Op, ...] = (CONSTANT, IOTA)
