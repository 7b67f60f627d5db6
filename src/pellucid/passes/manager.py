"""Run a list of passes: verify after each, count what each changed, dump what was asked for.

Enters a graph and a list of `Pass` records; leaves a `PassResult`. Which passes run is data kept in
`pellucid.compile.PASSES`; nothing here knows any pass by name. A pass that divides a program makes
those after it run on each of the pieces; what came of them is put together at the end.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pellucid.core.errors import ArgumentError, CompileError, VerifyError, did_you_mean
from pellucid.graph.ir import Graph
from pellucid.graph.op import Cost
from pellucid.graph.printer import print_graph
from pellucid.graph.stats import graph_cost
from pellucid.graph.verifier import verify as verify_graph


class Division(Protocol):
    """A program in pieces, each a graph of its own that passes can run on."""

    @property
    def graphs(self) -> Sequence[Graph]:
        """The pieces."""

    @property
    def times(self) -> Sequence[int]:
        """How often each piece stands in the program."""

    @property
    def shared(self) -> Sequence[object]:
        """What came more than once and is one piece, for people."""

    def join(self, graphs: Sequence[Graph]) -> Graph:
        """The program, made of the pieces after some passes."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One graph rewrite: its name (the off switch), its function, one sentence on what it does.

    `unsafe` passes may change the last bits of floats and run only where that is allowed. A pass
    with `divide` changes nothing itself: the passes after it see the pieces that it makes.
    """

    name: str
    run: Callable[[Graph], Graph]
    doc: str
    unsafe: bool = False
    divide: Callable[[Graph], Division | None] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PassStats:
    """What one application of one pass did. `before` and `after` are kept only when asked for.

    Nodes are those that the pass looked at: of a divided program, those of its pieces. Costs and
    graphs are the whole program's.
    """

    name: str
    changed: bool
    seconds: float
    nodes_before: int
    nodes_after: int
    cost_before: Cost
    cost_after: Cost
    before: Graph | None = None
    after: Graph | None = None

    def __str__(self) -> str:
        return (
            f"{self.name:<36}{self.nodes_before:>6} -> {self.nodes_after:<6}"
            f"{self.cost_before.flops:>14,} -> {self.cost_after.flops:<14,}"
            f"{self.cost_before.bytes:>14,} -> {self.cost_after.bytes:<14,}"
            f"{self.seconds * 1e3:>9.2f} ms"
        )


@dataclass(frozen=True, slots=True)
class PassResult:
    """The graph after all passes, what each did in the order they ran, what was optimised once for
    many places.
    """

    graph: Graph
    stats: tuple[PassStats, ...]
    shared: tuple[object, ...] = ()

    def table(self, *, changed_only: bool = True) -> str:
        """One line per pass: nodes, operations and bytes before and after, and its time."""
        head = f"{'pass':<36}{'nodes':>14}  {'operations':>31}  {'bytes':>31}"
        rows = [str(s) for s in self.stats if s.changed or not changed_only]
        return "\n".join([head, *rows, *(f"shared: {s}" for s in self.shared)])

    def write(self, folder: Path) -> list[Path]:
        """Write the first graph and each changed one as `00_input.txt`, `01_<pass>.txt` and so on.

        Raises:
            ArgumentError: the graphs were not kept (`run_passes(..., keep=True)`).
        """
        if any(s.before is None for s in self.stats):
            raise ArgumentError("passes", "graphs were not kept", fix="run_passes(..., keep=True)")
        first = self.stats[0].before if self.stats else self.graph
        steps = [("input", first)] + [(s.name, s.after) for s in self.stats if s.changed]
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for number, (name, graph) in enumerate(steps):
            if graph is not None:
                paths.append(folder / f"{number:02}_{name}.txt")
                paths[-1].write_text(print_graph(graph), encoding="utf-8")
        return paths


def select_passes(
    passes: Sequence[Pass], disabled: Collection[str] = (), *, unsafe: bool = False
) -> tuple[Pass, ...]:
    """The passes that will run: not switched off, and `unsafe` ones only where allowed.

    Raises:
        ArgumentError: `disabled` names a pass that is not in the list.
    """
    known = [p.name for p in passes]
    for name in disabled:
        if name not in known:
            raise ArgumentError(
                "passes",
                f"no pass is named {name!r}",
                operands={"the passes": ", ".join(known)},
                fix=did_you_mean(name, known),
            )
    return tuple(p for p in passes if p.name not in disabled and (unsafe or not p.unsafe))


def _check_signature(before: Graph, after: Graph) -> None:
    for what, old, new in (
        ("inputs", before.inputs, after.inputs),
        ("outputs", before.outputs, after.outputs),
    ):
        if [v.type for v in old] != [v.type for v in new]:
            types = {"before": [str(v.type) for v in old], "after": [str(v.type) for v in new]}
            raise VerifyError(
                before.name, f"a pass must keep the types of the {what}", operands=types
            )


def _apply(step: Pass, graph: Graph, verify: bool) -> Graph:
    """One pass, checked.

    Raises:
        CompileError: the pass raised or broke the graph; the message shows what it was given.
    """
    try:
        after = step.run(graph)
        if verify and after is not graph:
            verify_graph(after)
            _check_signature(graph, after)
    except Exception as error:
        given = print_graph(graph, elide_arrays=True)
        problem = f"{type(error).__name__}: {error}\nThe graph it was given:\n{given}"
        raise CompileError(f"pass {step.name}", problem) from error
    return after


def run_passes(
    graph: Graph,
    passes: Sequence[Pass],
    disabled: Collection[str] = (),
    verify: bool = True,
    keep: bool = False,
    *,
    unsafe: bool = False,
) -> PassResult:
    """Apply `passes` in order. A list may name a pass more than once: that is how passes repeat.

    Args:
        graph: the program; not changed.
        passes: what to run, in order.
        disabled: names of passes to leave out.
        verify: check the graph after each pass that changed it.
        keep: keep the graph before and after each pass in the statistics.
        unsafe: allow passes that may change the last bits of floats.

    Raises:
        ArgumentError: `disabled` names no pass.
        CompileError: a pass failed.
    """
    run = _Run(graph, verify=verify, keep=keep)
    for step in select_passes(passes, disabled, unsafe=unsafe):
        run.apply(step)
    return run.result()


class _Run:
    """Passes running on a program, or on its pieces."""

    def __init__(self, graph: Graph, *, verify: bool, keep: bool) -> None:
        self.verify, self.keep = verify, keep
        self.graphs: tuple[Graph, ...] = (graph,)
        self.division: Division | None = None
        self.divided_by = ""
        self.stats: list[PassStats] = []
        self.cost: Cost | None = None  # counted when something changes: programs are long
        self.kept = graph if keep else None

    def apply(self, step: Pass) -> None:
        """Run one pass on all pieces."""
        begun = time.perf_counter()
        if step.divide is None:
            after = tuple(_apply(step, graph, self.verify) for graph in self.graphs)
        else:
            after = self._divide(step.name, step.divide)
        self._count(step.name, after, time.perf_counter() - begun)

    def _divide(self, name: str, divide: Callable[[Graph], Division | None]) -> tuple[Graph, ...]:
        if self.division is None:
            self.division, self.divided_by = divide(self.graphs[0]), name
        return self.graphs if self.division is None else tuple(self.division.graphs)

    def _count(self, name: str, after: tuple[Graph, ...], seconds: float) -> None:
        before, kept = self.graphs, self.kept
        changed = len(after) != len(before) or any(map(operator.is_not, after, before))
        moved = self.division is not None and len(after) != len(before)
        if changed and not moved and self.cost is None:
            self._know(_cost(before, self.division))
        self.graphs = after
        cost = self.cost
        if changed and not moved:
            self.cost = _cost(after, self.division)
            self.kept = self._whole() if self.keep else None
        stats = PassStats(
            name=name, changed=changed, seconds=seconds,
            nodes_before=_nodes(before), nodes_after=_nodes(after),
            cost_before=cost or _UNKNOWN, cost_after=self.cost or _UNKNOWN,
            before=kept, after=self.kept,
        )  # fmt: skip
        self.stats.append(stats)

    def _know(self, cost: Cost) -> None:
        """Set the cost, which nothing so far has changed."""
        self.cost = cost
        self.stats = [replace(s, cost_before=cost, cost_after=cost) for s in self.stats]

    def _whole(self) -> Graph:
        return self.graphs[0] if self.division is None else self.division.join(self.graphs)

    def result(self) -> PassResult:
        """The whole program, and what was done."""
        if self.cost is None:
            self._know(_cost(self.graphs, self.division))
        if self.division is None:
            return PassResult(self.graphs[0], tuple(self.stats))
        begun = time.perf_counter()
        graph = self._whole()
        if self.verify:
            verify_graph(graph)
        self._count(self.divided_by, (graph,), time.perf_counter() - begun)
        return PassResult(graph, tuple(self.stats), tuple(self.division.shared))


_UNKNOWN = Cost(0, 0)


def _cost(graphs: Sequence[Graph], division: Division | None) -> Cost:
    """What the whole program costs."""
    costs = [graph_cost(graph) for graph in graphs]
    if division is None:
        return costs[0]
    weighted = zip(costs, division.times, strict=True)
    return sum((Cost(c.flops * n, c.bytes * n) for c, n in weighted), Cost(0, 0))


def _nodes(graphs: Sequence[Graph]) -> int:
    return sum(len(graph.nodes) for graph in graphs)
