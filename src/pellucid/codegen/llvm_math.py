"""Transcendental functions on vectors.

float32 (and the narrow floats, which are computed in it): polynomials, at most 2 ulp over the whole
range, signed zeros, infinities, NaN and denormals included. exp, exp2, log, tanh, erf, sin and cos
stay in float32 apart from the argument reduction of sin and cos; the others work in float64 lanes,
where one or two terms suffice against cancellation. Everything else, and float64, calls the C
library lane by lane.

No instruction here carries a fast-math flag: argument reduction must not be reassociated. Rounding
to an integer adds and takes away 1.5 * 2**23 (2**52 for float64), which every machine has and whose
low bits are the integer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pellucid.codegen.llvm_lanes import Ops
from pellucid.codegen.llvm_types import Value, gather_lanes, lane, register, vector
from pellucid.core.dtype import DType, float32, float64, int32, int64
from pellucid.core.errors import ArgumentError
from pellucid.loop.functions import EXP_BOUND

_LN2 = math.log(2)
_MAGIC = {32: 1.5 * 2**23, 64: 1.5 * 2**52}
_MAGIC_BITS = {32: 0x4B400000, 64: 0x4338000000000000}
_MANTISSA = {32: 23, 64: 52}
_BIAS = {32: 127, 64: 1023}
# Beyond this, reducing by pi/2 in float64 loses too many bits: the C library takes over.
_REDUCIBLE = 2.0**22

# Minimax polynomials in float32, highest power first. Source: S. Moshier, Cephes (expf, logf,
# tanhf, sinf, cosf).
_EXP = (
    1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
    5.0000001201e-1,
)  # fmt: skip
_LOG = (
    7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
    -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
)  # fmt: skip
_TANH = (
    -5.70498872745e-3,
    2.06390887954e-2,
    -5.37397155531e-2,
    1.33314422036e-1,
    -3.33332819422e-1,
)
_SIN = (-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)
_COS = (2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
# ln 2 in two parts; the first has so few bits that its product with an exponent is exact.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
# Source: N. Juffa's two-branch single-precision erf.
_ERF_SMALL = (
    -5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1,
)  # fmt: skip
_ERF_LARGE = (-1.06777877e-1, -6.34846687e-1, -1.28717512e-1)
# pi/2 in two parts; the first has 25 bits, so its product with up to 28 bits is exact in float64.
_HALF_PI = (float.fromhex("0x1.921fb5p+0"), float.fromhex("0x1.110b4611a6263p-26"))
# Taylor series: on |r| <= ln(2)/2 the eleventh power is 2e-13 of the sum.
_EXP_WIDE = tuple(1 / math.factorial(k) for k in range(10, 1, -1))
# atanh series in s**2 <= 0.0295: its seventh power is 1e-12 of the sum.
_LOG_WIDE = tuple(2 / k for k in range(13, 1, -2))


@dataclass(frozen=True, slots=True)
class _Maths:
    """Arithmetic with Python numbers as constants."""

    ops: Ops

    def _both(self, a: Value | float, b: Value | float) -> tuple[Value, Value]:
        """Both as values of one dtype; at least one is a value."""
        like = a if isinstance(a, Value) else b
        if not isinstance(like, Value):
            raise ArgumentError("llvm", "one operand must be a value", operands={"a": a, "b": b})
        first, second = (x if isinstance(x, Value) else self.ops.const(like, x) for x in (a, b))
        return first, second

    def op(self, name: str, a: Value | float, b: Value | float) -> Value:
        return self.ops.binary(name, *self._both(a, b))

    def add(self, a: Value | float, b: Value | float) -> Value:
        return self.op("fadd", a, b)

    def sub(self, a: Value | float, b: Value | float) -> Value:
        return self.op("fsub", a, b)

    def mul(self, a: Value | float, b: Value | float) -> Value:
        return self.op("fmul", a, b)

    def div(self, a: Value | float, b: Value | float) -> Value:
        return self.op("fdiv", a, b)

    def fma(self, a: Value, b: Value | float, c: Value | float) -> Value:
        return self.ops.multiply_add(a, self._both(a, b)[1], self._both(a, c)[1])

    def horner(self, x: Value, coefficients: Sequence[float]) -> Value:
        total = self.ops.const(x, coefficients[0])
        for c in coefficients[1:]:
            total = self.fma(total, x, c)
        return total

    def test(self, name: str, a: Value, b: Value | float) -> Value:
        return self.ops.compare(f"fcmp {name}", *self._both(a, b))

    def select(self, cond: Value, a: Value | float, b: Value | float) -> Value:
        return self.ops.select(cond, *self._both(a, b))

    def both(self, a: Value, b: Value) -> Value:
        return self.ops.binary("and", a, b)

    def abs(self, x: Value) -> Value:
        return self.ops.intrinsic("fabs", x)

    def sign_of(self, size: Value, sign: Value) -> Value:
        return self.ops.intrinsic("copysign", size, sign)

    def clamp(self, x: Value, low: float | None, high: float | None) -> Value:
        """`x` within bounds; NaN stays."""
        if high is not None:
            x = self.select(self.test("ogt", x, high), high, x)
        return x if low is None else self.select(self.test("olt", x, low), low, x)

    def bitcast(self, x: Value, dtype: DType) -> Value:
        kind = vector(register(dtype), x.width)
        return Value(self.ops.function.pure(f"bitcast {x.typed} to {kind}"), dtype, x.width)

    def resize(self, name: str, x: Value, dtype: DType) -> Value:
        kind = vector(register(dtype), x.width)
        return Value(self.ops.function.pure(f"{name} {x.typed} to {kind}"), dtype, x.width)

    def bits(self, x: Value) -> Value:
        return self.bitcast(x, int32 if x.dtype.bits == 32 else int64)

    def nearest(self, x: Value, scale: float) -> tuple[Value, Value]:
        """`x * scale` rounded to an integer, as a float and as bits of an integer."""
        bits = x.dtype.bits
        shifted = self.fma(x, scale, _MAGIC[bits])
        whole = self.op("sub", self.bits(shifted), _MAGIC_BITS[bits])
        return self.sub(shifted, _MAGIC[bits]), whole

    def power_of_two(self, exponent: Value, dtype: DType) -> Value:
        """2 to the power of an integer in the normal range."""
        bits = dtype.bits
        biased = self.op("add", exponent, _BIAS[bits])
        return self.bitcast(self.op("shl", biased, _MANTISSA[bits]), dtype)


def _exp_reduced(m: _Maths, r: Value) -> Value:
    """The exponential on |r| <= ln(2)/2."""
    p = m.fma(m.horner(r, _EXP), m.mul(r, r), r)
    return m.add(p, 1.0)


def _scale(m: _Maths, value: Value, n: Value, exponent: Value) -> Value:
    """`value * 2**n`, which may overflow or be denormal; `exponent` is n as an integer.

    In two steps where the machine has no instruction for it; either way it is rounded once.
    """
    if _scales(m, value):
        return _scaled(m, value, n)
    half = m.op("ashr", exponent, 1)
    rest = m.op("sub", exponent, half)
    value = m.mul(value, m.power_of_two(half, value.dtype))
    return m.mul(value, m.power_of_two(rest, value.dtype))


def _scales(m: _Maths, value: Value) -> bool:
    """Whether one instruction multiplies by a power of two."""
    bits = value.width * value.dtype.bits
    return m.ops.target.name == "avx512" and bits in (128, 256, 512)


def _scaled(m: _Maths, value: Value, n: Value) -> Value:
    bits = value.width * value.dtype.bits
    name = f"llvm.x86.avx512.mask.scalef.p{'s' if value.dtype.bits == 32 else 'd'}.{bits}"
    lanes = f"i{max(8, value.width)}"
    args = [(v.kind, v.text) for v in (value, n, value)] + [(lanes, "-1")]
    args += [("i32", "4")] if bits == 512 else []  # as the current rounding mode says
    text = m.ops.function.intrinsic(value.kind, name, *args)
    return Value(text, value.dtype, value.width)


def _exp(m: _Maths, x: Value) -> Value:
    x = m.clamp(x, -104.0, 89.0)
    n, whole = m.nearest(x, 1 / _LN2)
    r = m.fma(n, -_LN2_LOW, m.fma(n, -_LN2_HIGH, x))
    return _scale(m, _exp_reduced(m, r), n, whole)


def _exp_negative(m: _Maths, x: Value) -> Value:
    """The exponential for -87 <= x <= 0, or NaN."""
    n, whole = m.nearest(x, 1 / _LN2)
    r = m.fma(n, -_LN2_LOW, m.fma(n, -_LN2_HIGH, x))
    return m.mul(_exp_reduced(m, r), m.power_of_two(whole, x.dtype))


def _exp_bounded(m: _Maths, x: Value) -> Value:
    """The exponential, but 0 for results that a sum with 1 loses; no denormal on the way."""
    result = _exp_negative(m, m.clamp(x, -EXP_BOUND, EXP_BOUND))
    return m.select(m.test("olt", x, -EXP_BOUND), 0.0, result)


def _exp2(m: _Maths, x: Value) -> Value:
    x = m.clamp(x, -151.0, 129.0)
    n, whole = m.nearest(x, 1.0)
    return _scale(m, _exp_reduced(m, m.mul(m.sub(x, n), _LN2)), n, whole)


def _log(m: _Maths, x: Value) -> Value:
    tiny = m.test("olt", x, 2.0**-126)
    scaled = m.select(tiny, m.mul(x, 2.0**23), x)
    lowest = 0x3F3504F3  # sqrt(1/2): mantissas are taken in [sqrt(1/2), sqrt(2))
    offset = m.op("sub", m.bits(scaled), lowest)
    exponent = m.resize("sitofp", m.op("ashr", offset, 23), float32)
    exponent = m.select(tiny, m.sub(exponent, 23.0), exponent)
    mantissa = m.bitcast(m.op("add", m.op("and", offset, 0x7FFFFF), lowest), float32)
    f = m.sub(mantissa, 1.0)
    square = m.mul(f, f)
    y = m.mul(m.mul(m.horner(f, _LOG), f), square)
    y = m.fma(exponent, _LN2_LOW, y)
    y = m.fma(square, -0.5, y)
    result = m.fma(exponent, _LN2_HIGH, m.add(f, y))
    return _log_edges(m, x, result)


def _log_edges(m: _Maths, x: Value, result: Value) -> Value:
    """-inf at 0, NaN below it, infinity and NaN for themselves."""
    result = m.select(m.test("olt", x, math.inf), result, x)
    result = m.select(m.test("olt", x, 0.0), math.nan, result)
    return m.select(m.test("oeq", x, 0.0), -math.inf, result)


def _tanh(m: _Maths, x: Value) -> Value:
    size, square = m.abs(x), m.mul(x, x)
    near = m.fma(m.mul(m.horner(square, _TANH), square), x, x)
    decay = _exp_negative(m, m.mul(m.clamp(size, None, 10.0), -2.0))
    far = m.div(m.sub(1.0, decay), m.add(1.0, decay))
    return m.sign_of(m.select(m.test("olt", size, 0.625), near, far), x)


def _erf(m: _Maths, x: Value) -> Value:
    size, square = m.abs(x), m.mul(x, x)
    r = m.fma(m.fma(size, -1.72853470e-5, 3.83197126e-4), square,
              m.fma(size, -3.88396438e-3, 2.42546219e-2))  # fmt: skip
    for c in _ERF_LARGE:
        r = m.fma(r, size, c)
    r = m.fma(r, size, m.mul(size, -1.0))
    far = m.sub(1.0, _exp_negative(m, m.clamp(r, -80.0, None)))
    near = m.fma(m.horner(square, _ERF_SMALL), x, x)
    return m.sign_of(m.select(m.test("ogt", size, 0.927734375), far, near), x)


def _reduce_angle(m: _Maths, x: Value) -> tuple[Value, Value]:
    """`x - n * pi/2` in float32 for the nearest n, and n as int32."""
    wide = m.resize("fpext", x, float64)
    n, whole = m.nearest(wide, 2 / math.pi)
    r = m.fma(n, -_HALF_PI[1], m.fma(n, -_HALF_PI[0], wide))
    return m.resize("fptrunc", r, float32), m.resize("trunc", whole, int32)


def _circular(m: _Maths, x: Value, quarter: int) -> Value:
    """sin(x + quarter * pi/2)."""
    r, n = _reduce_angle(m, x)
    n = m.op("add", n, quarter) if quarter else n
    square = m.mul(r, r)
    sine = m.fma(m.mul(m.horner(square, _SIN), square), r, r)
    cosine = m.fma(m.horner(square, _COS), m.mul(square, square), m.fma(square, -0.5, 1.0))
    zero = m.ops.const(n, 0)
    odd = m.ops.compare("icmp ne", m.op("and", n, 1), zero)
    result = m.ops.select(odd, cosine, sine)
    flip = m.op("shl", m.op("and", n, 2), 30)
    return m.bitcast(m.ops.binary("xor", m.bits(result), flip), float32)


def _with_library(m: _Maths, x: Value, fast: Value, name: str) -> Value:
    """`fast` where |x| is reducible; if it is not in some lane, libm computes all lanes."""
    function, width = m.ops.function, x.width
    large = m.test("uge", m.abs(x), _REDUCIBLE)
    some = large.text
    if width > 1:
        kind = vector("i1", width)
        some = function.intrinsic("i1", f"llvm.vector.reduce.or.v{width}i1", (kind, some))
    slot = function.alloca(fast.kind, 64)
    function.effect(f"store {fast.typed}, ptr {slot}")
    function.module.declare(f"float @{name}(float)")

    def slow() -> None:
        # emit, not pure: these calls must stay behind the test.
        lanes = [lane(function, x, i) for i in range(width)]
        values = [
            Value(function.emit(f"call float @{name}(float {s.text})"), s.dtype) for s in lanes
        ]
        function.effect(f"store {gather_lanes(function, values).typed}, ptr {slot}")

    function.branch(some, slow)
    return Value(function.emit(f"load {fast.kind}, ptr {slot}"), x.dtype, width)


def _sin(m: _Maths, x: Value) -> Value:
    # The reduction loses the sign of -0; |x| restores it for every x near 0.
    tiny = m.test("olt", m.abs(x), 2.0**-12)
    fast = m.select(tiny, x, _circular(m, x, 0))
    return _with_library(m, x, fast, "sinf")


def _cos(m: _Maths, x: Value) -> Value:
    return _with_library(m, x, _circular(m, x, 1), "cosf")


# --- float64 lanes for float32 results -----------------------------------------------------------


def _wide_exp(m: _Maths, x: Value) -> Value:
    """The exponential of float64 lanes to about 1e-12, for results in float32's range."""
    x = m.clamp(x, -700.0, 700.0)
    n, whole = m.nearest(x, 1 / _LN2)
    r = m.fma(n, -_LN2, x)
    p = m.add(m.fma(m.horner(r, _EXP_WIDE), m.mul(r, r), r), 1.0)
    return m.mul(p, m.power_of_two(whole, float64))


def _wide_log(m: _Maths, x: Value) -> Value:
    """The logarithm of float64 lanes to about 1e-12; float32 denormals are normal here."""
    lowest = 0x3FE6A09E667F3BCD
    offset = m.op("sub", m.bits(x), lowest)
    exponent = m.op("ashr", offset, 52)
    mantissa = m.bitcast(m.op("sub", m.bits(x), m.op("shl", exponent, 52)), float64)
    # int64 to float64 has no SSE2 or AVX2 instruction; as low bits of a float it is one
    # subtraction.
    floats = m.bitcast(m.op("add", exponent, _MAGIC_BITS[64]), float64)
    e = m.sub(floats, _MAGIC[64])
    s = m.div(m.sub(mantissa, 1.0), m.add(mantissa, 1.0))
    square = m.mul(s, s)
    series = m.fma(m.mul(m.horner(square, _LOG_WIDE), square), s, m.mul(s, 2.0))
    return _log_edges(m, x, m.fma(e, _LN2, series))


def _widened(build: Callable[[_Maths, Value], Value]) -> Callable[[_Maths, Value], Value]:
    def narrow(m: _Maths, x: Value) -> Value:
        return m.resize("fptrunc", build(m, m.resize("fpext", x, float64)), float32)

    return narrow


def _wide_log2(m: _Maths, x: Value) -> Value:
    return m.mul(_wide_log(m, x), 1 / _LN2)


def _wide_log10(m: _Maths, x: Value) -> Value:
    return m.mul(_wide_log(m, x), 1 / math.log(10))


def _near_zero(m: _Maths, x: Value, series: Value, result: Value) -> Value:
    """`series` where `result` would cancel; x itself at 0, which keeps its sign."""
    result = m.select(m.test("olt", m.abs(x), 2.0**-20), series, result)
    return m.select(m.test("oeq", x, 0.0), x, result)


def _wide_log1p(m: _Maths, x: Value) -> Value:
    series = m.fma(m.mul(x, x), -0.5, x)
    return _near_zero(m, x, series, _wide_log(m, m.add(x, 1.0)))


def _wide_expm1(m: _Maths, x: Value) -> Value:
    series = m.fma(m.mul(x, x), 0.5, x)
    return _near_zero(m, x, series, m.sub(_wide_exp(m, x), 1.0))


def _wide_sinh(m: _Maths, x: Value) -> Value:
    e = _wide_exp(m, x)
    return _near_zero(m, x, x, m.mul(m.sub(e, m.div(1.0, e)), 0.5))


def _wide_cosh(m: _Maths, x: Value) -> Value:
    e = _wide_exp(m, x)
    return m.mul(m.add(e, m.div(1.0, e)), 0.5)


def _float_power(m: _Maths, a: Value, b: Value) -> Value:
    """C's powf: |a|**b in float64, then the sign and the special cases."""
    wide_a, wide_b = m.resize("fpext", a, float64), m.resize("fpext", b, float64)
    product = m.mul(wide_b, _wide_log(m, m.abs(wide_a)))
    size = m.resize("fptrunc", _wide_exp(m, product), float32)
    whole = m.test("oeq", m.ops.intrinsic("floor", b), b)
    half = m.mul(b, 0.5)
    odd = m.both(whole, m.test("une", m.ops.intrinsic("floor", half), half))
    negative = m.test("olt", a, 0.0)
    finite = m.test("one", m.abs(a), math.inf)
    undefined = m.both(m.both(negative, finite), m.op("xor", whole, True))
    result = m.select(odd, m.sign_of(size, a), size)
    result = m.select(undefined, math.nan, result)
    # 1 whatever the other is, NaN included; -1 to an infinite power is 1 too.
    unit = m.ops.binary("or", m.test("oeq", a, 1.0), m.test("oeq", b, 0.0))
    endless = m.test("oeq", m.abs(b), math.inf)
    unit = m.ops.binary("or", unit, m.both(m.test("oeq", a, -1.0), endless))
    nan = m.ops.binary("and", m.test("uno", a, b), m.op("xor", unit, True))
    return m.select(nan, math.nan, m.select(unit, 1.0, result))


_SINGLE: dict[str, Callable[[_Maths, Value], Value]] = {
    "exp": _exp, "exp_bounded": _exp_bounded, "exp2": _exp2, "log": _log,
    "tanh": _tanh, "erf": _erf, "sin": _sin, "cos": _cos,
    "expm1": _widened(_wide_expm1), "log1p": _widened(_wide_log1p),
    "log2": _widened(_wide_log2), "log10": _widened(_wide_log10),
    "sinh": _widened(_wide_sinh), "cosh": _widened(_wide_cosh),
}  # fmt: skip
FUNCTIONS = (
    *_SINGLE, "tan", "asin", "acos", "atan", "asinh", "acosh", "atanh", "atan2",
)  # fmt: skip


def libm(ops: Ops, name: str, args: Sequence[Value]) -> Value:
    """`name` of the C library, lane by lane; its float32 form has the suffix `f`."""
    kind = register(args[0].dtype)
    symbol = name if kind == "double" else f"{name}f"

    def one(*scalars: Value) -> Value:
        text = ops.function.intrinsic(kind, symbol, *((kind, s.text) for s in scalars))
        return Value(text, scalars[0].dtype)

    return ops.per_lane(one, *args)


def _wide_exp_bounded(ops: Ops, x: Value) -> Value:
    m = _Maths(ops)
    result = libm(ops, "exp", [m.clamp(x, -EXP_BOUND, EXP_BOUND)])
    return m.select(m.test("olt", x, -EXP_BOUND), 0.0, result)


def power(ops: Ops, a: Value, b: Value) -> Value:
    """`a ** b` as C's pow."""
    if a.dtype.bits == 64:
        return libm(ops, "pow", [a, b])
    return _as_single(ops, _float_power, a, b)


def call(ops: Ops, fn: str, args: Sequence[Value]) -> Value:
    """`fn` of `FUNCTIONS`."""
    if args[0].dtype.bits == 64 and fn == "exp_bounded":
        return _wide_exp_bounded(ops, args[0])
    if args[0].dtype.bits == 64 or fn not in _SINGLE:
        return libm(ops, fn, args)
    return _as_single(ops, _SINGLE[fn], *args)


def _as_single(ops: Ops, build: Callable[..., Value], *args: Value) -> Value:
    """`build` on float32 values; narrow floats are float32 in registers already."""
    dtype = args[0].dtype
    result: Value = build(_Maths(ops), *(Value(a.text, float32, a.width) for a in args))
    return Value(result.text, dtype, result.width)
