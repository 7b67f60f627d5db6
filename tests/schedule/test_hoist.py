"""What depends on constants alone is split off, and both parts together are the kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pellucid import ops
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Value
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Kernel
from pellucid.loop.parser import parse_kernel
from pellucid.loop.rewrite import loops
from pellucid.loop.verifier import verify_kernel
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops.conv import emit_conv
from pellucid.passes import group_fusion
from pellucid.schedule.hoist import hoist
from pellucid.schedule.recipes import schedule_kernel
from tests.lower.execution import build
from tests.schedule.recipes.test_choose import TARGETS, f

Array = NDArray[Any]

PRODUCT = """
kernel product(A: f32[3, 4], B: f32[4, 5]) -> (C: f32[3, 5]) {
  alloc Bp: f32[5, 4] temp:
    parallel for j in 0..5:
      for k in 0..4:
        Bp[j, k] = B[k, j]
    for i in 0..3:
      for j in 0..5:
        C[i, j] = 0.0
        for k in 0..4:
          C[i, j] = C[i, j] + A[i, k] * Bp[j, k]
}
"""


def run_hoisted(kernel: Kernel, constants: set[str], arrays: dict[str, Array]) -> list[Array]:
    """The packs, then the rest, by the loop interpreter; results poisoned before."""
    made = hoist(kernel, constants)
    verify_kernel(made.kernel)
    values = dict(arrays)
    for pack in made.packs:
        verify_kernel(pack)
        assert all(x.kind != "parallel" for x in loops(pack.body))
        *sources, copy = pack.params
        assert {p.name for p in sources} <= constants
        values[copy.name] = np.full(copy.shape, np.nan, copy.dtype.numpy)
        run_kernel(pack, *(values[p.name] for p in sources), values[copy.name])
    for out in made.kernel.params[-made.kernel.outputs :]:
        values[out.name] = np.full(out.shape, np.nan, out.dtype.numpy)
    run_kernel(made.kernel, *(values[p.name] for p in made.kernel.params))
    return [values[p.name] for p in made.kernel.params[-made.kernel.outputs :]]


def test_a_copy_of_a_constant_is_a_kernel_of_its_own() -> None:
    kernel = parse_kernel(PRODUCT)
    made = hoist(kernel, {"B"})
    assert [p.name for p in made.kernel.params] == ["A", "Bp", "C"]
    assert [[p.name for p in pack.params] for pack in made.packs] == [["B", "Bp"]]
    rng = np.random.default_rng(0)
    a, b = (rng.random(s, np.float32) for s in ((3, 4), (4, 5)))
    (got,) = run_hoisted(kernel, {"B"}, {"A": a, "B": b})
    np.testing.assert_allclose(got, a @ b, rtol=1e-6)


@pytest.mark.parametrize("constants", [set(), {"A"}])
def test_what_is_not_known_stays(constants: set[str]) -> None:
    kernel = parse_kernel(PRODUCT)
    made = hoist(kernel, constants)
    assert made.kernel is kernel
    assert not made.packs


def test_a_copy_that_is_written_again_stays() -> None:
    text = PRODUCT.replace("    for i in 0..3:", "    Bp[0, 0] = A[0, 0]\n    for i in 0..3:", 1)
    kernel = parse_kernel(text)
    assert hoist(kernel, {"B"}).kernel is kernel


def product(x: Value, w: Value, b: Value) -> Value:
    return ops.relu(ops.add(ops.matmul(x, w), b))


def turned(x: Value, w: Value, b: Value) -> Value:
    return ops.add(ops.matmul(x, ops.transpose(w, (1, 0))), b)


def from_left(x: Value, w: Value, b: Value) -> Value:
    return ops.add(ops.matmul(ops.transpose(w, (1, 0)), ops.transpose(x, (1, 0))), b)


SIZES = st.sampled_from((1, 2, 3, 5, 7, 8, 13, 16, 17, 31, 33, 40))


@settings(max_examples=25, deadline=None)
@given(m=SIZES, n=SIZES, k=SIZES, kind=st.sampled_from("wtl"), machine=st.sampled_from(TARGETS))
def test_products_with_constant_weights(m: int, n: int, k: int, kind: str, machine: Any) -> None:
    make = {"w": product, "t": turned, "l": from_left}[kind]
    w = f(n, k) if kind == "t" else f(k, n)
    bias = f(m) if kind == "l" else f(n)
    _check(build(make, f(m, k), w, bias), machine)


@settings(max_examples=25, deadline=None)
@given(
    c=st.integers(1, 3), o=st.sampled_from((1, 3, 6, 17)), size=st.integers(3, 12),
    taps=st.integers(1, 3), grouped=st.booleans(), machine=st.sampled_from(TARGETS),
)  # fmt: skip
def test_convolutions_with_constant_weights(
    *, c: int, o: int, size: int, taps: int, grouped: bool, machine: Any
) -> None:
    groups, stride = c if grouped else 1, 1 + size % 2

    def make(x: Value, w: Value) -> Value:
        return ops.relu(emit_conv(x, w, (stride, stride), (1, 1), groups))

    _check(build(make, f(2, c, size, size + 1), f(o * groups, c // groups, taps, taps)), machine)


SMALL = replace(TARGETS[-1], l2_bytes=1 << 13)  # what outgrows its cache is small enough to test


@pytest.mark.parametrize("kind", ["w", "t"])
@pytest.mark.parametrize("k", [64, 192, 250])
def test_large_products_with_constant_weights(kind: str, k: int) -> None:
    make, w = (product, f(k, 300)) if kind == "w" else (turned, f(300, k))
    graph = build(make, f(40, k), w, f(300))
    kernel = _check(graph, SMALL)
    assert "prefetch" in str(kernel)  # in blocks
    (pack,) = hoist(kernel, {"x1"}).packs
    assert pack.params[-1].size >= 300 * k


def _check(graph: Any, machine: Any) -> Kernel:
    (call,) = lower_graph(group_fusion.run(graph)).calls
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=v.shape).astype(np.float32) for v in graph.inputs]
    named = {
        p.name: arrays[a].reshape(p.shape)
        for p, a in zip(call.kernel.params, call.args, strict=True)
        if a < len(arrays)
    }
    known = {p.name for p, a in zip(call.kernel.params, call.args, strict=True) if a == 1}
    kernel = schedule_kernel(call.kernel, machine, known)[-1].kernel
    (got,) = run_hoisted(kernel, known, named)
    (wanted,) = interpret(graph, *arrays)
    np.testing.assert_allclose(got.reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-4)
    return kernel
