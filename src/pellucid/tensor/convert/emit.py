"""Settled loops as nodes: `while_loop`, and `scan` where the number of turns is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pellucid.autodiff.scan import ScanForm, scan
from pellucid.autodiff.while_loop import WhileForm, while_loop
from pellucid.core import dtype as dt
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value
from pellucid.tensor.box import Box
from pellucid.tensor.convert.assign import assign
from pellucid.tensor.convert.leaves import Content, Kind, Leaf, Made, Plain, cast, constant
from pellucid.tensor.convert.plans import Loop, Slot, inputs_of, kept, may_be_held, starts
from pellucid.tensor.convert.regions import (
    Region,
    commit,
    inputs_for,
    outer_trace,
    read_outside,
    wired,
    without_unread,
    written_cells,
)
from pellucid.tensor.convert.state import leave_empty
from pellucid.tensor.trace import Capture
from pellucid.tensor.tree import unflatten

_BOOL = Kind(TensorType((), dt.bool_))


class Emitter:
    """Makes the node of a settled loop, and gives the variables what it left.

    Args:
        loop: the loop.
        body: its recorded body.
        test: its recorded test; None where the turns are counted.
    """

    def __init__(self, loop: Loop, body: Region, test: Region | None) -> None:
        self._loop, self._body, self._test = loop, body, test
        regions = [body] if test is None else [body, test]
        self._cells: list[Capture] = written_cells(regions)
        own = {c.read() for c in self._cells}
        self._outside = [b for b in read_outside(regions, self._left()) if b not in own]

    def _left(self) -> list[Leaf]:
        """The leaves a turn leaves in what is carried."""
        contents = zip(self._loop.slots, self._body.contents, strict=True)
        return [leaf for slot, c in contents for leaf in _leaves(slot, c)]

    @property
    def _kinds(self) -> list[Kind]:
        """Types of all carries: variables, then cells."""
        return [*self._loop.carried, *(Kind(c.read().type) for c in self._cells)]

    def repeat(self, max_steps: int | None) -> None:
        """Emit a `while_loop`."""
        if self._test is None:
            return
        graphs = [self._graph(self._test, self._decision), self._graph(self._body, self._turn)]
        (cond, body), read = without_unread(graphs, len(self._outside))
        form = WhileForm(cond, body, len(self._kinds), max_steps)
        made = self._emitted(lambda *values: while_loop(form, *values), read, ())
        self._assign(made, ())

    def count(self, length: int, xs: Sequence[Box], reverse: bool) -> None:
        """Emit a `scan` of this many turns over rows."""
        (body,), read = without_unread([self._graph(self._body, self._turn)], len(self._outside))
        form = ScanForm(body, len(self._kinds), len(xs), length, reverse)
        made = self._emitted(lambda *values: scan(form, *values), read, xs)
        self._assign(made, made[len(self._kinds) :])

    def _graph(self, region: Region, outputs: Callable[[Any, Any], list[Value]]) -> Graph:
        with GraphBuilder(region.traced.graph.name) as builder:
            outside = inputs_for(builder, self._outside)
            carried = inputs_of(self._kinds, builder)
            items = inputs_of(self._loop.items, builder) if region is self._body else []
            first = len(self._loop.carried)
            cells = dict(zip(self._cells, carried[first:], strict=True))
            state = {c.read(): v for c, v in cells.items()}
            wires, written = wired(region, [*carried[:first], *items], {**outside, **state}, cells)
            return builder.finish(outputs(wires, {**cells, **written}))

    def _decision(self, wires: Any, cells: Any) -> list[Value]:
        region = self._test
        if region is None:
            return []
        return [wires.value(region.result.leaves[0], _BOOL)]

    def _turn(self, wires: Any, cells: dict[Capture, Value]) -> list[Value]:
        carried = [wires.value(v, k) for v, k in zip(self._left(), self._loop.carried, strict=True)]
        rows = [
            wires.value(leaf, leaf.kind)
            for slot, content in zip(self._loop.slots, self._body.contents, strict=True)
            if slot.grows and content is not None
            for leaf in content.leaves
            if not isinstance(leaf, Plain)
        ]
        return [*carried, *(cells[c] for c in self._cells), *rows]

    def _emitted(
        self, emit: Callable[..., Any], read: Sequence[int], xs: Sequence[Box]
    ) -> list[Box]:
        trace = outer_trace()
        start = [v for slot in self._loop.slots for v in starts(slot)]
        cells = [c.read() for c in self._cells]
        kinds = self._loop.carried

        def run(*values: Any) -> Any:
            constants, rest = values[: len(read)], values[len(read) :]
            init = [
                cast(v, k) if isinstance(v, Value) else constant(v, k)
                for v, k in zip(rest, kinds, strict=False)
            ]
            return tuple(emit(*constants, *init, *rest[len(kinds) :]))

        operands = [*(self._outside[i] for i in read), *start, *cells, *xs]
        made = list(trace.record(run, operands, {}))
        for box, kind, left, before in zip(made, kinds, self._left(), start, strict=False):
            box.weak = kind.weak
            if may_be_held(before) and not (self._test is None and isinstance(left, Made)):
                trace.perhaps_shared.add(box)
        return made

    def _assign(self, made: Sequence[Box], rows: Sequence[Box]) -> None:
        values, rest = iter(made), iter(rows)
        contents = zip(self._loop.slots, self._body.contents, self._body.same, strict=True)
        for slot, content, same in contents:
            found = [next(values) if isinstance(k, Kind) else kept(k) for k in slot.leaves]
            if slot.why:
                leave_empty(slot.variable, slot.why)
            elif slot.grows and content is not None:
                columns = [next(rest) for _ in content.leaves]
                slot.before.extend(_interleaved(content, columns))
            elif slot.treedef is not None:
                changed = same and slot.variable.changed
                assign(slot.variable, slot.before, unflatten(slot.treedef, found), changed)
        commit(self._cells, list(made[len(self._loop.carried) : len(self._kinds)]))


def _leaves(slot: Slot, content: Content | None) -> list[Leaf]:
    """What a turn leaves in the carried leaves of a variable."""
    if slot.grows or content is None or slot.why:
        return []
    pairs = zip(slot.leaves, content.leaves, strict=True)
    return [leaf for k, leaf in pairs if isinstance(k, Kind)]


def _interleaved(content: Content, rows: Sequence[Any]) -> list[Any]:
    """All turns' new items in order, from the rows of each leaf."""
    known, found = outer_trace().rows, []
    for t in range(rows[0].shape[0]):
        taken = [r[t] for r in rows]
        known.update((box, (r, t)) for box, r in zip(taken, rows, strict=True))
        found += unflatten(content.treedef, taken)
    return found
