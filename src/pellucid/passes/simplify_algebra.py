"""Replace nodes by cheaper ones that give the same bits: `x * 1 -> x`, `not(not(x)) -> x`.

`RULES` is the pass: per op, the rules tried in order until one fires. Rules that can change a
float's last bits are in `simplify_unsafe`. Runs until nothing changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pellucid.graph.ir import Graph, Node, Value
from pellucid.passes import rules_arithmetic as arithmetic
from pellucid.passes import rules_logic as logic
from pellucid.passes import rules_movement as movement
from pellucid.passes.rewrite import Rule, map_bodies, rewrite_until_stable

NodeRule = Callable[[Node, tuple[Value, ...]], Value | None]


def _identity(node: Node, operands: tuple[Value, ...]) -> Value | None:
    """`stop_gradient(x) -> x`: derivatives have been taken by now."""
    return operands[0]


_IDEMPOTENT = (movement.repeated_reduction_rule, movement.nested_reduction_rule)

RULES: Mapping[str, tuple[NodeRule, ...]] = {
    "add": (arithmetic.add_rule, arithmetic.reassociate_integers),
    "sub": (arithmetic.subtract_rule,),
    "mul": (arithmetic.multiply_rule, arithmetic.reassociate_integers),
    "div": (arithmetic.divide_rule,),
    "floordiv": (arithmetic.floor_divide_rule,),
    "mod": (arithmetic.remainder_rule,),
    "pow": (arithmetic.power_rule,),
    "neg": (arithmetic.negative_rule,),
    "abs": (arithmetic.absolute_rule,),
    "max": (arithmetic.extremum_rule,),
    "min": (arithmetic.extremum_rule,),
    "floor": (arithmetic.rounding_rule,),
    "ceil": (arithmetic.rounding_rule,),
    "round": (arithmetic.rounding_rule,),
    "trunc": (arithmetic.rounding_rule,),
    "and": (logic.and_rule,),
    "or": (logic.or_rule,),
    "xor": (logic.xor_rule,),
    "not": (logic.not_rule,),
    "where": (logic.where_rule,),
    "cast": (logic.cast_rule,),
    "reshape": (movement.reshape_rule, movement.splat_rule),
    "transpose": (movement.transpose_rule, movement.splat_rule),
    "broadcast_to": (movement.broadcast_rule, movement.splat_rule),
    "slice": (movement.slice_rule, movement.splat_rule),
    "pad": (movement.pad_rule,),
    "concatenate": (movement.concatenate_rule,),
    "sum": (movement.reduction_rule,),
    "prod": (movement.reduction_rule,),
    "reduce_max": _IDEMPOTENT,
    "reduce_min": _IDEMPOTENT,
    "any": _IDEMPOTENT,
    "all": _IDEMPOTENT,
    "stop_gradient": (_identity,),
}


def apply_rules(rules: Mapping[str, tuple[NodeRule, ...]]) -> Rule:
    """The rewriting rule that tries a table's rules for each node's op."""

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        for candidate in rules.get(node.op.name, ()):
            value = candidate(node, inputs)
            if value is not None:
                return [value]
        return None

    return rule


def run(graph: Graph) -> Graph:
    """`graph` with every rule of `RULES` applied until none fires, in nested graphs too."""
    return rewrite_until_stable(map_bodies(graph, run), lambda _: apply_rules(RULES))
