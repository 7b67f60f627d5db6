"""Rules that fold movement into `dot_general`, which may name its axes in any order for free.

`dot_general(x, transpose(w))` reads `w` itself with other contract axes, a transpose of the result
swaps the operands, and a batch axis along which one operand only repeats becomes a free axis of the
other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from pellucid import ops
from pellucid.graph.ir import Node, Value, emit
from pellucid.passes.match import ints, made_by
from pellucid.passes.rules_arithmetic import Operands
from pellucid.passes.rules_movement import stretched_axes

Axes = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """One operand of a contraction and the axes that play a part."""

    value: Value
    contract: Axes
    batch: Axes

    @property
    def free(self) -> Axes:
        """The axes that are neither contracted nor batched, in order."""
        taken = {*self.contract, *self.batch}
        return tuple(a for a in range(self.value.rank) if a not in taken)


def sides(node: Node, operands: Operands) -> tuple[Side, Side]:
    """Both operands of a `dot_general` node."""
    contract = cast("tuple[Axes, Axes]", node.attrs["contract"])
    batch = cast("tuple[Axes, Axes]", node.attrs["batch"])
    left, right = (Side(v, c, b) for v, c, b in zip(operands, contract, batch, strict=True))
    return left, right


def emit_contraction(node: Node, left: Side, right: Side) -> Value:
    """A node like `node` with these operands; contracted axes in the left operand's order."""
    pairs = sorted(zip(left.contract, right.contract, strict=True))
    contract = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    attrs = {**node.attrs, "contract": contract, "batch": (left.batch, right.batch)}
    return emit(node.op, left.value, right.value, **attrs)


def _untransposed(side: Side) -> Side | None:
    """The same operand read without its transpose, if its free axes stay in order."""
    move = made_by(side.value, "transpose")
    if move is None:
        return None
    permutation = ints(move, "permutation")
    free = [permutation[a] for a in side.free]
    if free != sorted(free):
        return None
    return Side(
        move.inputs[0],
        tuple(permutation[a] for a in side.contract),
        tuple(permutation[a] for a in side.batch),
    )


def transposed_operand_rule(node: Node, operands: Operands) -> Value | None:
    """`dot_general(x, transpose(w)) -> dot_general(x, w)` with other axes; likewise on the left."""
    left, right = sides(node, operands)
    new_left, new_right = _untransposed(left), _untransposed(right)
    if new_left is None and new_right is None:
        return None
    return emit_contraction(node, new_left or left, new_right or right)


def _drop_axis(side: Side, axis: int) -> Side | None:
    """The operand without an axis along which it only repeats, or None where it does not."""
    repeat = made_by(side.value, "broadcast_to")
    if repeat is None or axis not in stretched_axes(repeat):
        return None
    (inner,) = repeat.inputs
    shape = repeat.outputs[0].shape
    padded = ops.reshape(inner, (1,) * (len(shape) - inner.rank) + inner.shape)
    left_shape = [n for a, n in enumerate(padded.shape) if a != axis]
    full = ops.broadcast_to(
        ops.reshape(padded, left_shape), [n for a, n in enumerate(shape) if a != axis]
    )
    return Side(full, _shifted(side.contract, axis), _shifted(side.batch, axis))


def _shifted(axes: Axes, gone: int) -> Axes:
    return tuple(a - (a > gone) for a in axes if a != gone)


def repeated_batch_rule(node: Node, operands: Operands) -> Value | None:
    """`dot_general(x, broadcast_to(w)) -> dot_general(x, w)`, the batch now a free axis of `x`.

    Only for the last batch axis, and where the result's axes keep their order.
    """
    left, right = sides(node, operands)
    if not left.batch:
        return None
    axis, other_axis = left.batch[-1], right.batch[-1]
    fewer = replace(left, batch=left.batch[:-1]), replace(right, batch=right.batch[:-1])
    if fewer[0].free[:1] == (axis,):
        dropped = _drop_axis(right, other_axis)
        if dropped is not None:
            return emit_contraction(node, fewer[0], dropped)
    dropped = None if left.free else _drop_axis(left, axis)
    if dropped is not None and fewer[1].free[:1] == (other_axis,):
        return emit_contraction(node, dropped, fewer[1])
    return None


def transposed_result_rule(node: Node, operands: Operands) -> Value | None:
    """`transpose(dot_general(a, b)) -> dot_general(b, a)`, where that gives the order wanted.

    Batch axes may change places too. The caller makes sure nothing else reads the product.
    """
    (product,) = operands
    made = made_by(product, "dot_general")
    if made is None:
        return None
    left, right = sides(made, made.inputs)
    count, free = len(left.batch), len(left.free)
    permutation = ints(node, "permutation")
    if sorted(permutation[:count]) != list(range(count)):
        return None
    rest = permutation[count:]
    same: Sequence[int] = range(count, product.rank)
    swapped = [*same[free:], *same[:free]]
    left, right = (
        replace(s, batch=tuple(s.batch[p] for p in permutation[:count])) for s in (left, right)
    )
    if list(rest) == swapped:
        return emit_contraction(made, right, left)
    return emit_contraction(made, left, right) if list(rest) == list(same) else None
