"""What a node on complex numbers becomes where real and imaginary parts are apart.

`Parts` are two real values in the graph being built. A rule takes the node and its operands,
`Parts` where the old operand was complex, and gives the outputs likewise. What has no rule here
runs by its NumPy reference: functions whose special values take more than a formula.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import cast

from pellucid import ops
from pellucid.core.dtype import DType
from pellucid.graph.ir import ArrayAttr, Attr, Node, Value, emit, emit_all
from pellucid.ops.comparison import EQ
from pellucid.passes.complex_functions import FUNCTIONS, Parts

Split = Value | Parts
Rule = Callable[[Node, Sequence[Split]], Sequence[Split]]


def _one(rule: Callable[..., Split]) -> Rule:
    """A rule of one output from a function of the operands."""
    return lambda node, operands: (rule(*operands),)


def _each(node: Node, operands: Sequence[Split]) -> Sequence[Split]:
    """The op itself on the real parts, then on the imaginary ones: whatever is linear and real."""
    made = [
        emit_all(node.op, *(x if isinstance(x, Value) else x[k] for x in operands), **node.attrs)
        for k in (0, 1)
    ]
    return [Parts(a, b) for a, b in zip(*made, strict=True)]


def _times(a: Parts, b: Parts) -> Split:
    return Parts(
        ops.subtract(ops.multiply(a.real, b.real), ops.multiply(a.imag, b.imag)),
        ops.add(ops.multiply(a.real, b.imag), ops.multiply(a.imag, b.real)),
    )


def _over(a: Parts, b: Parts) -> Split:
    """Smith's quotient: the smaller part of the divisor over the larger, so that no square
    overflows.

    Source: Smith, Algorithm 116: Complex division, CACM 1962.
    """
    wide = ops.greater_equal(ops.abs(b.real), ops.abs(b.imag))
    big, small = ops.where(wide, b.real, b.imag), ops.where(wide, b.imag, b.real)
    first, second = ops.where(wide, a.real, a.imag), ops.where(wide, a.imag, a.real)
    empty = ops.equal(big, 0)  # then both parts are: 0/0 would hide the infinity
    ratio = ops.divide(small, ops.where(empty, 1, big))
    length = ops.add(big, ops.multiply(small, ratio))
    real = ops.divide(ops.add(first, ops.multiply(second, ratio)), length)
    turned = ops.subtract(second, ops.multiply(first, ratio))
    return Parts(real, ops.divide(ops.where(wide, turned, ops.negative(turned)), length))


def _unit(like: Parts) -> Parts:
    one = ops.ones_like(like.real)
    return Parts(one, ops.zeros_like(one))


def _equal(node: Node, operands: Sequence[Split]) -> Sequence[Split]:
    a, b = (cast("Parts", x) for x in operands)
    join = ops.logical_and if node.op is EQ else ops.logical_or
    return (join(emit(node.op, a.real, b.real), emit(node.op, a.imag, b.imag)),)


def _either(node: Node, operands: Sequence[Split]) -> Sequence[Split]:
    (z,) = (cast("Parts", x) for x in operands)
    return (ops.logical_or(emit(node.op, z.real), emit(node.op, z.imag)),)


def _cast(node: Node, operands: Sequence[Split]) -> Sequence[Split]:
    (x,), dtype = operands, cast("DType", node.attrs["dtype"])
    if isinstance(x, Value):
        real = ops.astype(x, dtype.real)
        return (Parts(real, ops.zeros_like(real)),)
    if dtype.is_complex:
        return (Parts(*(ops.astype(part, dtype.real) for part in x)),)
    return (ops.logical_or(*(ops.not_equal(part, 0) for part in x)),)


def _constant(node: Node, operands: Sequence[Split]) -> Sequence[Split]:
    array = cast("ArrayAttr", node.attrs["value"]).array
    return (Parts(ops.constant(array.real), ops.constant(array.imag)),)


def _iota(node: Node, operands: Sequence[Split]) -> Sequence[Split]:
    attrs = {**node.attrs, "dtype": cast("DType", node.attrs["dtype"]).real}
    real = emit(node.op, **attrs)
    return (Parts(real, ops.zeros_like(real)),)


def _pad(node: Node, operands: Sequence[Split]) -> Sequence[Split]:
    (z,) = (cast("Parts", x) for x in operands)
    fill = complex(cast("complex", node.attrs["value"]))
    values = (fill.real, fill.imag)
    pairs = zip(z, values, strict=True)
    return (Parts(*(emit(node.op, x, **{**node.attrs, "value": v}) for x, v in pairs)),)


def _gather(node: Node, operands: Sequence[Split]) -> Sequence[Split]:
    """Only the real part of what is read outside an axis is NaN."""
    z, idx = cast("Parts", operands[0]), cast("Value", operands[1])
    attrs = {**node.attrs, "nan": False}
    return (Parts(emit(node.op, z.real, idx, **node.attrs), emit(node.op, z.imag, idx, **attrs)),)


def _dot(node: Node, operands: Sequence[Split]) -> Sequence[Split]:
    """Four real products; three would do, but cancel."""
    a, b = (x if isinstance(x, Parts) else Parts(x, ops.zeros_like(x)) for x in operands)
    attrs: dict[str, Attr] = dict(node.attrs)
    if isinstance(attrs.get("dtype"), DType):
        attrs["dtype"] = cast("DType", attrs["dtype"]).real

    def dot(x: Value, y: Value) -> Value:
        return emit(node.op, x, y, **attrs)

    real = ops.subtract(dot(a.real, b.real), dot(a.imag, b.imag))
    return (Parts(real, ops.add(dot(a.real, b.imag), dot(a.imag, b.real))),)


_LINEAR = (
    "add", "sub", "neg", "sum", "reshape", "transpose", "broadcast_to", "slice", "concatenate",
    "where", "scatter_add", "scatter_set", "stop_gradient", "barrier", "round",
)  # fmt: skip

RULES: Mapping[str, Rule] = MappingProxyType({
    **dict.fromkeys(_LINEAR, _each),
    "mul": _one(_times),
    "div": _one(_over),
    "rsqrt": _one(lambda z: _over(_unit(z), FUNCTIONS["sqrt"](z))),
    **{name: _one(fn) for name, fn in FUNCTIONS.items()},
    "conj": _one(lambda z: Parts(z.real, ops.negative(z.imag))),
    "real": _one(lambda z: z.real),
    "imag": _one(lambda z: z.imag),
    "complex": _one(Parts),
    "magnitude": _one(lambda z: ops.hypot(z.real, z.imag)),
    "eq": _equal,
    "ne": _equal,
    "isnan": _either,
    "isinf": _either,
    "cast": _cast,
    "constant": _constant,
    "iota": _iota,
    "pad": _pad,
    "gather": _gather,
    "dot_general": _dot,
})  # fmt: skip
"""The rules by the name of the record."""


def rule_of(node: Node) -> Rule | None:
    """How a node on complex numbers is computed in parts, if it can be."""
    if node.op.name == "cumulative":
        return _each if node.attrs["combine"] == "add" else None
    return RULES.get(node.op.name)
