"""A block recorded by itself: a graph, and what it left in the variables.

The block runs once on symbolic tensors; then the variables are put back, so that another block, or
the same one again, can be recorded from where they were.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.core.errors import TraceError
from pellucid.core.source import user_line
from pellucid.graph.ir import Graph, GraphBuilder, Value, inline
from pellucid.graph.prune import prune
from pellucid.tensor.box import STATE, Box
from pellucid.tensor.convert.journal import UndeclaredError, journal
from pellucid.tensor.convert.leaves import (
    Content,
    Kind,
    Leaf,
    Outer,
    Plain,
    cast,
    constant,
    content_of,
)
from pellucid.tensor.convert.state import ABSENT, DEPTH, Variable, put, values
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.trace import Capture, Trace, Traced, open_trace, read_grad, write_grad
from pellucid.tensor.tree import flatten, unflatten


@dataclass(frozen=True, slots=True)
class Region:
    """A recorded block.

    Attributes:
        traced: its graph, whose first inputs are arguments; then what it read from outside.
        contents: per variable what it left there; None where it left nothing.
        result: what the block returned.
        same: per variable, whether the object that was put there is still in it.
    """

    traced: Traced
    contents: tuple[Content | None, ...]
    result: Content
    same: tuple[bool, ...]

    @property
    def writes(self) -> dict[Capture, Value]:
        """The new values of cells and gradients."""
        values = self.traced.graph.outputs[self.traced.results :]
        return dict(zip(self.traced.writes, values, strict=True))


def record_region(
    name: str,
    variables: Sequence[Variable],
    enter: Callable[[Trace], Sequence[Any]],
    run: Callable[[], Any],
) -> Region:
    """Record a block.

    Args:
        name: of the graph.
        variables: what the block may change; put back afterwards.
        enter: gives the variables' values at the block's start.
        run: the block.
    """
    before = values(variables)
    made: list[Box] = []
    with (
        open_trace(name, "transform", Tensor.plain) as trace,
        DEPTH.deeper(),
        journal(variables) as changes,
    ):
        try:
            trace.is_block = True
            start = enter(trace)
            arguments = len(trace.builder.inputs) - len(trace.inputs)
            put(variables, start)
            result = content_of(run(), trace, made)
            left = values(variables)
        finally:
            put(variables, before)
        contents = [None if v is ABSENT else content_of(v, trace, made) for v in left]
        traced = trace.finish(made, arguments)
        kept = tuple(a is b for a, b in zip(start, left, strict=True))
        left.clear()
        start = ()
        if undeclared := changes.put_back():
            raise UndeclaredError(undeclared)
    _refuse_cleared(traced)
    return Region(traced, tuple(contents), result, kept)


def _refuse_cleared(traced: Traced) -> None:
    if any(read_grad(box) is not None for box in traced.cleared):
        raise TraceError(
            "convert",
            "a gradient is set to None in a block that depends on a tensor",
            fix="call zero_grad outside of it",
            source=user_line(),
        )


def fresh(value: Any) -> Any:
    """A value that a block may change in place: containers are copied, tensors the trace knows."""
    if value is ABSENT:
        return value
    leaves, treedef = flatten(value)
    return unflatten(treedef, leaves)


@dataclass(frozen=True, slots=True)
class Wires:
    """Where the values of a region are inside a graph that is being built."""

    made: Sequence[Value]
    outer: dict[Box, Value]

    def value(self, leaf: Leaf, kind: Kind) -> Value:
        """A leaf as a value of this type."""
        if isinstance(leaf, Plain):
            return constant(leaf.value, kind)
        return cast(
            self.outer[leaf.box] if isinstance(leaf, Outer) else self.made[leaf.index], kind
        )


def wired(
    region: Region,
    arguments: Sequence[Value],
    outside: dict[Box, Value],
    cells: dict[Capture, Value],
) -> tuple[Wires, dict[Capture, Value]]:
    """The region's graph in the open builder: where its values are, and the new values of cells.

    Args:
        region: the block.
        arguments: its arguments.
        outside: tensors from outside.
        cells: cells that have a value of their own here.
    """
    traced = region.traced
    captured = [cells[c] if c in cells else outside[c.read()] for c in traced.captures]
    outputs = inline(traced.graph, [*arguments, *captured])
    written = dict(zip(traced.writes, outputs[traced.results :], strict=True))
    now = {c.box: v for c, v in written.items() if c.slot == "value"}
    return Wires(outputs[: traced.results], {**outside, **now}), written


def read_outside(regions: Sequence[Region], wanted: Sequence[Leaf]) -> list[Box]:
    """The tensors from outside that regions and leaves read, each once."""
    boxes: dict[Box, None] = {}
    for region in regions:
        boxes.update(dict.fromkeys(c.read() for c in region.traced.captures))
    boxes.update({leaf.box: None for leaf in wanted if isinstance(leaf, Outer)})
    return list(boxes)


def written_cells(regions: Sequence[Region]) -> list[Capture]:
    """Cells and gradients that any of the regions writes.

    Raises:
        TraceError: a gradient is set that was not there before.
    """
    if new_gradients(regions):
        raise TraceError(
            "convert",
            "a gradient begins to exist in a block that depends on a tensor",
            fix="use pellucid.grad, or call backward once outside of it",
            source=user_line(),
        )
    return list(dict.fromkeys(c for r in regions for c in r.traced.writes))


def new_gradients(regions: Sequence[Region]) -> list[Capture]:
    """Gradients that regions set where there was none."""
    writes = [c for r in regions for c in r.traced.writes]
    return [c for c in writes if c.slot == "grad" and read_grad(c.box) is None]


def commit(captures: Sequence[Capture], results: Sequence[Box]) -> None:
    """Give cells and gradients their new values."""
    for capture, value in zip(captures, results, strict=True):
        if capture.slot == "grad":
            write_grad(capture.box, value)
        elif capture.box.is_cell:
            capture.box.assign_(value)  # type: ignore[attr-defined]  # cells are tensors
        else:
            capture.box._overwrite(value)  # type: ignore[attr-defined]  # boxes made here are tensors


def without_unread(graphs: Sequence[Graph], count: int) -> tuple[list[Graph], list[int]]:
    """The graphs without those of their first `count` inputs that none of them reads, and the
    places of those that are left.
    """
    pruned = [prune(g) for g in graphs]
    read = [{v for n in g.nodes for v in n.inputs} | set(g.outputs) for g in pruned]
    kept = [
        i for i in range(count) if any(g.inputs[i] in r for g, r in zip(pruned, read, strict=True))
    ]
    places = [*kept, *range(count, len(pruned[0].inputs))] if pruned else kept
    return [_with_inputs(g, places) for g in pruned], kept


def _with_inputs(graph: Graph, places: Sequence[int]) -> Graph:
    """The graph with only these inputs; nothing reads the others."""
    with GraphBuilder(graph.name) as builder:
        values = {i: builder.input(graph.inputs[i].type, graph.inputs[i].name) for i in places}
        args: list[Any] = [values.get(i) for i in range(len(graph.inputs))]
        return builder.finish(inline(graph, args))


def inputs_for(builder: GraphBuilder, boxes: Sequence[Box]) -> dict[Box, Value]:
    """One input of a graph for each tensor from outside."""
    return {b: builder.input(b.type, "x") for b in boxes}


def outer_trace() -> Trace:
    """The trace that is open: what constructs are recorded into."""
    trace = STATE.trace
    if trace is None:
        raise TraceError("convert", "nothing is being recorded")
    return trace


def rebuilt(content: Content, found: Sequence[Any]) -> Any:
    """A value of this structure with these leaves."""
    return unflatten(content.treedef, found)
