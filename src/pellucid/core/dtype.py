"""Element types and the array API's promotion rules.

Enters: names, Python scalars, NumPy dtypes. Leaves: `DType` records. Does not touch arrays'
contents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import ml_dtypes
import numpy as np

from pellucid.core.errors import DTypeError, did_you_mean

Kind = Literal["bool", "int", "uint", "float", "complex"]
Real = bool | int | float
Scalar = Real | complex


@dataclass(frozen=True, slots=True)
class DType:
    """One element type: its full name, the short name used in text forms, and its NumPy twin."""

    name: str
    short: str
    kind: Kind
    bits: int
    numpy: np.dtype[np.generic]

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return max(1, self.bits // 8)

    @property
    def is_float(self) -> bool:
        """True for real floating-point types."""
        return self.kind == "float"

    @property
    def is_complex(self) -> bool:
        """True for pairs of a real and an imaginary part."""
        return self.kind == "complex"

    @property
    def is_inexact(self) -> bool:
        """True for floating-point types, real and complex: the only ones that carry gradients."""
        return self.kind in ("float", "complex")

    @property
    def real(self) -> DType:
        """What the real part has: float32 or float64 for a complex type, else the type itself."""
        return _REAL_PARTS.get(self.name, self)

    @property
    def complex(self) -> DType:
        """The least complex type that holds this one: complex128 for float64, else complex64."""
        if self.is_complex:
            return self
        return complex128 if self == float64 else complex64

    @property
    def is_integer(self) -> bool:
        """True for signed and unsigned integers, not for bool."""
        return self.kind in ("int", "uint")

    def __str__(self) -> str:
        return self.short

    def __repr__(self) -> str:
        return f"pellucid.{self.name}"

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, DType) and self.name == other.name)

    def __hash__(self) -> int:
        return hash(self.name)


def _dtype(name: str, short: str, kind: Kind, bits: int, numpy: object = None) -> DType:
    return DType(name, short, kind, bits, np.dtype(numpy or name))  # type: ignore[call-overload]  # name is a valid dtype


bool_ = _dtype("bool", "bool", "bool", 8)
int8 = _dtype("int8", "i8", "int", 8)
int16 = _dtype("int16", "i16", "int", 16)
int32 = _dtype("int32", "i32", "int", 32)
int64 = _dtype("int64", "i64", "int", 64)
uint8 = _dtype("uint8", "u8", "uint", 8)
uint16 = _dtype("uint16", "u16", "uint", 16)
uint32 = _dtype("uint32", "u32", "uint", 32)
uint64 = _dtype("uint64", "u64", "uint", 64)
float16 = _dtype("float16", "f16", "float", 16)
bfloat16 = _dtype("bfloat16", "bf16", "float", 16, ml_dtypes.bfloat16)
float32 = _dtype("float32", "f32", "float", 32)
float64 = _dtype("float64", "f64", "float", 64)
float8_e4m3fn = _dtype("float8_e4m3fn", "f8e4m3", "float", 8, ml_dtypes.float8_e4m3fn)
float8_e5m2 = _dtype("float8_e5m2", "f8e5m2", "float", 8, ml_dtypes.float8_e5m2)
complex64 = _dtype("complex64", "c64", "complex", 64)
complex128 = _dtype("complex128", "c128", "complex", 128)
_REAL_PARTS = {"complex64": float32, "complex128": float64}

REAL: tuple[DType, ...] = (
    bool_, int8, int16, int32, int64, uint8, uint16, uint32, uint64,
    float16, bfloat16, float32, float64, float8_e4m3fn, float8_e5m2,
)  # fmt: skip
ALL: tuple[DType, ...] = (*REAL, complex64, complex128)
_BY_NAME = {d.name: d for d in ALL} | {d.short: d for d in ALL}
_BY_NUMPY = {d.numpy: d for d in ALL}

DTypeLike = DType | str | np.dtype[np.generic] | type


def as_dtype(spec: DTypeLike) -> DType:
    """The `DType` named by a `DType`, a name (`"float32"`, `"f32"`), a NumPy dtype or a Python
    scalar type.

    Raises:
        DTypeError: the type is unknown or has no Pellucid twin.
    """
    if isinstance(spec, DType):
        return spec
    if isinstance(spec, str) and spec in _BY_NAME:
        return _BY_NAME[spec]
    if spec in _PYTHON_DEFAULT:
        return _PYTHON_DEFAULT[spec]
    try:
        if spec is None:  # NumPy takes it for float64
            raise TypeError
        return _BY_NUMPY[np.dtype(spec)]
    except (TypeError, KeyError):
        hint = did_you_mean(str(spec), _BY_NAME)
        if isinstance(spec, (int, float)):
            hint = "put sizes in one tuple, as in zeros((2, 3))"
        raise DTypeError("dtype", f"unknown dtype {spec!r}", fix=hint) from None


_PYTHON = ((bool, bool_), (int, int64), (float, float32), (complex, complex64))
_PYTHON_DEFAULT: dict[object, DType] = dict(_PYTHON)


def default_dtype(value: Scalar) -> DType:
    """The dtype a bare Python scalar gets when nothing else decides: bool, int64, float32 or
    complex64.

    Raises:
        DTypeError: the value is no bool, int, float or complex.
    """
    for kind, dtype in _PYTHON:
        if isinstance(value, kind):
            return dtype
    operands: dict[str, object] = {"value": type(value).__name__}
    raise DTypeError("scalar", "must be a bool, int, float or complex", operands=operands)


def promote(a: DType, b: DType, op: str = "promote") -> DType:
    """The smallest dtype that holds both, after the array API standard.

    Beyond the standard, an integer or bool meets a float or complex number as that type, and bool
    meets any number as that number.

    Raises:
        DTypeError: uint64 meets a signed integer (no common integer type), or two different float8
            types meet.
    """
    if a == b:
        return a
    if a.kind == b.kind:
        if a.bits != b.bits:
            return a if a.bits > b.bits else b
        if {a.name, b.name} == {"float16", "bfloat16"}:
            return float32
        raise DTypeError(
            op,
            "these dtypes have no common type",
            operands={"a": a, "b": b},
            fix="cast one with .astype",
        )
    for x, y in ((a, b), (b, a)):
        if y.is_complex:
            return y if y.bits >= 2 * x.bits or not x.is_float else complex128
        if x.kind == "bool" or (y.is_float and not x.is_inexact):
            return y
    signed, unsigned = (a, b) if a.kind == "int" else (b, a)
    if unsigned.bits >= 64:
        raise DTypeError(
            op, "uint64 and signed integers have no common integer type", operands={"a": a, "b": b},
            fix="cast one with .astype",
        )  # fmt: skip
    return _BY_NAME[f"int{max(signed.bits, 2 * unsigned.bits)}"]


def scalar_dtype(other: DType, value: Scalar) -> DType:
    """The dtype a Python scalar takes beside an array of dtype `other` (array API: the array's own
    where it can).

    A float beside an integer or bool array gives float32; an int beside bool gives int64; a complex
    number beside a float array gives the complex type of that width.
    """
    rank = {"bool": 0, "int": 1, "uint": 1, "float": 2, "complex": 3}
    own = default_dtype(value)
    if own.is_complex and other.is_float:
        return other.complex
    return other if rank[other.kind] >= rank[own.kind] else own
