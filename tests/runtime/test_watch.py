from __future__ import annotations

import numpy as np

import pellucid as pl
from pellucid.runtime.watch import watch_programs


def test_programs_and_their_runs_are_counted() -> None:
    @pl.jit
    def outside(x: pl.Tensor) -> pl.Tensor:
        return x + 1

    @pl.jit
    def inside(x: pl.Tensor) -> pl.Tensor:
        return x * 2

    x = pl.randn(5)
    outside(x)
    with watch_programs() as seen:
        for _ in range(3):
            y = inside(x)
        outside(x)
    inside(x)
    np.testing.assert_array_equal(np.asarray(y), np.asarray(x) * 2)
    assert [(w.compiled.graph.name, w.runs) for w in seen] == [("inside", 4)]
    assert seen[0].seconds > 0


def test_nested_watches_see_the_same() -> None:
    with watch_programs() as outer:
        with watch_programs() as inner:
            pl.jit(lambda x: x + 3)(pl.randn(4))
        pl.jit(lambda x: x + 4)(pl.randn(4))
    assert len(outer) == 2
    assert inner == outer[:1]
