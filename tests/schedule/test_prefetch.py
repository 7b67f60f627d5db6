"""`prefetch`: a hint in the text, in the code, and nowhere in the result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pellucid.codegen.c99 import render_kernel_c
from pellucid.codegen.llvm import assembly, render_kernel
from pellucid.core.errors import ScheduleError, VerifyError
from pellucid.core.target import Target
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Const, Kernel, Prefetch, Var, iadd, imul
from pellucid.loop.key import kernel_key
from pellucid.loop.parser import parse_kernel
from pellucid.loop.printer import print_kernel
from pellucid.loop.rewrite import walk, with_body
from pellucid.loop.verifier import verify_kernel
from pellucid.schedule.prefetch import prefetch
from tests.codegen.native import run
from tests.codegen.targets import HOST, each_target, poison
from tests.loop.kernels import matmul

AHEAD = (iadd(Var("i"), 1), imul(Var("p"), 16))


def hinted(near: bool = True) -> Kernel:
    return prefetch(matmul(7, 40, 9), "A", "i", AHEAD, [("p", 3)], near)


def test_the_text_reads_back() -> None:
    for near in (True, False):
        kernel = hinted(near)
        assert f"prefetch A[i + 1, p * 16]{'' if near else ' far'}\n" in print_kernel(kernel)
        assert parse_kernel(print_kernel(kernel)) == kernel


@each_target
def test_results_stay(target: Target) -> None:
    kernel = hinted()
    verify_kernel(kernel)
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 40)).astype("f4"), rng.normal(size=(40, 9)).astype("f4")
    want, interpreted, got = (poison((7, 9), kernel.params[-1].dtype) for _ in range(3))
    run_kernel(matmul(7, 40, 9), a, b, want)
    run_kernel(kernel, a, b, interpreted)
    run(kernel, target, a, b, got)
    np.testing.assert_array_equal(interpreted, want)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_code_asks_for_the_line_and_c_leaves_it_out() -> None:
    kernel = hinted()
    text = render_kernel(kernel, HOST, "k")
    assert text.count("call void @llvm.prefetch") == 3  # one per step of the unrolled loop
    if HOST.name.startswith("avx"):
        assert "prefetcht0" in assembly(text, HOST)
        assert "prefetcht1" in assembly(render_kernel(hinted(near=False), HOST, "k"), HOST)
    assert "prefetch" not in render_kernel_c(kernel)


def test_keys_tell_hints_apart() -> None:
    keys = {kernel_key(k) for k in (matmul(7, 40, 9), hinted(), hinted(near=False))}
    assert len(keys) == 3


def test_refused() -> None:
    kernel = matmul(7, 40, 9)
    with pytest.raises(ScheduleError, match=r"no loop over \['j', 'p'\] is around 'i'"):
        prefetch(kernel, "A", "i", (Var("j"), Var("p")))
    with pytest.raises(ScheduleError, match="there is no buffer 'D'"):
        prefetch(kernel, "D", "i", AHEAD)
    with pytest.raises(ScheduleError, match="there is no loop 'q'"):
        prefetch(kernel, "A", "q", AHEAD)


def test_verifier_wants_an_element_of_a_known_buffer() -> None:
    kernel = hinted()
    found = [s for s in walk(kernel.body) if isinstance(s, Prefetch)]
    assert len(found) == 1
    short = replace(found[0], indices=(Const(0),))
    with pytest.raises(VerifyError, match="A needs one index per axis"):
        verify_kernel(with_body(kernel, (short, *kernel.body)))
