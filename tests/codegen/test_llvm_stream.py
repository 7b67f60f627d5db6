"""Stores past the caches: the same results at any address, and only where they pay."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pellucid.codegen.llvm import render_kernel
from pellucid.codegen.llvm_stream import MACHINES
from pellucid.core.target import Target
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Kernel
from pellucid.loop.parser import parse_kernel
from tests.codegen.native import aligned_bytes, run
from tests.codegen.targets import HOST, each_target

pytestmark = pytest.mark.skipif(HOST.name not in MACHINES, reason="no such stores here")


def kernel(n: int, value: str = "x[i] * 2.0 + 1.0") -> Kernel:
    return parse_kernel(f"""
kernel far(x: f32[{n}]) -> (y: f32[{n}]) {{
  parallel for p in 0..1:
    vector for i in 0..{n}:
      alloc t: f32[] local
      t[] = {value}
      y[i] = t[]
}}
""")


def small_cache(target: Target) -> Target:
    return replace(target, l3_bytes=1024)


def is_streamed(made: Kernel, target: Target) -> bool:
    return "!nontemporal" in render_kernel(made, target, "far")


@each_target
@pytest.mark.parametrize("n", [1024, 1501, 4099])
@pytest.mark.parametrize("offset", [0, 4, 32])
def test_results_at_any_address(n: int, offset: int, target: Target) -> None:
    made, machine = kernel(n), small_cache(target)
    assert is_streamed(made, machine)
    x = np.random.default_rng(0).standard_normal(n, dtype=np.float32)
    want = np.full(n, np.nan, np.float32)
    got = aligned_bytes(4 * n + 64)[offset : offset + 4 * n].view(np.float32)
    run_kernel(made, x, want)
    run(made, machine, x, got)
    np.testing.assert_array_equal(got, want)


NESTED = """
kernel far(x: f32[9, {n}]) -> (y: f32[9, {n}]) {{
  vector for i in 0..{n}:
    alloc s: f32[] local
    s[] = 0.0
    for k in 0..9:
      s[] = s[] + x[k, i]
      y[k, i] = s[]
}}
"""


@each_target
@pytest.mark.parametrize("n", [512, 528, 1001])
@pytest.mark.parametrize("offset", [0, 4])
def test_stores_in_a_loop_inside(n: int, offset: int, target: Target) -> None:
    made, machine = parse_kernel(NESTED.format(n=n)), small_cache(target)
    whole_lines = target.vector_bits == 512 and n % 16 == 0
    assert is_streamed(made, machine) == whole_lines
    x = np.random.default_rng(0).standard_normal((9, n), dtype=np.float32)
    want = np.full((9, n), np.nan, np.float32)
    got = aligned_bytes(36 * n + 64)[offset : offset + 36 * n].view(np.float32).reshape(9, n)
    run_kernel(made, x, want)
    run(made, machine, x, got)
    np.testing.assert_array_equal(got, want)


def test_one_fence_for_all_loops_of_a_function() -> None:
    made = parse_kernel("""
kernel far(x: f32[3, 1024]) -> (y: f32[3, 1024]) {
  for j in 0..3:
    vector for i in 0..1024:
      y[j, i] = x[j, i] + 1.0
}
""")
    llvm = render_kernel(made, small_cache(HOST), "far")
    assert llvm.count("call void @llvm.x86.sse.sfence()") == 1


def test_in_place() -> None:
    n = 2048
    x = aligned_bytes(4 * n).view(np.float32)
    x[:] = np.arange(n)
    run(kernel(n), small_cache(HOST), x, x)
    np.testing.assert_array_equal(x, np.arange(n, dtype=np.float32) * 2 + 1)


def test_small_outputs_and_much_work_keep_to_the_caches() -> None:
    machine = small_cache(HOST)
    assert not is_streamed(kernel(2048), HOST)
    assert not is_streamed(kernel(32), replace(HOST, l3_bytes=64))
    assert is_streamed(kernel(2048, "max(x[i] * x[i] + x[i], 0.0)"), machine)
    assert not is_streamed(kernel(2048, "exp(x[i])"), machine)


def test_what_is_read_again_stays_in_the_caches() -> None:
    text = str(kernel(2048)).replace("y[i] = t[]", "y[i] = t[]\n      y[i] = y[i] + t[]")
    assert not is_streamed(parse_kernel(text), small_cache(HOST))
