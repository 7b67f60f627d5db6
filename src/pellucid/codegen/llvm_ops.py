"""The scalar functions of the loop IR on LLVM values, lane by lane.

Enters: a function name, argument values of one width, the result dtype. Leaves: the result value.
The meaning at the edges is the loop IR's: integer division by zero gives 0, shifts by the width or
more give 0 or the sign, max and min hand on NaN, nothing traps. Transcendental functions are in
`llvm_math`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pellucid.codegen import llvm_math
from pellucid.codegen.llvm_cast import bitcast, cast, rounded, to_memory
from pellucid.codegen.llvm_dot import DOTS, add_dot, join
from pellucid.codegen.llvm_lanes import Ops
from pellucid.codegen.llvm_types import (
    Value,
    constant,
    register,
    splat,
    vector,
)
from pellucid.core.dtype import DType, bool_
from pellucid.core.errors import LoweringError, did_you_mean

Binary = Callable[[Ops, Value, Value], Value]
Unary = Callable[[Ops, Value], Value]

_ARITHMETIC = {"add": ("fadd", "add"), "sub": ("fsub", "sub"), "mul": ("fmul", "mul")}
_BOOL_ARITHMETIC = {"add": "or", "sub": "xor", "mul": "and", "max": "or", "min": "and"}
_COMPARE = {
    "eq": ("oeq", "eq", "eq"), "ne": ("une", "ne", "ne"),
    "lt": ("olt", "slt", "ult"), "le": ("ole", "sle", "ule"),
    "gt": ("ogt", "sgt", "ugt"), "ge": ("oge", "sge", "uge"),
}  # fmt: skip


def _signed(value: Value) -> bool:
    return value.dtype.kind == "int"


def _arithmetic(name: str) -> Binary:
    floating, integer = _ARITHMETIC[name]

    def build(ops: Ops, a: Value, b: Value) -> Value:
        if a.dtype == bool_:
            return ops.binary(_BOOL_ARITHMETIC[name], a, b)
        return ops.binary(floating if a.dtype.is_float else integer, a, b)

    return build


def _comparison(name: str) -> Binary:
    floating, signed, unsigned = _COMPARE[name]

    def build(ops: Ops, a: Value, b: Value) -> Value:
        if a.dtype.is_float:
            return ops.compare(f"fcmp {floating}", a, b)
        return ops.compare(f"icmp {signed if _signed(a) else unsigned}", a, b)

    return build


def _is_number(value: Value) -> bool:
    """True for a float constant that is not NaN."""
    return value.text.startswith(("splat", "0x")) and "0x7FF8" not in value.text


def _extremum(name: str) -> Binary:
    predicate = "ogt" if name == "max" else "olt"

    def build(ops: Ops, a: Value, b: Value) -> Value:
        if a.dtype == bool_:
            return ops.binary(_BOOL_ARITHMETIC[name], a, b)
        if not a.dtype.is_float:
            return ops.intrinsic(f"{'s' if _signed(a) else 'u'}{name}", a, b)
        # One machine instruction that gives its second operand when either is NaN, so only a NaN in
        # a variable first operand needs mending. The accumulator of a reduction is `a`: as the
        # second operand it waits for no comparison.
        first, second = (a, b) if _is_number(a) else (b, a)
        greater = ops.compare(f"fcmp {predicate}", first, second)
        picked = ops.select(greater, first, second)
        if _is_number(first):
            return picked
        # A NaN of our own: with `first` instead, LLVM would join both selections into one of masks.
        nan = ops.const(first, math.nan)
        return ops.select(ops.compare("fcmp uno", first, first), nan, picked)

    return build


def _division(ops: Ops, a: Value, b: Value) -> Value:
    return ops.binary("fdiv", a, b)


def _divide_integers(ops: Ops, a: Value, b: Value) -> tuple[Value, Value]:
    """Floor quotient and remainder that never trap: by 0 both are 0; least by -1 wraps."""
    zero, one = ops.const(a, 0), ops.const(a, 1)
    by_zero = ops.compare("icmp eq", b, zero)
    if not _signed(a):
        divisor = ops.select(by_zero, one, b)
        quotient = ops.select(by_zero, zero, ops.binary("udiv", a, divisor))
        return quotient, ops.select(by_zero, zero, ops.binary("urem", a, divisor))
    by_minus = ops.compare("icmp eq", b, ops.const(a, -1))
    unsafe = ops.binary("or", by_zero, by_minus)
    divisor = ops.select(unsafe, one, b)
    quotient, rest = ops.binary("sdiv", a, divisor), ops.binary("srem", a, divisor)
    inexact = ops.compare("icmp ne", rest, zero)
    mixed = ops.compare("icmp slt", ops.binary("xor", rest, divisor), zero)
    down = ops.binary("and", inexact, mixed)
    quotient = ops.select(down, ops.binary("sub", quotient, one), quotient)
    rest = ops.select(down, ops.binary("add", rest, divisor), rest)
    negated = ops.binary("sub", zero, a)
    quotient = ops.select(by_zero, zero, ops.select(by_minus, negated, quotient))
    return quotient, ops.select(unsafe, zero, rest)


def _truncated_remainder(ops: Ops, a: Value, b: Value) -> tuple[Value, Value]:
    """C's `fmod`, and where its sign is not the divisor's (never for a zero result)."""
    zero = ops.const(a, 0)
    rest = ops.binary("frem", a, b)
    differ = ops.binary(
        "xor", ops.compare("fcmp olt", b, zero), ops.compare("fcmp olt", rest, zero)
    )
    return rest, ops.binary("and", ops.compare("fcmp une", rest, zero), differ)


def _float_remainder(ops: Ops, a: Value, b: Value) -> Value:
    """Python's `%`: the divisor's sign, also on a zero result; NaN for a zero divisor."""
    zero = ops.const(a, 0)
    rest, differ = _truncated_remainder(ops, a, b)
    moved = ops.select(differ, ops.binary("fadd", rest, b), rest)
    nonzero = ops.compare("fcmp une", rest, zero)
    return ops.select(nonzero, moved, ops.intrinsic("copysign", zero, b))


def _float_floor_quotient(ops: Ops, a: Value, b: Value) -> Value:
    """`floor(a / b)` as NumPy has it: from the exact remainder, so that no rounding lifts it."""
    zero, one = ops.const(a, 0), ops.const(a, 1)
    plain = ops.binary("fdiv", a, b)
    rest, differ = _truncated_remainder(ops, a, b)
    exact = ops.binary("fdiv", ops.binary("fsub", a, rest), b)
    exact = ops.select(differ, ops.binary("fsub", exact, one), exact)
    low = ops.intrinsic("floor", exact)
    over = ops.compare("fcmp ogt", ops.binary("fsub", exact, low), ops.const(a, 0.5))
    low = ops.select(over, ops.binary("fadd", low, one), low)
    is_zero = ops.compare("fcmp oeq", exact, zero)
    low = ops.select(is_zero, ops.intrinsic("copysign", zero, plain), low)
    return ops.select(ops.compare("fcmp oeq", b, zero), plain, low)


def _floordiv(ops: Ops, a: Value, b: Value) -> Value:
    if a.dtype.is_float:
        return _float_floor_quotient(ops, a, b)
    return ops.binary("and", a, b) if a.dtype == bool_ else _divide_integers(ops, a, b)[0]


def _mod(ops: Ops, a: Value, b: Value) -> Value:
    if a.dtype.is_float:
        return _float_remainder(ops, a, b)
    return ops.const(a, False) if a.dtype == bool_ else _divide_integers(ops, a, b)[1]


def _bitwise(name: str) -> Binary:
    return lambda ops, a, b: ops.binary(name, a, b)


def _shift(name: str) -> Binary:
    def build(ops: Ops, a: Value, b: Value) -> Value:
        bits = ops.const(a, a.dtype.bits)
        # As unsigned numbers, so that negative amounts count as too many too.
        fits = ops.compare("icmp ult", b, bits)
        amount = ops.select(fits, b, ops.const(a, 0))
        if name == "shr" and _signed(a):
            amount = ops.select(fits, b, ops.const(a, a.dtype.bits - 1))
            return ops.binary("ashr", a, amount)
        shifted = ops.binary("shl" if name == "shl" else "lshr", a, amount)
        return ops.select(fits, shifted, ops.const(a, 0))

    return build


def _pow(ops: Ops, a: Value, b: Value) -> Value:
    if a.dtype.is_float:
        return llvm_math.power(ops, a, b)
    if a.dtype == bool_:
        return ops.binary("or", a, ops.binary("xor", b, ops.const(b, True)))
    return ops.per_lane(lambda x, y: _integer_power(ops, x, y), a, b)


# Square and multiply; a negative exponent gives the truncated inverse.
_POWER = """\
define internal KIND @NAME(KIND %a, KIND %b) nounwind {
entry:
  %negative = icmp LESS KIND %b, 0
  %flip = sub KIND 0, %a
  %unit0 = icmp eq KIND %a, 1
  %unit1 = icmp eq KIND %flip, 1
  %unit = or i1 %unit0, %unit1
  %low = and KIND %b, 1
  %is_odd = icmp ne KIND %low, 0
  %signed = select i1 %is_odd, KIND %a, KIND 1
  %inverse = select i1 %unit, KIND %signed, KIND 0
  br i1 %negative, label %done, label %loop
loop:
  %x = phi KIND [ %a, %entry ], [ %square, %loop ]
  %n = phi KIND [ %b, %entry ], [ %half, %loop ]
  %r = phi KIND [ 1, %entry ], [ %next, %loop ]
  %bit = and KIND %n, 1
  %set = icmp ne KIND %bit, 0
  %product = mul KIND %r, %x
  %next = select i1 %set, KIND %product, KIND %r
  %square = mul KIND %x, %x
  %half = lshr KIND %n, 1
  %more = icmp ne KIND %half, 0
  br i1 %more, label %loop, label %done
done:
  %result = phi KIND [ %inverse, %entry ], [ %next, %loop ]
  ret KIND %result
}"""


def _integer_power(ops: Ops, a: Value, b: Value) -> Value:
    kind, name = register(a.dtype), f"pellucid_power_{a.dtype.short}"
    less = "slt" if _signed(a) else "ult"
    text = _POWER.replace("KIND", kind).replace("NAME", name).replace("LESS", less)
    ops.function.module.define(name, text)
    return Value(ops.function.pure(f"call {kind} @{name}({a.typed}, {b.typed})"), a.dtype)


def _negate(ops: Ops, a: Value) -> Value:
    if a.dtype.is_float:
        return Value(ops.function.pure(f"fneg {a.typed}"), a.dtype, a.width)
    return ops.binary("sub", ops.const(a, 0), a)


def _abs(ops: Ops, a: Value) -> Value:
    if a.dtype.is_float:
        return ops.intrinsic("fabs", a)
    if not _signed(a):
        return a
    return ops.select(ops.compare("icmp slt", a, ops.const(a, 0)), _negate(ops, a), a)


def _sign(ops: Ops, a: Value) -> Value:
    zero, one = ops.const(a, 0), ops.const(a, 1)
    if not a.dtype.is_float:
        positive = ops.compare("icmp ne" if not _signed(a) else "icmp sgt", a, zero)
        result = ops.select(positive, one, zero)
        if not _signed(a):
            return result
        return ops.select(ops.compare("icmp slt", a, zero), ops.const(a, -1), result)
    negative = ops.compare("fcmp olt", a, zero)
    below = ops.select(negative, ops.const(a, -1), ops.select(
        ops.compare("fcmp oeq", a, zero), zero, a))  # fmt: skip
    return ops.select(ops.compare("fcmp ogt", a, zero), one, below)


def _not(ops: Ops, a: Value) -> Value:
    return ops.binary("xor", a, ops.const(a, True if a.dtype == bool_ else -1))


def _rounding(name: str) -> Unary:
    return lambda ops, a: ops.intrinsic(name, a) if a.dtype.is_float else a


def _is_nan(ops: Ops, a: Value) -> Value:
    if not a.dtype.is_float:
        return splat(ops.function, constant(False, bool_), a.width)
    return ops.compare("fcmp uno", a, a)


def _is_inf(ops: Ops, a: Value) -> Value:
    if not a.dtype.is_float:
        return splat(ops.function, constant(False, bool_), a.width)
    size = ops.intrinsic("fabs", a)
    return ops.compare("fcmp oeq", size, ops.const(a, float("inf")))


def _sqrt(ops: Ops, a: Value) -> Value:
    return ops.intrinsic("sqrt", a)


def _rsqrt(ops: Ops, a: Value) -> Value:
    return ops.binary("fdiv", ops.const(a, 1), _sqrt(ops, a))


BINARY: dict[str, Binary] = {
    **{name: _arithmetic(name) for name in _ARITHMETIC},
    **{name: _comparison(name) for name in _COMPARE},
    **{name: _extremum(name) for name in ("max", "min")},
    **{name: _bitwise(name) for name in ("and", "or", "xor")},
    **{name: _shift(name) for name in ("shl", "shr")},
    "div": _division, "floordiv": _floordiv, "mod": _mod, "pow": _pow,
}  # fmt: skip
UNARY: dict[str, Unary] = {
    "neg": _negate, "abs": _abs, "sign": _sign, "not": _not,
    "floor": _rounding("floor"), "ceil": _rounding("ceil"),
    "round": _rounding("rint"), "trunc": _rounding("trunc"),
    "isnan": _is_nan, "isinf": _is_inf, "sqrt": _sqrt, "rsqrt": _rsqrt,
}  # fmt: skip


def apply(ops: Ops, fn: str, args: list[Value], dtype: DType) -> Value:
    """`fn(*args)` as `dtype`; narrow floats are rounded after every function.

    Raises:
        LoweringError: no such function, or not with this many arguments.
    """
    width = max(a.width for a in args)
    if fn == "select":
        cond, a, b = args
        return ops.select(cond, splat(ops.function, a, width), splat(ops.function, b, width))
    args = [splat(ops.function, a, width) for a in args]
    if fn == "cast":
        return cast(ops.function, args[0], dtype, ops.target)
    if fn == "bitcast":
        return bitcast(ops.function, args[0], dtype, ops.target)
    if fn in DOTS and len(args) == 2:
        zero = splat(ops.function, constant(0, dtype), width)
        return add_dot(ops, fn, zero, *args)
    if fn in ("pack2", "pack4"):
        return join(ops, [to_memory(ops.function, a, ops.target) for a in args], width)
    if fn == "fma" and len(args) == 3:
        return rounded(ops.function, ops.multiply_add(*args), ops.target)
    if fn in BINARY and len(args) == 2:
        result = BINARY[fn](ops, *args)
    elif fn in UNARY and len(args) == 1:
        result = UNARY[fn](ops, *args)
    elif fn in llvm_math.FUNCTIONS:
        result = llvm_math.call(ops, fn, args)
    else:
        known = (*BINARY, *UNARY, *llvm_math.FUNCTIONS, "select", "cast", "bitcast", "fma")
        raise LoweringError(
            "llvm", f"unknown function {fn} of {len(args)} arguments", fix=did_you_mean(fn, known)
        )
    return rounded(ops.function, result, ops.target)


def reduce_lanes(ops: Ops, fn: str, value: Value) -> Value:
    """All lanes combined by `fn` as a balanced tree: a scalar."""
    while value.width > 1:
        half = value.width // 2
        kind = vector(register(value.dtype), value.width)
        parts = []
        for start in (0, half):
            mask = ", ".join(f"i32 {start + i}" for i in range(half))
            text = f"shufflevector {kind} {value.text}, {kind} poison, <{half} x i32> <{mask}>"
            name = ops.function.pure(text)
            parts.append(Value(name, value.dtype, half))
            if half == 1:
                scalar = ops.function.pure(
                    f"extractelement <1 x {register(value.dtype)}> {name}, i64 0"
                )
                parts[-1] = Value(scalar, value.dtype)
        value = apply(ops, fn, parts, value.dtype)
    return value
