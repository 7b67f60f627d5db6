"""What a kernel stores for later ones, and what they compute again: bytes against arithmetic.

A forward pass leaves values for the backward one: of `gelu(h)` the halves of its formula, each as
large as `h`. All follow from `h` alone, element by element. So `h` is stored once, and the kernels
that read the others compute them where they need them:

```
G1: h, u = f(h), v = g(h), y = u * v   stores u, v, y   ->   stores h, y
G2: reads u, v                                         ->    reads h; u = f(h), v = g(h)
```
Decided after groups have formed, one base value at a time, by bytes saved. Functions that take long
are repeated only for values that outgrow the second-level cache; nothing that is multiplied out
(an operand of a contraction) is ever computed again.

Source: the idea of rematerialization (Griewank and Walther, 2000), inside fusion as in Chen et al.,
"Training Deep Nets with Sublinear Memory Cost" (2016), but without recomputing any reduction.
"""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.graph.ir import Node, Value
from pellucid.loop.compute import Pointwise
from pellucid.passes.access import is_dear
from pellucid.passes.fusion_plan import SMALL_BYTES, Group, Planner, is_contraction

SMALLER = 8  # a value this many times smaller than another is free to read beside it

Unit = frozenset[Node]


@dataclass(frozen=True, slots=True)
class _Choice:
    """Store `base`, compute `nodes` again where their values are read; bytes that saves."""

    base: Value
    nodes: frozenset[Node]
    readers: frozenset[Unit]
    saved: int


def remake_cheap_values(planner: Planner) -> None:
    """Choose what is stored and what is computed again, for every group of a planner that has
    grown. Changes `planner.remade` and `planner.kept`.
    """
    for unit in dict.fromkeys(planner.unit[n] for n in planner.graph.nodes if n in planner.unit):
        while (choice := _best(planner, unit)) is not None:
            if not _apply(planner, unit, choice):
                break


def _best(planner: Planner, unit: Unit) -> _Choice | None:
    if len(unit) == 1:
        return None
    now = planner.expand(unit)
    readers = {v: _readers(planner, v, unit) for v in now.outputs}
    loose = {v: units for v, units in readers.items() if units is not None}
    if not loose:
        return None
    bases = [v for n in now.nodes for v in n.outputs if n in unit]
    choices = [_choice(planner, unit, now, base, loose) for base in bases]
    found = [c for c in choices if c is not None and c.saved > 0]
    return max(found, key=lambda c: c.saved, default=None)


def _readers(planner: Planner, value: Value, unit: Unit) -> frozenset[Unit] | None:
    """The other units that read a value; None where one of them needs it in memory."""
    made = planner.templates.get(value.node) if value.node else None
    if made is None or value in planner.returned or not isinstance(made.lowering, Pointwise):
        return None
    found: set[Unit] = set()
    stack = list(planner.readers.get(value, ()))
    while stack:
        reader = stack.pop()
        kind = planner.classes[reader]
        if kind == "fixed" or planner.is_view(reader):
            return None
        if kind == "free":
            if not planner.returned.isdisjoint(reader.outputs):
                return None
            stack += [n for v in reader.outputs for n in planner.readers.get(v, ())]
        elif reader not in unit:
            if is_contraction(planner.templates[reader]) or reader in planner.remade:
                return None
            found.add(planner.unit[reader])
    return frozenset(found)


def _choice(
    planner: Planner, unit: Unit, now: Group, base: Value, loose: dict[Value, frozenset[Unit]]
) -> _Choice | None:
    """What storing `base` makes unnecessary."""
    stored = set(now.outputs)
    needs = _follow(planner, unit, now, base, stored - loose.keys())
    gone = [v for v in loose if v is not base and v.node in needs]
    if not gone:
        return None
    nodes = frozenset().union(*(needs[v.node] for v in gone if v.node))
    if nodes <= planner.remade and base in planner.kept:
        return None  # made already, and the values are stored for another reason
    readers = frozenset().union(*(loose[v] for v in gone))
    saved = sum(v.type.nbytes * (1 + len(loose[v])) for v in gone)
    known = loose.get(base, frozenset())
    saved -= base.type.nbytes * (len(readers - known) + (base not in stored))
    return _Choice(base, nodes, readers, saved)


def _follow(
    planner: Planner, unit: Unit, now: Group, base: Value, pinned: set[Value]
) -> dict[Node, frozenset[Node]]:
    """The nodes of a unit that follow from `base` element by element, each with those between."""
    large = base.type.nbytes >= SMALL_BYTES
    needs: dict[Node, frozenset[Node]] = {}
    hidden = {v for n in unit for v in n.outputs}.difference(now.outputs)
    for node in now.nodes:
        made = planner.templates.get(node)
        if made is None or not isinstance(made.lowering, Pointwise) or node is base.node:
            continue
        if pinned.intersection(node.outputs) or (is_dear(made) and not large):
            continue
        between = [_part(planner, v, base, needs, hidden) for v in node.inputs]
        if base in node.inputs or any(between):
            if None not in between and node in unit:
                joined = frozenset().union(*(b for b in between if b))
                needs[node] = joined | {node}
    return needs


def _part(
    planner: Planner,
    value: Value,
    base: Value,
    needs: dict[Node, frozenset[Node]],
    hidden: set[Value],
) -> frozenset[Node] | None:
    """The nodes computed again for `value`; None where it cannot be had without reading much."""
    if value is base:
        return frozenset()
    source = value.node
    if source in needs:
        return needs[source]
    while source is not None and planner.classes[source] == "free" and len(source.inputs) == 1:
        value, source = source.inputs[0], source.inputs[0].node
    if source is None or planner.classes[source] in ("constant", "free"):
        return frozenset() if value.type.nbytes * SMALLER <= base.type.nbytes else None
    near = value.type.nbytes * SMALLER <= base.type.nbytes
    return frozenset() if near and value not in hidden else None


def _apply(planner: Planner, unit: Unit, choice: _Choice) -> bool:
    """Make the choice, unless a group could not be written as one kernel any more."""
    before = set(planner.remade), set(planner.kept)
    planner.remade |= choice.nodes
    planner.kept.add(choice.base)
    if all(planner.is_one_kernel(u) for u in (unit, *choice.readers)):
        return True
    planner.remade, planner.kept = before
    return False
