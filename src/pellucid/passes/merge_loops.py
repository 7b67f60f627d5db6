"""One loop for loops that do the same steps: a loop and its gradient's forward run, for one.

`a = scan(f, c, xs); b = scan(g, c, xs)  ->  a, b = scan(f and g, c, xs)`

where both go over the same rows, or begin with the same carry, equally often, and neither needs the
other. What the two bodies have in common is then computed once, and carries that begin equal and
stay equal become one. Two choices by the same index become one, and two `while_loop`s whose
conditions turn out to be the same value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pellucid.autodiff.scan import SCAN, ScanForm
from pellucid.autodiff.switch import SWITCH, branches_of, switch_attrs
from pellucid.autodiff.while_loop import WHILE_LOOP, WhileForm
from pellucid.graph.ir import Graph, GraphBuilder, Node, TensorType, Value, inline
from pellucid.graph.op import Op
from pellucid.graph.prune import prune, reachable
from pellucid.passes.eliminate_common_subexpressions import run as merge_equal
from pellucid.passes.match import constant_array
from pellucid.passes.rewrite import copy_node, map_bodies

Env = dict[Value, Value]


@dataclass(frozen=True, slots=True)
class _Merged:
    """A node for two: its record, operands, attributes, and which of its outputs are the two's."""

    op: Op
    operands: tuple[Value, ...]
    attrs: dict[str, Any]
    first: tuple[int, ...]
    second: tuple[int, ...]

    def names(self, first: Node, second: Node) -> list[str]:
        """The names of its outputs: those of the two nodes'."""
        pairs = [*zip(self.second, second.outputs, strict=True),
                 *zip(self.first, first.outputs, strict=True)]  # fmt: skip
        found = {k: v.name for k, v in pairs}
        return [found.get(k, self.op.name) for k in range(max(found) + 1)]


def run(graph: Graph) -> Graph:
    """`graph` with loops and choices that belong together as one, in nested graphs too."""
    while True:
        found = _find(graph)
        if found is None:
            return map_bodies(graph, run)
        graph = _rebuilt(graph, *found)


def _find(graph: Graph) -> tuple[Node, Node, _Merged] | None:
    """Two nodes to merge."""
    kept = [n for n in graph.nodes if n.op.name in _MERGERS]
    for k, first in enumerate(kept):
        after: set[Value] | None = None
        for second in kept[k + 1 :]:
            if first.op is not second.op or not _alike(first, second):
                continue
            after = reachable(graph.nodes, first.outputs) if after is None else after
            if after.isdisjoint(second.inputs):
                merged = _MERGERS[first.op.name](first, second)
                if merged is not None:
                    return first, second, merged
    return None


def _alike(first: Node, second: Node) -> bool:
    """Whether two nodes of one op go together at first sight."""
    if first.op is SWITCH:
        return first.inputs[0] is second.inputs[0]
    if first.op is WHILE_LOOP:
        return first.attrs["max_steps"] == second.attrs["max_steps"]
    names = ("length", "reverse", "counted")
    if any(first.attrs[n] != second.attrs[n] for n in names):
        return False
    a, b = ScanForm.of(first.attrs), ScanForm.of(second.attrs)
    one, other = a.parts(first.inputs), b.parts(second.inputs)
    if one.steps != other.steps:
        return False
    shared = set(one.xs) & set(other.xs) | (set(one.init) & set(other.init))
    return any(constant_array(v) is None for v in shared)


def _rebuilt(graph: Graph, first: Node, second: Node, merged: _Merged) -> Graph:
    """The graph with one node for two, each node as soon as what it needs is there."""
    builder = GraphBuilder(graph.name)
    env: Env = {v: builder.input(v.type, v.name) for v in graph.inputs}
    stack = list(reversed(graph.nodes))
    while stack:
        node = stack[-1]
        pair = node in (first, second)
        inputs = merged.operands if pair else node.inputs
        missing = [v.node for v in inputs if v not in env and v.node is not None]
        if node.outputs[0] not in env and missing:
            stack.extend(missing)
            continue
        stack.pop()
        if node.outputs[0] in env:
            continue
        operands = [env[v] for v in inputs]
        if pair:
            made = builder.emit(
                merged.op, operands, merged.attrs, node.source, merged.names(first, second)
            )
            env.update(zip(first.outputs, [made[k] for k in merged.first], strict=True))
            env.update(zip(second.outputs, [made[k] for k in merged.second], strict=True))
        else:
            env.update(zip(node.outputs, copy_node(builder, node, operands), strict=True))
    return prune(builder.finish([env[v] for v in graph.outputs]))


@dataclass(frozen=True, slots=True)
class _Side:
    """One of two loops: its body and its operands."""

    body: Graph
    constants: Sequence[Value]
    init: Sequence[Value]
    xs: Sequence[Value] = ()

    @property
    def results(self) -> int:
        """How many results a step has besides its carries."""
        return len(self.body.outputs) - len(self.init)


class _Pair:
    """Two loops in step, on shared operands.

    Attributes:
        constants: of both.
        xs: of both.
        twins: carries of the second loop that always equal one of the first.
    """

    def __init__(self, first: _Side, second: _Side) -> None:
        self.first, self.second = first, second
        self.constants = tuple(dict.fromkeys((*first.constants, *second.constants)))
        self.xs = tuple(dict.fromkeys((*first.xs, *second.xs)))
        starts = list(first.init)
        self.twins = {k: starts.index(v) for k, v in enumerate(second.init) if v in starts}
        while wrong := self._differing():
            for k in wrong:
                del self.twins[k]

    @property
    def own(self) -> list[int]:
        """The second loop's carries that are no twins."""
        return [k for k in range(len(self.second.init)) if k not in self.twins]

    @property
    def init(self) -> list[Value]:
        """The first values of all carries."""
        return [*self.first.init, *(self.second.init[k] for k in self.own)]

    def places(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """For each loop, where the results of its steps are among both's."""
        count, own = len(self.first.init), self.own
        at = {k: count + n for n, k in enumerate(own)}
        end = count + len(own)
        mine = (*range(count), *range(end, end + self.first.results))
        start = end + self.first.results
        carried = [self.twins[k] if k in self.twins else at[k]
                   for k in range(len(self.second.init))]  # fmt: skip
        return mine, (*carried, *range(start, start + self.second.results))

    def body(self) -> Graph:
        """Both steps as one, what they have in common once."""
        with GraphBuilder(self.first.body.name) as builder:
            a, b = self._inline(builder, self.first.body, self.second.body, rows=True)
            count, more = len(self.first.init), len(self.second.init)
            carried = [*a[:count], *(b[k] for k in self.own)]
            return merge_equal(builder.finish([*carried, *a[count:], *b[more:]]))

    def graph(self, first: Graph, second: Graph) -> Graph:
        """Graphs of constants and carries, one per loop, as one."""
        with GraphBuilder(first.name) as builder:
            a, b = self._inline(builder, first, second, rows=False)
            return merge_equal(builder.finish([*a, *b]))

    def _differing(self) -> list[int]:
        """Carries that would not stay equal to what they are taken for."""
        with GraphBuilder("both") as builder:
            a, b = self._inline(builder, self.first.body, self.second.body, rows=True)
            pairs = [v for k, j in self.twins.items() for v in (a[j], b[k])]
            made = merge_equal(builder.finish(pairs)).outputs
        return [k for n, k in enumerate(self.twins) if made[2 * n] is not made[2 * n + 1]]

    def _inline(
        self, builder: GraphBuilder, first: Graph, second: Graph, *, rows: bool
    ) -> tuple[Sequence[Value], Sequence[Value]]:
        """The outputs of two graphs on shared inputs, which are those of the builder."""
        outer = {v: builder.input(v.type, "c") for v in self.constants}
        carry = [builder.input(v.type, "carry") for v in self.first.init]
        extra = {k: builder.input(self.second.init[k].type, "carry") for k in self.own}
        others = [
            carry[self.twins[k]] if k in self.twins else extra[k]
            for k in range(len(self.second.init))
        ]
        slices = {}
        if rows:
            types = {v: TensorType(v.shape[1:], v.dtype) for v in self.xs}
            slices = {v: builder.input(types[v], "x") for v in self.xs}
        made = []
        for graph, side, carried in (
            (first, self.first, carry), (second, self.second, others),
        ):  # fmt: skip
            values = [*(outer[v] for v in side.constants), *carried]
            values += [slices[v] for v in side.xs] if rows else []
            made.append(inline(graph, values))
        return made[0], made[1]


def _merge_scans(first: Node, second: Node) -> _Merged | None:
    forms = ScanForm.of(first.attrs), ScanForm.of(second.attrs)
    parts = forms[0].parts(first.inputs), forms[1].parts(second.inputs)
    pair = _Pair(
        *(_Side(f.body, p.constants, p.init, p.xs) for f, p in zip(forms, parts, strict=True))
    )
    form = replace(forms[0], body=pair.body(), carries=len(pair.init), slices=len(pair.xs))
    operands = (*parts[0].steps, *pair.constants, *pair.init, *pair.xs)
    return _Merged(SCAN, operands, form.attrs, *pair.places())


def _merge_whiles(first: Node, second: Node) -> _Merged | None:
    forms = WhileForm.of(first.attrs), WhileForm.of(second.attrs)
    pair = _Pair(
        *(
            _Side(f.body, n.inputs[: f.constants], n.inputs[f.constants :])
            for f, n in zip(forms, (first, second), strict=True)
        )
    )
    cond = pair.graph(forms[0].cond, forms[1].cond)
    if not pair.twins or cond.outputs[0] is not cond.outputs[1]:
        return None
    one = Graph(cond.name, cond.inputs, cond.nodes, cond.outputs[:1])
    carries = len(pair.init)
    saved = forms[0].saved + forms[1].saved
    form = WhileForm(one, pair.body(), carries, forms[0].max_steps, saved)
    outputs = [
        (*places[: f.carries], carries, *(k + 1 for k in places[f.carries :]))
        for f, places in zip(forms, pair.places(), strict=True)
    ]
    return _Merged(WHILE_LOOP, (*pair.constants, *pair.init), form.attrs, outputs[0], outputs[1])


def _merge_switches(first: Node, second: Node) -> _Merged | None:
    operands = tuple(dict.fromkeys((*first.inputs[1:], *second.inputs[1:])))
    pairs = list(zip(branches_of(first.attrs), branches_of(second.attrs), strict=False))
    if len(first.attrs) != len(second.attrs):
        return None
    branches = []
    for one, other in pairs:
        with GraphBuilder(one.name) as builder:
            env = {v: builder.input(v.type, v.name) for v in operands}
            made = inline(one, [env[v] for v in first.inputs[1:]])
            more = inline(other, [env[v] for v in second.inputs[1:]])
            branches.append(merge_equal(builder.finish([*made, *more])))
    count, more_outputs = len(first.outputs), len(second.outputs)
    places = tuple(range(count)), tuple(range(count, count + more_outputs))
    return _Merged(SWITCH, (first.inputs[0], *operands), switch_attrs(branches), *places)


_MERGERS: dict[str, Callable[[Node, Node], _Merged | None]] = {
    "scan": _merge_scans,
    "switch": _merge_switches,
    "while_loop": _merge_whiles,
}
