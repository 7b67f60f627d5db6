"""The scalar functions a loop expression may call: one table of names, types and meanings.

Enters: a function's name with argument dtypes or arrays. Leaves: the result's dtype, or its value
in NumPy. Every code generator reads its list of functions here and must agree with `evaluate`, edge
cases included:

- `max`, `min` propagate NaN; comparisons with NaN are false, `ne` is true.
- `floordiv`, `mod` round towards minus infinity, as Python's; on integers a zero divisor gives 0,
  never a trap.
- `shl`, `shr` by a negative amount or by at least the width give 0, `shr` of a negative number
  gives -1.
- Integer arithmetic wraps; an integer `pow` with a negative exponent truncates the true value (0, 1
  or -1).
- `cast` from float to integer truncates and saturates, NaN becomes 0; to bool it is `x != 0`;
  integers wrap.
- float16, bfloat16 and float8 are computed in float32 and rounded once.
- `pack` and `dot` functions: `words.py`.
- Complex numbers are for graphs: `evaluate` knows them, loops and code generators do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import DType, Kind, bool_, float32, int32
from pellucid.core.errors import ArgumentError, DTypeError, did_you_mean
from pellucid.loop import complex_functions, words
from pellucid.loop.ir import Call, Expr

Array = NDArray[Any]
Rule = Literal["same", "predicate", "select", "cast", "bitcast", "pack", "dot"]

EXP_BOUND = 87.0  # up to which exp is a normal float32, and so in range on the way there

_FLOAT: frozenset[Kind] = frozenset(("float",))
_NUMBER: frozenset[Kind] = frozenset(("int", "uint", "float"))
_BITS: frozenset[Kind] = frozenset(("bool", "int", "uint"))
_INTEGER: frozenset[Kind] = frozenset(("int", "uint"))
_ANY: frozenset[Kind] = frozenset(("bool", "int", "uint", "float"))
_INEXACT: frozenset[Kind] = _FLOAT | {"complex"}
_FIELD: frozenset[Kind] = _NUMBER | {"complex"}
_ALL: frozenset[Kind] = _ANY | {"complex"}
_WORD: frozenset[Kind] = frozenset(("int",))


@dataclass(frozen=True, slots=True)
class ScalarFunction:
    """One scalar function.

    Attributes:
        name: as in `Call.fn`.
        arity: number of arguments.
        kinds: dtype kinds its (value) arguments may have.
        rule: `same`: arguments and result share one dtype; `predicate`: equal dtypes to bool;
            `select`: a bool and two of the result's dtype; `cast`, `bitcast`: the result's dtype is
            free (bitcast: of the same width); `pack`: arguments of one dtype, 32 bits together, to
            int32; `dot`: two words (int32) to `result`.
        compute: the meaning on NumPy arrays of full-width dtypes; `cast` and `bitcast` are in
            `evaluate`.
        doc: one sentence.
    """

    name: str
    arity: int
    kinds: frozenset[Kind]
    rule: Rule
    compute: Callable[..., Any]
    doc: str
    result: DType = int32


def _int_divisor(b: Array) -> Array:
    return np.where(b == 0, np.ones_like(b), b)


def _floordiv(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(np.floor_divide(a, b))
    return np.where(b == 0, np.zeros_like(a), np.floor_divide(a, _int_divisor(b)))


def _mod(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return np.asarray(np.remainder(a, b))
    return np.where(b == 0, np.zeros_like(a), np.remainder(a, _int_divisor(b)))


def _pow(a: Array, b: Array) -> Array:
    if a.dtype.kind in "fc":
        return np.asarray(np.power(a, b))
    power = np.power(a, np.where(b < 0, np.zeros_like(b), b))
    odd = np.where((b & 1) == 1, a, np.ones_like(a))
    tiny = np.where(a == 1, a, np.where(a + 1 == 0, odd, np.zeros_like(a)))
    return np.where(b < 0, tiny, power)


def _bits(a: Array) -> int:
    return a.dtype.itemsize * 8


def _out_of_width(a: Array, b: Array) -> Array:
    return np.asarray((b < 0) | (b >= _bits(a)))


def _shl(a: Array, b: Array) -> Array:
    out = _out_of_width(a, b)
    shifted = np.left_shift(a, np.where(out, np.zeros_like(b), b))
    return np.where(out, np.zeros_like(a), shifted)


def _shr(a: Array, b: Array) -> Array:
    top = np.full_like(b, _bits(a) - 1)
    out = _out_of_width(a, b)
    shifted = np.right_shift(a, np.where(out, top, b))
    return np.where(out & (a >= 0), np.zeros_like(a), shifted)


def _fma(a: Array, b: Array, c: Array) -> Array:
    if a.dtype == np.float32:
        wide = np.multiply(a, b, dtype=np.float64) + c
        return np.asarray(wide.astype(np.float32))
    return np.asarray(a * b + c)


_erf_object = np.frompyfunc(math.erf, 1, 1)


def _erf(x: Array) -> Array:
    return np.asarray(_erf_object(x.astype(np.float64))).astype(x.dtype)


def _exp_bounded(x: Array) -> Array:
    clipped = np.clip(x, -EXP_BOUND, EXP_BOUND)
    return np.asarray(np.where(x < -EXP_BOUND, x.dtype.type(0), np.exp(clipped)))


def _rsqrt(x: Array) -> Array:
    return np.asarray(x.dtype.type(1) / np.sqrt(x))


def _rounding(fn: Callable[[Array], Any]) -> Callable[[Array], Any]:
    return lambda x: fn(x) if x.dtype.kind in "fc" else x


def _either(real: Callable[[Array], Any], complex_: Callable[[Array], Any]) -> Callable[..., Any]:
    return lambda x: complex_(x) if x.dtype.kind == "c" else real(x)


_expm1 = _either(np.expm1, complex_functions.expm1)
_log1p = _either(np.log1p, complex_functions.log1p)
_tan = _either(np.tan, complex_functions.tan)
_tanh = _either(np.tanh, complex_functions.tanh)
_exp2 = _either(np.exp2, complex_functions.exp2)


def _cast_only(*_: Array) -> Array:
    raise ArgumentError("cast", "needs a result dtype", fix="call evaluate, which passes it")


_SAME: list[tuple[str, int, frozenset[Kind], Callable[..., Any], str]] = [
    ("add", 2, _FIELD, np.add, "a + b"),
    ("sub", 2, _FIELD, np.subtract, "a - b"),
    ("mul", 2, _FIELD, np.multiply, "a * b"),
    ("div", 2, _INEXACT, np.true_divide, "a / b, the IEEE quotient"),
    ("floordiv", 2, _NUMBER, _floordiv, "floor(a / b); 0 for an integer divisor of 0"),
    ("mod", 2, _NUMBER, _mod, "a - b * floor(a / b), of b's sign; 0 for an integer divisor of 0"),
    ("pow", 2, _FIELD, _pow, "a to the power b"),
    ("max", 2, _ANY, np.maximum, "the larger; NaN if either is"),
    ("min", 2, _ANY, np.minimum, "the smaller; NaN if either is"),
    ("atan2", 2, _FLOAT, np.arctan2, "the angle of the point (b, a)"),
    ("and", 2, _BITS, np.bitwise_and, "bitwise and; logical on bool"),
    ("or", 2, _BITS, np.bitwise_or, "bitwise or; logical on bool"),
    ("xor", 2, _BITS, np.bitwise_xor, "bitwise exclusive or; logical on bool"),
    ("shl", 2, _INTEGER, _shl, "a shifted left by b bits"),
    ("shr", 2, _INTEGER, _shr, "a shifted right by b bits, keeping the sign"),
    ("neg", 1, _FIELD, np.negative, "-x"),
    ("abs", 1, _NUMBER, np.absolute, "the magnitude; the least integer stays itself"),
    ("sign", 1, _NUMBER, np.sign, "-1, 0 or 1; NaN for NaN"),
    ("not", 1, _BITS, np.invert, "bitwise complement; logical on bool"),
    ("exp", 1, _INEXACT, np.exp, "e to the power x"),
    ("exp_bounded", 1, _FLOAT, _exp_bounded, "exp(x), but 0 below -87, and exp(87) above 87"),
    ("expm1", 1, _INEXACT, _expm1, "exp(x) - 1, accurate near 0"),
    ("exp2", 1, _INEXACT, _exp2, "2 to the power x"),
    ("log", 1, _INEXACT, np.log, "natural logarithm"),
    ("log1p", 1, _INEXACT, _log1p, "log(1 + x), accurate near 0"),
    ("log2", 1, _INEXACT, np.log2, "logarithm to base 2"),
    ("log10", 1, _INEXACT, np.log10, "logarithm to base 10"),
    ("sqrt", 1, _INEXACT, np.sqrt, "square root"),
    ("rsqrt", 1, _INEXACT, _rsqrt, "1 / sqrt(x)"),
    ("sin", 1, _INEXACT, np.sin, "sine"),
    ("cos", 1, _INEXACT, np.cos, "cosine"),
    ("tan", 1, _INEXACT, _tan, "tangent"),
    ("asin", 1, _INEXACT, np.arcsin, "inverse sine"),
    ("acos", 1, _INEXACT, np.arccos, "inverse cosine"),
    ("atan", 1, _INEXACT, np.arctan, "inverse tangent"),
    ("sinh", 1, _INEXACT, np.sinh, "hyperbolic sine"),
    ("cosh", 1, _INEXACT, np.cosh, "hyperbolic cosine"),
    ("tanh", 1, _INEXACT, _tanh, "hyperbolic tangent"),
    ("asinh", 1, _INEXACT, np.arcsinh, "inverse hyperbolic sine"),
    ("acosh", 1, _INEXACT, np.arccosh, "inverse hyperbolic cosine"),
    ("atanh", 1, _INEXACT, np.arctanh, "inverse hyperbolic tangent"),
    ("erf", 1, _FLOAT, _erf, "the error function"),
    ("floor", 1, _NUMBER, _rounding(np.floor), "largest integer not above x"),
    ("ceil", 1, _NUMBER, _rounding(np.ceil), "smallest integer not below x"),
    ("round", 1, _FIELD, _rounding(np.rint), "nearest integer, halves to even"),
    ("trunc", 1, _NUMBER, _rounding(np.trunc), "x without its fraction"),
    ("fma", 3, _FLOAT, _fma, "a * b + c with one rounding"),
]  # fmt: skip
_PREDICATES: list[tuple[str, int, frozenset[Kind], Callable[..., Any], str]] = [
    ("eq", 2, _ALL, np.equal, "a == b"),
    ("ne", 2, _ALL, np.not_equal, "a != b"),
    ("lt", 2, _ANY, np.less, "a < b"),
    ("le", 2, _ANY, np.less_equal, "a <= b"),
    ("gt", 2, _ANY, np.greater, "a > b"),
    ("ge", 2, _ANY, np.greater_equal, "a >= b"),
    ("isnan", 1, _INEXACT, np.isnan, "whether x is NaN"),
    ("isinf", 1, _INEXACT, np.isinf, "whether x is an infinity"),
]


def _table() -> dict[str, ScalarFunction]:
    rows = [ScalarFunction(n, a, k, "same", f, d) for n, a, k, f, d in _SAME]
    rows += [ScalarFunction(n, a, k, "predicate", f, d) for n, a, k, f, d in _PREDICATES]
    rows += [
        ScalarFunction("select", 3, _ALL, "select", np.where, "b where a, else c"),
        ScalarFunction("cast", 1, _ALL, "cast", _cast_only, "x as another dtype, saturating"),
        ScalarFunction("bitcast", 1, _ANY, "bitcast", _cast_only, "x's bits as another dtype"),
        ScalarFunction("pack2", 2, _NUMBER, "pack", words.pack, "two 16-bit numbers as a word"),
        ScalarFunction("pack4", 4, _NUMBER, "pack", words.pack, "four 8-bit numbers as a word"),
        ScalarFunction("dot4s", 2, _WORD, "dot", words.dot4s, "four products int8 * int8"),
        ScalarFunction("dot4u", 2, _WORD, "dot", words.dot4u, "four products uint8 * int8"),
        ScalarFunction("dot2s", 2, _WORD, "dot", words.dot2s, "two products int16 * int16"),
        ScalarFunction("dot2b", 2, _WORD, "dot", words.dot2b, "two products of bfloat16", float32),
    ]
    return {row.name: row for row in rows}


FUNCTIONS: Mapping[str, ScalarFunction] = MappingProxyType(_table())


def function(name: str) -> ScalarFunction:
    """The table's entry.

    Raises:
        ArgumentError: there is no such function.
    """
    if name not in FUNCTIONS:
        hint = did_you_mean(name, FUNCTIONS)
        raise ArgumentError("loop", f"unknown scalar function {name!r}", fix=hint)
    return FUNCTIONS[name]


def _refuse(fn: ScalarFunction, rule: str, args: Sequence[DType]) -> DTypeError:
    return DTypeError(fn.name, rule, operands=dict(zip("abc", args, strict=False)))


def result_dtype(name: str, args: Sequence[DType], target: DType | None = None) -> DType:
    """The dtype of `name(args)`; `target` is what `cast` and `bitcast` turn their argument into.

    Raises:
        ArgumentError: unknown function, or a wrong number of arguments.
        DTypeError: the function is not defined on these dtypes.
    """
    fn = function(name)
    if len(args) != fn.arity:
        raise ArgumentError(name, f"takes {fn.arity} arguments", operands={"count": len(args)})
    if fn.rule in ("cast", "bitcast"):
        if target is None:
            raise ArgumentError(name, "needs a result dtype")
        if fn.rule == "bitcast" and target.itemsize != args[0].itemsize:
            raise _refuse(fn, f"{target} is not as wide", args)
        return target
    if fn.rule == "select" and args[0] != bool_:
        raise _refuse(fn, "the condition must be bool", args)
    values = args[1:] if fn.rule == "select" else args
    if any(a != values[0] for a in values):
        raise _refuse(fn, "operands must have one dtype", args)
    if values[0].kind not in fn.kinds:
        raise _refuse(fn, f"is not defined on {values[0].kind}", args)
    if fn.rule in ("pack", "dot"):
        return _word_dtype(fn, args)
    return bool_ if fn.rule == "predicate" else values[0]


def _word_dtype(fn: ScalarFunction, args: Sequence[DType]) -> DType:
    if fn.rule == "pack" and args[0].bits * fn.arity != int32.bits:
        raise _refuse(fn, f"takes {int32.bits // fn.arity}-bit numbers", args)
    if fn.rule == "dot" and args[0] != int32:
        raise _refuse(fn, "takes words of int32", args)
    return fn.result


def call(name: str, *args: Expr, dtype: DType | None = None) -> Call:
    """A `Call` whose dtype follows from its arguments; `dtype` only for `cast` and `bitcast`.

    Raises:
        ArgumentError: unknown function, or a wrong number of arguments.
        DTypeError: the function is not defined on these dtypes.
    """
    return Call(name, args, result_dtype(name, [a.dtype for a in args], dtype))


def cast(x: Expr, dtype: DType) -> Expr:
    """`x` as `dtype`; `x` itself where it already is."""
    return x if x.dtype == dtype else call("cast", x, dtype=dtype)


def cast_array(x: Array, dtype: DType) -> Array:
    """`cast` on an array of any shape: float to integer saturates, NaN gives 0, integers wrap."""
    if dtype.kind == "bool":
        return np.asarray(x != 0)
    if x.dtype.kind == "c" and not dtype.is_complex:
        rule = "complex numbers do not become real ones"
        operands: dict[str, object] = {"x": x.dtype, "dtype": dtype}
        raise DTypeError("cast", rule, operands=operands, fix="take real(x), imag(x) or abs(x)")
    if x.dtype.kind != "b" and np.dtype(x.dtype).kind in ("f", "V") and dtype.is_integer:
        return _saturate(x.astype(np.float64) if x.dtype.itemsize < 4 else x, dtype)
    return np.asarray(x.astype(dtype.numpy))


def _saturate(x: Array, dtype: DType) -> Array:
    limits = np.iinfo(dtype.name)
    low, high = float(limits.min), float(limits.max) + (1.0 if dtype.bits < 64 else 0.0)
    truncated = np.trunc(x)
    inside = (truncated >= low) & (truncated < high)
    exact = np.where(inside, truncated, 0).astype(dtype.numpy)
    top, bottom = np.array([limits.max, limits.min], dtype=dtype.numpy)
    clipped = np.where(truncated >= high, top, bottom)
    return np.where(inside | np.isnan(x), exact, clipped)


def _narrow(dtype: np.dtype[Any]) -> bool:
    return dtype.itemsize < 4 and dtype.kind in ("f", "V")


def evaluate(name: str, dtype: DType, *args: Array) -> Array:
    """`name(args)` in NumPy, elementwise over broadcast arrays, as an array of `dtype`. Never
    warns.

    Raises:
        ArgumentError: unknown function.
    """
    fn = function(name)
    arrays = [np.asarray(a) for a in args]
    if fn.rule == "bitcast":
        return np.asarray(arrays[0].view(dtype.numpy))
    with np.errstate(all="ignore"):
        if fn.rule == "cast":
            return cast_array(arrays[0], dtype)
        if fn.rule == "pack":
            return np.asarray(fn.compute(*arrays))
        wide = [a.astype(float32.numpy) if _narrow(a.dtype) else a for a in arrays]
        return np.asarray(fn.compute(*wide)).astype(dtype.numpy, copy=False)
