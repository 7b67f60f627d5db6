from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import pellucid as pl
from pellucid.codegen.kernel import CompiledKernel
from pellucid.compile import Compiled, this_machine
from pellucid.loop.parser import parse_kernel
from pellucid.runtime.kernel_bench import KernelBench
from pellucid.schedule.choice import Choice
from pellucid.schedule.search.space import Space


def _compiled(fn: Callable[..., pl.Tensor], *args: pl.Tensor) -> Compiled:
    return pl.jit(fn).lower(*args).compiled


def test_candidates_are_right_and_run() -> None:
    (call,) = _compiled(lambda a, b: a @ b, pl.randn(33, 40), pl.randn(40, 50)).lowered.calls
    bench, rng = KernelBench(call.kernel, this_machine()), np.random.default_rng(0)
    for _ in range(4):
        code = bench.code(Space(call.kernel, this_machine()).random(rng).choice)
        assert bench.right(code)
        bench.loaded(code)()


@pytest.mark.parametrize("change", [("0.0", "1.0"), ("0..33", "0..32")])
def test_wrong_code_is_seen(change: tuple[str, str]) -> None:
    (call,) = _compiled(lambda a, b: a @ b, pl.randn(33, 40), pl.randn(40, 50)).lowered.calls
    bench = KernelBench(call.kernel, this_machine())
    assert bench.right(bench.code())
    wrong = parse_kernel(str(call.kernel).replace(*change))
    assert wrong != call.kernel
    assert not bench.right(CompiledKernel("candidate", wrong, this_machine()).object)


def test_constants_are_packed_beforehand() -> None:
    weights = pl.randn(40, 50)
    compiled = _compiled(lambda a: a @ weights, pl.randn(33, 40))
    kernel, known = compiled.lowered.calls[0].kernel, compiled.constants[0]
    names = known or frozenset({kernel.params[1].name})
    bench = KernelBench(kernel, this_machine(), names)
    for choice in (Choice(), Choice.of({"height": 3})):
        assert bench.right(bench.code(choice))


def test_outputs_in_their_inputs_memory() -> None:
    kernel = parse_kernel("""
kernel step(x: f32[300]) -> (y: f32[300]) {
  for i in 0..300:
    y[i] = x[i] * 0.5
}
""")
    bench = KernelBench(kernel, this_machine(), shared={1: 0})
    code = bench.code()
    run = bench.loaded(code)
    run()
    run()
    assert bench.right(code)  # on memory of its own: what ran before changes nothing
