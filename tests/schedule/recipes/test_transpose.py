"""Operands read across their rows are turned in blocks, whatever the order of the axes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pellucid import ops
from pellucid.compile import compile_graph
from pellucid.core.config import current_config
from pellucid.core.dtype import DType, float16, int8, uint16
from pellucid.graph.ir import TensorType
from pellucid.loop.ir import Const
from pellucid.loop.rewrite import loops
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.passes import group_fusion
from pellucid.runtime.executable import Executable
from pellucid.schedule.recipes import plan
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

NO_CACHE = dataclasses.replace(current_config(), cache=False)


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


@pytest.mark.parametrize("taps", [8, 9, 15, 16, 25])
def test_columns_that_do_not_fill_a_block_are_turned_too(taps: int) -> None:
    graph = build(lambda x: ops.transpose(x, (0, 2, 1)), f(3, 32, taps))
    for machine in (AVX2, AVX512):
        check(graph, machine)
    (call,) = lower_graph(group_fusion.run(graph)).calls
    made = scheduled(call.kernel, AVX512)
    assert any(x.kind == "unroll" for x in loops(made.body))


def test_rows_are_read_in_vectors() -> None:
    made = scheduled(only_kernel(lambda x: ops.transpose(x, (1, 0)), f(512, 512)), AVX512)
    assert kinds(made) == {"parallel": 1, "serial": 1, "vector": 1, "unroll": 1}
    (lane,) = [x for x in loops(made.body) if x.kind == "vector"]
    (column,) = loops(lane.body)
    assert column.kind == "unroll"


@pytest.mark.parametrize("dtype", [int8, uint16, float16], ids=str)
@pytest.mark.parametrize("shape", [(33, 70), (16, 300), (150, 23)])
def test_narrow_elements(
    dtype: DType, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "PARALLEL_WORK", 8)
    graph = build(lambda x: ops.transpose(x, (1, 0)), TensorType(shape, dtype))
    for machine in (SSE2, AVX2, AVX512):
        check(graph, machine)
    x = np.random.default_rng(0).integers(0, 100, shape).astype(dtype.numpy)
    got = Executable(compile_graph(graph, config=NO_CACHE)).run([x])[0]
    np.testing.assert_array_equal(got, x.T)


def test_narrow_elements_go_in_blocks_of_sixteen() -> None:
    wide = TensorType((256, 256), int8)
    made = scheduled(only_kernel(lambda x: ops.transpose(x, (1, 0)), wide), AVX512)
    assert {x.extent for x in loops(made.body) if x.kind in ("vector", "unroll")} == {Const(16)}


def test_threads_share_the_columns_of_few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PARALLEL_WORK", 8)
    graph = build(lambda x: ops.transpose(x, (1, 0)), f(24, 512))
    check(graph, AVX512)
    made = scheduled(only_kernel(lambda x: ops.transpose(x, (1, 0)), f(24, 512)), AVX512)
    (shared,) = [x for x in loops(made.body) if x.kind == "parallel"]
    assert shared.extent == Const(plan.CHUNKS_PER_CORE * AVX512.cores)


def test_short_rows_and_large_bodies_are_left_alone() -> None:
    for made in (
        scheduled(only_kernel(lambda x: ops.transpose(x, (1, 0)), f(512, 7)), AVX512),
        scheduled(only_kernel(lambda x: ops.gelu(ops.sin(ops.sin(ops.transpose(x, (1, 0))))),
                              f(512, 512)), AVX512),
    ):  # fmt: skip
        assert "unroll" not in kinds(made)
