"""`scan`: a loop of a known number of steps over slices, as one node whose body is a graph.

    carry = init
    for t in range(length):                      # from the other end where `reverse`
        carry, ys[t] = body(constants, carry, xs[t])

The gradient is a scan the other way over values saved by the forward one (openmlsys CG-4): of each
step, what its gradient needs and cannot make again cheaply; what is the same in all steps is not
saved at all. `counted` scans take the number of steps as an operand, at most `length`; rows of
`ys` that are not reached are zero. A primitive because unrolling costs code and compile time in
proportion to the length. Other names: JAX `lax.scan`, TensorFlow `TensorArray` loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from pellucid.autodiff.batching import batch_graph, examples_differ
from pellucid.autodiff.bodies import (
    Split,
    active_carries,
    batched_carries,
    check_operands,
    is_zero,
    no_lowering,
    reordered,
    split_gradient,
    types_of,
)
from pellucid.autodiff.common import zeros_of
from pellucid.autodiff.forward import jvp_graph
from pellucid.core.dtype import float32, int32
from pellucid.core.errors import VerifyError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Attrs, Graph, GraphBuilder, TensorType, Value, emit_all, inline
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.graph.prune import reachable
from pellucid.graph.stats import graph_cost
from pellucid.ops import add, broadcast_to, less, moveaxis, multiply, sin, where
from pellucid.ops import max as reduce_max
from pellucid.ops.create import iota

T = TypeVar("T")


class Parts(NamedTuple):
    """The operands of a scan: the number of steps (none or one), constants, starts, slices."""

    steps: tuple[Any, ...]
    constants: tuple[Any, ...]
    init: tuple[Any, ...]
    xs: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class ScanForm:
    """A scan's attributes, and where its operands stand."""

    body: Graph
    carries: int
    slices: int
    length: int
    reverse: bool = False
    counted: bool = False

    @staticmethod
    def of(attrs: Attrs) -> ScanForm:
        """The form that a node's attributes say."""
        return ScanForm(**cast("dict[str, Any]", dict(attrs)))

    @property
    def attrs(self) -> dict[str, Any]:
        """As attributes of a node."""
        return {
            "body": self.body, "carries": self.carries, "slices": self.slices,
            "length": self.length, "reverse": self.reverse, "counted": self.counted,
        }  # fmt: skip

    @property
    def constants(self) -> int:
        """How many operands are the same in all steps."""
        return len(self.body.inputs) - self.carries - self.slices

    @property
    def carry_places(self) -> range:
        """The body's inputs that are carries."""
        return range(self.constants, self.constants + self.carries)

    @property
    def slice_places(self) -> range:
        """The body's inputs that are slices."""
        return range(self.constants + self.carries, len(self.body.inputs))

    def parts(self, operands: Sequence[T]) -> Parts:
        """A node's operands by what they are."""
        rest = tuple(operands[self.counted :])
        a, b = self.constants, self.constants + self.carries
        return Parts(tuple(operands[: self.counted]), rest[:a], rest[a:b], rest[b:])

    def rows(self, type: TensorType) -> TensorType:
        """The type of all steps' values of this type."""
        return TensorType((self.length, *type.shape), type.dtype)


def scan(form: ScanForm, *operands: Value) -> tuple[Value, ...]:
    """The last carries, then all steps' results stacked, as one node of the current program."""
    return emit_all(SCAN, *operands, **form.attrs)


def _infer(*types: TensorType, **attrs: Any) -> tuple[TensorType, ...]:
    form = ScanForm.of(attrs)
    body = form.body
    if len(types) != len(body.inputs) + form.counted or form.constants < 0 or form.length < 0:
        operands = {"operands": len(types), "the body's inputs": len(body.inputs)}
        raise VerifyError("scan", "one operand per input of the body", operands=operands)
    parts = form.parts(types)
    if any(t != TensorType((), int32) for t in parts.steps):
        raise VerifyError("scan", "the number of steps is an int32", operands={"it": parts.steps})
    for x in parts.xs:
        if not x.shape or x.shape[0] != form.length:
            operands = {"xs": x, "length": form.length}
            raise VerifyError("scan", "slices are taken along a first axis of `length`",
                              operands=operands)  # fmt: skip
    slices = [TensorType(x.shape[1:], x.dtype) for x in parts.xs]
    check_operands("scan", body, (*parts.constants, *parts.init, *slices))
    made = types_of(body.outputs)
    check_carries("scan", body, form.carry_places, made[: form.carries])
    return (*parts.init, *(form.rows(t) for t in made[form.carries :]))


def check_carries(op: str, body: Graph, places: Sequence[int], made: Sequence[TensorType]) -> None:
    """Refuse a step that changes the type of what it carries.

    Raises:
        VerifyError: names the carry.
    """
    if len(made) != len(places):
        raise VerifyError(op, f"{body.name} must return its {len(places)} carries first")
    for place, type in zip(places, made, strict=True):
        value = body.inputs[place]
        if type != value.type:
            operands = {"carry": value, "after a step": type}
            raise VerifyError(op, "a carry keeps its shape and dtype", operands=operands)


def _reference(*arrays: NDArray[Any], **attrs: Any) -> tuple[NDArray[Any], ...]:
    form = ScanForm.of(attrs)
    steps, constants, carry, xs = form.parts(arrays)
    count = min(max(int(steps[0]), 0), form.length) if steps else form.length
    ys = [
        np.zeros((form.length, *v.shape), v.dtype.numpy) for v in form.body.outputs[form.carries :]
    ]
    order = range(count)
    for t in reversed(order) if form.reverse else order:
        made = interpret(form.body, *constants, *carry, *(x[t] for x in xs))
        carry = made[: form.carries]
        for y, row in zip(ys, made[form.carries :], strict=True):
            y[t] = row
    return (*carry, *ys)


def _cost(inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs) -> Cost:
    form = ScanForm.of(attrs)
    step = graph_cost(form.body)
    return Cost(step.flops * form.length, step.bytes * form.length)


def _vjp(site: Site, *cotangents: Value | None) -> list[Value | None]:
    form = ScanForm.of(site.attrs)
    flags = site.wanted or (True,) * len(site.inputs)
    wanted = {
        i for i, v in enumerate(form.body.inputs) if flags[form.counted + i] and v.dtype.is_inexact
    }
    places = list(form.carry_places)
    active = active_carries(form.body, places, range(form.carries), wanted)
    if not active:
        return [None] * len(site.inputs)
    given = {k: c for k, c in enumerate(cotangents) if c is not None and k >= form.carries}
    given = {k: c for k, c in given.items() if not is_zero(c)}
    carried = [k for k in range(form.carries) if places[k] in active]
    split = split_gradient(
        form.body, sorted(active), [*carried, *given], range(form.constants), form.slice_places
    )
    ends = [_cotangent(cotangents[k], site.outputs[k]) for k in carried]
    made = _forward_again(form, split, site)
    return _backward(form, split, site, sorted(active), (ends, list(given.values()), made))


def _cotangent(given: Value | None, value: Value) -> Value:
    return zeros_of(value.type) if given is None else given


def _forward_again(form: ScanForm, split: Split, site: Site) -> tuple[Value, ...]:
    """The saved values of all steps: the scan again, with more results.

    `passes/merge_loops.py` makes one loop of this and the scan itself.
    """
    if not split.saved:
        return ()
    again = ScanForm(
        split.forward, form.carries, form.slices, form.length, form.reverse, form.counted
    )
    return scan(again, *site.inputs)[-split.saved :]


def _backward(
    form: ScanForm,
    split: Split,
    site: Site,
    active: Sequence[int],
    given: tuple[Sequence[Value], Sequence[Value], Sequence[Value]],
) -> list[Value | None]:
    """The scan the other way, from the cotangents of the last carries to those of the first."""
    ends, ys, saved = given
    parts = form.parts(site.inputs)
    step = BackwardStep(form.body, split, active, form.carry_places, form.constants)
    constants, slices = step.read(parts.constants, form.slice_places, parts.xs)
    sums = [zeros_of(form.body.inputs[i].type) for i in step.summed]
    body = step.graph(len(ys), [form.body.inputs[i].type for i in step.summed])
    xs = [*slices, *saved, *ys]
    back = ScanForm(
        body, len(ends) + len(sums), len(xs), form.length, not form.reverse, form.counted
    )
    made = scan(back, *parts.steps, *constants, *ends, *sums, *xs)
    found = step.named(made)
    return [None] * form.counted + [found.get(i) for i in range(len(form.body.inputs))]


@dataclass(frozen=True, slots=True)
class BackwardStep:
    """One step of a loop's gradient as the body of another loop.

    Attributes:
        body: the forward step.
        split: it and its gradient.
        active: inputs of the step with a gradient, by place.
        carry_places: those that are carries.
        constants: how many inputs are the same in all steps.
    """

    body: Graph
    split: Split
    active: Sequence[int]
    carry_places: range
    constants: int

    @property
    def carried(self) -> list[int]:
        """Active carries: their cotangents are carried."""
        return [i for i in self.active if i in self.carry_places]

    @property
    def summed(self) -> list[int]:
        """Active constants with a gradient: each step's is added to what is carried."""
        found = zip(self.active, self.split.gradients, strict=True)
        return [i for i, g in found if i < self.constants and g is not None]

    @property
    def stacked(self) -> list[int]:
        """Active slices with a gradient: each step's is a row of the result."""
        found = zip(self.active, self.split.gradients, strict=True)
        return [i for i, g in found if i >= self.carry_places.stop and g is not None]

    def read(
        self, constants: Sequence[Value], places: Sequence[int], xs: Sequence[Value]
    ) -> tuple[list[Value], list[Value]]:
        """Of the loop's operands those that the backward steps read."""
        by_place = dict(zip(places, xs, strict=True))
        same = [constants[i] for i in self.split.reads if i < self.constants]
        return same, [by_place[i] for i in self.split.reads if i >= self.constants]

    def graph(self, given: int, sums: Sequence[TensorType]) -> Graph:
        """The body: constants, cotangents, sums, slices, saved values, cotangents of results."""
        split = self.split
        types = types_of(split.backward.inputs)
        same = sum(i < self.constants for i in split.reads)
        kept = len(split.reads) + split.saved
        count = len(self.carried)
        with GraphBuilder(split.backward.name) as builder:
            constants = [builder.input(t, "c") for t in types[:same]]
            ends = [builder.input(t, "d") for t in types[kept : kept + count]]
            totals = [builder.input(t, "sum") for t in sums]
            slices = [builder.input(t, "s") for t in types[same:kept]]
            rows = [builder.input(t, "d") for t in types[kept + count : kept + count + given]]
            made = inline(split.backward, [*constants, *slices, *ends, *rows])
            found = dict(zip(self.active, split.gradients, strict=True))
            of = {i: made[g] for i, g in found.items() if g is not None}
            carried = [
                of[i] if i in of else zeros_of(self.body.inputs[i].type) for i in self.carried
            ]
            totals = [add(t, of[i]) for t, i in zip(totals, self.summed, strict=True)]
            return builder.finish([*carried, *totals, *(of[i] for i in self.stacked)])

    def named(self, made: Sequence[Value]) -> dict[int, Value]:
        """The gradients that the loop made, by input of the forward step."""
        return dict(zip([*self.carried, *self.summed, *self.stacked], made, strict=True))


def _jvp(site: Site, *tangents: Value | None) -> list[Value | None]:
    form = ScanForm.of(site.attrs)
    given = dict(enumerate(tangents[form.counted :]))
    moving = {i for i, t in given.items() if t is not None}
    active = sorted(active_carries(form.body, form.carry_places, range(form.carries), moving))
    step, order = with_tangents(form.body, active, form.carries, form.constants, form.slices)
    parts = form.parts(site.inputs)
    operands = [*parts.constants, *parts.init, *parts.xs]
    moves = [_tangent(given[i], operands[i]) for i in active]
    both = [*operands, *moves]
    carries = form.carries + sum(i in form.carry_places for i in active)
    slices = form.slices + sum(i in form.slice_places for i in active)
    pushed = ScanForm(step, carries, slices, form.length, form.reverse, form.counted)
    made = scan(pushed, *parts.steps, *(both[i] for i in order))
    return _pick_tangents(form, active, site.outputs, made)


def _tangent(given: Value | None, value: Value) -> Value:
    return zeros_of(value.type) if given is None else given


def _pick_tangents(
    form: ScanForm, active: Sequence[int], outputs: Sequence[Value], made: Sequence[Value]
) -> list[Value | None]:
    """The tangents among the results of a scan of values and tangents."""
    moved = [i - form.constants for i in active if i in form.carry_places]
    floats = [k for k, v in enumerate(outputs) if v.dtype.is_inexact and k >= form.carries]
    carried = made[form.carries : form.carries + len(moved)]
    stacked = made[len(made) - len(floats) :]
    found = dict(zip([*moved, *floats], [*carried, *stacked], strict=True))
    return [found.get(k) for k in range(len(outputs))]


def with_tangents(
    body: Graph, active: Sequence[int], carries: int, constants: int, slices: int
) -> tuple[Graph, list[int]]:
    """A loop's step and its derivative as a step.

    Args:
        body: the step.
        active: inputs that move, by place; closed under steps.
        carries: how many inputs are carries.
        constants: how many come before those.
        slices: how many come after.

    Returns:
        The step: constants and their tangents, carries and theirs, slices and theirs, to carries
        and tangents, then results and tangents. And for each of its inputs its place in
        `[*body.inputs, *active ones' tangents]`.
    """
    count = len(body.inputs)
    pushed = jvp_graph(body, [i in set(active) for i in range(count)])
    tangent_at = {i: count + k for k, i in enumerate(active)}
    groups = (range(constants), range(constants, constants + carries), range(count - slices, count))
    order = []
    for group in groups:
        order += [*group, *(tangent_at[i] for i in group if i in tangent_at)]
    made = len(body.outputs)
    floats = [k for k, v in enumerate(body.outputs) if v.dtype.is_inexact]
    out_at = {k: made + n for n, k in enumerate(floats)}
    moved = [i - constants for i in active if constants <= i < constants + carries]
    outputs = [
        *range(carries), *(out_at[k] for k in moved),
        *range(carries, made), *(out_at[k] for k in floats if k >= carries),
    ]  # fmt: skip
    return reordered(pushed, order, outputs), order


def _batch(site: Site, batched: tuple[bool, ...], size: int) -> list[Value]:
    form = ScanForm.of(site.attrs)
    if form.counted and batched[0]:
        return _batch_counted(form, site, batched, size)
    flags = {i for i, b in enumerate(batched[form.counted :]) if b}
    spread = batched_carries(form.body, form.carry_places, range(form.carries), flags)
    parts = form.parts(site.inputs)
    init = [
        _with_axis(v, size, i in spread and i not in flags)
        for i, v in zip(form.carry_places, parts.init, strict=True)
    ]
    xs = [
        moveaxis(v, 0, 1) if i in flags else v
        for i, v in zip(form.slice_places, parts.xs, strict=True)
    ]
    body, outputs = batch_body(form.body, spread, size, form.carry_places)
    again = ScanForm(body, form.carries, form.slices, form.length, form.reverse, form.counted)
    made = scan(again, *parts.steps, *parts.constants, *init, *xs)
    results = [_with_axis(v, size, not b) for v, b in zip(made, outputs, strict=True)]
    rows = zip(results[form.carries :], outputs[form.carries :], strict=True)
    return results[: form.carries] + [moveaxis(v, 0, 1) if b else v for v, b in rows]


def _with_axis(value: Value, size: int, missing: bool) -> Value:
    return broadcast_to(value, (size, *value.shape)) if missing else value


def batch_body(
    body: Graph, spread: set[int], size: int, carries: Sequence[int]
) -> tuple[Graph, list[bool]]:
    """A loop's step over many examples, and which of its outputs have the batch axis.

    Args:
        body: the step for one example; its first outputs are its carries.
        spread: inputs with the batch axis, by place; closed under steps.
        size: examples.
        carries: the inputs that are carries, by place.
    """
    flags = [i in spread for i in range(len(body.inputs))]
    moved = [v for v, b in zip(body.inputs, flags, strict=True) if b]
    reached = reachable(body.nodes, [*moved, *examples_differ(body)])
    outputs = [v in reached for v in body.outputs]
    outputs[: len(carries)] = [i in spread for i in carries]
    return batch_graph(body, flags, size, outputs), outputs


def _batch_counted(form: ScanForm, site: Site, batched: tuple[bool, ...], size: int) -> list[Value]:
    """Examples of different lengths: the longest decides, and an example that is done stays."""
    parts = form.parts(site.inputs)
    (steps,) = parts.steps
    longest = reduce_max(steps)
    form = ScanForm(_limited(form), form.carries, form.slices + 1, form.length, form.reverse, True)
    rows = iota((form.length,), 0, dtype=int32)
    operands = (longest, steps, *parts.constants, *parts.init, *parts.xs, rows)
    return _batch(Site(operands, site.outputs, form.attrs), (False, *batched, False), size)


def _limited(form: ScanForm) -> Graph:
    """The body for the number of steps, its own inputs and the row: after the last step its carries
    stay and its results are zero.
    """
    body = form.body
    with GraphBuilder(f"{body.name}_limited") as builder:
        steps = builder.input(TensorType((), int32), "steps")
        inputs = [builder.input(v.type, v.name) for v in body.inputs]
        runs = less(builder.input(TensorType((), int32), "row"), steps)
        made = inline(body, inputs)
        before = [inputs[i] for i in form.carry_places]
        others = before + [zeros_of(v.type) for v in made[form.carries :]]
        return builder.finish([where(runs, a, b) for a, b in zip(made, others, strict=True)])


def _samples() -> list[Sample]:
    f, rows = TensorType((3,), float32), TensorType((4, 3), float32)
    with GraphBuilder("step") as builder:
        w, c, x = (builder.input(f, name) for name in "wcx")
        made = add(multiply(sin(c), w), x)
        body = builder.finish([made, multiply(made, c)])
    plain, back = ScanForm(body, 1, 1, 4), ScanForm(body, 1, 1, 4, reverse=True)
    counted = ScanForm(body, 1, 1, 4, counted=True)
    empty = ScanForm(body, 1, 1, 0)
    none = TensorType((0, 3), float32)
    return [
        Sample((f, f, rows), plain.attrs),
        Sample((f, f, rows), back.attrs),
        Sample((np.array(2, np.int32), f, f, rows), counted.attrs),
        Sample((f, f, none), empty.attrs),
    ]


SCAN: Op = Op(
    name="scan",
    doc=(
        "A loop of a known number of steps over slices: its body from constants, carries and slices"
        " to carries and results. Primitive: unrolled, code would grow with the length."
    ),
    infer=_infer,
    reference=_reference,
    vjp=_vjp,
    jvp=_jvp,
    batch=_batch,
    lower=no_lowering,
    cost=_cost,
    samples=_samples,
)
