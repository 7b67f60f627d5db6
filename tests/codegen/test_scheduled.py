"""Lowered and scheduled kernels, compiled, against the interpreter on the kernels as lowered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pellucid import ops
from pellucid.core.dtype import float32
from pellucid.core.target import Target
from pellucid.graph.ir import GraphBuilder, TensorType, Value
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Const, Kernel, Prefetch
from pellucid.loop.rewrite import loops, walk
from pellucid.loop.verifier import verify_kernel
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.passes import group_fusion
from pellucid.schedule.recipes import schedule_kernel
from tests.codegen.native import run
from tests.codegen.targets import each_target, poison

CASES: dict[str, tuple[Callable[..., Value], list[tuple[int, ...]]]] = {
    "matmul": (ops.matmul, [(37, 53), (53, 29)]),
    "aligned_matmul": (ops.matmul, [(64, 48), (48, 64)]),
    "softmax": (ops.softmax, [(9, 77)]),
    "gelu": (ops.gelu, [(3, 101)]),
    "column_sums": (lambda x: ops.sum(x, axis=0), [(33, 19)]),
    "long_column_sums": (lambda x: ops.sum(x, axis=0), [(301, 77)]),
    "long_column_maxima": (lambda x: ops.max(x, axis=1), [(3, 129, 200)]),
    "long_rows": (lambda x: ops.var(x, axis=1), [(3, 1043)]),
    "transpose": (lambda x: ops.transpose(x, (1, 0)), [(33, 19)]),
    "large_transpose": (lambda x: ops.transpose(x, (1, 0)), [(130, 141)]),
    "turned_batches": (lambda x: ops.transpose(x, (2, 1, 0)), [(33, 3, 40)]),
    "turned_operand": (
        lambda x, y: ops.add(ops.transpose(x, (1, 0)), ops.relu(y)),
        [(64, 50), (50, 64)],
    ),
    "conv": (
        lambda x, w: ops.conv2d(x, w, padding=((1, 1), (1, 1))),
        [(2, 3, 9, 9), (5, 3, 3, 3)],
    ),
    "few_dot_products": (
        lambda a, b: ops.relu(ops.matmul(a, ops.transpose(b, (1, 0)))),
        [(6, 96), (3, 96)],
    ),
    "few_dot_products_of_images": (
        lambda a, b: ops.einsum("nixy,njxy->ij", a, b),
        [(2, 3, 4, 48), (2, 2, 4, 48)],
    ),
    "argmax": (lambda x: ops.argmax(x, axis=1), [(7, 40)]),
}


def kernels(name: str) -> list[Kernel]:
    make, shapes = CASES[name]
    with GraphBuilder(name) as builder:
        out = make(*(builder.input(TensorType(s, float32)) for s in shapes))
    return [call.kernel for call in lower_graph(builder.finish((out,))).calls]


def inputs_of(kernel: Kernel) -> list[Any]:
    rng = np.random.default_rng(0)
    given = kernel.params[: len(kernel.params) - kernel.outputs]
    return [
        (rng.uniform(-1, 1, b.shape) if b.dtype.is_float else rng.integers(0, 2, b.shape)).astype(
            b.dtype.numpy
        )
        for b in given
    ]


@each_target
@pytest.mark.parametrize("name", CASES)
def test_compiled_schedule_equals_the_naive_kernel(name: str, target: Target) -> None:
    for kernel in kernels(name):
        inputs = inputs_of(kernel)
        outputs = kernel.params[len(inputs) :]
        wanted, got = ([poison(b.shape, b.dtype) for b in outputs] for _ in range(2))
        run_kernel(kernel, *inputs, *wanted)
        steps = schedule_kernel(kernel, target)
        run(steps[-1].kernel if steps else kernel, target, *inputs, *got)
        for a, b in zip(wanted, got, strict=True):
            np.testing.assert_allclose(b, a, rtol=2e-5, atol=2e-5, err_msg=kernel.name)


@each_target
@pytest.mark.parametrize("turned", ["", "left", "right", "both"])
@pytest.mark.parametrize("rest", [(0, 0, 0), (1, 1, 1), (5, 40, 17)])
def test_products_that_outgrow_the_caches_are_blocked(
    target: Target, turned: str, rest: tuple[int, int, int]
) -> None:
    width = 2 * target.lanes(float32)
    small = replace(target, l2_bytes=8 * width * 4 * 64, cores=2)
    m, k, n = (size + more for size, more in zip((150, 192, 16 * width), rest, strict=True))
    turn_a, turn_b = turned in ("left", "both"), turned in ("right", "both")
    left, right = ((k, m) if turn_a else (m, k)), ((n, k) if turn_b else (k, n))

    def make(a: Value, b: Value, c: Value) -> Value:
        a = ops.transpose(a, (1, 0)) if turn_a else a
        b = ops.transpose(b, (1, 0)) if turn_b else b
        return ops.maximum(ops.add(ops.matmul(a, b), c), 0.0)

    with GraphBuilder("blocked") as builder:
        out = make(*(builder.input(TensorType(s, float32)) for s in (left, right, (n,))))
    program = lower_graph(group_fusion.run(builder.finish((out,))))
    (call,) = program.calls
    kernel = schedule_kernel(call.kernel, small)[-1].kernel
    if turned != "both":  # its columns are too few
        (extent,) = {x.extent for x in loops(kernel.body) if x.var == "ko"}
        assert isinstance(extent, Const)
        assert extent.value >= 2  # how many, depends on how many tiles lie side by side
        assert any(isinstance(s, Prefetch) for s in walk(kernel.body))
    verify_kernel(kernel)
    inputs, got = inputs_of(call.kernel), poison((m, n), float32)
    run(kernel, small, *inputs, got)
    given = dict(zip(call.args, inputs, strict=False))
    a, b, c = (given[slot].astype(np.float64) for slot in program.inputs)
    want = np.maximum(
        (a.T if turned in ("left", "both") else a) @ (b.T if turned in ("right", "both") else b)
        + c,
        0,
    )
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)
