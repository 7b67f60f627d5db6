"""The state of one random graph while it grows; the steps it grows by are in `random_steps.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core import dtype as dt
from pellucid.core.dtype import DType
from pellucid.core.shape import size_of
from pellucid.graph.ir import GraphBuilder, TensorType, Value
from pellucid.ops import sin

BOUND = 100.0
FLOATS = (dt.float32,) * 6 + (dt.float64,) * 2 + (dt.float16, dt.bfloat16)
DISCRETE = (dt.int32, dt.int64, dt.uint8, dt.int8, dt.bool_, dt.uint32)
SIZES = (1, 1, 2, 3, 3, 4, 5, 7, 8, 17)
MAX_ELEMENTS = 4096
MAX_RANK = 4


def random_array(type: TensorType, rng: np.random.Generator) -> NDArray[Any]:
    """One array of the type."""
    if type.dtype.is_float:
        return np.asarray(rng.uniform(-2, 2, type.shape)).astype(type.dtype.numpy)
    low = 0 if type.dtype.kind != "int" else -9
    high = 2 if type.dtype.kind == "bool" else 10
    return np.asarray(rng.integers(low, high, type.shape)).astype(type.dtype.numpy)


class Maker:
    """The state of one generation: values so far, a bound on each, and which of them are exact."""

    def __init__(
        self, builder: GraphBuilder, rng: np.random.Generator, floats: Sequence[DType]
    ) -> None:
        self.builder, self.rng, self.floats = builder, rng, floats
        self.values: list[Value] = []
        self.bounds: dict[Value, float] = {}
        self.exact: set[Value] = set()

    # Choice.

    def between(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def one_of(self, items: Sequence[Any]) -> Any:
        return items[self.between(0, len(items) - 1)]

    def pick(self, fits: Callable[[Value], bool] = lambda v: True) -> Value | None:
        """A value that fits, later ones more often."""
        found = [v for v in self.values if fits(v)]
        if not found:
            return None
        return found[max(self.between(0, len(found) - 1), self.between(0, len(found) - 1))]

    def dtype(self) -> DType:
        chosen: DType = self.one_of(self.floats if self.rng.random() < 0.75 else DISCRETE)
        return chosen

    def shape(self) -> tuple[int, ...]:
        shape = tuple(self.one_of(SIZES) for _ in range(self.between(0, MAX_RANK - 1)))
        return (0, *shape) if self.rng.random() < 0.02 else shape

    # Values.

    def keep(self, value: Value, bound: float, *, exact: bool) -> None:
        if size_of(value.shape) > MAX_ELEMENTS or value.rank > MAX_RANK:
            return
        if value.dtype.is_float and bound > BOUND:
            value, bound, exact = sin(value), 1.0, False
        self.values.append(value)
        self.bounds[value] = bound
        if exact or not value.dtype.is_float:
            self.exact.add(value)

    def derive(self, value: Value, *operands: Value, bound: float | None = None) -> None:
        """Keep a value that is as exact, and by default as bounded, as its operands."""
        limit = max(self.bounds[v] for v in operands) if bound is None else bound
        self.keep(value, limit, exact=all(v in self.exact for v in operands))

    def input(self) -> None:
        """A new input of the graph."""
        self.keep(self.builder.input(TensorType(self.shape(), self.dtype())), 2.0, exact=True)

    def outputs(self) -> list[Value]:
        """The last value and some others; what leads to none of them is dead."""
        others = [v for v in self.values[:-1] if self.rng.random() < 0.15]
        return [*others, *(self.values[-1:] or self.builder.inputs)]

    def step(self, table: Sequence[Callable[[Maker], None]]) -> None:
        self.one_of(table)(self)
