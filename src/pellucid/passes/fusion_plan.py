"""Which nodes of a graph become one kernel: the decisions behind `group_fusion`.

Nodes are of four classes. *Solid* nodes compute and belong to exactly one group. *Free* nodes only
move elements (broadcast, transpose, slice, split reshape): each group that reads through one has
its own copy, as index arithmetic. *Fixed* nodes stand alone: statements (scatter, sort), functions
of the host, barriers, reshapes that no index formula without division describes. *Constants* of one
element are literals.

Groups grow greedily in graph order: a node joins its producers' groups where the result still is
one nest over shared rows (`row_space`), runs through no other group, and computes nothing dear
twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pellucid.core.shape import size_of
from pellucid.graph.ir import Graph, Node, Value
from pellucid.loop.compute import HostCall, Loops, Pointwise, Reduction
from pellucid.loop.ir import Call, Load
from pellucid.loop.rewrite import walk_expr
from pellucid.ops.pairs import VIEWS
from pellucid.passes.access import (
    Template,
    calls_in,
    is_closed,
    is_dear,
    is_movement,
    live_nodes,
    reduces,
    stored_as,
    template,
)
from pellucid.passes.row_space import RowSpace, row_space

Class = Literal["solid", "free", "fixed", "constant"]
Kind = Literal["elementwise", "rows", "contraction"]

MOST_NODES = 96  # solid nodes of one group: bounds compile time and registers
MOST_OUTPUTS = 12
SMALL_BYTES = 1 << 19  # rows across memory are fine while they stay in the second-level cache
FEWEST_ROWS = 4  # fewer rows than this keep neither vectors nor threads busy
SLOW = frozenset({"div", "sqrt", "rsqrt", "floordiv", "mod"})


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of one kernel in graph order (copies of free nodes included), its inputs, outputs."""

    nodes: tuple[Node, ...]
    solids: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    kind: Kind


class Planner:
    """The grouping of one graph; `groups()` decides, the other methods answer questions."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.position = {n: k for k, n in enumerate(graph.nodes)}
        self.templates: dict[Node, Template] = {}
        self.readers: dict[Value, list[Node]] = {}
        for node in graph.nodes:
            for value in dict.fromkeys(node.inputs):
                self.readers.setdefault(value, []).append(node)
        self.returned = frozenset(graph.outputs)
        self.classes: dict[Node, Class] = {}
        for node in graph.nodes:
            self.classes[node] = self._classify(node)
        for node in reversed(graph.nodes):
            if self._must_exist(node):
                self.classes[node] = "solid"
        self.successors = {n: tuple(self._successors(n)) for n in graph.nodes if self._stands(n)}
        self.unit: dict[Node, frozenset[Node]] = {n: frozenset((n,)) for n in self.successors}
        self.first = {n: self.position[n] for n in self.successors}  # of each node's unit
        self.remade: set[Node] = set()  # solid nodes that other groups compute again
        self.kept: set[Value] = set()  # what they compute them from

    def grow(self) -> None:
        """Let every node join the groups of its producers, in graph order."""
        for node in self.graph.nodes:
            if self.classes[node] == "solid":
                self._grow(node)

    def groups(self) -> list[Group]:
        """Every group of solid nodes, in the order of their first node."""
        solids = [self.unit[n] for n in self.graph.nodes if self.classes[n] == "solid"]
        return [self.expand(unit) for unit in dict.fromkeys(solids)]

    def _classify(self, node: Node) -> Class:
        if node.op.name == "constant":
            return "constant"
        if self._stands_alone(node):
            return "fixed"
        made = template(node)
        self.templates[node] = made
        if isinstance(made.lowering, HostCall):
            return "fixed"
        if isinstance(made.lowering, Loops):
            return "solid" if made.lowering.closed else "fixed"
        if isinstance(made.lowering, Pointwise) and made.lowering.views and _divides(made):
            return "fixed"
        generated = not node.inputs and not is_dear(made)
        return "free" if is_movement(made) or generated else "solid"

    def _stands_alone(self, node: Node) -> bool:
        if node.op.name == "barrier" or node.op.name in VIEWS or len(node.outputs) != 1:
            return True
        if any(isinstance(a, Graph) for a in node.attrs.values()):
            return True
        return any(v.type.size == 0 for v in (*node.inputs, *node.outputs))

    def _must_exist(self, node: Node) -> bool:
        """A free node whose own value is asked for: returned, or read by a fixed node."""
        return self.classes[node] == "free" and not self.is_view(node) and self._is_wanted(node)

    def _is_wanted(self, node: Node) -> bool:
        """Whether something needs the value itself in memory, or a view of it."""
        value = node.outputs[0]
        return value in self.returned or any(
            self._reads_memory(n) or (self.is_view(n) and self._is_wanted(n))
            for n in self.readers.get(value, ())
        )

    def _reads_memory(self, node: Node) -> bool:
        """Whether a node's operands must lie in memory: statements know no formulas."""
        made = self.templates.get(node)
        return self.classes[node] == "fixed" or (made is not None and is_closed(made))

    def is_view(self, node: Node) -> bool:
        """Whether a node is its input's memory, as it is."""
        made = self.templates.get(node)
        if made is None:
            return False
        return isinstance(made.lowering, Pointwise) and made.lowering.views

    def _stands(self, node: Node) -> bool:
        return self.classes[node] in ("solid", "fixed")

    def _successors(self, node: Node) -> Iterator[Node]:
        """Solid and fixed nodes that read this node's values, directly or through free ones."""
        seen: set[Node] = set()
        stack = [n for v in node.outputs for n in self.readers.get(v, ())]
        while stack:
            reader = stack.pop()
            if reader in seen:
                continue
            seen.add(reader)
            if self._stands(reader):
                yield reader
            else:
                stack.extend(n for v in reader.outputs for n in self.readers.get(v, ()))

    def producers(self, node: Node) -> list[Node]:
        """Solid nodes whose values this node reads, directly or through free ones."""
        found: dict[Node, None] = {}
        stack = list(node.inputs)
        while stack:
            source = stack.pop().node
            if source is None or self.classes[source] in ("fixed", "constant"):
                continue
            if self.classes[source] == "solid":
                found[source] = None
            else:
                stack.extend(source.inputs)
        return sorted(found, key=self.position.__getitem__)

    def _grow(self, node: Node) -> None:
        """Merge the node's unit with those of its producers, contractions first."""
        ranked = sorted(self.producers(node), key=lambda n: (self._rank(n), -self.position[n]))
        for producer in ranked:
            mine, other = self.unit[node], self.unit[producer]
            if mine != other and self._may_merge(mine | other):
                merged = mine | other
                first = min(self.first[node], self.first[producer])
                for member in merged:
                    self.unit[member], self.first[member] = merged, first

    def _rank(self, node: Node) -> int:
        unit = self.unit[node]
        if any(is_contraction(self.templates[n]) for n in unit):
            return 0
        return 1 if any(reduces(self.templates[n]) for n in unit) else 2

    def _may_merge(self, solids: frozenset[Node]) -> bool:
        if len(solids) > MOST_NODES or not self._contraction_stays_first(solids):
            return False
        if self._leaves_and_returns(solids):
            return False
        return self.is_one_kernel(solids)

    def is_one_kernel(self, solids: frozenset[Node]) -> bool:
        """Whether these nodes and the free ones they read through are one nest over shared rows."""
        group = self.expand(solids)
        if not group.outputs or len(group.outputs) > MOST_OUTPUTS:
            return False
        formulas = {n: self.templates[n] for n in group.nodes if n in self.templates}
        stored = tuple(stored_as(v, formulas) for v in group.outputs)
        nodes = live_nodes(tuple(formulas), stored)
        space = row_space(nodes, self.templates, stored)
        if space is None or not self._rows_pay(nodes, stored, space):
            return False
        return not self._repeats(nodes, stored, space)

    def _contraction_stays_first(self, solids: frozenset[Node]) -> bool:
        """At most one contraction, fed from outside, and no other reduction beside it."""
        contractions = [n for n in solids if is_contraction(self.templates[n])]
        if not contractions:
            return True
        if sum(reduces(self.templates[n]) for n in solids) > 1:
            return False
        return solids.isdisjoint(self.producers(contractions[0]))

    def _leaves_and_returns(self, solids: frozenset[Node]) -> bool:
        """True when a value of the group reaches the group again through something outside it."""
        last = max(self.position[n] for n in solids)
        stack = [s for n in solids for s in self.successors[n] if s not in solids]
        seen: set[frozenset[Node]] = set()
        while stack:
            node = stack.pop()
            unit = self.unit[node]
            if self.first[node] > last or unit in seen:
                continue
            seen.add(unit)
            for member in unit:
                for reader in self.successors[member]:
                    if reader in solids:
                        return True
                    if reader not in unit:
                        stack.append(reader)
        return False

    def expand(self, solids: frozenset[Node]) -> Group:
        """The group of some solid nodes: copies of the free nodes they read through, its rim."""
        inside: set[Node] = set(solids)
        inputs: dict[Value, None] = {}
        stack = [v for n in sorted(solids, key=self.position.__getitem__) for v in n.inputs]
        while stack:
            value = stack.pop(0)
            source = value.node
            if source in inside:
                continue
            if source is not None and self._copied(source, solids):
                inside.add(source)
                stack.extend(source.inputs)
            else:
                inputs[value] = None
        nodes = tuple(sorted(inside, key=self.position.__getitem__))
        ordered = tuple(sorted(solids, key=self.position.__getitem__))
        outputs = tuple(v for n in ordered for v in n.outputs if self._needed(v, solids))
        return Group(nodes, ordered, tuple(inputs), outputs, self._kind(solids))

    def _copied(self, node: Node, solids: frozenset[Node]) -> bool:
        if self.classes[node] == "constant":
            return node.outputs[0].type.size == 1
        if node in self.remade:
            return True
        if self.classes[node] != "free":
            return False
        if not self.is_view(node):
            return True
        source = node.inputs[0].node  # a view of memory that exists anyway is memory, not work
        while source is not None and self.is_view(source) and self.classes[source] == "free":
            source = source.inputs[0].node
        return source is not None and (source in solids or self.classes[source] == "free")

    def _needed(self, value: Value, solids: frozenset[Node]) -> bool:
        if value in self.kept or value.node in self.remade:
            return value in self.kept
        stack = [value]
        while stack:
            seen = stack.pop()
            if seen in self.returned:
                return True
            for reader in self.readers.get(seen, ()):
                if self._stands(reader):
                    if reader not in solids:
                        return True
                else:
                    stack.extend(reader.outputs)
        return False

    def _kind(self, solids: frozenset[Node]) -> Kind:
        if any(is_contraction(self.templates[n]) for n in solids):
            return "contraction"
        return "rows" if any(reduces(self.templates[n]) for n in solids) else "elementwise"

    def _rows_pay(self, nodes: Sequence[Node], stored: Sequence[Value], space: RowSpace) -> bool:
        """Whether full-size results belong in the loops of the reductions they depend on."""
        whole = [v for v in stored if inner_axes(v, space)]
        reduced = any(reduces(self.templates[n]) for n in nodes)
        if not whole or not reduced:
            return True
        if max(v.type.nbytes for v in whole) <= SMALL_BYTES // 32:
            return True
        if size_of(space.shape) < FEWEST_ROWS:
            return False
        small = sum(v.type.nbytes for v in whole) <= SMALL_BYTES
        return small or all(max(inner_axes(v, space)) > max(space.axes[v]) for v in whole)

    def _repeats(self, nodes: Sequence[Node], stored: Sequence[Value], space: RowSpace) -> bool:
        """True when something slow would be computed more than once per element."""
        times = {v: (v.type.size if v in stored else 0) for n in nodes for v in n.outputs}
        rows = size_of(space.shape)
        for node in reversed(nodes):
            made, value = self.templates[node], node.outputs[0]
            lowering = made.lowering
            if isinstance(lowering, Reduction):
                runs = value.type.size * size_of(lowering.extents)
            else:
                runs = times[value]
                if value in space.axes and not inner_axes(value, space):
                    runs = rows
                elif _is_slow(made) and runs > value.type.size:
                    return True
            for access in made.accesses:
                source = node.inputs[access.input]
                if source in times:
                    times[source] = max(times[source], runs)
        return False


def inner_axes(value: Value, space: RowSpace) -> tuple[int, ...]:
    """The axes of a value that its rows leave over."""
    rows = space.axes[value]
    return tuple(k for k, n in enumerate(value.shape) if k not in rows and n != 1)


def is_contraction(made: Template) -> bool:
    """True for sums of products of two reads: matrix products, convolutions."""
    if is_closed(made):
        return True
    if not isinstance(made.lowering, Reduction) or made.lowering.combine != "add":
        return False
    body = made.body
    while isinstance(body, Call) and body.fn == "cast":
        body = body.args[0]
    if not isinstance(body, Call) or body.fn != "mul":
        return False
    return all(any(isinstance(e, Load) for e in walk_expr(arg)) for arg in body.args)


def _is_slow(made: Template) -> bool:
    return made.body is not None and (
        is_dear(made) or any(c.fn in SLOW for c in calls_in(made.body))
    )


def _divides(made: Template) -> bool:
    return any(
        isinstance(e, Call) and e.fn in ("floordiv", "mod")
        for access in made.accesses
        for i in access.indices
        for e in walk_expr(i)
    )
