"""Loops and choices without what they do not need.

- A carry that no step changes is a constant of the loop; one that nobody reads goes, and so do
  results and operands that nobody reads, and results that come twice.
- Literals of one number move into the bodies that read them, where other passes work with them.
- What every step computes alike is computed before the loop, where that takes work off it.
- A choice by a literal is the branch itself, and a scan of no step its start.

`c, y = scan(f, c0, w, xs) with f: c' = c; y = exp(w) * x`  ->
`e = exp(w); y = scan(g, e, xs) with g: y = e * x`
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from pellucid.autodiff.bodies import CHEAP, copy_needed, extract, frontier
from pellucid.autodiff.common import copy_node, zeros_of
from pellucid.autodiff.scan import ScanForm, scan
from pellucid.autodiff.switch import branches_of, switch
from pellucid.autodiff.while_loop import WhileForm, while_loop
from pellucid.graph.ir import Graph, GraphBuilder, Node, Value, inline
from pellucid.passes.match import constant_array, splat_source
from pellucid.passes.rewrite import Rule, map_bodies, rewrite_until_stable, use_counts

MOVED = frozenset({
    "broadcast_to", "reshape", "transpose", "slice", "pad", "concatenate", "constant", "iota",
    "barrier", "random_bits",
})  # fmt: skip
"""Never computed ahead for its own sake: loops read it where it lies, or get it for free."""


def run(graph: Graph) -> Graph:
    """`graph` with trimmed loops and choices, nested ones first."""
    graph = map_bodies(graph, run)
    if not any(n.op.name in _TRIMMERS for n in graph.nodes):
        return graph
    return rewrite_until_stable(graph, _rule_for)


def _rule_for(graph: Graph) -> Rule:
    uses = use_counts(graph)

    def rule(node: Node, inputs: tuple[Value, ...]) -> Sequence[Value] | None:
        trim = _TRIMMERS.get(node.op.name)
        return None if trim is None else trim(node, inputs, [uses[v] > 0 for v in node.outputs])

    return rule


def _trim_scan(
    node: Node, inputs: tuple[Value, ...], used: Sequence[bool]
) -> Sequence[Value] | None:
    form = ScanForm.of(node.attrs)
    parts = form.parts(inputs)
    if type(form.length) is int and form.length == 0:
        return [*parts.init, *(zeros_of(v.type) for v in node.outputs[form.carries :])]
    loop = _Loop(
        form.body, None, parts.constants, parts.init, parts.xs,
        used[: form.carries], used[form.carries :],
    )  # fmt: skip
    trimmed = loop.trimmed()
    if trimmed is None:
        return None
    t = trimmed
    new = replace(form, body=t.body, carries=len(t.carries), slices=len(t.xs))
    made = scan(new, *parts.steps, *t.constants, *(parts.init[k] for k in t.carries), *t.xs)
    return t.spread(made[: len(t.carries)], made[len(t.carries) :], node.outputs, parts.init)


def _trim_while(
    node: Node, inputs: tuple[Value, ...], used: Sequence[bool]
) -> Sequence[Value] | None:
    form = WhileForm.of(node.attrs)
    constants, init = inputs[: form.constants], inputs[form.constants :]
    n = form.carries
    loop = _Loop(form.body, form.cond, constants, init, (), used[:n], used[n + 1 :])
    t = loop.trimmed()
    if t is None or t.cond is None:
        return None
    saved = len(t.body.outputs) - len(t.carries)
    new = WhileForm(t.cond, t.body, len(t.carries), form.max_steps, saved)
    made = while_loop(new, *t.constants, *(init[k] for k in t.carries))
    count = len(t.carries)
    outputs = (*node.outputs[:n], *node.outputs[n + 1 :])
    values = t.spread(made[:count], made[count + 1 :], outputs, init)
    return [*values[:n], made[count], *values[n:]]


@dataclass(frozen=True, slots=True)
class _Trimmed:
    """A loop with less in it.

    Attributes:
        body: its step.
        cond: its condition.
        constants: values around it.
        carries: which carries are left.
        xs: the arrays of rows that are left.
        same: carries that are constants.
        results: for each result of a step, which one it is now; None: not there any more.
    """

    body: Graph
    cond: Graph | None
    constants: tuple[Value, ...]
    carries: tuple[int, ...]
    xs: tuple[Value, ...]
    same: frozenset[int]
    results: tuple[int | None, ...]

    def spread(
        self,
        carried: Sequence[Value],
        rows: Sequence[Value],
        outputs: Sequence[Value],
        init: Sequence[Value],
    ) -> list[Value]:
        """The old loop's outputs; where nobody reads one, any value of its type."""
        found = dict(zip(self.carries, carried, strict=True))
        values = [found.get(k, start) for k, start in enumerate(init)]
        for value, k in zip(outputs[len(init) :], self.results, strict=True):
            values.append(zeros_of(value.type) if k is None else rows[k])
        return values


@dataclass(frozen=True, slots=True)
class _Loop:
    """A loop's graphs, operands, and which of its carries and results are read."""

    body: Graph
    cond: Graph | None
    constants: Sequence[Value]
    init: Sequence[Value]
    xs: Sequence[Value]
    used_carries: Sequence[bool]
    used_results: Sequence[bool]

    def trimmed(self) -> _Trimmed | None:
        """The loop with less in it; None where everything is needed."""
        same = self._same_carries()
        results, places = self._results()
        carries = tuple(k for k in self._needed(results) if k not in same)
        around = self._around(same)
        outputs = [self.body.outputs[k] for k in carries] + results
        ahead = _ahead(self.body.nodes, set(around), outputs)
        if ahead:
            graph = extract(self.body.nodes, list(around), ahead, f"{self.body.name}_ahead")
            around.update(zip(ahead, inline(graph, list(around.values())), strict=True))
        made = self._rebuilt(around, carries, outputs)
        if not ahead and self._is_whole(made, carries, results):
            return None
        constants, xs, body, cond = made
        return _Trimmed(body, cond, constants, carries, xs, same, places)

    def _inputs(self, kind: str) -> Sequence[Value]:
        """The body's inputs that are constants, carries or slices."""
        a, b = len(self.constants), len(self.constants) + len(self.init)
        inputs = self.body.inputs
        return {"same": inputs[:a], "carry": inputs[a:b], "row": inputs[b:]}[kind]

    def _same_carries(self) -> frozenset[int]:
        """Carries that no step changes."""
        pairs = zip(self._inputs("carry"), self.body.outputs, strict=False)
        return frozenset(k for k, (before, after) in enumerate(pairs) if before is after)

    def _results(self) -> tuple[list[Value], tuple[int | None, ...]]:
        """Results that are read, each once, and where each of the old ones is among them."""
        kept: dict[Value, int] = {}
        places: list[int | None] = []
        for value, used in zip(self.body.outputs[len(self.init) :], self.used_results, strict=True):
            places.append(kept.setdefault(value, len(kept)) if used else None)
        return list(kept), tuple(places)

    def _needed(self, results: Sequence[Value]) -> list[int]:
        """Carries that something needs: the condition, a result, whoever reads the last value."""
        carry = list(self._inputs("carry"))
        needed = {k for k, used in enumerate(self.used_carries) if used}
        if self.cond is not None:
            starts = self.cond.inputs[len(self.constants) :]
            read = frontier(self.cond.nodes, self.cond.outputs, starts)
            needed |= {k for k, v in enumerate(starts) if v in read}
        while True:
            outputs = [*results, *(self.body.outputs[k] for k in needed)]
            read = frontier(self.body.nodes, outputs, carry)
            more = {k for k, v in enumerate(carry) if v in read} - needed
            if not more:
                return sorted(needed)
            needed |= more

    def _around(self, same: Iterable[int]) -> dict[Value, Value]:
        """What the body's constants are outside."""
        around = dict(zip(self._inputs("same"), self.constants, strict=True))
        carry = self._inputs("carry")
        around.update({carry[k]: self.init[k] for k in same})
        return around

    def _rebuilt(
        self, around: dict[Value, Value], carries: Sequence[int], outputs: Sequence[Value]
    ) -> tuple[tuple[Value, ...], tuple[Value, ...], Graph, Graph | None]:
        """Constants, arrays of rows, the step and the condition, with nothing unread."""
        carry, rows = self._inputs("carry"), self._inputs("row")
        kept = [carry[k] for k in carries]
        starts = [*around, *carry, *rows]
        read = frontier(self.body.nodes, outputs, starts)
        twins = dict(zip(self.cond.inputs, self.body.inputs, strict=False)) if self.cond else {}
        if self.cond is not None:
            tested = frontier(self.cond.nodes, self.cond.outputs, self.cond.inputs)
            read = read | {twins[v] for v in tested}
        outside = [around[v] for v in around if v in read and splat_source(around[v]) is None]
        constants = tuple(dict.fromkeys(outside))
        slices = [v for v in rows if v in read]
        arrays = dict(zip(rows, self.xs, strict=True))
        inputs = (around, constants, kept, slices)
        body = _inside(self.body, {v: v for v in starts}, outputs, inputs)
        cond = None
        if self.cond is not None:
            cond = _inside(self.cond, twins, self.cond.outputs, (around, constants, kept, []))
        return constants, tuple(arrays[v] for v in slices), body, cond

    def _is_whole(
        self,
        made: tuple[tuple[Value, ...], tuple[Value, ...], Graph, Graph | None],
        carries: Sequence[int],
        results: Sequence[Value],
    ) -> bool:
        """Whether nothing went."""
        now = (len(made[0]), len(made[1]), len(carries), len(results))
        before = (len(self.constants), len(self.xs), len(self.init), len(self.used_results))
        return now == before


_Inputs = tuple[dict[Value, Value], Sequence[Value], Sequence[Value], Sequence[Value]]


def _inside(
    graph: Graph, twins: dict[Value, Value], outputs: Sequence[Value], inputs: _Inputs
) -> Graph:
    """A loop's graph with fewer inputs; literals are nodes of its own.

    Args:
        graph: the condition or the step.
        twins: for what the graph starts with, the same of the step.
        outputs: what is asked for.
        inputs: what the step's constants are outside; those left; carries and slices left.
    """
    around, constants, carries, slices = inputs
    with GraphBuilder(graph.name) as builder:
        outer = {v: builder.input(v.type, v.name) for v in constants}
        made = {v: builder.input(v.type, v.name) for v in (*carries, *slices)}
        env: dict[Value, Value] = {}
        for value in frontier(graph.nodes, outputs, twins):
            own = twins[value]
            if own in made:
                env[value] = made[own]
            elif around[own] in outer:
                env[value] = outer[around[own]]
            else:
                env[value] = _literal(builder, around[own])
        return builder.finish(copy_needed(builder, graph.nodes, outputs, env))


def _literal(builder: GraphBuilder, value: Value) -> Value:
    """The same literal in another graph."""
    nodes: list[Node] = []
    node = value.node
    while node is not None:
        nodes.append(node)
        node = node.inputs[0].node if node.inputs else None
    env: dict[Value, Value] = {}
    for node in reversed(nodes):
        copy_node(builder, node, env)
    return env[value]


def _ahead(nodes: Sequence[Node], same: set[Value], outputs: Sequence[Value]) -> list[Value]:
    """Values to compute before a loop: the last ones of what all steps compute alike.

    Args:
        nodes: the step's.
        same: what is the same in all steps.
        outputs: what the step returns.
    """
    roots = {v: v.type.nbytes for v in same}
    ready: set[Value] = set()
    for node in nodes:
        if not node.inputs or any(v not in roots for v in node.inputs):
            if node.op.name == "constant":
                roots[node.outputs[0]] = node.outputs[0].type.nbytes
            continue
        if node.op.name == "random_bits":
            continue
        sources = sum(roots[v] for v in node.inputs)
        nbytes = sum(v.type.nbytes for v in node.outputs)
        moved = node.op.name in MOVED
        roots.update((v, sources if moved else v.type.nbytes) for v in node.outputs)
        if not moved and (node.op.name not in CHEAP or nbytes <= sources):
            ready.update(node.outputs)
    read = frontier(nodes, outputs, ready)
    return [v for n in nodes for v in n.outputs if v in read]


def _trim_switch(
    node: Node, inputs: tuple[Value, ...], used: Sequence[bool]
) -> Sequence[Value] | None:
    branches = branches_of(node.attrs)
    index, *operands = inputs
    known = constant_array(index)
    if known is not None:
        return inline(branches[min(max(int(known), 0), len(branches) - 1)], operands)
    outputs = [k for k, read in enumerate(used) if read]
    reads: set[int] = set()
    for branch in branches:
        found = frontier(branch.nodes, [branch.outputs[k] for k in outputs], branch.inputs)
        reads |= {k for k, v in enumerate(branch.inputs) if v in found}
    outside = [operands[k] for k in sorted(reads) if splat_source(operands[k]) is None]
    kept = tuple(dict.fromkeys(outside))
    if len(kept) == len(operands) and len(outputs) == len(used):
        return None
    trimmed = []
    for branch in branches:
        around = dict(zip(branch.inputs, operands, strict=True))
        results = [branch.outputs[k] for k in outputs]
        own = {v: v for v in branch.inputs}
        trimmed.append(_inside(branch, own, results, (around, kept, [], [])))
    made = dict(zip(outputs, switch(index, trimmed, *kept), strict=True))
    return [made[k] if k in made else zeros_of(v.type) for k, v in enumerate(node.outputs)]


_TRIMMERS: dict[
    str, Callable[[Node, tuple[Value, ...], Sequence[bool]], Sequence[Value] | None]
] = {"scan": _trim_scan, "switch": _trim_switch, "while_loop": _trim_while}
