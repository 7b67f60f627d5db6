"""`while_loop`: a loop that ends when its condition says so, as one node with two graphs.

    carry, steps = init, 0
    while condition(constants, carry) and steps < max_steps:
        carry, saved[steps] = body(constants, carry)
        steps += 1

Results are the carries, then the number of steps, then what was saved (zeros beyond the last step).

With `max_steps` the gradient is a scan backwards of as many steps over what the forward loop saved
(openmlsys CG-4): memory for `max_steps` steps, one forward and one backward run. Without, the
memory cannot be known, and the gradient (`autodiff/snapshots.py`) makes the steps again from
snapshots. Over a batch whose conditions differ the loop runs until all examples are done; those
that are done stay as they are. A primitive because the number of steps is not known before it runs.
Other names: JAX `lax.while_loop`, ONNX `Loop`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from pellucid.autodiff.batching import batch_graph
from pellucid.autodiff.bodies import (
    active_carries,
    batched_carries,
    check_operands,
    is_zero,
    no_lowering,
    split_gradient,
    types_of,
)
from pellucid.autodiff.common import zeros_of
from pellucid.autodiff.scan import (
    BackwardStep,
    ScanForm,
    batch_body,
    check_carries,
    scan,
    with_tangents,
)
from pellucid.autodiff.snapshots import snapshot_gradient
from pellucid.core.dtype import bool_, float32, int32
from pellucid.core.errors import VerifyError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Attrs, Graph, GraphBuilder, TensorType, Value, emit_all, inline
from pellucid.graph.op import Cost, Op, Sample, Site
from pellucid.graph.prune import reachable
from pellucid.graph.stats import graph_cost
from pellucid.ops import add, astype, broadcast_to, less, moveaxis, multiply, reshape, where
from pellucid.ops import any as any_of
from pellucid.ops import sum as sum_of


@dataclass(frozen=True, slots=True)
class WhileForm:
    """A loop's attributes, and where its operands stand."""

    cond: Graph
    body: Graph
    carries: int
    max_steps: int | None = None
    saved: int = 0

    @staticmethod
    def of(attrs: Attrs) -> WhileForm:
        """The form that a node's attributes say."""
        return WhileForm(**cast("dict[str, Any]", dict(attrs)))

    @property
    def attrs(self) -> dict[str, Any]:
        """As attributes of a node."""
        return {
            "cond": self.cond, "body": self.body, "carries": self.carries,
            "max_steps": self.max_steps, "saved": self.saved,
        }  # fmt: skip

    @property
    def constants(self) -> int:
        """How many operands are the same in all steps."""
        return len(self.body.inputs) - self.carries

    @property
    def carry_places(self) -> range:
        """The body's inputs that are carries."""
        return range(self.constants, len(self.body.inputs))


def while_loop(form: WhileForm, *operands: Value) -> tuple[Value, ...]:
    """The last carries, the number of steps (int32) and what was saved, as one node."""
    return emit_all(WHILE_LOOP, *operands, **form.attrs)


def _infer(*types: TensorType, **attrs: Any) -> tuple[TensorType, ...]:
    form = WhileForm.of(attrs)
    for graph in (form.cond, form.body):
        check_operands("while_loop", graph, types)
    if types_of(form.cond.outputs) != (TensorType((), bool_),):
        made = ", ".join(map(str, types_of(form.cond.outputs)))
        raise VerifyError("while_loop", "the condition is one bool", operands={"it": made})
    made_types = types_of(form.body.outputs)
    check_carries("while_loop", form.body, form.carry_places, made_types[: form.carries])
    saved = made_types[form.carries :]
    if len(saved) != form.saved or (saved and form.max_steps is None):
        raise VerifyError("while_loop", "saving takes a largest number of steps")
    rows = [TensorType((form.max_steps or 0, *t.shape), t.dtype) for t in saved]
    return (*types[form.constants :], TensorType((), int32), *rows)


def _reference(*arrays: NDArray[Any], **attrs: Any) -> tuple[NDArray[Any], ...]:
    form = WhileForm.of(attrs)
    constants, carry = arrays[: form.constants], arrays[form.constants :]
    rows = [
        np.zeros((form.max_steps or 0, *v.shape), v.dtype.numpy)
        for v in form.body.outputs[form.carries :]
    ]
    steps = 0
    while form.max_steps is None or steps < form.max_steps:
        if not interpret(form.cond, *constants, *carry)[0]:
            break
        made = interpret(form.body, *constants, *carry)
        carry = made[: form.carries]
        for row, value in zip(rows, made[form.carries :], strict=True):
            row[steps] = value
        steps += 1
    return (*carry, np.array(steps, np.int32), *rows)


def _cost(inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs) -> Cost:
    """Of one step: how many there are is not known."""
    form = WhileForm.of(attrs)
    return graph_cost(form.cond) + graph_cost(form.body)


def _vjp(site: Site, *cotangents: Value | None) -> list[Value | None]:
    form = WhileForm.of(site.attrs)
    flags = site.wanted or (True,) * len(site.inputs)
    wanted = {i for i, v in enumerate(site.inputs) if flags[i] and v.dtype.is_inexact}
    places = form.carry_places
    active = sorted(active_carries(form.body, places, range(form.carries), wanted))
    if not active:
        return [None] * len(site.inputs)
    ends = {i: _cotangent(cotangents[i - places.start], site.inputs[i])
            for i in active if i in places}  # fmt: skip
    if form.max_steps is None:
        steps = site.outputs[form.carries]
        found = snapshot_gradient(form.body, site.inputs, steps, active, ends, _emit_loop)
    else:
        found = _saved_gradient(form, form.max_steps, site, (active, ends, cotangents))
    return [found.get(i) for i in range(len(site.inputs))]


def _emit_loop(
    cond: Graph, body: Graph, carries: int, operands: Sequence[Value]
) -> tuple[Value, ...]:
    """A loop without a bound, less its number of steps."""
    return while_loop(WhileForm(cond, body, carries), *operands)[:carries]


def _cotangent(given: Value | None, value: Value) -> Value:
    return zeros_of(value.type) if given is None else given


def _saved_gradient(
    form: WhileForm,
    most: int,
    site: Site,
    known: tuple[Sequence[int], dict[int, Value], Sequence[Value | None]],
) -> dict[int, Value]:
    """The gradients by operand: a scan of as many steps over what the loop, run again, saves."""
    active, ends, cotangents = known
    rows = {
        k - 1: c for k, c in enumerate(cotangents)
        if k > form.carries and c is not None and not is_zero(c)
    }  # fmt: skip
    carried = [i - form.constants for i in ends]
    split = split_gradient(form.body, active, [*carried, *rows], range(form.constants))
    again = WhileForm(form.cond, split.forward, form.carries, most, form.saved + split.saved)
    made = while_loop(again, *site.inputs)
    saved = made[len(made) - split.saved :]
    step = BackwardStep(form.body, split, active, form.carry_places, form.constants)
    constants, _ = step.read(site.inputs[: form.constants], (), ())
    types = [form.body.inputs[i].type for i in step.summed]
    body = step.graph(len(rows), types)
    xs = [*saved, *rows.values()]
    back = ScanForm(body, len(ends) + len(types), len(xs), most, reverse=True, counted=True)
    steps = made[form.carries]
    return step.named(scan(back, steps, *constants, *ends.values(), *map(zeros_of, types), *xs))


def _jvp(site: Site, *tangents: Value | None) -> list[Value | None]:
    form = WhileForm.of(site.attrs)
    moving = {i for i, t in enumerate(tangents) if t is not None}
    active = sorted(active_carries(form.body, form.carry_places, range(form.carries), moving))
    step, order = with_tangents(form.body, active, form.carries, form.constants, 0)
    both = [*site.inputs, *(_cotangent(tangents[i], site.inputs[i]) for i in active)]
    moved = [i - form.constants for i in active if i in form.carry_places]
    carries = form.carries + len(moved)
    with GraphBuilder(form.cond.name) as builder:
        inputs = [builder.input(v.type, v.name) for v in step.inputs[: len(order)]]
        at = dict(zip(order, inputs, strict=True))
        values = inline(form.cond, [at[i] for i in range(len(site.inputs))])
        cond = builder.finish(values)
    saved = len(step.outputs) - carries
    pushed = WhileForm(cond, step, carries, form.max_steps, saved)
    made = while_loop(pushed, *(both[i] for i in order))
    floats = [k for k, v in enumerate(site.outputs) if v.dtype.is_inexact and k > form.carries]
    places = [*moved, *floats]
    values = (*made[form.carries : carries], *made[len(made) - len(floats) :])
    found = dict(zip(places, values, strict=True))
    return [found.get(k) for k in range(len(site.outputs))]


def _batch(site: Site, batched: tuple[bool, ...], size: int) -> list[Value]:
    form = WhileForm.of(site.attrs)
    flags = {i for i, b in enumerate(batched) if b}
    spread = batched_carries(form.body, form.carry_places, range(form.carries), flags)
    reached = reachable(form.cond.nodes, [form.cond.inputs[i] for i in sorted(spread)])
    if form.cond.outputs[0] in reached:
        return _batch_all(form, site, flags, size)
    init = [
        broadcast_to(v, (size, *v.shape)) if i in spread and i not in flags else v
        for i, v in zip(form.carry_places, site.inputs[form.constants :], strict=True)
    ]
    body, outputs = batch_body(form.body, spread, size, form.carry_places)
    cond = batch_graph(form.cond, [i in spread for i in range(len(batched))], size, [False])
    again = WhileForm(cond, body, form.carries, form.max_steps, form.saved)
    made = while_loop(again, *site.inputs[: form.constants], *init)
    spread_out = [*outputs[: form.carries], False, *outputs[form.carries :]]
    return [
        _rows_last(v, k > form.carries) if b else broadcast_to(v, (size, *v.shape))
        for k, (v, b) in enumerate(zip(made, spread_out, strict=True))
    ]


def _rows_last(value: Value, stacked: bool) -> Value:
    """Saved rows with the batch axis first, as all results have it."""
    return moveaxis(value, 0, 1) if stacked else value


def _batch_all(form: WhileForm, site: Site, flags: set[int], size: int) -> list[Value]:
    """All carries batched, with a count of its own for each example; steps while any is active."""
    first = form.constants
    flagged = [i in flags or i >= first for i in range(len(site.inputs))]
    init = [
        v if first + k in flags else broadcast_to(v, (size, *v.shape))
        for k, v in enumerate(site.inputs[first:])
    ]
    counts = zeros_of(TensorType((size,), int32))
    cond = batch_graph(form.cond, flagged, size)
    body = batch_graph(form.body, flagged, size)
    graphs = _while_any(cond, counts.type), _step_active(form, cond, body, counts.type)
    again = WhileForm(*graphs, form.carries + 1, form.max_steps, form.saved)
    made = while_loop(again, *site.inputs[:first], *init, counts)
    rows = [moveaxis(v, 0, 1) for v in made[form.carries + 2 :]]
    return [*made[: form.carries], made[form.carries], *rows]


def _while_any(cond: Graph, counts: TensorType) -> Graph:
    with GraphBuilder(cond.name) as builder:
        inputs = [builder.input(v.type, v.name) for v in cond.inputs]
        builder.input(counts, "counts")
        return builder.finish([any_of(inline(cond, inputs)[0])])


def _step_active(form: WhileForm, cond: Graph, body: Graph, counts: TensorType) -> Graph:
    """A step of the examples that are not done; the others stay, and save zeros."""
    with GraphBuilder(body.name) as builder:
        inputs = [builder.input(v.type, v.name) for v in body.inputs]
        count = builder.input(counts, "counts")
        (active,) = inline(cond, inputs)
        made = inline(body, inputs)
        before = [*inputs[form.constants :], *(zeros_of(v.type) for v in made[form.carries :])]
        chosen = [
            where(reshape(active, (*active.shape, *(1,) * (a.rank - 1))), a, b)
            for a, b in zip(made, before, strict=True)
        ]
        counted = add(count, astype(active, int32))
        return builder.finish([*chosen[: form.carries], counted, *chosen[form.carries :]])


def _samples() -> list[Sample]:
    f = TensorType((3,), float32)
    with GraphBuilder("below") as builder:
        builder.input(f, "w")
        cond = builder.finish([less(sum_of(builder.input(f, "c")), 20.0)])
    with GraphBuilder("step") as builder:
        w, c = builder.input(f, "w"), builder.input(f, "c")
        body = builder.finish([add(multiply(c, 1.5), multiply(w, w))])
    free, bounded = WhileForm(cond, body, 1), WhileForm(cond, body, 1, 3)
    return [Sample((f, f), free.attrs, 0.5, 1.5), Sample((f, f), bounded.attrs, 0.5, 1.5)]


WHILE_LOOP: Op = Op(
    name="while_loop",
    doc=(
        "Its body again and again from constants and carries to carries, while its condition holds."
        " Primitive: how often is known only when the program runs."
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
