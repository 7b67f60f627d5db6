"""Small C99 functions that printed kernels call: arithmetic whose edges C leaves undefined.

Each helper is asked for by name and dtype and is printed once per file. Signed arithmetic is done
in unsigned types, where it wraps; division by zero gives 0; shifts by the width or more give 0 or
the sign; float to integer saturates; max and min hand on NaN.
"""

from __future__ import annotations

from collections.abc import Callable

from pellucid.core.dtype import DType
from pellucid.loop.functions import EXP_BOUND

_REAL_TYPES = {32: "float", 64: "double"}


def c_type(dtype: DType) -> str:
    """The C type that holds one element; bool is a byte, a complex number its two parts."""
    if dtype.kind == "bool":
        return "uint8_t"
    if dtype.is_float:
        return _REAL_TYPES[dtype.bits]
    if dtype.is_complex:
        return f"{_REAL_TYPES[dtype.real.bits]} _Complex"
    return f"{dtype.kind}{dtype.bits}_t"


def wrap_type(dtype: DType) -> str:
    """The unsigned type in which arithmetic of an integer dtype wraps without overflowing int."""
    return "uint64_t" if dtype.bits == 64 else "uint32_t"


def real_suffix(dtype: DType) -> str:
    """What ends the names of math functions: `f` for float, nothing for double."""
    return "f" if dtype.bits == 32 else ""


def _floordiv(t: DType) -> str:
    if t.is_float:
        f = real_suffix(t)
        return f"""\
  if (b == 0) return a / b;
  T rest = fmod{f}(a, b), quotient = (a - rest) / b;
  if (rest != 0 && (b < 0) != (rest < 0)) quotient -= 1;
  if (quotient == 0) return copysign{f}(0, a / b);
  T low = floor{f}(quotient);
  return quotient - low > (T)0.5 ? low + 1 : low;"""
    if t.kind == "uint":
        return "  return b == 0 ? 0 : (T)(a / b);"
    return """\
  if (b == 0) return 0;
  if (b == -1) return (T)((U)0 - (U)a);
  return (T)(a / b - (a % b != 0 && (a % b < 0) != (b < 0)));"""


def _mod(t: DType) -> str:
    if t.is_float:
        f = real_suffix(t)
        return f"""\
  T rest = fmod{f}(a, b);
  if (rest == 0) return copysign{f}(0, b);
  return (b < 0) != (rest < 0) ? rest + b : rest;"""
    if t.kind == "uint":
        return "  return b == 0 ? 0 : (T)(a % b);"
    return """\
  if (b == 0 || b == -1) return 0;
  T rest = (T)(a % b);
  return (T)(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);"""


def _extremum(sign: str) -> Callable[[DType], str]:
    def build(t: DType) -> str:
        nan = "a != a || " if t.is_float else ""
        return f"  return {nan}a {sign} b ? a : b;"

    return build


def _shl(t: DType) -> str:
    negative = "" if t.kind == "uint" else "b < 0 || "
    return f"  return {negative}b >= {t.bits} ? 0 : (T)((U)a << b);"


def _shr(t: DType) -> str:
    if t.kind == "uint":
        return f"  return b >= {t.bits} ? 0 : (T)(a >> b);"
    return f"""\
  if (b < 0 || b >= {t.bits}) return (T)-(a < 0);
  return (T)(a < 0 ? ~(~a >> b) : a >> b);"""


def _pow(t: DType) -> str:
    inverse = "  if (b < 0) return a == 1 ? 1 : a == -1 ? ((b & 1) ? -1 : 1) : 0;\n"
    return (
        (inverse if t.kind == "int" else "")
        + """\
  U base = (U)a, power = 1;
  for (; b != 0; b /= 2, base *= base) if (b & 1) power *= base;
  return (T)power;"""
    )


def _sign(t: DType) -> str:
    if t.is_float:
        return "  return a > 0 ? 1 : a < 0 ? -1 : a == 0 ? 0 : a;"
    return "  return (T)((a > 0) - (a < 0));" if t.kind == "int" else "  return a != 0;"


def _abs(_: DType) -> str:
    return "  return (T)(a < 0 ? (U)0 - (U)a : (U)a);"


def _exp_bounded(t: DType) -> str:
    return f"""\
  if (a < -{EXP_BOUND!r}) return 0;
  return exp{real_suffix(t)}(a > {EXP_BOUND!r} ? (T){EXP_BOUND!r} : a);"""


def _comparison(sign: str) -> Callable[[DType], str]:
    def build(_: DType) -> str:
        return f"  return a {sign} b;"

    return build


COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}
_BODIES: dict[str, tuple[int, Callable[[DType], str]]] = {
    "floordiv": (2, _floordiv), "mod": (2, _mod), "max": (2, _extremum(">")),
    "min": (2, _extremum("<")), "shl": (2, _shl), "shr": (2, _shr), "pow": (2, _pow),
    "sign": (1, _sign), "abs": (1, _abs), "exp_bounded": (1, _exp_bounded),
} | {name: (2, _comparison(sign)) for name, sign in COMPARISONS.items()}  # fmt: skip


def has_helper(fn: str) -> bool:
    """True for functions printed as a helper call (`abs` and `pow` only of integers)."""
    return fn in _BODIES


def helper_name(fn: str, dtype: DType) -> str:
    """The C name of a helper."""
    return f"pellucid_{fn}_{dtype.short}"


def helper_text(fn: str, dtype: DType) -> str:
    """The definition of `fn` on `dtype`."""
    arity, body = _BODIES[fn]
    kind = c_type(dtype)
    params = ", ".join(f"{kind} {p}" for p in "ab"[:arity])
    text = body(dtype).replace("(T)", f"({kind})").replace("T ", f"{kind} ")
    if dtype.is_integer:
        wrap = wrap_type(dtype)
        text = text.replace("(U)", f"({wrap})").replace("U ", f"{wrap} ")
    result = "int" if fn in COMPARISONS else kind
    return f"static inline {result} {helper_name(fn, dtype)}({params}) {{\n{text}\n}}"


def saturate_name(source: DType, dtype: DType) -> str:
    """The C name of the conversion from a float to an integer."""
    return f"pellucid_{dtype.short}_from_{source.short}"


def saturate_text(source: DType, dtype: DType) -> str:
    """Float to integer: truncates, saturates, NaN gives 0."""
    signed = dtype.kind == "int"
    low = -(2.0 ** (dtype.bits - 1)) if signed else 0.0
    high = 2.0 ** (dtype.bits - signed)
    smallest = f"INT{dtype.bits}_MIN" if signed else "0"
    largest = f"{'' if signed else 'U'}INT{dtype.bits}_MAX"
    kind = c_type(dtype)
    return (
        f"static inline {kind} {saturate_name(source, dtype)}({c_type(source)} a) {{\n"
        f"  if (a != a) return 0;\n"
        f"  if (a <= {low!r}) return {smallest};\n"
        f"  return a >= {high!r} ? {largest} : ({kind})a;\n}}"
    )


def bitcast_name(source: DType, dtype: DType) -> str:
    """The C name of a reinterpretation."""
    return f"pellucid_{dtype.short}_bits_of_{source.short}"


def bitcast_text(source: DType, dtype: DType) -> str:
    """The same bytes as another type."""
    return (
        f"static inline {c_type(dtype)} {bitcast_name(source, dtype)}({c_type(source)} a) {{\n"
        f"  {c_type(dtype)} b;\n  memcpy(&b, &a, sizeof b);\n  return b;\n}}"
    )
