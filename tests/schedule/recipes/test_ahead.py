"""Rows that several loops read: the same results, and the next row asked for in the second loop."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pellucid import ops
from pellucid.graph.ir import Value
from pellucid.loop.ir import Kernel, Prefetch, Stmt
from pellucid.loop.rewrite import Block, loops
from pellucid.schedule.recipes import ahead, plan
from tests.lower.execution import build
from tests.schedule.recipes.test_choose import AVX2, AVX512, SSE2, check, f, only_kernel, scheduled

MAKERS: dict[str, Callable[[Value], Value]] = {
    "softmax": ops.softmax,
    "log_softmax": ops.log_softmax,
    "layer_norm": ops.layer_norm,
    "argmax": lambda x: ops.astype(ops.argmax(x, axis=-1), "float32"),
}


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("shape", [(17, 5), (1, 70), (19, 131), (3, 2, 33), (0, 8)])
def test_results_are_kept(
    name: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "PARALLEL_WORK", 8)
    monkeypatch.setattr(ahead, "SHORT_ROW_BYTES", 8)
    for machine in (SSE2, AVX2, AVX512):
        check(build(MAKERS[name], f(*shape)), machine)


def test_the_next_row_is_asked_for_once_and_in_the_second_loop() -> None:
    made = scheduled(only_kernel(ops.softmax, f(2048, 1024)), AVX512)
    (loop,) = [x for x in loops(made.body) if any(isinstance(s, Prefetch) for s in x.body)]
    assert loop.var == "j0"
    assert _asked(made) == ["x0"]


@pytest.mark.parametrize("shape", [(2048, 256), (64, 1024)], ids=["short rows", "small array"])
def test_rows_that_come_by_themselves_are_not_asked_for(shape: tuple[int, ...]) -> None:
    assert not _asked(scheduled(only_kernel(ops.softmax, f(*shape)), AVX512))


@pytest.mark.parametrize("axis", [1, None])
def test_what_follows_of_rows_that_are_read_once_is_asked_for(axis: int | None) -> None:
    made = scheduled(only_kernel(lambda x: ops.sum(x, axis=axis), f(2048, 1024)), AVX512)
    assert _asked(made) == ["x0"]
    assert "+ 4096" in str(made)


def test_from_the_last_cache_little_is_asked_for_ahead() -> None:
    made = scheduled(only_kernel(lambda x: ops.sum(x, axis=1), f(200, 1024)), AVX512)
    assert "+ 512" in str(made)
    assert not _asked(scheduled(only_kernel(lambda x: ops.sum(x, axis=1), f(100, 32)), AVX512))


def _asked(kernel: Kernel) -> list[str]:
    return [s.buffer.name for block in _blocks(kernel) for s in block if isinstance(s, Prefetch)]


def _blocks(kernel: Kernel) -> list[Block]:
    blocks: list[tuple[Stmt, ...]] = [loop.body for loop in loops(kernel.body)]
    return blocks
