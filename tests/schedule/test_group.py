"""Products of narrow numbers grouped into words: equal sums, whatever the signs and the length."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.core.errors import ScheduleError
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Kernel
from pellucid.loop.parser import parse_kernel
from pellucid.loop.rewrite import loops
from pellucid.loop.verifier import verify_kernel
from pellucid.schedule.group import group


def product(a: str, b: str, depth: int, total: str = "i32") -> Kernel:
    return parse_kernel(f"""
kernel product(A: {a}[3, {depth}], B: {b}[{depth}, 5]) -> (C: {total}[3, 5]) {{
  for i in 0..3:
    for j in 0..5:
      alloc s: {total}[] local
      s[] = {total}(0)
      for k in 0..{depth}:
        s[] = s[] + cast(A[i, k], {total}) * cast(B[k, j], {total})
      C[i, j] = s[]
}}
""")


def results(kernel: Kernel) -> NDArray[Any]:
    rng = np.random.default_rng(1)
    arrays = []
    for buffer in kernel.params[:2]:
        if buffer.dtype.is_float:
            arrays.append(rng.normal(size=buffer.shape).astype(buffer.dtype.numpy))
            continue
        limits = np.iinfo(buffer.dtype.name)
        extremes = [limits.min, limits.max, limits.min, 0, 1]
        arrays.append(rng.choice(extremes, buffer.shape).astype(buffer.dtype.numpy))
    out = np.full((3, 5), 99, kernel.params[2].dtype.numpy)
    run_kernel(kernel, *arrays, out)
    return out


@pytest.mark.parametrize(
    ("fn", "a", "b", "moved"),
    [
        ("dot4s", "i8", "i8", ""), ("dot4u", "u8", "i8", ""), ("dot4u", "i8", "u8", ""),
        ("dot4u", "i8", "i8", "A"), ("dot4u", "i8", "i8", "B"), ("dot4u", "u8", "u8", "A"),
        ("dot4u", "u8", "u8", "B"), ("dot4s", "u8", "i8", "A"), ("dot4s", "i8", "u8", "B"),
        ("dot2s", "i8", "u8", ""), ("dot2s", "u8", "u8", ""), ("dot2s", "i16", "i16", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("depth", [1, 3, 4, 8, 13])
def test_integers_are_exact(fn: str, a: str, b: str, moved: str, depth: int) -> None:
    kernel = product(a, b, depth)
    made = group(kernel, "k", "k", fn, moved)
    verify_kernel(made)
    np.testing.assert_array_equal(results(made), results(kernel))
    assert ("kt" in {x.var for x in loops(made.body)}) == (depth % (4 if "4" in fn else 2) != 0)


@pytest.mark.parametrize("depth", [2, 7, 64])
def test_bfloat16_is_as_near(depth: int) -> None:
    kernel = product("bf16", "bf16", depth, "f32")
    made = group(kernel, "k", "k", "dot2b")
    verify_kernel(made)
    np.testing.assert_allclose(results(made), results(kernel), rtol=1e-5, atol=1e-5)


def test_a_nest_of_reductions_is_grouped_inside() -> None:
    kernel = parse_kernel("""
kernel product(A: i8[3, 4, 9], B: i8[4, 9, 5]) -> (C: i32[3, 5]) {
  for i in 0..3:
    for j in 0..5:
      C[i, j] = i32(0)
      for c in 0..4:
        for k in 0..9:
          C[i, j] = C[i, j] + cast(A[i, c, k], i32) * cast(B[c, k, j], i32)
}
""")
    made = group(kernel, "c", "k", "dot4u", "A")
    verify_kernel(made)
    np.testing.assert_array_equal(results(made), results(kernel))


@pytest.mark.parametrize(
    ("fn", "a", "b", "moved", "text"),
    [
        ("dot4u", "i8", "i8", "", "dot4u does not multiply these"),
        ("dot4s", "u8", "u8", "A", "dot4s does not multiply these"),
        ("dot4u", "i16", "i8", "A", "dot4u does not multiply these"),
        ("dot2s", "i32", "i8", "", "dot2s does not multiply i32"),
        ("dot2b", "i8", "i8", "", "dot2b does not multiply i8"),
    ],
)
def test_what_does_not_fit_is_refused(fn: str, a: str, b: str, moved: str, text: str) -> None:
    with pytest.raises(ScheduleError, match=text):
        group(product(a, b, 8), "k", "k", fn, moved)


@pytest.mark.parametrize(("var", "inner"), [("i", "k"), ("k", "j"), ("j", "j")])
def test_other_nests_are_refused(var: str, inner: str) -> None:
    with pytest.raises(ScheduleError, match="group"):
        group(product("i8", "i8", 8), var, inner, "dot4s")
