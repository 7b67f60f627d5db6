"""Attention's nests keep their meaning under the recipe, on every machine, and get its form."""

from __future__ import annotations

import pytest

from pellucid.core.dtype import float32
from pellucid.core.target import Target
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, TensorType
from pellucid.loop.ir import Kernel
from pellucid.loop.rewrite import loops
from pellucid.loop.verifier import verify_kernel
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops.flash_attention import ATTENTION, ATTENTION_GRAD
from pellucid.schedule.recipes import schedule_kernel
from tests.lower.execution import agree, random_arrays, run_program
from tests.schedule.recipes.test_choose import AVX2, AVX512, NEON, SSE2, target

OPS = {"forward": ATTENTION, "backward": ATTENTION_GRAD}


def _graph(direction: str, sizes: tuple[int, int, int, int, int], causal: bool) -> Graph:
    """One node; sizes are heads, queries, keys, width, depth."""
    heads, queries, keys, width, depth = sizes
    shapes: list[tuple[int, ...]] = [
        (heads, queries, width),
        (heads, keys, width),
        (heads, keys, depth),
    ]
    if direction == "backward":
        shapes += [(heads, queries, depth), (heads, queries), (heads, queries)]
    with GraphBuilder("case") as builder:
        values = [builder.input(TensorType(s, float32)) for s in shapes]
        attrs = {"causal": causal, "scale": 0.4}
        return builder.finish(builder.emit(OPS[direction], values, attrs))


def _scheduled(kernel: Kernel, machine: Target) -> Kernel:
    made = schedule_kernel(kernel, machine)[-1].kernel
    verify_kernel(made)
    return made


@pytest.mark.parametrize("direction", OPS)
@pytest.mark.parametrize(
    ("machine", "sizes", "causal"),
    [
        (AVX512, (1, 70, 141, 2, 3), True),
        (AVX2, (2, 5, 7, 17, 9), False),
        (SSE2, (1, 66, 65, 3, 1), True),
        (NEON, (3, 1, 1, 1, 1), False),
    ],
)
def test_the_meaning_is_kept(
    direction: str, machine: Target, sizes: tuple[int, int, int, int, int], causal: bool
) -> None:
    graph = _graph(direction, sizes, causal)
    arrays = random_arrays(graph)
    got = run_program(lower_graph(graph), arrays, lambda k: _scheduled(k, machine))
    agree(got, interpret(graph, *arrays), 1e-4)


@pytest.mark.parametrize("heads", [1, 3, 16])
@pytest.mark.parametrize("direction", OPS)
def test_every_product_has_a_tile_and_all_nests_share_their_threads(
    direction: str, heads: int
) -> None:
    (call,) = lower_graph(_graph(direction, (heads, 300, 300, 64, 64), True)).calls
    kernel = _scheduled(call.kernel, target(512, 32))
    tiles = [x for x in loops(kernel.body) if x.kind == "unroll" and x.var.endswith("i")]
    products = {"forward": 2, "backward": 5}[direction]
    assert len(tiles) >= 2 * products  # full blocks of keys, and the last
    shared = [x for x in loops(kernel.body) if x.kind == "parallel"]
    (first, *rest) = shared
    assert len(rest) == (4 if direction == "backward" and heads < 8 else 0)
    assert not any(x.kind == "parallel" for x in loops(first.body))
