"""Scans written out: each step's nodes are new ones (openmlsys CG-3), all steps or a few at a time.

Emits into the current builder. What `scan(..., unroll=)` asks for; more code against fewer turns of
the loop, which pays where a step takes less than about a microsecond.
"""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.autodiff.scan import Parts, ScanForm, scan
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value, inline
from pellucid.ops import concatenate, reshape, stack
from pellucid.ops.movement import slice_axis


def scan_unrolled(form: ScanForm, times: int, *operands: Value) -> tuple[Value, ...]:
    """A scan as a loop of fewer turns, each of `times` steps, and the steps that are left.

    Args:
        form: a scan whose number of steps is not an operand.
        times: steps written out for each turn, at least 1.
        operands: the scan's.
    """
    if times == 1:
        return scan(form, *operands)
    times = min(times, max(form.length, 1))
    parts = form.parts(operands)
    turns, left = divmod(form.length, times)
    if turns < 2:
        carry, ys = _steps(form, form.length, parts)
        return (*carry, *ys)
    main, rest = (left, 0) if form.reverse else (0, turns * times)
    carry, ys = _turns(form, times, turns, _rows(parts, main, turns * times))
    if not left:
        return (*carry, *ys)
    after = Parts((), parts.constants, carry, _rows(parts, rest, left).xs)
    carry, more = _steps(form, left, after)
    pairs = zip(more, ys, strict=True) if form.reverse else zip(ys, more, strict=True)
    return (*carry, *(concatenate(pair, 0) for pair in pairs))


def _rows(parts: Parts, start: int, count: int) -> Parts:
    xs = tuple(slice_axis(x, 0, start, start + count) for x in parts.xs)
    return Parts(parts.steps, parts.constants, parts.init, xs)


def _steps(form: ScanForm, count: int, parts: Parts) -> tuple[tuple[Value, ...], list[Value]]:
    """Each step's own nodes; the last carries and the stacked results."""
    carry = parts.init
    made: list[Sequence[Value]] = [()] * count
    order = range(count)
    for t in reversed(order) if form.reverse else order:
        rows = [reshape(slice_axis(x, 0, t, t + 1), x.shape[1:]) for x in parts.xs]
        results = inline(form.body, [*parts.constants, *carry, *rows])
        carry, made[t] = results[: form.carries], results[form.carries :]
    if not count:
        return carry, list(scan(form, *parts.constants, *carry, *parts.xs)[form.carries :])
    return carry, [stack(rows, 0) for rows in zip(*made, strict=True)]


def _turns(
    form: ScanForm, times: int, turns: int, parts: Parts
) -> tuple[tuple[Value, ...], list[Value]]:
    """The loop whose body is `times` steps."""
    body = _turn(form, times)
    long = ScanForm(body, form.carries, form.slices, turns, form.reverse)
    xs = [reshape(x, (turns, times, *x.shape[1:])) for x in parts.xs]
    made = scan(long, *parts.constants, *parts.init, *xs)
    ys = [reshape(y, (turns * times, *y.shape[2:])) for y in made[form.carries :]]
    return made[: form.carries], ys


def _turn(form: ScanForm, times: int) -> Graph:
    with GraphBuilder(f"{form.body.name}_times{times}") as builder:
        inputs = []
        for i, value in enumerate(form.body.inputs):
            shape = (times, *value.shape) if i in form.slice_places else value.shape
            inputs.append(builder.input(TensorType(shape, value.dtype), value.name))
        a, b = form.constants, form.constants + form.carries
        parts = Parts((), tuple(inputs[:a]), tuple(inputs[a:b]), tuple(inputs[b:]))
        carry, ys = _steps(form, times, parts)
        return builder.finish([*carry, *ys])
