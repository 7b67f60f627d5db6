"""Changing the element type: `cast` converts values, `bitcast` keeps the bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pellucid.core.dtype import (
    DType,
    DTypeLike,
    as_dtype,
    bfloat16,
    bool_,
    complex64,
    complex128,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
    uint32,
    uint64,
)
from pellucid.core.errors import DTypeError
from pellucid.graph.ir import Attrs, TensorType, Value, emit
from pellucid.graph.op import Op, Sample, Site
from pellucid.loop.compute import Index, Lowering, Pointwise, Readers
from pellucid.loop.functions import evaluate
from pellucid.loop.ir import Call, Expr
from pellucid.ops.parts import real_part
from pellucid.ops.pointwise import output_cost
from pellucid.ops.shared import Array, Types


def astype(x: Value, dtype: DTypeLike) -> Value:
    """`x` with another element type; `x` itself where it has it.

    Float to integer truncates and saturates, NaN gives 0; integers wrap; to bool is `x != 0`.

    Gradient: cast back to `x`'s dtype; none through integers.
    """
    target = as_dtype(dtype)
    return x if x.dtype == target else emit(CAST, x, dtype=target)


def bitcast(x: Value, dtype: DTypeLike) -> Value:
    """The bits of `x` read as another dtype of the same width.

    Raises:
        DTypeError: the widths differ, or one side is bool or complex.
    """
    return emit(BITCAST, x, dtype=as_dtype(dtype))


def _lower(fn: str) -> Callable[[Types, Types, Attrs], Lowering]:
    def lower(inputs: Types, outputs: Types, attrs: Attrs) -> Lowering:
        def body(index: Index, readers: Readers) -> Expr:
            return Call(fn, (readers[0](index),), outputs[0].dtype)

        return Pointwise(body=body, elementwise=True)

    return lower


def _infer_cast(x: TensorType, *, dtype: DType) -> TensorType:
    if x.dtype.is_complex and not (dtype.is_complex or dtype == bool_):
        rule = "complex numbers do not become real ones"
        fix = "take real(x), imag(x) or abs(x)"
        raise DTypeError("astype", rule, operands={"x": x, "dtype": dtype}, fix=fix)
    return TensorType(x.shape, dtype)


def _infer_bitcast(x: TensorType, *, dtype: DType) -> TensorType:
    if x.dtype.bits != dtype.bits or not {"bool", "complex"}.isdisjoint((x.dtype.kind, dtype.kind)):
        operands = {"x": x, "dtype": dtype}
        raise DTypeError(
            "bitcast", "both dtypes must be real numbers of the same width", operands=operands
        )
    return TensorType(x.shape, dtype)


def _cast_reference(x: Array, *, dtype: DType) -> Array:
    return evaluate("cast", dtype, x)


def _bitcast_reference(x: Array, *, dtype: DType) -> Array:
    return evaluate("bitcast", dtype, np.ascontiguousarray(x)).reshape(x.shape)


def _cast_vjp(site: Site, g: Value) -> Sequence[Value | None]:
    source = site.inputs[0].dtype
    if not source.is_inexact:
        return (None,)
    return (astype(g if source.is_complex else real_part(g), source),)


def _cast_jvp(site: Site, t: Value | None) -> Sequence[Value | None]:
    target = site.outputs[0].dtype
    return (None if t is None or not target.is_inexact else astype(t, target),)


def _cast_batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    return (emit(CAST, site.inputs[0], **site.attrs),)


def _bitcast_batch(site: Site, batched: tuple[bool, ...], size: int) -> Sequence[Value]:
    return (emit(BITCAST, site.inputs[0], **site.attrs),)


def _cast_samples() -> Sequence[Sample]:
    targets = (bool_, int8, int32, uint8, int64, float16, bfloat16, float32, float64)
    sources = (float64, float32, bfloat16, int32, uint8, bool_, float8_e4m3fn, float8_e5m2)
    pairs = [(s, t) for s in sources for t in targets]
    plain = [Sample((TensorType((3, 3), s),), {"dtype": t}, low=-3.0, high=3.0) for s, t in pairs]
    edges = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 2.9, -2.9, 300.0], np.float32)
    hard = [Sample((edges,), {"dtype": t}) for t in (int8, uint8, int32, int64, uint64, bool_)]
    empty = [Sample((TensorType((0,), float32),), {"dtype": int32})]
    wide = ((float32, complex64), (int32, complex128), (complex64, complex128), (bool_, complex64))
    both = [*wide, (complex128, complex64), (complex64, bool_), (bfloat16, complex64)]
    mixed = [Sample((TensorType((3,), s),), {"dtype": t}) for s, t in both]
    return plain + hard + empty + mixed


def _bitcast_samples() -> Sequence[Sample]:
    pairs = ((float32, uint32), (float32, int32), (int64, float64), (float16, bfloat16))
    return [Sample((TensorType((3, 5), a),), {"dtype": b}) for a, b in pairs]


CAST: Op = Op(
    name="cast",
    doc="Another element type. Float to integer truncates, saturates, and maps NaN to 0.",
    infer=_infer_cast,
    reference=_cast_reference,
    vjp=_cast_vjp,
    jvp=_cast_jvp,
    batch=_cast_batch,
    lower=_lower("cast"),
    cost=output_cost(1),
    samples=_cast_samples,
)

BITCAST: Op = Op(
    name="bitcast",
    doc="The same bits under another dtype of equal width; random numbers are made with it.",
    infer=_infer_bitcast,
    reference=_bitcast_reference,
    vjp=None,
    jvp=None,
    batch=_bitcast_batch,
    lower=_lower("bitcast"),
    cost=output_cost(0),
    samples=_bitcast_samples,
)

RECORDS: tuple[Op, ...] = (CAST, BITCAST)
