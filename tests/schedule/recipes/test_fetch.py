"""What is asked for ahead: the next panel of weights, and each of its lines once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pellucid import ops
from pellucid.core.target import Target
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, Value
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import For, Kernel, Prefetch
from pellucid.loop.rewrite import constant, loops, walk
from pellucid.loop.verifier import verify_kernel
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.passes import group_fusion
from pellucid.schedule.recipes import schedule_kernel
from tests.lower.execution import build, random_arrays
from tests.schedule.recipes.test_choose import AVX2, AVX512, f


def _product(rows: int, inner: int, columns: int) -> tuple[Graph, Kernel]:
    def make(x: Value, w: Value, b: Value) -> Value:
        return ops.relu(ops.add(ops.matmul(x, w), b))

    graph = group_fusion.run(build(make, f(rows, inner), f(inner, columns), f(columns)))
    (call,) = lower_graph(graph).calls
    return graph, call.kernel


def _fetching(kernel: Kernel, machine: Target) -> tuple[Kernel, list[Prefetch]]:
    weights = max(kernel.params[:-1], key=lambda b: b.nbytes).name
    made = schedule_kernel(kernel, machine, {weights})[-1].kernel
    verify_kernel(made)
    name = f"{weights}p"
    found = [s for s in walk(made.body) if isinstance(s, Prefetch) and s.buffer.name == name]
    return made, found


@pytest.mark.parametrize("machine", [AVX2, AVX512], ids=lambda t: t.name)
@pytest.mark.parametrize("shape", [(49, 160, 192), (33, 48, 100), (30, 40, 96)], ids=str)
def test_the_next_panel_is_asked_for(shape: tuple[int, int, int], machine: Target) -> None:
    graph, kernel = _product(*shape)
    made, found = _fetching(kernel, replace(machine, l1_bytes=1 << 10))
    assert found
    packed, arrays = found[0].buffer, random_arrays(graph)
    out = np.full(kernel.params[-1].shape, np.nan, np.float32)
    run_kernel(made, *arrays, out)
    np.testing.assert_allclose(out, interpret(graph, *arrays)[0], rtol=1e-4, atol=1e-4)
    # one loop over row tiles asks for a whole panel, and for less than two
    line = 64 // packed.dtype.itemsize
    whole = packed.shape[1] * -(-packed.shape[2] // line)
    (tiles,) = {x.extent for x in loops(made.body) if x.var.startswith("i0o") and "_" not in x.var}
    count = next(constant(x.extent) for x in loops(made.body) if x.var in ("kp", "k0os"))
    each = next(constant(x.extent) for x in walk(made.body) if isinstance(x, For) and x.var == "pw")
    asked = (constant(tiles) or 0) * (count or 0) * (each or 0)
    assert whole <= asked < whole + (constant(tiles) or 0) * (count or 0)


def test_small_literals_and_parameters_are_not_asked_for() -> None:
    _, kernel = _product(49, 32, 64)
    assert not _fetching(kernel, AVX512)[1]
    _, kernel = _product(49, 160, 192)
    steps = schedule_kernel(kernel, replace(AVX512, l1_bytes=1 << 10))
    names = {s.buffer.name for s in walk(steps[-1].kernel.body) if isinstance(s, Prefetch)}
    assert not any(n.endswith("p") for n in names)
