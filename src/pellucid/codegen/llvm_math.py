"""Transcendental functions: polynomials on float32 vectors, libm for the rest."""

from __future__ import annotations

from pellucid.codegen.llvm_emitter import Function
from pellucid.codegen.llvm_types import Value, gather_lanes, lane, register
from pellucid.core.target import Target

FUNCTIONS = (
    "exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos",
    "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "atan2",
)  # fmt: skip


def libm(function: Function, name: str, args: list[Value]) -> Value:
    """`name` of the C library, lane by lane; its float32 form has the suffix `f`."""
    dtype = args[0].dtype
    kind = register(dtype)
    symbol = name if kind == "double" else f"{name}f"
    results = []
    for index in range(args[0].width):
        scalars = [lane(function, a, index) for a in args]
        text = function.intrinsic(kind, symbol, *((kind, s.text) for s in scalars))
        results.append(Value(text, dtype))
    return gather_lanes(function, results)


def power(function: Function, target: Target, a: Value, b: Value) -> Value:
    """`a ** b` as C's pow."""
    return libm(function, "pow", [a, b])


def call(function: Function, target: Target, fn: str, args: list[Value]) -> Value:
    """`fn` of `FUNCTIONS`."""
    return libm(function, fn, args)
