"""What rules ask about values: which op made it, which constant it is, whether it is one number.

Enters values of the graph being rebuilt; leaves answers. Only `filled` and `combined` emit.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pellucid import ops
from pellucid.core.dtype import Scalar
from pellucid.graph.ir import ArrayAttr, Node, Value
from pellucid.graph.op import Op
from pellucid.loop.compute import Pointwise

_SEEN_THROUGH = frozenset({"broadcast_to", "reshape", "transpose", "slice"})


def made_by(value: Value, *names: str) -> Node | None:
    """The node that makes `value`, if its op has one of these names."""
    node = value.node
    return node if node is not None and node.op.name in names else None


def operand(value: Value, name: str) -> Value | None:
    """The first operand of the `name` node that makes `value`, or None."""
    node = made_by(value, name)
    return None if node is None else node.inputs[0]


def ints(node: Node, name: str) -> tuple[int, ...]:
    """A node's attribute as a tuple of ints."""
    return cast("tuple[int, ...]", node.attrs[name])


def constant_array(value: Value) -> NDArray[Any] | None:
    """The literal that `value` is, or None."""
    node = made_by(value, "constant")
    attr = None if node is None else node.attrs["value"]
    return attr.array if isinstance(attr, ArrayAttr) else None


def splat_source(value: Value) -> Value | None:
    """The one-element literal whose element every element of `value` equals, or None."""
    while (node := made_by(value, *_SEEN_THROUGH)) is not None:
        value = node.inputs[0]
    array = constant_array(value)
    return value if array is not None and array.size == 1 else None


def splat(value: Value) -> NDArray[Any] | None:
    """The rank-0 array every element of `value` equals, where that is a literal; else None."""
    source = splat_source(value)
    array = None if source is None else constant_array(source)
    return None if array is None else array.reshape(())


def number(value: Value) -> float | None:
    """`splat` as a Python float, if the dtype is real and the float is exact; else None."""
    array = splat(value)
    if array is None or value.dtype.kind in ("bool", "complex"):
        return None
    result = float(array)
    exact = value.dtype.is_float or int(array) == result
    return result if exact else None


def is_number(value: Value, wanted: float) -> bool:
    """Whether every element is `wanted`, the sign of a float zero included."""
    found = number(value)
    if found is None or found != wanted:
        return False
    return not value.dtype.is_float or bool(np.signbit(found) == np.signbit(wanted))


def is_bool(value: Value, wanted: bool) -> bool:
    """Whether every element is this bool."""
    array = splat(value) if value.dtype.kind == "bool" else None
    return array is not None and bool(array) == wanted


def filled(like: Value, scalar: Scalar) -> Value:
    """A literal broadcast to the type of `like`."""
    return ops.full(like.shape, scalar, like.dtype)


def combined(op: Op, a: Value, b: Value) -> Value | None:
    """`op` applied now to two repeated numbers; None if one is not, or if it overflows."""
    x, y = splat(a), splat(b)
    if x is None or y is None:
        return None
    with np.errstate(all="ignore"):
        result = np.asarray(op.reference(x, y))
    if a.dtype.is_float and not np.isfinite(result):
        return None
    return ops.broadcast_to(ops.constant(result), a.shape)


def is_elementwise(node: Node) -> bool:
    """Whether the one output reads every operand at its own index only, after the lowering rule.

    `barrier` says no: nothing moves across it.
    """
    if node.op.name == "barrier" or len(node.outputs) != 1 or not node.inputs:
        return False
    if any(v.shape != node.outputs[0].shape for v in node.inputs):
        return False
    types = [v.type for v in node.inputs], [v.type for v in node.outputs]
    lowering = node.op.lower(*types, node.attrs)
    return isinstance(lowering, Pointwise) and lowering.elementwise
