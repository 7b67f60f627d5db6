from __future__ import annotations

import time

import numpy as np

import pellucid as pl
from pellucid.compile import this_machine
from pellucid.runtime.workbench import Workbench, time_in_turns, time_slot, with_threads


def _program(x: pl.Tensor, w: pl.Tensor) -> pl.Tensor:
    result: pl.Tensor = pl.softmax(pl.softmax(x, axis=-1) @ w, axis=-1)
    return result


def _bench(rows: int = 9) -> tuple[Workbench, np.ndarray]:
    pl.manual_seed(0)
    x, w = pl.randn(rows, 33), pl.randn(33, 17)
    lowered = pl.jit(_program).lower(x, w)
    bench = Workbench(lowered.compiled.lowered, lowered.inputs, with_threads(this_machine(), 1))
    return bench, np.asarray(_program(x, w))


def test_a_program_call_by_call_gives_its_results() -> None:
    bench, expected = _bench()
    bench.run()
    np.testing.assert_allclose(bench.results()[0], expected, rtol=2e-5)
    assert len(bench.calls) > 1


def test_a_kernel_can_be_exchanged() -> None:
    bench, expected = _bench()
    bench.run()
    for call, steps in enumerate(bench.steps):
        for step in steps:
            bench.poison(call)
            bench.loaded(call, step.kernel)()
            bench.run(range(call + 1, len(bench.calls)))
            np.testing.assert_allclose(bench.results()[0], expected, rtol=2e-5)


def test_poison_shows_what_was_not_computed() -> None:
    bench, _ = _bench()
    bench.run()
    bench.poison(0)
    bench.run(range(1, len(bench.calls)))
    assert np.isnan(bench.results()[0]).all()


def test_times_are_taken() -> None:
    bench, _ = _bench()
    assert all(0 < s < 1 for s in bench.seconds(2))
    calls: list[int] = []
    assert time_slot(lambda: calls.append(1), seconds=0.0) < 0.1
    assert len(calls) == 1
    first, second = time_in_turns([lambda: None, lambda: time.sleep(1e-3)], 2)
    assert first < second


def test_a_size_of_whole_numbers_is_poisoned_too() -> None:
    lowered = pl.jit(lambda x: x.argmax(axis=-1)).lower(pl.randn(4, 5))
    bench = Workbench(lowered.compiled.lowered, lowered.inputs, this_machine())
    bench.poison(len(bench.calls) - 1)
    assert bench.results()[0].max() == np.iinfo(np.int64).max
