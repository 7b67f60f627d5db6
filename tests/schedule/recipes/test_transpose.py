"""Operands read across their rows are turned in blocks, whatever the order of the axes."""

from __future__ import annotations

import pytest

from pellucid import ops
from pellucid.loop.rewrite import loops
from pellucid.schedule.recipes import plan
from tests.lower.execution import build
from tests.schedule.recipes.test_choose import AVX2, AVX512, check, f, kinds, only_kernel, scheduled


@pytest.mark.parametrize(
    ("shape", "order"),
    [((33, 70), (1, 0)), ((3, 20, 17), (0, 2, 1)), ((18, 3, 40), (2, 1, 0)), ((16, 5), (1, 0)),
     ((2, 9, 16, 20), (3, 1, 2, 0)), ((0, 16), (1, 0)), ((1, 64), (1, 0))],
)  # fmt: skip
def test_results_are_kept(
    shape: tuple[int, ...], order: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "PARALLEL_WORK", 8)
    for machine in (AVX2, AVX512):
        check(build(lambda x: ops.multiply(ops.transpose(x, order), 2.0), f(*shape)), machine)


def test_rows_are_read_in_vectors() -> None:
    made = scheduled(only_kernel(lambda x: ops.transpose(x, (1, 0)), f(512, 512)), AVX512)
    assert kinds(made) == {"parallel": 1, "serial": 1, "vector": 1, "unroll": 1}
    (lane,) = [x for x in loops(made.body) if x.kind == "vector"]
    (column,) = loops(lane.body)
    assert column.kind == "unroll"


def test_short_rows_and_large_bodies_are_left_alone() -> None:
    for made in (
        scheduled(only_kernel(lambda x: ops.transpose(x, (1, 0)), f(512, 7)), AVX512),
        scheduled(only_kernel(lambda x: ops.gelu(ops.sin(ops.sin(ops.transpose(x, (1, 0))))),
                              f(512, 512)), AVX512),
    ):  # fmt: skip
        assert "unroll" not in kinds(made)
