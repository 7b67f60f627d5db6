"""Conversions between dtypes, and between registers and memory.

Floats narrower than float32 are computed in float32. Where the machine has no instruction for a
format (bfloat16, float8, and float16 without F16C) the conversions are integer arithmetic on the
bits: round to nearest, ties to even, gradual underflow, NaN kept, overflow to infinity
(float8_e4m3fn has none: NaN).
"""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.codegen.llvm_emitter import Function
from pellucid.codegen.llvm_types import (
    Value,
    is_narrow,
    literal,
    register,
    splat_text,
    storage,
    suffix,
    vector,
)
from pellucid.core.dtype import DType, bool_, float32, float64
from pellucid.core.target import Target


@dataclass(frozen=True, slots=True)
class _Format:
    """A narrow float: mantissa and exponent widths, bias, pattern of overflow, pattern of NaN."""

    mantissa: int
    exponent: int
    bias: int
    overflow: int
    nan: int


_FORMATS = {
    "float16": _Format(10, 5, 15, 0x7C00, 0x7E00),
    "bfloat16": _Format(7, 8, 127, 0x7F80, 0x7FC0),
    "float8_e5m2": _Format(2, 5, 15, 0x7C, 0x7E),
    "float8_e4m3fn": _Format(3, 4, 7, 0x7F, 0x7F),
}
_INFINITY = 0x7F800000


def _has_half(target: Target) -> bool:
    return target.has("f16c") or target.has("neon")


class _Words:
    """Integer arithmetic on `width` lanes of i32."""

    def __init__(self, function: Function, width: int) -> None:
        self.function, self.width = function, width
        self.kind = vector("i32", width)
        self.float_kind = vector("float", width)

    def const(self, value: int) -> str:
        return splat_text("i32", str(value), self.width)

    def op(self, name: str, a: str, b: str | int) -> str:
        b = self.const(b) if isinstance(b, int) else b
        return self.function.pure(f"{name} {self.kind} {a}, {b}")

    def select(self, cond: str, a: str, b: str) -> str:
        bits = vector("i1", self.width)
        return self.function.pure(f"select {bits} {cond}, {self.kind} {a}, {self.kind} {b}")

    def bits(self, value: str) -> str:
        return self.function.pure(f"bitcast {self.float_kind} {value} to {self.kind}")

    def floats(self, value: str) -> str:
        return self.function.pure(f"bitcast {self.kind} {value} to {self.float_kind}")

    def resize(self, name: str, bits: int, value: str) -> str:
        """`trunc` to or `zext` from an integer of `bits`."""
        other = vector(f"i{bits}", self.width)
        source, result = (self.kind, other) if name == "trunc" else (other, self.kind)
        return self.function.pure(f"{name} {source} {value} to {result}")


def _encode_bfloat(words: _Words, value: str) -> str:
    """bfloat16 is the upper half of a float32, so that a carry out of its last bit rounds it."""
    bits = words.bits(value)
    odd = words.op("and", words.op("lshr", bits, 16), 1)
    rounded = words.op("add", words.op("add", bits, 0x7FFF), odd)
    quiet = words.op("or", bits, 0x7FFFFFFF & ~0x3FFFFF)
    nan = words.function.pure(f"fcmp uno {words.float_kind} {value}, {value}")
    return words.op("lshr", words.select(nan, quiet, rounded), 16)


def _encode(words: _Words, value: str, form: _Format) -> str:
    """The narrow bits, in i32, of a float32."""
    drop = 23 - form.mantissa
    bits = words.bits(value)
    magnitude = words.op("and", bits, 0x7FFFFFFF)
    odd = words.op("and", words.op("lshr", magnitude, drop), 1)
    shift = ((form.bias - 127) << 23) + (1 << (drop - 1)) - 1
    rounded = words.op("lshr", words.op("add", words.op("add", magnitude, shift), odd), drop)
    if form.bias != 127:
        # Adding a power of two whose last place is the format's smallest step lets the FPU round
        # denormals.
        magic = (127 - form.bias + drop + 1) << 23
        total = words.function.pure(
            f"fadd {words.float_kind} {words.floats(magnitude)}, {words.floats(words.const(magic))}"
        )
        tiny = words.op("icmp ult", magnitude, (128 - form.bias) << 23)
        rounded = words.select(tiny, words.op("sub", words.bits(total), magic), rounded)
    over = words.op("icmp ugt", rounded, form.overflow)
    rounded = words.select(over, words.const(form.overflow), rounded)
    nan = words.op("icmp ugt", magnitude, _INFINITY)
    rounded = words.select(nan, words.const(form.nan), rounded)
    sign = words.op("lshr", bits, 31)
    place = form.mantissa + form.exponent
    return words.op("or", rounded, words.op("shl", sign, place))


def _decode(words: _Words, bits: str, form: _Format) -> str:
    """The float32 that narrow bits (in i32) stand for."""
    place, drop = form.mantissa + form.exponent, 23 - form.mantissa
    magnitude = words.op("and", bits, (1 << place) - 1)
    shifted = words.op("shl", magnitude, drop)
    scale = words.floats(words.const((254 - form.bias) << 23))
    scaled = words.function.pure(f"fmul {words.float_kind} {words.floats(shifted)}, {scale}")
    result = words.bits(scaled)
    if form.overflow == form.nan:
        special = words.op("icmp eq", magnitude, form.nan)
        result = words.select(special, words.const(0x7FC00000), result)
    else:
        special = words.op("icmp uge", magnitude, form.overflow)
        result = words.select(special, words.op("or", shifted, _INFINITY), result)
    sign = words.op("shl", words.op("lshr", bits, place), 31)
    return words.floats(words.op("or", result, sign))


def narrow_bits(function: Function, value: Value, target: Target) -> str:
    """The memory bits (`i8` or `i16` lanes) of a narrow float held in float32."""
    dtype, width = value.dtype, value.width
    words = _Words(function, width)
    if dtype.name == "float16" and _has_half(target):
        half = function.pure(f"fptrunc {value.typed} to {vector('half', width)}")
        return function.pure(f"bitcast {vector('half', width)} {half} to {vector('i16', width)}")
    if dtype.name == "bfloat16":
        return words.resize("trunc", 16, _encode_bfloat(words, value.text))
    return words.resize("trunc", dtype.bits, _encode(words, value.text, _FORMATS[dtype.name]))


def narrow_value(function: Function, bits: str, dtype: DType, width: int, target: Target) -> Value:
    """The float32 register of a narrow float's memory bits."""
    words = _Words(function, width)
    if dtype.name == "float16" and _has_half(target):
        half = function.pure(f"bitcast {vector('i16', width)} {bits} to {vector('half', width)}")
        text = function.pure(f"fpext {vector('half', width)} {half} to {words.float_kind}")
        return Value(text, dtype, width)
    wide = words.resize("zext", dtype.bits, bits)
    if dtype.name == "bfloat16":
        return Value(words.floats(words.op("shl", wide, 16)), dtype, width)
    return Value(_decode(words, wide, _FORMATS[dtype.name]), dtype, width)


def rounded(function: Function, value: Value, target: Target) -> Value:
    """`value` rounded to its dtype when that is a narrow float computed in float32."""
    if not is_narrow(value.dtype):
        return value
    bits = narrow_bits(function, value, target)
    return narrow_value(function, bits, value.dtype, value.width, target)


def to_memory(function: Function, value: Value, target: Target) -> str:
    """The register as memory holds it: bool widened to i8, narrow floats packed."""
    if value.dtype == bool_:
        wide = vector("i8", value.width)
        return function.pure(f"zext {value.typed} to {wide}")
    return narrow_bits(function, value, target) if is_narrow(value.dtype) else value.text


def from_memory(function: Function, text: str, dtype: DType, width: int, target: Target) -> Value:
    """The register of what memory holds; any non-zero byte is a true bool."""
    if dtype == bool_:
        kind = vector("i8", width)
        return Value(function.pure(f"icmp ne {kind} {text}, zeroinitializer" if width > 1
                                   else f"icmp ne i8 {text}, 0"), dtype, width)  # fmt: skip
    if is_narrow(dtype):
        return narrow_value(function, text, dtype, width, target)
    return Value(text, dtype, width)


def _round_to_odd(function: Function, value: Value) -> Value:
    """float64 as float32 with a sticky last bit, so that a second rounding is right."""
    words = _Words(function, value.width)
    single = function.pure(f"fptrunc {value.typed} to {words.float_kind}")
    back = function.pure(f"fpext {words.float_kind} {single} to {value.kind}")
    doubles = f"{vector('double', value.width)}"
    wide = f"llvm.fabs.{suffix(doubles)}"
    size = function.intrinsic(doubles, wide, (doubles, value.text))
    back_size = function.intrinsic(doubles, wide, (doubles, back))
    above = function.pure(f"fcmp ogt {doubles} {back_size}, {size}")
    inexact = function.pure(f"fcmp one {doubles} {back}, {value.text}")
    bits = words.bits(single)
    down = words.select(above, words.op("sub", bits, 1), bits)
    odd = words.op("or", down, 1)
    return Value(words.floats(words.select(inexact, odd, bits)), float32, value.width)


def cast(function: Function, value: Value, dtype: DType, target: Target) -> Value:
    """`value` as `dtype`: to bool `!= 0`, float to integer saturating (NaN: 0), floats rounded."""
    source = value.dtype
    if source == dtype:
        return value
    if dtype == bool_:
        return _to_bool(function, value)
    if source.is_float and dtype.is_float:
        return _float_to_float(function, value, dtype, target)
    if source.is_float:
        return _saturated(function, value, dtype)
    signed = source.kind == "int"
    if dtype.is_float:
        kind = vector(register(dtype), value.width)
        name = "sitofp" if signed else "uitofp"
        text = function.pure(f"{name} {value.typed} to {kind}")
        return rounded(function, Value(text, dtype, value.width), target)
    return _resize_integer(function, value, dtype, signed)


def _saturated(function: Function, value: Value, dtype: DType) -> Value:
    """A float as the nearest integer towards 0 that `dtype` has; NaN as 0.

    For lanes, LLVM's own form of this takes them one by one.
    """
    kind, width = vector(register(dtype), value.width), value.width
    signed = dtype.kind == "int"
    if width == 1:
        name = f"llvm.fpto{'s' if signed else 'u'}i.sat.{suffix(kind)}"
        text = function.intrinsic(kind, f"{name}.{suffix(value.kind)}", (value.kind, value.text))
        return Value(text, dtype, width)
    low, high = _limits(dtype)
    top = _largest_below(high + 1, 53 if "double" in value.kind else 24)
    inside = _bounded(function, _bounded(function, value, "ogt", low), "olt", top)
    narrow = dtype.bits < 32
    through = vector("i32", width) if narrow else kind
    text = function.pure(f"fpto{'s' if signed or narrow else 'u'}i {inside.typed} to {through}")
    result = Value(text, dtype, width)
    if narrow:
        result = Value(function.pure(f"trunc {through} {text} to {kind}"), dtype, width)
    if top < high:
        result = _replaced(function, result, _test(function, value, "oge", high + 1), high)
    return _replaced(function, result, _test(function, value, "uno", 0), 0) if low else result


def _bounded(function: Function, value: Value, test: str, limit: int) -> Value:
    """The value where it is on that side of a limit; else, and for NaN, the limit."""
    dtype, width = value.dtype, value.width
    bound = splat_text(register(dtype), literal(float(limit), dtype), width)
    cond = _test(function, value, test, limit)
    text = function.pure(
        f"select {vector('i1', width)} {cond}, {value.typed}, {value.kind} {bound}"
    )
    return Value(text, dtype, width)


def _test(function: Function, value: Value, test: str, limit: int) -> str:
    bound = splat_text(register(value.dtype), literal(float(limit), value.dtype), value.width)
    return function.pure(f"fcmp {test} {value.typed}, {bound}")


def _replaced(function: Function, value: Value, where: str, number: int) -> Value:
    """An integer, another one in the lanes of a mask."""
    other = splat_text(register(value.dtype), literal(number, value.dtype), value.width)
    bits = vector("i1", value.width)
    text = function.pure(f"select {bits} {where}, {value.kind} {other}, {value.typed}")
    return Value(text, value.dtype, value.width)


def _limits(dtype: DType) -> tuple[int, int]:
    """The least and the greatest integer of a dtype."""
    signed = dtype.kind == "int"
    return -(1 << (dtype.bits - 1)) if signed else 0, (1 << (dtype.bits - signed)) - 1


def _largest_below(power: int, digits: int) -> int:
    """The largest integer below a power of two that a float of so many digits can be."""
    return power - max(1, power >> digits)


def _resize_integer(function: Function, value: Value, dtype: DType, signed: bool) -> Value:
    source_bits = 1 if value.dtype == bool_ else value.dtype.bits
    if source_bits == dtype.bits:
        return Value(value.text, dtype, value.width)
    name = "trunc" if dtype.bits < source_bits else "sext" if signed else "zext"
    kind = vector(register(dtype), value.width)
    return Value(function.pure(f"{name} {value.typed} to {kind}"), dtype, value.width)


def _to_bool(function: Function, value: Value) -> Value:
    zero = splat_text(register(value.dtype), literal(0, value.dtype), value.width)
    name = "fcmp une" if value.dtype.is_float else "icmp ne"
    return Value(function.pure(f"{name} {value.typed}, {zero}"), bool_, value.width)


def _float_to_float(function: Function, value: Value, dtype: DType, target: Target) -> Value:
    width = value.width
    if dtype == float64:
        text = function.pure(f"fpext {value.typed} to {vector('double', width)}")
        return Value(text, dtype, width)
    if value.dtype == float64 and is_narrow(dtype):
        value = _round_to_odd(function, value)
    elif value.dtype == float64:
        text = function.pure(f"fptrunc {value.typed} to {vector('float', width)}")
        return Value(text, dtype, width)
    return rounded(function, Value(value.text, dtype, width), target)


def bitcast(function: Function, value: Value, dtype: DType, target: Target) -> Value:
    """The same bits read as another dtype of the same size."""
    memory = to_memory(function, value, target)
    source = vector(storage(value.dtype), value.width)
    result = vector(storage(dtype), value.width)
    if source != result:
        memory = function.pure(f"bitcast {source} {memory} to {result}")
    return from_memory(function, memory, dtype, value.width, target)
