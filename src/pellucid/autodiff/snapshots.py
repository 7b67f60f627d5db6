"""The gradient of a loop whose number of steps has no bound, from snapshots.

What a run of n steps needs is not known before it runs, so nothing but its start is kept.
Backwards, the run is made again in up to `SNAPSHOTS` parts of equal length, keeping the carry at
the start of each, and each part again in as many, so that from there on each step has its start at
hand. Up to `SNAPSHOTS ** 2` (4,096) steps that is two more forward runs and memory for
`2 * SNAPSHOTS` carries; beyond, parts of the last level have k = n / 4,096 steps, each made again
from its part's start, and the cost is k / 2 more runs. With `max_steps` there is neither cost.

Source: Griewank and Walther, Algorithm 799: Revolve (2000); theirs is optimal for a known n, ours
has two fixed levels, so that the program is the same for every n.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pellucid.autodiff.bodies import Split, split_gradient
from pellucid.autodiff.common import zeros_of
from pellucid.autodiff.scan import ScanForm, scan
from pellucid.core.dtype import int32
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value, inline
from pellucid.ops import add, floor_divide, less, maximum, minimum, subtract

SNAPSHOTS = 64
LEVELS = 2
COUNT = TensorType((), int32)
Loop = Callable[[Graph, Graph, int, Sequence[Value]], Sequence[Value]]


def snapshot_gradient(
    body: Graph,
    operands: Sequence[Value],
    steps: Value,
    active: Sequence[int],
    ends: dict[int, Value],
    loop: Loop,
) -> dict[int, Value]:
    """Gradients by operand of a loop that has made so many steps.

    Args:
        body: one step, from constants and carries to carries.
        operands: the loop's, constants first.
        steps: how many it made, int32.
        active: operands with a gradient, by place; closed under steps.
        ends: cotangents of the last carries, by the operand that is the first.
        loop: emits a `while_loop` of a condition, a body, its number of carries and operands.
    """
    constants = len(body.inputs) - len(body.outputs)
    outputs = [i - constants for i in ends]
    split = split_gradient(body, active, outputs, range(len(body.inputs)))
    found = zip(active, split.gradients, strict=True)
    summed = [i for i, g in found if g is not None and i < constants]
    run = _Run(body, constants, split, tuple(active), tuple(ends), tuple(summed), loop)
    cotangents = [*ends.values(), *(zeros_of(body.inputs[i].type) for i in summed)]
    same, carry = operands[:constants], operands[constants:]
    made = run.back(LEVELS, same, carry, steps, cotangents)
    return dict(zip([*ends, *summed], made, strict=True))


@dataclass(frozen=True, slots=True)
class _Run:
    """A loop, and how a part of its run goes backwards."""

    body: Graph
    constants: int
    split: Split
    active: tuple[int, ...]
    carried: tuple[int, ...]
    summed: tuple[int, ...]
    loop: Loop

    @property
    def same(self) -> list[TensorType]:
        """Types of the constants."""
        return [v.type for v in self.body.inputs[: self.constants]]

    @property
    def carry(self) -> list[TensorType]:
        """Types of the carries."""
        return [v.type for v in self.body.inputs[self.constants :]]

    @property
    def cotangents(self) -> list[TensorType]:
        """Types of what is carried backwards."""
        return [self.body.inputs[i].type for i in (*self.carried, *self.summed)]

    def back(
        self,
        level: int,
        same: Sequence[Value],
        carry: Sequence[Value],
        steps: Value,
        cotangents: Sequence[Value],
    ) -> Sequence[Value]:
        """What so many steps from `carry` on make of cotangents, emitted."""
        if level == 0:
            return self._one_by_one(same, carry, steps, cotangents)
        stride = maximum(_parts(steps, SNAPSHOTS), 1)
        count = floor_divide(add(steps, subtract(stride, 1)), stride)
        keep = self._keeping()
        form = ScanForm(keep, len(carry) + 1, 0, SNAPSHOTS, counted=True)
        start = zeros_of(COUNT)
        kept = scan(form, count, *same, stride, steps, *carry, start)[len(carry) + 1 :]
        part = self._part(level)
        back = ScanForm(part, len(cotangents), len(kept), SNAPSHOTS, reverse=True, counted=True)
        return scan(back, count, *same, stride, steps, *cotangents, *kept)

    def repeated(
        self, same: Sequence[Value], carry: Sequence[Value], count: Value
    ) -> Sequence[Value]:
        """The carries after so many steps, emitted."""
        types = [*self.same, COUNT, *self.carry, COUNT]
        with GraphBuilder("below") as builder:
            values = [builder.input(t) for t in types]
            cond = builder.finish([less(values[-1], values[len(same)])])
        with GraphBuilder(self.body.name) as builder:
            values = [builder.input(t) for t in types]
            before = values[len(same) + 1 : -1]
            made = inline(self.body, [*values[: len(same)], *before])
            body = builder.finish([*made, add(values[-1], 1)])
        operands = [*same, count, *carry, zeros_of(COUNT)]
        return self.loop(cond, body, len(carry) + 1, operands)[: len(carry)]

    def _keeping(self) -> Graph:
        """A part of the run that also returns its start, and how many steps came before it."""
        types = [*self.same, COUNT, COUNT, *self.carry, COUNT]
        with GraphBuilder(f"{self.body.name}_part") as builder:
            values = [builder.input(t) for t in types]
            same, (stride, steps) = values[: self.constants], values[self.constants :][:2]
            *carry, done = values[self.constants + 2 :]
            made = self.repeated(same, carry, minimum(stride, subtract(steps, done)))
            return builder.finish([*made, add(done, stride), *carry, done])

    def _part(self, level: int) -> Graph:
        """A part of the run backwards, from its start."""
        types = [*self.same, COUNT, COUNT, *self.cotangents, *self.carry, COUNT]
        with GraphBuilder(f"{self.body.name}_back{level}") as builder:
            values = [builder.input(t) for t in types]
            same, (stride, steps) = values[: self.constants], values[self.constants :][:2]
            rest = values[self.constants + 2 :]
            count = len(self.cotangents)
            cotangents, carry, done = rest[:count], rest[count:-1], rest[-1]
            mine = minimum(stride, subtract(steps, done))
            return builder.finish(self.back(level - 1, same, carry, mine, cotangents))

    def _one_by_one(
        self,
        same: Sequence[Value],
        carry: Sequence[Value],
        steps: Value,
        cotangents: Sequence[Value],
    ) -> Sequence[Value]:
        """Each step from the last on, its own start made again."""
        types = [*self.same, *self.carry, *self.cotangents, COUNT]
        with GraphBuilder("left") as builder:
            values = [builder.input(t) for t in types]
            cond = builder.finish([less(0, values[-1])])
        with GraphBuilder(f"{self.body.name}_back") as builder:
            values = [builder.input(t) for t in types]
            a, b = self.constants, len(self.body.inputs)
            before = subtract(values[-1], 1)
            start = self.repeated(values[:a], values[a:b], before)
            made = self._step([*values[:a], *start], values[b:-1])
            body = builder.finish([*made, before])
        operands = [*same, *carry, *cotangents, steps]
        return self.loop(cond, body, len(cotangents) + 1, operands)[:-1]

    def _step(self, inputs: Sequence[Value], cotangents: Sequence[Value]) -> list[Value]:
        """One step backwards, emitted: cotangents of its carries, then sums with its own added."""
        given = cotangents[: len(self.carried)]
        made = inline(self.split.backward, [*(inputs[i] for i in self.split.reads), *given])
        found = {
            i: made[g]
            for i, g in zip(self.active, self.split.gradients, strict=True)
            if g is not None
        }
        ends = [found[i] if i in found else zeros_of(inputs[i].type) for i in self.carried]
        totals = cotangents[len(self.carried) :]
        return [*ends, *(add(t, found[i]) for t, i in zip(totals, self.summed, strict=True))]


def _parts(steps: Value, count: int) -> Value:
    """Steps in each of `count` parts, rounded up."""
    return floor_divide(add(steps, count - 1), count)
