"""Random programs with branches and loops, and the same programs with all of them written out.

`random_control(seed, written_out)` gives both from one stream of choices. Values are float64 with a
last axis of three, bounded by `tanh`; loops nest two deep.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pellucid import ops
from pellucid.autodiff.scan import ScanForm, scan
from pellucid.autodiff.switch import switch
from pellucid.autodiff.unroll import scan_unrolled
from pellucid.autodiff.while_loop import WhileForm, while_loop
from pellucid.core.dtype import float64, int32
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value, inline

N = 3
DEPTH = 2
VECTOR, MATRIX, SCALAR = (TensorType(s, float64) for s in ((N,), (N, N), ()))


class _Maker:
    """One program being made."""

    def __init__(self, seed: int, written_out: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.written_out = written_out

    def between(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def vector(self, values: Sequence[Value]) -> Value:
        """One of the values; a sum over its first axis where it is a matrix."""
        value = values[self.between(0, len(values) - 1)]
        if value.rank == 2:
            return ops.tanh(ops.sum(value, 0))
        return value

    def plain(self, values: list[Value]) -> Value:
        """Arithmetic on some of them."""
        a, b = self.vector(values), self.vector(values)
        matrices = [v for v in values if v.rank == 2]
        kinds: list[Callable[[], Value]] = [
            lambda: ops.tanh(ops.add(a, b)),
            lambda: ops.multiply(ops.sin(a), b),
            lambda: ops.maximum(a, ops.multiply(b, 0.5)),
            lambda: ops.where(ops.greater(a, b), ops.cos(a), b),
            lambda: ops.tanh(ops.matmul(a, matrices[0])) if matrices else ops.sigmoid(a),
            lambda: ops.subtract(a, ops.mean(b)),
        ]
        return kinds[self.between(0, len(kinds) - 1)]()

    def step(self, values: list[Value], depth: int) -> Value:
        """A new value."""
        if depth >= DEPTH or self.chance(0.5):
            return self.plain(values)
        kinds = (self.loop, self.choice, self.search)
        return kinds[self.between(0, 2)](values, depth)

    def body(self, types: Sequence[TensorType], outputs: int, depth: int) -> Graph:
        """A graph of a few steps."""
        with GraphBuilder("body") as builder:
            values = [builder.input(t) for t in types]
            for _ in range(self.between(1, 4)):
                values.append(self.step(values, depth + 1))
            results = [ops.tanh(self.vector(values[-3:])) for _ in range(outputs)]
            if self.chance(0.2):  # a carry that stays, or a result that is an input
                results[0] = values[len(types) - 1 if outputs < 2 else len(types) - 2]
                if results[0].type != VECTOR:
                    results[0] = ops.tanh(self.vector(values))
            return builder.finish(results)

    def loop(self, values: list[Value], depth: int) -> Value:
        """A scan with a constant matrix, two carries and rows."""
        length, reverse = self.between(0, 4), self.chance(0.4)
        body = self.body((MATRIX, VECTOR, VECTOR, VECTOR, VECTOR), 3, depth)
        form = ScanForm(body, 2, 1, length, reverse)
        weights = self._matrix(values)
        rows = (
            ops.stack([ops.multiply(self.vector(values), 1.0 + t) for t in range(length)])
            if (length)
            else ops.zeros((0, N), float64)
        )
        operands = (weights, self.vector(values), self.vector(values), self.vector(values), rows)
        made = (
            scan_unrolled(form, max(length, 1), *operands)
            if (self.written_out)
            else scan(form, *operands)
        )
        values.append(ops.tanh(ops.sum(made[2], 0)))
        return ops.tanh(ops.add(made[0], ops.multiply(made[1], 0.5)))

    def choice(self, values: list[Value], depth: int) -> Value:
        """Three branches of two operands."""
        branches = [self.body((VECTOR, VECTOR), 1, depth) for _ in range(3)]
        a, b = self.vector(values), self.vector(values)
        index = ops.astype(ops.floor(ops.multiply(ops.sum(a), 1.3)), int32)
        if not self.written_out:
            return switch(index, branches, a, b)[0]
        made = [inline(g, [a, b])[0] for g in branches]
        late = ops.where(ops.greater_equal(index, 2), made[2], made[1])
        return ops.where(ops.less_equal(index, 0), made[0], late)

    def search(self, values: list[Value], depth: int) -> Value:
        """A loop of at most three steps that a sum ends."""
        body = self.body((VECTOR, VECTOR), 1, depth)
        with GraphBuilder("below") as builder:
            _, c = (builder.input(VECTOR) for _ in range(2))
            limit = float(self.rng.uniform(-1.0, 2.0))
            cond = builder.finish([ops.less(ops.sum(c), limit)])
        same, start = self.vector(values), self.vector(values)
        if not self.written_out:
            return while_loop(WhileForm(cond, body, 1, 3), same, start)[0]
        for _ in range(3):
            more = inline(cond, [same, start])[0]
            start = ops.where(more, inline(body, [same, start])[0], start)
        return start

    def _matrix(self, values: Sequence[Value]) -> Value:
        a, b = self.vector(values), self.vector(values)
        return ops.outer(a, b)


def random_control(seed: int, written_out: bool) -> Graph:
    """A program of two vectors and a matrix."""
    maker = _Maker(seed, written_out)
    with GraphBuilder(f"control_{seed}") as builder:
        values = [builder.input(t) for t in (VECTOR, VECTOR, MATRIX)]
        for _ in range(maker.between(2, 5)):
            values.append(maker.step(values, 0))
        return builder.finish([values[-1], ops.sum(maker.vector(values))])
