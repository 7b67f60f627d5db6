"""Safe rules on movement: moves that do nothing go, two in a row become one."""

from __future__ import annotations

from pellucid import ops
from pellucid.core.shape import Shape
from pellucid.core.size import is_static
from pellucid.graph.ir import Node, Value, emit
from pellucid.passes.match import constant_array, ints, made_by, operand, splat_source
from pellucid.passes.rules_arithmetic import Operands


def splat_rule(node: Node, operands: Operands) -> Value | None:
    """Any movement of one repeated literal is that literal, repeated."""
    (x,) = operands
    source = splat_source(x)
    array = None if source is None else constant_array(source)
    if source is None or array is None or (node.op.name == "broadcast_to" and x.rank == 0):
        return None
    literal = source if source.rank == 0 else ops.constant(array.reshape(()))
    return ops.broadcast_to(literal, node.outputs[0].shape)


def reshape_rule(node: Node, operands: Operands) -> Value | None:
    """`reshape(x, own shape) -> x`; `reshape(reshape(x)) -> reshape(x)`."""
    (x,) = operands
    if x.shape == node.outputs[0].shape:
        return x
    inner = operand(x, "reshape")
    return None if inner is None else ops.reshape(inner, node.outputs[0].shape)


def transpose_rule(node: Node, operands: Operands) -> Value | None:
    """Two become one; one that moves only axes of size 1 is a reshape, or nothing."""
    (x,) = operands
    permutation = ints(node, "permutation")
    if permutation == tuple(range(x.rank)):
        return x
    long = [p for p in permutation if x.shape[p] != 1]
    if long == sorted(long):
        return ops.reshape(x, node.outputs[0].shape)
    inner = made_by(x, "transpose")
    if inner is None:
        return None
    first = ints(inner, "permutation")
    return ops.transpose(inner.inputs[0], tuple(first[p] for p in permutation))


def broadcast_rule(node: Node, operands: Operands) -> Value | None:
    """A broadcast to the own shape goes; two become one; it adds leading axes by itself."""
    (x,) = operands
    shape = node.outputs[0].shape
    if x.shape == shape:
        return x
    if (inner := operand(x, "broadcast_to")) is not None:
        return ops.broadcast_to(inner, shape)
    inner = operand(x, "reshape")
    lead = 0 if inner is None else x.rank - inner.rank
    if inner is not None and x.shape == (1,) * lead + inner.shape:
        return ops.broadcast_to(inner, shape)
    return None


Bounds = tuple[int, int, int]


def _bounds(node: Node) -> list[Bounds]:
    return list(zip(*(ints(node, name) for name in ("start", "stop", "step")), strict=True))


def _compose(first: Bounds, second: Bounds) -> Bounds:
    """The bounds of taking `second` of what `first` takes."""
    taken = range(*first)[slice(second[0], second[1] if second[1] >= 0 else None, second[2])]
    if not range(*second):
        return 0, 0, 1
    return taken[0], taken[-1] + (1 if taken.step > 0 else -1), taken.step


def slice_rule(node: Node, operands: Operands) -> Value | None:
    """The slice of everything goes; two become one; a part of a join is read at its source."""
    (x,) = operands
    bounds = _bounds(node)
    if bounds == [(0, n, 1) for n in x.shape]:
        return x
    if not is_static(x.shape, node.outputs[0].shape):
        return None  # where an open axis ends is not known
    if (inner := made_by(x, "slice")) is not None:
        pairs = zip(_bounds(inner), bounds, strict=True)
        return ops.slice_(inner.inputs[0], *zip(*(_compose(a, b) for a, b in pairs), strict=True))
    joined = made_by(x, "concatenate")
    return None if joined is None else _slice_of_part(joined, bounds)


def _slice_of_part(joined: Node, bounds: list[Bounds]) -> Value | None:
    axis = joined.attrs["axis"]
    if not isinstance(axis, int) or not range(*bounds[axis]):
        return None
    if not is_static(tuple(part.shape for part in joined.inputs)):
        return None
    taken = range(*bounds[axis])
    first, last, offset = min(taken[0], taken[-1]), max(taken[0], taken[-1]), 0
    for part in joined.inputs:
        if offset <= first and last < offset + part.shape[axis]:
            start, _, step = bounds[axis]
            moved = [*bounds]
            moved[axis] = (start - offset, taken[-1] - offset + (1 if step > 0 else -1), step)
            return ops.slice_(part, *zip(*moved, strict=True))
        offset += part.shape[axis]
    return None


def pad_rule(node: Node, operands: Operands) -> Value | None:
    """A pad of nothing goes."""
    (x,) = operands
    return x if x.shape == node.outputs[0].shape else None


def concatenate_rule(node: Node, operands: Operands) -> Value | None:
    """Empty parts go; one part alone is the result."""
    axis = node.attrs["axis"]
    parts = [v for v in operands if isinstance(axis, int) and v.shape[axis] > 0]
    if len(parts) == len(operands) and len(parts) > 1:
        return None
    if not parts:
        return operands[0]
    return parts[0] if len(parts) == 1 else emit(node.op, *parts, **node.attrs)


def _without(shape: Shape, axes: tuple[int, ...]) -> Shape:
    return tuple(n for a, n in enumerate(shape) if a not in axes)


def reduction_rule(node: Node, operands: Operands) -> Value | None:
    """A reduction over axes of size 1 is a reshape; the sum of one -0.0 may have either sign."""
    (x,) = operands
    axes = ints(node, "axes")
    if all(x.shape[a] == 1 for a in axes):
        return ops.reshape(x, _without(x.shape, axes))
    return None


def stretched_axes(node: Node) -> tuple[int, ...]:
    """The axes of a `broadcast_to` node's output along which it repeats its operand."""
    (x,), out = node.inputs, node.outputs[0].shape
    lead = len(out) - x.rank
    return tuple(a for a, n in enumerate(out) if a < lead or (x.shape[a - lead] == 1 and n != 1))


def unrepeated(node: Node, operands: Operands) -> Value | None:
    """What a reduction of only the repeated axes of a `broadcast_to` reads: that value, once."""
    (x,) = operands
    repeat = made_by(x, "broadcast_to")
    axes = ints(node, "axes")
    if repeat is None or not axes or not set(axes) <= set(stretched_axes(repeat)):
        return None
    (inner,) = repeat.inputs
    padded = ops.reshape(inner, (1,) * (x.rank - inner.rank) + inner.shape)
    once = ops.reshape(padded, _without(padded.shape, axes))
    return ops.broadcast_to(once, node.outputs[0].shape)


def repeated_reduction_rule(node: Node, operands: Operands) -> Value | None:
    """The greatest (least, any, all) of one value repeated is that value."""
    (x,) = operands
    if any(x.shape[a] == 0 for a in ints(node, "axes")):
        return None
    return reduction_rule(node, operands) or unrepeated(node, operands)


def nested_reduction_rule(node: Node, operands: Operands) -> Value | None:
    """The maximum of maxima over other axes is one maximum; likewise min, any, all."""
    (x,) = operands
    inner = made_by(x, node.op.name)
    if inner is None:
        return None
    return emit(node.op, inner.inputs[0], axes=merged_axes(inner, node))


def merged_axes(inner: Node, outer: Node) -> tuple[int, ...]:
    """The axes of the one reduction that `outer` after `inner` is, sorted."""
    first = ints(inner, "axes")
    left = [a for a in range(inner.inputs[0].rank) if a not in first]
    return tuple(sorted((*first, *(left[a] for a in ints(outer, "axes")))))
