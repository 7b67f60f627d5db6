"""Push broadcasts, transposes and reshapes down, towards the outputs.

`exp(broadcast_to(x)) -> broadcast_to(exp(x))` does less work; `relu(transpose(x)) ->
transpose(relu(x))` brings the transpose to another one that undoes it, or to a `dot_general` that
takes it for free; `reshape(x) + b` with the reshape below the add leaves the add beside what makes
`x`, where it fuses. Literals and broadcasts go along with any move. The rules only ever move things
down, so the pass ends. A sum over several axes may be added up in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pellucid import ops
from pellucid.core.shape import Shape, broadcast_shapes, size_of
from pellucid.graph.ir import Graph, Node, Value, emit
from pellucid.ops.layout import aligned_groups
from pellucid.passes import rules_contraction as contraction
from pellucid.passes.match import ints, is_elementwise, made_by, operand
from pellucid.passes.rewrite import Rule, map_bodies, rewrite_until_stable, use_counts
from pellucid.passes.rules_movement import reshape_rule, stretched_axes, transpose_rule

Operands = tuple[Value, ...]
Undo = Callable[[Value], Value | None]

REDUCTIONS = frozenset({"sum", "prod", "reduce_max", "reduce_min", "any", "all"})


def _padded(x: Value, rank: int) -> Value:
    return ops.reshape(x, (1,) * (rank - x.rank) + x.shape)


def _sink_broadcast(node: Node, operands: Operands) -> Value | None:
    """`f(broadcast_to(x), broadcast_to(y)) -> broadcast_to(f(x, y))` where that is smaller."""
    out = node.outputs[0]
    inner = [operand(v, "broadcast_to") for v in operands]
    known = [v for v in inner if v is not None]
    if len(known) < len(operands):
        return None
    small = broadcast_shapes(node.op.name, *(v.shape for v in known))
    if size_of(small) >= out.type.size:
        return None
    result = emit(node.op, *(ops.broadcast_to(v, small) for v in known), **node.attrs)
    return ops.broadcast_to(result, out.shape)


def _transposed_broadcast(repeat: Node, permutation: Sequence[int]) -> Value:
    """`transpose(broadcast_to(x))` as a broadcast of a transpose."""
    shape = repeat.outputs[0].shape
    inner = ops.transpose(_padded(repeat.inputs[0], len(shape)), permutation)
    return ops.broadcast_to(inner, [shape[p] for p in permutation])


def _reshaped_broadcast(repeat: Node, shape: Shape) -> Value | None:
    """`reshape(broadcast_to(x))` as a broadcast, if no repeated axis merges with a real one."""
    source, inner = repeat.outputs[0].shape, repeat.inputs[0]
    if 0 in source:
        return None
    repeated = stretched_axes(repeat)
    small = list(shape)
    for before, after in aligned_groups(source, shape):
        long = [a for a in before if source[a] != 1]
        if all(a in repeated for a in long):
            for a in after:
                small[a] = 1
        elif any(a in repeated for a in long):
            return None
    return ops.broadcast_to(ops.reshape(inner, small), shape)


def _sink_transpose(node: Node, operands: Operands) -> Value | None:
    """`f(transpose(x), transpose(y)) -> transpose(f(x, y))` for one permutation."""
    moves = [m for v in operands if (m := made_by(v, "transpose")) is not None]
    if not moves:
        return None
    permutation = ints(moves[0], "permutation")
    inverse = tuple(int(i) for i in np.argsort(permutation))

    def undo(value: Value) -> Value | None:
        move = made_by(value, "transpose")
        if move is not None and ints(move, "permutation") == permutation:
            return move.inputs[0]
        repeat = made_by(value, "broadcast_to")
        return None if repeat is None else _transposed_broadcast(repeat, inverse)

    result = _apply_below(node, operands, undo)
    return None if result is None else ops.transpose(result, permutation)


def _sink_reshape(node: Node, operands: Operands) -> Value | None:
    """`f(reshape(x), reshape(y)) -> reshape(f(x, y))` for operands of one shape."""
    sources = [inner for v in operands if (inner := operand(v, "reshape")) is not None]
    if not sources:
        return None
    shape = sources[0].shape

    def undo(value: Value) -> Value | None:
        inner = operand(value, "reshape")
        if inner is not None and inner.shape == shape:
            return inner
        repeat = made_by(value, "broadcast_to")
        return None if repeat is None else _reshaped_broadcast(repeat, shape)

    result = _apply_below(node, operands, undo)
    return None if result is None else ops.reshape(result, node.outputs[0].shape)


def _apply_below(node: Node, operands: Operands, undo: Undo) -> Value | None:
    """`node` applied to its operands without their move, if each can do without."""
    inner = [undo(v) for v in operands]
    known = [v for v in inner if v is not None]
    return emit(node.op, *known, **node.attrs) if len(known) == len(operands) else None


def _move_broadcast(node: Node, operands: Operands) -> Value | None:
    """`transpose`, `reshape` and `slice` of a `broadcast_to` move to its operand."""
    repeat = made_by(operands[0], "broadcast_to")
    if repeat is None:
        return None
    match node.op.name:
        case "transpose":
            return _transposed_broadcast(repeat, ints(node, "permutation"))
        case "reshape":
            return _reshaped_broadcast(repeat, node.outputs[0].shape)
        case "slice":
            return _sliced_broadcast(node, repeat)
    return None


def _bounds(node: Node) -> list[tuple[int, int, int]]:
    return list(zip(*(ints(node, name) for name in ("start", "stop", "step")), strict=True))


def _sliced_broadcast(node: Node, repeat: Node) -> Value | None:
    """`slice(broadcast_to(x)) -> broadcast_to(slice(x))`, repeated axes left whole."""
    shape, repeated = node.outputs[0].shape, stretched_axes(repeat)
    inner = _padded(repeat.inputs[0], len(shape))
    bounds = [(0, 1, 1) if a in repeated else b for a, b in enumerate(_bounds(node))]
    return ops.broadcast_to(ops.slice_(inner, *zip(*bounds, strict=True)), shape)


def _slice_transpose(node: Node, operands: Operands) -> Value | None:
    """`slice(transpose(x)) -> transpose(slice(x))`."""
    move = made_by(operands[0], "transpose") if node.op.name == "slice" else None
    if move is None:
        return None
    permutation, bounds = ints(move, "permutation"), _bounds(node)
    moved = [bounds[permutation.index(a)] for a in range(len(bounds))]
    return ops.transpose(ops.slice_(move.inputs[0], *zip(*moved, strict=True)), permutation)


def _reduce_transpose(node: Node, operands: Operands) -> Value | None:
    """`sum(transpose(x)) -> transpose(sum(x))`: the result is the smaller one to move."""
    move = made_by(operands[0], "transpose")
    if move is None:
        return None
    permutation, axes = ints(move, "permutation"), ints(node, "axes")
    taken = tuple(sorted(permutation[a] for a in axes))
    left = [p for a, p in enumerate(permutation) if a not in axes]
    order = [sorted(left).index(p) for p in left]
    return ops.transpose(emit(node.op, move.inputs[0], axes=taken), order)


def _reduce_broadcast(node: Node, operands: Operands) -> Value | None:
    """`sum(broadcast_to(x)) -> broadcast_to(sum(x))` over axes that are not repeated."""
    repeat = made_by(operands[0], "broadcast_to")
    axes = ints(node, "axes")
    if repeat is None or not axes or set(axes) & set(stretched_axes(repeat)):
        return None
    inner = _padded(repeat.inputs[0], operands[0].rank)
    return ops.broadcast_to(emit(node.op, inner, axes=axes), node.outputs[0].shape)


def _reduce_reshape(node: Node, operands: Operands) -> Value | None:
    """`sum(reshape(x)) -> reshape(sum(x))` where axes of `x` are reduced wholly or not at all."""
    inner = operand(operands[0], "reshape")
    if inner is None or 0 in inner.shape:
        return None
    axes, shape = ints(node, "axes"), operands[0].shape
    taken: list[int] = []
    for before, after in aligned_groups(inner.shape, shape):
        long = [a in axes for a in after if shape[a] != 1]
        if long and all(long):
            taken += before
        elif any(long):
            return None
    if not taken:
        return None
    return ops.reshape(emit(node.op, inner, axes=tuple(taken)), node.outputs[0].shape)


def _rules_for(
    node: Node, single_use: bool
) -> tuple[Callable[[Node, Operands], Value | None], ...]:
    match node.op.name:
        case "dot_general":
            return contraction.transposed_operand_rule, contraction.repeated_batch_rule
        case "transpose":
            result = (contraction.transposed_result_rule,) if single_use else ()
            return transpose_rule, _move_broadcast, *result
        case "reshape":
            return reshape_rule, _move_broadcast
        case "slice":
            return _move_broadcast, _slice_transpose
        case name if name in REDUCTIONS:
            return _reduce_transpose, _reduce_broadcast, _reduce_reshape
    if is_elementwise(node):
        return _sink_broadcast, _sink_transpose, _sink_reshape
    return ()


def _rule_for(graph: Graph) -> Rule:
    counts = use_counts(graph)

    def rule(node: Node, inputs: Operands) -> Sequence[Value] | None:
        single_use = bool(node.inputs) and counts[node.inputs[0]] == 1
        for candidate in _rules_for(node, single_use):
            value = candidate(node, inputs)
            if value is not None:
                return [value]
        return None

    return rule


def run(graph: Graph) -> Graph:
    """`graph` with movement as far down as the rules take it, in nested graphs too."""
    return rewrite_until_stable(map_bodies(graph, run), _rule_for)
