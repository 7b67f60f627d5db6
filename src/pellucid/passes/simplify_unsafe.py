"""Rules that hold for real numbers, but not to the last bit or not for NaN, Inf and -0.0.

`(x * 2.0) * 3.0 -> x * 6.0`, `x / 3.0 -> x * 0.333`, `log(exp(x)) -> x`. Runs only where
`Config.unsafe_math` allows it; applies `simplify_algebra`'s rules along the way, since each opens
the door for the other.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from pellucid import ops
from pellucid.graph.ir import Graph, Node, Value, emit
from pellucid.passes import rules_arithmetic as arithmetic
from pellucid.passes.match import filled, ints, made_by, number, operand
from pellucid.passes.rewrite import map_bodies, rewrite_until_stable
from pellucid.passes.rules_movement import merged_axes, unrepeated
from pellucid.passes.simplify_algebra import RULES, NodeRule, apply_rules

Operands = tuple[Value, ...]


def add_zero(node: Node, operands: Operands) -> Value | None:
    """`x + 0.0 -> x`, also where `x` is -0.0."""
    for x, y in (operands, operands[::-1]):
        if number(y) == 0:
            return x
    return None


def subtract_same(node: Node, operands: Operands) -> Value | None:
    """`x - x -> 0`, also for NaN and Inf; `x - 0.0 -> x`."""
    x, y = operands
    if x is y:
        return filled(x, 0)
    return x if number(y) == 0 else None


def multiply_zero(node: Node, operands: Operands) -> Value | None:
    """`x * 0 -> 0`, also for NaN and Inf; `sqrt(x) * sqrt(x) -> x`."""
    x, y = operands
    if number(x) == 0 or number(y) == 0:
        return filled(x, 0)
    root = operand(x, "sqrt")
    return root if x is y else None


def divide(node: Node, operands: Operands) -> Value | None:
    """`x/x -> 1`; `x/c -> x * (1/c)`; `x/sqrt(y) -> x * rsqrt(y)`; one `1/y` for a repeated `y`."""
    x, y = operands
    if x is y:
        return filled(x, 1)
    c = number(y)
    if c is not None:
        return _times_reciprocal(x, y, c)
    if (root := operand(y, "sqrt")) is not None:
        return ops.multiply(x, ops.rsqrt(root))
    few = operand(y, "broadcast_to")
    if few is not None and few.type.size < y.type.size and number(x) is None:
        return ops.multiply(x, ops.broadcast_to(ops.reciprocal(few), y.shape))
    return None


def _times_reciprocal(x: Value, y: Value, c: float) -> Value | None:
    with np.errstate(all="ignore"):
        inverse = float(np.asarray(1 / np.float64(c)).astype(y.dtype.numpy))
    return ops.multiply(x, filled(y, inverse)) if inverse != 0 and np.isfinite(inverse) else None


def power(node: Node, operands: Operands) -> Value | None:
    """`x ** 0.5 -> sqrt(x)`; `x ** -0.5 -> rsqrt(x)`; `x ** -2 -> 1 / (x * x)`."""
    x, y = operands
    match number(y):
        case 0.5:
            return ops.sqrt(x)
        case -0.5:
            return ops.rsqrt(x)
        case -2.0:
            return ops.reciprocal(ops.multiply(x, x))
    return None


def square_root(node: Node, operands: Operands) -> Value | None:
    """`sqrt(x * x) -> abs(x)`."""
    square = made_by(operands[0], "mul")
    same = square is not None and square.inputs[0] is square.inputs[1]
    return ops.abs(square.inputs[0]) if square is not None and same else None


def exponential(node: Node, operands: Operands) -> Value | None:
    """`exp(log(x)) -> x`."""
    return operand(operands[0], "log")


def logarithm(node: Node, operands: Operands) -> Value | None:
    """`log(exp(x)) -> x`."""
    return operand(operands[0], "exp")


def negate_difference(node: Node, operands: Operands) -> Value | None:
    """`-(x - y) -> y - x`, which is 0.0 and not -0.0 for equal operands."""
    difference = made_by(operands[0], "sub")
    return None if difference is None else ops.subtract(*difference.inputs[::-1])


def sum_of_sums(node: Node, operands: Operands) -> Value | None:
    """Two sums in a row are one sum over both axes."""
    inner = made_by(operands[0], "sum")
    if inner is None:
        return None
    return emit(node.op, inner.inputs[0], axes=merged_axes(inner, node))


def sum_of_repeats(node: Node, operands: Operands) -> Value | None:
    """The sum over repeated axes is a product with their size."""
    once = unrepeated(node, operands)
    if once is None:
        return None
    (x,) = operands
    count = int(np.prod([x.shape[a] for a in ints(node, "axes")]))
    return ops.multiply(once, filled(once, count))


def sum_of_scaled(node: Node, operands: Operands) -> Value | None:
    """`sum(x * c) -> sum(x) * c` for a repeated number `c`."""
    scaled = made_by(operands[0], "mul")
    if scaled is None:
        return None
    for x, c in (scaled.inputs, scaled.inputs[::-1]):
        factor = number(c)
        if factor is not None:
            total = emit(node.op, x, **node.attrs)
            return ops.multiply(total, filled(total, factor))
    return None


_UNSAFE: Mapping[str, tuple[NodeRule, ...]] = {
    "add": (add_zero, arithmetic.reassociated),
    "sub": (subtract_same,),
    "mul": (multiply_zero, arithmetic.reassociated),
    "div": (divide,),
    "pow": (power,),
    "sqrt": (square_root,),
    "exp": (exponential,),
    "log": (logarithm,),
    "neg": (negate_difference,),
    "sum": (sum_of_sums, sum_of_repeats, sum_of_scaled),
}


def _for_floats(rule: NodeRule) -> NodeRule:
    def guarded(node: Node, operands: Operands) -> Value | None:
        return rule(node, operands) if node.outputs[0].dtype.is_float else None

    return guarded


ALL_RULES: Mapping[str, tuple[NodeRule, ...]] = {
    name: (*RULES.get(name, ()), *map(_for_floats, _UNSAFE.get(name, ())))
    for name in (*RULES, *(n for n in _UNSAFE if n not in RULES))
}


def run(graph: Graph) -> Graph:
    """`graph` with the safe and the unsafe rules applied until none fires, in nested graphs too."""
    return rewrite_until_stable(map_bodies(graph, run), lambda _: apply_rules(ALL_RULES))
