"""Random graphs with open sizes: those of `random_graphs.py`, but for sizes that have names.

What the generator asks of sizes is decided for `FIRST`, and holds for the sizes that `fitting`
gives.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from pellucid.core.dtype import float32
from pellucid.core.size import Decision, Dim, Sizes, as_size, deciding
from pellucid.graph.ir import Graph, GraphBuilder
from pellucid.graph.sizes import graph_dims
from tests.random_maker import Maker
from tests.random_steps import RARE, STEPS

A, B = as_size(Dim("a", likely=6)), as_size(Dim("b", likely=4))
FIRST = {"a": 6, "b": 4}
OTHERS = (0, 1, 2, 3, 5, 7, 8, 16, 17, 33)
OPEN = (A, A, A, B, B, 2 * A, A + 1, 1, 3, 4, 8)


class OpenMaker(Maker):
    """Makes inputs of open sizes."""

    def shape(self) -> tuple[int, ...]:
        """One to three axes, most of them open."""
        return tuple(self.one_of(OPEN) for _ in range(self.between(1, 3)))


def random_open_graph(seed: int, size: int) -> tuple[Graph, list[Decision]]:
    """A graph of about `size` ops functions, and what has to hold of its sizes."""
    with deciding(FIRST) as decisions, GraphBuilder(f"random_{seed}") as builder:
        maker = OpenMaker(builder, np.random.default_rng(seed), (float32,))
        for _ in range(maker.between(1, 3)):
            maker.input()
        for _ in range(size):
            maker.step(STEPS if maker.rng.random() < 0.8 else RARE)
        return builder.finish(maker.outputs()), decisions


def fitting(graph: Graph, decisions: list[Decision]) -> Iterator[Sizes]:
    """Sizes for which a graph is good."""
    names = [d.name for d in graph_dims(graph)]
    for numbers in itertools.product(OTHERS, repeat=len(names)):
        sizes = {**FIRST, **dict(zip(names, numbers, strict=True))}
        if all(d.holds(sizes) for d in decisions):
            yield sizes
