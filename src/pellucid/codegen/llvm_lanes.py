"""Elementary operations on values: what `llvm_ops` and `llvm_math` are written in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pellucid.codegen.llvm_emitter import Function
from pellucid.codegen.llvm_types import (
    Value,
    constant,
    gather_lanes,
    lane,
    splat,
    suffix,
)
from pellucid.core.dtype import Real, bool_
from pellucid.core.target import Target


@dataclass(frozen=True, slots=True)
class Ops:
    """Writes operations on values into `function` for `target`."""

    function: Function
    target: Target

    def const(self, like: Value, value: Real) -> Value:
        """`value` in the dtype and lanes of `like`."""
        return splat(self.function, constant(value, like.dtype), like.width)

    def binary(self, name: str, a: Value, b: Value) -> Value:
        """An instruction on two values of one type, its result the same type."""
        return Value(self.function.pure(f"{name} {a.typed}, {b.text}"), a.dtype, a.width)

    def compare(self, name: str, a: Value, b: Value) -> Value:
        """`icmp` or `fcmp`, a bool."""
        return Value(self.function.pure(f"{name} {a.typed}, {b.text}"), bool_, a.width)

    def select(self, cond: Value, a: Value, b: Value) -> Value:
        """`a` in the lanes where `cond` holds, else `b`."""
        if cond.width == 1 and cond.literal:
            return a if cond.text == "true" else b
        text = self.function.pure(f"select {cond.typed}, {a.typed}, {b.typed}")
        return Value(text, a.dtype, a.width)

    def intrinsic(self, name: str, *args: Value) -> Value:
        """An LLVM intrinsic overloaded on one type."""
        kind = args[0].kind
        pairs = [(a.kind, a.text) for a in args]
        text = self.function.intrinsic(kind, f"llvm.{name}.{suffix(kind)}", *pairs)
        return Value(text, args[0].dtype, args[0].width)

    def per_lane(self, build: Callable[..., Value], *args: Value) -> Value:
        """`build` on each lane's scalars, gathered again."""
        width = args[0].width
        return gather_lanes(
            self.function,
            [build(*(lane(self.function, a, i) for a in args)) for i in range(width)],
        )

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """`a * b + c`, fused where the machine has the instruction."""
        if a.dtype.is_float:
            return self.intrinsic("fmuladd", a, b, c)
        return self.binary("add", self.binary("mul", a, b), c)
