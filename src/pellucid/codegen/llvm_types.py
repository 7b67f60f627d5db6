"""How values look in LLVM: register types, storage types, literals, splats.

A `Value` is a scalar (`width` 1) or one SIMD vector of `width` lanes. Registers hold bool as `i1`
and the narrow floats (float16, bfloat16, float8) as `float`, already rounded to their dtype; memory
holds bool as `i8` and the narrow floats as `half` or as the integer of their bits.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from pellucid.codegen.llvm_emitter import Function
from pellucid.core.dtype import DType, Real, int64


@dataclass(frozen=True, slots=True)
class Value:
    """An SSA name or literal, its dtype and its lanes."""

    text: str
    dtype: DType
    width: int = 1

    @property
    def literal(self) -> bool:
        """True for constants, which need no register."""
        return not self.text.startswith("%")

    @property
    def kind(self) -> str:
        """The LLVM type of the register."""
        return vector(register(self.dtype), self.width)

    @property
    def typed(self) -> str:
        """Type and name, as operands are written."""
        return f"{self.kind} {self.text}"


def is_narrow(dtype: DType) -> bool:
    """True for floats narrower than float32, which are computed in float32."""
    return dtype.is_float and dtype.bits < 32


def register(dtype: DType) -> str:
    """The LLVM type of one element in a register."""
    if dtype.kind == "bool":
        return "i1"
    if dtype.is_float:
        return "double" if dtype.bits == 64 else "float"
    return f"i{dtype.bits}"


def storage(dtype: DType) -> str:
    """The LLVM type of one element in memory."""
    if dtype.kind == "bool" or is_narrow(dtype):
        return f"i{dtype.bits}"
    return register(dtype)


def vector(kind: str, width: int) -> str:
    """`kind` for one lane, else a vector of it."""
    return kind if width == 1 else f"<{width} x {kind}>"


def suffix(kind: str) -> str:
    """The overload suffix of an intrinsic: `float` to `f32`, `<8 x i32>` to `v8i32`."""
    if kind.startswith("<"):
        width, _, element = kind[1:-1].partition(" x ")
        return f"v{width}{suffix(element)}"
    return {"float": "f32", "double": "f64", "half": "f16"}.get(kind, kind)


def float_literal(value: float, bits: int) -> str:
    """A float as LLVM writes it: the hexadecimal bits of the double that holds it."""
    if bits < 64 and math.isfinite(value):
        try:
            value = struct.unpack("<f", struct.pack("<f", value))[0]
        except OverflowError:
            value = math.copysign(math.inf, value)
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def literal(value: Real, dtype: DType) -> str:
    """A constant of `dtype`, without its type; integers wrap to the dtype's width."""
    if dtype.kind == "bool":
        return "true" if value else "false"
    if dtype.is_float:
        return float_literal(float(value), dtype.bits)
    bits = int(value) & ((1 << dtype.bits) - 1)
    return str(bits - (1 << dtype.bits) if bits >> (dtype.bits - 1) else bits)


def constant(value: Real, dtype: DType) -> Value:
    """A literal as a scalar value; narrow floats are rounded to their dtype."""
    if is_narrow(dtype):
        value = float(dtype.numpy.type(value))
    return Value(literal(value, dtype), dtype)


def splat_text(kind: str, text: str, width: int) -> str:
    """A literal of element type `kind` in every lane."""
    return text if width == 1 else f"splat ({kind} {text})"


def splat(function: Function, value: Value, width: int) -> Value:
    """`value` in every one of `width` lanes; vectors stay as they are."""
    if width == 1 or value.width != 1:
        return value
    kind = register(value.dtype)
    if value.literal:
        return Value(splat_text(kind, value.text, width), value.dtype, width)
    wide = vector(kind, width)
    first = function.pure(f"insertelement {wide} poison, {kind} {value.text}, i64 0")
    text = f"shufflevector {wide} {first}, {wide} poison, <{width} x i32> zeroinitializer"
    return Value(function.pure(text), value.dtype, width)


def iota(width: int, stride: int = 1) -> str:
    """The literal vector 0, stride, 2 stride, ... of i64."""
    return "<" + ", ".join(f"i64 {stride * lane}" for lane in range(width)) + ">"


def lane(function: Function, value: Value, index: int) -> Value:
    """One lane as a scalar."""
    if value.width == 1:
        return value
    text = function.pure(f"extractelement {value.typed}, i64 {index}")
    return Value(text, value.dtype)


def gather_lanes(function: Function, lanes: list[Value]) -> Value:
    """Scalars side by side as one vector."""
    if len(lanes) == 1:
        return lanes[0]
    width, dtype = len(lanes), lanes[0].dtype
    wide, name = vector(register(dtype), width), "poison"
    for index, value in enumerate(lanes):
        name = function.pure(f"insertelement {wide} {name}, {value.typed}, i64 {index}")
    return Value(name, dtype, width)


def index_value(text: str, width: int = 1) -> Value:
    """An int64 value by name."""
    return Value(text, int64, width)
