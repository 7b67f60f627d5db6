"""Questions about element types and shapes: the array API's data type functions.

Enters: dtypes, shapes, and tensors for their dtype. Leaves: answers; no tensor is computed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from pellucid.core import shape
from pellucid.core.dtype import DType, DTypeLike, as_dtype, promote, scalar_dtype
from pellucid.core.errors import ArgumentError, DTypeError, did_you_mean
from pellucid.tensor.box import Box

_KINDS = {
    "bool": ("bool",),
    "signed integer": ("int",),
    "unsigned integer": ("uint",),
    "integral": ("int", "uint"),
    "real floating": ("float",),
    "complex floating": ("complex",),
    "numeric": ("int", "uint", "float", "complex"),
}


_COMPLEX = _KINDS["complex floating"]


@dataclass(frozen=True, slots=True)
class FloatInfo:
    """The limits of a floating-point type, or of a complex type's parts.

    Attributes:
        bits: of one number (of one part, for a complex type).
        eps: the distance from 1 to the next number.
        max: the greatest finite number.
        min: the least finite number, `-max`.
        smallest_normal: the least positive number with full precision.
        dtype: of one part.
    """

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True, slots=True)
class IntegerInfo:
    """The limits of an integer type: its bits, its greatest and its least number."""

    bits: int
    max: int
    min: int
    dtype: DType


def _dtype_of(type: DTypeLike | Box) -> DType:
    return type.dtype if isinstance(type, Box) else as_dtype(type)


def finfo(type: DTypeLike | Box) -> FloatInfo:
    """The limits of a floating-point or complex dtype, or of a tensor's.

    Raises:
        DTypeError: it is neither.
    """
    return _float_info(_dtype_of(type))


@functools.cache
def _float_info(dtype: DType) -> FloatInfo:
    part = as_dtype(np.empty(0, dtype.numpy).real.dtype) if dtype.kind in _COMPLEX else dtype
    if not part.is_float:
        fix = "use pellucid.iinfo" if dtype.is_integer else ""
        raise DTypeError("finfo", "takes a float dtype", operands={"dtype": dtype}, fix=fix)
    info = ml_dtypes.finfo(part.numpy)  # type: ignore[no-untyped-call]  # it has no annotations
    return FloatInfo(
        bits=part.bits,
        eps=float(info.eps),
        max=float(info.max),
        min=float(info.min),
        smallest_normal=float(info.smallest_normal),
        dtype=part,
    )


def iinfo(type: DTypeLike | Box) -> IntegerInfo:
    """The limits of an integer dtype, or of a tensor's.

    Raises:
        DTypeError: it is no integer dtype.
    """
    dtype = _dtype_of(type)
    if not dtype.is_integer:
        fix = "use pellucid.finfo" if dtype.is_float else ""
        raise DTypeError("iinfo", "takes an integer dtype", operands={"dtype": dtype}, fix=fix)
    signed = dtype.kind == "int"
    highest = (1 << (dtype.bits - signed)) - 1
    return IntegerInfo(dtype.bits, highest, -highest - 1 if signed else 0, dtype)


def isdtype(dtype: DTypeLike, kind: DTypeLike | tuple[DTypeLike, ...]) -> bool:
    """Whether a dtype is of a kind.

    Args:
        dtype: a dtype.
        kind: another dtype, or "bool", "signed integer", "unsigned integer", "integral", "real
            floating", "complex floating" or "numeric", or a tuple of such: any of them.

    Raises:
        ArgumentError: there is no such kind.
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    own = as_dtype(dtype)
    if isinstance(kind, str):
        if kind not in _KINDS:
            hint = did_you_mean(kind, _KINDS)
            raise ArgumentError("isdtype", "no such kind", operands={"kind": kind}, fix=hint)
        return own.kind in _KINDS[kind]
    return own == as_dtype(kind)


def can_cast(from_: DTypeLike | Box, to: DTypeLike, /) -> bool:
    """Whether promotion may turn the first dtype (or a tensor's) into the second."""
    target = as_dtype(to)
    try:
        return promote(_dtype_of(from_), target, "can_cast") == target
    except DTypeError:
        return False


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that arithmetic of these gives: tensors and dtypes promote, Python numbers follow.

    Raises:
        ArgumentError: there is neither a tensor nor a dtype.
        DTypeError: they have no common dtype.
    """
    numbers = [a for a in arrays_and_dtypes if isinstance(a, (bool, int, float, complex))]
    others = [a for a in arrays_and_dtypes if not isinstance(a, (bool, int, float, complex))]
    if not others:
        raise ArgumentError("result_type", "takes at least one tensor or dtype")
    promoting = functools.partial(promote, op="result_type")
    result = functools.reduce(promoting, map(_dtype_of, others))
    for number in numbers:  # complex ones too, where there are complex dtypes
        result = scalar_dtype(result, number)
    return result


def broadcast_shapes(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape that arrays of these shapes have together.

    Raises:
        ShapeError: they do not broadcast.
    """
    return shape.broadcast_shapes("broadcast_shapes", *map(tuple, shapes))
