"""Control flow to steps: what a `scan`, `while_loop` or `switch` node is in a program.

Enters: a node, and the program around it. Leaves: a `Loop` or a `Branch` (`flow.py`) whose steps
are those of the node's graphs, on slots of the same program: constants of a loop are the outer
slots themselves, a branch writes the node's results where they belong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from pellucid.autodiff.scan import ScanForm
from pellucid.autodiff.switch import branches_of
from pellucid.autodiff.while_loop import WhileForm
from pellucid.graph.ir import Graph, Node, TensorType, Value
from pellucid.loop.ir import Const
from pellucid.lower.flow import Branch, Carry, Loop, Slice, Step
from pellucid.lower.program import Role

Steps = Sequence[Step]


class Around(Protocol):
    """The program that a node is in."""

    literals: dict[Value, Const]

    def slot(self, type: TensorType, role: Role) -> int:
        """A new slot."""

    def read_slot(self, value: Value) -> int:
        """Where a value is."""

    def written_slot(self, value: Value) -> int:
        """Where a value is going to be."""

    def copy(self, source: Value, target: int) -> None:
        """Add a call that copies a value to a slot."""

    def inner(
        self,
        graph: Graph,
        inputs: Sequence[int],
        outputs: Sequence[int],
        known: Mapping[Value, Const],
    ) -> tuple[Step, ...]:
        """The steps of a graph inside this one."""


def _scan(around: Around, node: Node) -> Steps:
    form = ScanForm.of(node.attrs)
    ends = [around.written_slot(v) for v in node.outputs]
    parts = form.parts(node.inputs)
    if type(form.length) is int and form.length == 0:
        for start, end in zip(parts.init, ends, strict=False):
            around.copy(start, end)
        return ()
    carries = _carries(around, parts.init, ends[: form.carries])
    types = [form.body.inputs[i].type for i in form.slice_places]
    read = [_slice(around, around.read_slot(x), t) for x, t in zip(parts.xs, types, strict=True)]
    made = [v.type for v in form.body.outputs[form.carries :]]
    written = [_slice(around, y, t, True) for y, t in zip(ends[form.carries :], made, strict=True)]
    constants = [around.read_slot(v) for v in parts.constants]
    body = around.inner(
        form.body,
        [*constants, *(c.read for c in carries), *(x.part for x in read)],
        [*(c.written for c in carries), *(y.part for y in written)],
        _known(around, form.body, parts.constants),
    )
    count = around.read_slot(parts.steps[0]) if form.counted else None
    return [
        Loop(
            body=body, carries=tuple(carries), slices=(*read, *written), length=form.length,
            reverse=form.reverse, count=count,
        )
    ]  # fmt: skip


def _while_loop(around: Around, node: Node) -> Steps:
    form = WhileForm.of(node.attrs)
    ends = [around.written_slot(v) for v in node.outputs]
    constants, init = node.inputs[: form.constants], node.inputs[form.constants :]
    carries = _carries(around, init, ends[: form.carries])
    made = [v.type for v in form.body.outputs[form.carries :]]
    rows = [_slice(around, y, t, True) for y, t in zip(ends[form.carries + 1 :], made, strict=True)]
    inputs = [*(around.read_slot(v) for v in constants), *(c.read for c in carries)]
    test = around.slot(form.cond.outputs[0].type, "temp")
    cond = around.inner(form.cond, inputs, [test], _known(around, form.cond, constants))
    outputs = [*(c.written for c in carries), *(y.part for y in rows)]
    body = around.inner(form.body, inputs, outputs, _known(around, form.body, constants))
    return [
        Loop(
            body=body, carries=tuple(carries), slices=tuple(rows), length=form.max_steps,
            cond=cond, test=test, steps=ends[form.carries],
        )
    ]  # fmt: skip


def _switch(around: Around, node: Node) -> Steps:
    index, *operands = node.inputs
    ends = [around.written_slot(v) for v in node.outputs]
    inputs = [around.read_slot(v) for v in operands]
    branches = [
        around.inner(b, inputs, ends, _known(around, b, operands)) for b in branches_of(node.attrs)
    ]
    return [Branch(index=around.read_slot(index), branches=tuple(branches))]


def _known(around: Around, graph: Graph, operands: Sequence[Value]) -> dict[Value, Const]:
    """The first inputs of a graph that are literals outside."""
    pairs = zip(graph.inputs, operands, strict=False)
    return {v: around.literals[o] for v, o in pairs if o in around.literals}


def _carries(around: Around, init: Sequence[Value], ends: Sequence[int]) -> list[Carry]:
    return [
        Carry(
            start=around.read_slot(value),
            read=around.slot(value.type, "view"),
            written=around.slot(value.type, "view"),
            end=end,
            spare=around.slot(value.type, "temp"),
            nbytes=value.type.nbytes,
        )
        for value, end in zip(init, ends, strict=True)
    ]


def _slice(around: Around, whole: int, row: TensorType, written: bool = False) -> Slice:
    part = around.slot(row, "view")
    return Slice(whole=whole, part=part, stride=row.nbytes, written=written)


CONTROL: Mapping[str, Callable[[Any, Node], Steps]] = {
    "scan": _scan,
    "switch": _switch,
    "while_loop": _while_loop,
}
"""By the name of a record, its steps in the program around a node."""
