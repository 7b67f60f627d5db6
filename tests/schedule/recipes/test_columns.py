"""Reductions across memory: the same results, read in long runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pellucid import ops
from pellucid.graph.ir import Value
from pellucid.loop.ir import Const, For
from pellucid.loop.rewrite import allocated, loops
from pellucid.schedule.recipes import columns, plan
from tests.lower.execution import build
from tests.schedule.recipes.test_choose import (
    AVX2,
    AVX512,
    SSE2,
    check,
    f,
    kinds,
    only_kernel,
    scheduled,
)

MAKERS: dict[str, Callable[[Value], Value]] = {
    "sum": lambda x: ops.sum(x, axis=-2),
    "max": lambda x: ops.max(x, axis=-2),
    "scaled": lambda x: ops.sum(ops.exp(ops.multiply(x, 0.5)), axis=-2),
    "softmax": lambda x: ops.softmax(x, axis=-2),
    "moments": lambda x: ops.var(x, axis=-2),
    "argmax": lambda x: ops.astype(ops.argmax(x, axis=-2), "float32"),
}


@pytest.fixture
def small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips and threads for the small shapes a test can afford."""
    monkeypatch.setattr(plan, "PARALLEL_WORK", 8)
    monkeypatch.setattr(columns, "STRIP_BYTES", 256)
    monkeypatch.setattr(columns, "LEAST_REACH", 0.0)


@pytest.mark.usefixtures("small_caches")
@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("shape", [(17, 5), (1, 70), (19, 131), (16, 64), (2, 9, 33), (3, 0, 8)])
def test_results_are_kept(name: str, shape: tuple[int, ...]) -> None:
    if 0 in shape and name in ("max", "softmax", "argmax"):
        pytest.skip("no maximum of nothing")
    for machine in (SSE2, AVX2, AVX512):
        check(build(MAKERS[name], f(*shape)), machine)


def test_long_columns_are_read_in_strips_some_rows_at_a_time() -> None:
    made = scheduled(only_kernel(lambda x: ops.sum(x, axis=0), f(1000, 4096)), AVX512)
    assert kinds(made)["parallel"] == 1
    assert (columns.STRIP_BYTES // 4,) in {b.shape for b in allocated(made.body)}
    lanes = [x for x in loops(made.body) if x.kind == "vector" and _has_loop(x)]
    (rows,) = [y for x in lanes for y in loops(x.body)]
    assert (rows.kind, rows.extent) == ("unroll", Const(columns.ROWS_AT_ONCE))


def _has_loop(loop: For) -> bool:
    return any(True for _ in loops(loop.body))
