"""Kernels as C, compiled by the system's compiler where there is one, against the interpreter."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.codegen.c99 import c_scratch_bytes, render_kernel_c, render_kernels_c
from pellucid.core.dtype import REAL, DType, as_dtype, bfloat16, float16, float32, int64
from pellucid.core.errors import LoweringError
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    For,
    If,
    Kernel,
    Load,
    Store,
    Var,
    compare,
    iadd,
    ifloordiv,
    imin,
    imod,
    imul,
    isub,
)
from tests.codegen.functions import (
    function_inputs,
    function_kernel,
    poisoned_outputs,
    wrong_functions,
)
from tests.schedule.recipes.test_mixed import operands, product

CC = shutil.which("cc")
needs_cc = pytest.mark.skipif(CC is None, reason="no C compiler `cc` on this machine")
C_DTYPES = tuple(d for d in REAL if not (d.is_float and d.bits < 32))
I, J = Var("i"), Var("j")  # noqa: E741 the loop variables, as in formulas


def run_c(kernel: Kernel, folder: Path, *arrays: NDArray[Any]) -> None:
    """Compiles with every warning an error and runs in place."""
    source, library = folder / "kernel.c", folder / "kernel.so"
    source.write_text(render_kernel_c(kernel, "tested"))
    flags = "-std=c99 -O2 -Wall -Wextra -Werror -pedantic -ffp-contract=off"
    command = [str(CC), *flags.split(), "-shared", "-fPIC", str(source), "-o", str(library), "-lm"]
    subprocess.run(command, check=True)
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in arrays]
    if size := c_scratch_bytes(kernel):
        pointers.append(ctypes.c_void_p(np.full(size, 0xA5, np.uint8).ctypes.data))
    ctypes.CDLL(str(library)).tested(*pointers)


@needs_cc
@pytest.mark.parametrize("dtype", C_DTYPES, ids=str)
def test_functions_equal_the_interpreter(dtype: DType, tmp_path: Path) -> None:
    kernel = function_kernel(dtype, "serial", C_DTYPES)
    inputs, outputs = function_inputs(dtype), poisoned_outputs(kernel)
    run_c(kernel, tmp_path, *inputs, *outputs)
    assert not wrong_functions(kernel, inputs, outputs)


def row_kernel(n: int) -> Kernel:
    """Statements and index forms of every kind."""
    a, o = Buffer("double", (n, 6), float32), Buffer("o-1", (6, n), float32)
    small, large = Buffer("acc", (2,), float32, "local"), Buffer("t", (n, 6), float32, "temp")
    flat = iadd(imul(J, n), I)
    fill = For("j", Const(6), (Store(large, (I, J), Load(a, (I, J))),), "vector")
    at = (Const(1),)
    term = Call("add", (Load(small, at), Load(large, (iadd(I, J), Const(2)))), float32)
    tail = For("j", imin(4, isub(n, I)), (Store(small, at, term),), "unroll")
    out = For("j", Const(6), (
        If(compare("lt", imod(isub(I, J), 3), 1),
           (Store(o, (J, I), Load(small, (Const(1),))),),
           (Store(o, (J, I), Load(large, (ifloordiv(flat, 6), imod(flat, 6)))),)),
    ))  # fmt: skip
    work = (Store(small, (Const(1),), Const(0.1, float32)), tail, out)
    loops = (For("i", Const(n), (fill,), "parallel"), For("i", Const(n), (Alloc(small, work),)))
    return Kernel("rows", (a, o), 1, (Alloc(large, loops),))


@needs_cc
@pytest.mark.parametrize("n", [1, 5, 12])
def test_statements_equal_the_interpreter(n: int, tmp_path: Path) -> None:
    kernel = row_kernel(n)
    given = np.random.default_rng(n).normal(size=(n, 6)).astype(np.float32)
    wanted, got = np.full((6, n), np.nan, np.float32), np.full((6, n), np.nan, np.float32)
    run_kernel(kernel, given, wanted)
    run_c(kernel, tmp_path, given, got)
    np.testing.assert_array_equal(got, wanted)


@needs_cc
@pytest.mark.parametrize("pair", [("i8", "i8"), ("u8", "i8"), ("u8", "u8")], ids=str)
def test_sums_of_narrow_products_are_exact_and_wrap(pair: tuple[str, str], tmp_path: Path) -> None:
    kernel = product((3, 5, 70000), (as_dtype(pair[0]), as_dtype(pair[1])))
    a, b = operands(kernel)
    a[0], b[:, 0] = 255 if pair[0] == "u8" else -128, 255 if pair[1] == "u8" else -128
    got = np.full((3, 5), 99, np.int32)
    run_c(kernel, tmp_path, a, b, got)
    np.testing.assert_array_equal(got, (a.astype(np.int64) @ b.astype(np.int64)).astype(np.int32))


def test_text_of_a_small_kernel() -> None:
    x, y = Buffer("x", (4,), float32), Buffer("y", (2, 4), float32)
    store = Store(y, (I, J), Call("mul", (Load(x, (J,)), Const(0.1, float32)), float32))
    kernel = Kernel("scale", (x, y), 1, (For("i", Const(2), (For("j", Const(4), (store,)),)),))
    assert (
        render_kernel_c(kernel)
        == """\
#include <math.h>
#include <stdint.h>
#include <string.h>

void scale(const float *restrict x, float *restrict y) {
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 4; ++j) {
      y[i * 4 + j] = (x[j] * 0x1.99999ap-4f);
    }
  }
}
"""
    )


def test_helpers_are_shared_between_kernels() -> None:
    a = Buffer("a", (3,), int64)
    body = Store(a, (I,), Call("shl", (Load(a, (I,)), Load(a, (I,))), int64))
    kernel = Kernel("k", (a,), 1, (For("i", Const(3), (body,)),))
    text = render_kernels_c({"first": kernel, "second": kernel})
    assert text.count("static inline int64_t pellucid_shl_i64") == 1
    assert "void first(" in text
    assert "void second(" in text


@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=str)
def test_half_types_are_refused(dtype: DType) -> None:
    a = Buffer("a", (3,), dtype)
    kernel = Kernel("k", (a,), 1, (Store(a, (Const(0),), Const(1.0, dtype)),))
    with pytest.raises(LoweringError, match=f"C99 has no type for {dtype}"):
        render_kernel_c(kernel)
