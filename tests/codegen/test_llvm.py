"""Targets, entries and the way from text to object code."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest

from pellucid.codegen.llvm import (
    KernelArguments,
    assembly,
    compile_ir,
    render_entry,
    render_kernel,
)
from pellucid.codegen.llvm_entry import LONG_PROGRAM
from pellucid.core.dtype import float32
from pellucid.core.errors import CompileError
from pellucid.loop.ir import Buffer, Call, Const, Expr, For, Kernel, Load, Store, Var
from tests.codegen.native import link
from tests.codegen.targets import HOST

N = 40


def unary(fn: str, *rest: Expr) -> Kernel:
    a, o, i = Buffer("a", (N,), float32), Buffer("o", (N,), float32), Var("i")
    store = Store(o, (i,), Call(fn, (Load(a, (i,)), *rest), float32))
    return Kernel(fn, (a, o), 1, (For("i", Const(N), (store,), "vector"),))


def test_host_target_is_a_real_machine() -> None:
    assert HOST.vector_bits in (128, 256, 512)
    assert HOST.vector_registers in (16, 32)
    assert HOST.cores >= 1
    assert 4096 <= HOST.l1_bytes <= HOST.l2_bytes <= max(HOST.l2_bytes, HOST.l3_bytes)
    assert HOST.cpu


@pytest.mark.parametrize("profiled", [False, True])
def test_entry_runs_the_calls_in_order(profiled: bool) -> None:
    double = unary("mul", Const(2.0, float32))
    increment = unary("add", Const(1.0, float32))
    calls = [
        KernelArguments(symbol="double", slots=(0, 1)),
        KernelArguments(symbol="increment", slots=(1, 2)),
    ]
    texts = [
        render_kernel(double, HOST, "double"),
        render_kernel(increment, HOST, "increment"),
        render_entry(calls, "main_entry", profiled),
    ]
    library = link([compile_ir(t, HOST) for t in texts], ["main_entry"])
    arrays = [np.arange(N, dtype=np.float32), *(np.zeros(N, np.float32) for _ in range(2))]
    table = np.array([a.ctypes.data for a in arrays])
    times = np.zeros(4, np.int64)
    pointers = [table.ctypes.data, times.ctypes.data][: 1 + profiled]
    library.function("main_entry", *[ctypes.c_void_p] * len(pointers))(*pointers)
    np.testing.assert_array_equal(arrays[2], arrays[0] * 2 + 1)
    if profiled:
        assert times[0] > 0
        assert (np.diff(times) >= 0).all()


@pytest.mark.parametrize("profiled", [False, True])
def test_a_long_program_is_a_list_of_calls(profiled: bool) -> None:
    steps = 2 * LONG_PROGRAM
    kernels = {
        "double": unary("mul", Const(2.0, float32)),
        "increment": unary("add", Const(1.0, float32)),
    }
    names = ["double" if (k * k) % 3 == 1 else "increment" for k in range(steps)]
    calls = [
        KernelArguments(symbol=name, slots=(k % 3, (k + 1) % 3), scratch=None)
        for k, name in enumerate(names)
    ]
    entry = render_entry(calls, "main_entry", profiled)
    assert entry.count("call void @double(") == entry.count("call void @increment(") == 1
    texts = [*(render_kernel(kernel, HOST, name) for name, kernel in kernels.items()), entry]
    library = link([compile_ir(t, HOST) for t in texts], ["main_entry"])
    arrays = [np.full(N, 0.001, np.float32), *(np.zeros(N, np.float32) for _ in range(2))]
    table = np.array([a.ctypes.data for a in arrays])
    times = np.zeros(2 * steps, np.int64)
    pointers = [table.ctypes.data, times.ctypes.data][: 1 + profiled]
    wanted = np.float32(0.001)
    for name in names:
        wanted = np.float32(wanted * 2) if name == "double" else np.float32(wanted + 1)
    library.function("main_entry", *[ctypes.c_void_p] * len(pointers))(*pointers)
    np.testing.assert_array_equal(arrays[steps % 3], np.full(N, wanted))
    if profiled:
        assert times[0] > 0
        assert (np.diff(times) >= 0).all()


def test_the_code_of_a_long_program_does_not_grow_with_its_length() -> None:
    def lines(length: int) -> int:
        calls = [KernelArguments(symbol="k", slots=(k, 7), scratch=2) for k in range(length)]
        return render_entry(calls, "entry").count("\n")

    assert lines(2 * LONG_PROGRAM) == lines(20 * LONG_PROGRAM)


def test_scratch_slot_is_the_last_argument() -> None:
    text = render_entry([KernelArguments(symbol="k", slots=(4, 7), scratch=2)], "entry")
    assert "call void @k(ptr %v2, ptr %v4, ptr %v6)" in text
    assert "getelementptr ptr, ptr %table, i64 2" in text


def test_invalid_text_is_a_compile_error_that_shows_it() -> None:
    with pytest.raises(CompileError, match=r"LLVM refuses the code(.|\n)*define void @broken"):
        compile_ir("define void @broken() { nonsense }", HOST)


def test_same_text_gives_the_same_object() -> None:
    text = render_kernel(unary("exp"), HOST, "f")
    assert render_kernel(unary("exp"), HOST, "f") == text
    assert compile_ir(text, HOST) == compile_ir(text, HOST)


def test_compiling_on_several_threads() -> None:
    texts = [render_kernel(unary(fn), HOST, fn) for fn in ("exp", "tanh", "log", "sin")]
    wanted = [compile_ir(t, HOST) for t in texts]
    got: dict[int, bytes] = {}
    threads = [
        threading.Thread(target=lambda i=i, t=t: got.__setitem__(i, compile_ir(t, HOST)))
        for i, t in enumerate(texts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [got[i] for i in range(len(texts))] == wanted


def test_assembly_names_the_symbol() -> None:
    assert "shown:" in assembly(render_kernel(unary("neg"), HOST, "shown"), HOST)
