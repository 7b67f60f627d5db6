"""Accumulators of their own for the iterations of a reduction's innermost loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pellucid import ops
from pellucid.core.errors import ScheduleError
from pellucid.core.target import Target
from pellucid.graph.ir import Value
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Kernel
from pellucid.loop.parser import parse_kernel
from pellucid.loop.rewrite import loops
from pellucid.loop.verifier import verify_kernel
from pellucid.schedule.privatize import privatize
from pellucid.schedule.recipes import schedule_kernel
from tests.schedule.recipes.test_choose import AVX2, AVX512, f, only_kernel

DOTS = """kernel dots(x0: f32[6, 4, 32], x1: f32[4, 32]) -> (y0: f32[6]) {
  for i in 0..6:
    alloc s: f32[] local
    s[] = 0.0
    for k in 0..4:
      for j in 0..32:
        s[] = s[] + x0[i, k, j] * x1[k, j]
    y0[i] = s[] * 2.0
}
"""


def results(kernel: Kernel) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    rng = np.random.default_rng(0)
    out = np.full(6, np.nan, np.float32)
    x, y = (rng.standard_normal(s, dtype=np.float32) for s in ((6, 4, 32), (4, 32)))
    run_kernel(kernel, x, y, out)
    return out


def test_it_keeps_the_sum_and_has_a_loop_to_start_and_one_to_combine() -> None:
    kernel = parse_kernel(DOTS)
    made = privatize(kernel, "k", "j")
    verify_kernel(made)
    assert [x.var for x in loops(made.body)] == ["i", "jz", "k", "j", "jc"]
    np.testing.assert_allclose(results(made), results(kernel), rtol=1e-5)


@pytest.mark.parametrize(("var", "inner"), [("i", "j"), ("k", "k"), ("j", "k")])
def test_other_nests_are_refused(var: str, inner: str) -> None:
    with pytest.raises(ScheduleError, match="privatize"):
        privatize(parse_kernel(DOTS), var, inner)


def test_maxima_start_from_their_neutral_value() -> None:
    kernel = parse_kernel(DOTS.replace("s[] + x0[i, k, j] * x1[k, j]", "max(s[], x0[i, k, j])")
                          .replace("s[] = 0.0", "s[] = f32(-inf)"))  # fmt: skip
    np.testing.assert_array_equal(results(privatize(kernel, "k", "j")), results(kernel))


@pytest.mark.parametrize("machine", [AVX2, AVX512], ids=lambda t: t.name)
@pytest.mark.parametrize("wide", [1, 40])
def test_the_recipe_uses_it_where_results_do_not_fill_vectors(machine: Target, wide: int) -> None:
    def dots(a: Value, b: Value) -> Value:
        return ops.einsum("nik,njk->ij", a, b)

    kernel = only_kernel(dots, f(8, 3 * wide, 64), f(8, wide, 64))
    used = "privatize" in [s.name for s in schedule_kernel(kernel, machine)]
    assert used == (wide == 1)


def test_parts_of_the_term_may_have_names() -> None:
    named = """alloc d: f32[] local
        d[] = x0[i, k, j] - x1[k, j]
        s[] = s[] + d[] * d[]"""
    kernel = parse_kernel(DOTS.replace("s[] = s[] + x0[i, k, j] * x1[k, j]", named))
    made = privatize(kernel, "k", "j")
    verify_kernel(made)
    np.testing.assert_allclose(results(made), results(kernel), rtol=1e-5)
    two = DOTS.replace("s[] = s[] + x0", "s[] = s[] + x1[k, j]\n        s[] = s[] + x0")
    with pytest.raises(ScheduleError, match="must be one update"):
        privatize(parse_kernel(two), "k", "j")


def test_a_long_sum_of_named_parts_is_shared_by_threads() -> None:
    def spread(x: Value) -> Value:
        centred = ops.subtract(x, 1.5)
        return ops.sum(ops.multiply(ops.multiply(centred, centred), ops.exp(centred)))

    kernel = schedule_kernel(only_kernel(spread, f(1 << 20)), replace(AVX2, cores=2))[-1].kernel
    assert "parallel" in [x.kind for x in loops(kernel.body)]
