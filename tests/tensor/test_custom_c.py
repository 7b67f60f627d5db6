"""Custom operators that run C or CUDA functions, and what exported programs make of them."""

from __future__ import annotations

import ctypes
import gc
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid import extend
from pellucid.core.errors import (
    ArgumentError,
    CompileError,
    DeviceError,
    DTypeError,
    LoweringError,
)
from pellucid.deploy import compile_c, export_c

Array = NDArray[Any]
RNG = np.random.default_rng(0)
needs_gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed")


def rand(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def close(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(got.numpy(), want, rtol=tolerance, atol=tolerance)


# C functions.

SOURCE = """
#include <stdint.h>
static const void *seen;
const void *last_seen(void) { return seen; }
void axpy_f32(const float *x, const float *y, float *out, int64_t n, double a) {
  seen = x;
  for (int64_t i = 0; i < n; i++) out[i] = (float)a * x[i] + y[i];
}
void axpy_i32(const int32_t *x, const int32_t *y, int32_t *out, int64_t n, double a) {
  seen = x;
  for (int64_t i = 0; i < n; i++) out[i] = (int32_t)a * x[i] + y[i];
}
void reverse_f32(const float *x, float *out, void *work, int64_t n) {
  float *copy = work;
  for (int64_t i = 0; i < n; i++) copy[i] = x[i];
  for (int64_t i = 0; i < n; i++) out[i] = copy[n - 1 - i];
}
int positive_f32(const float *x, float *out, int64_t n) {
  for (int64_t i = 0; i < n; i++) { if (x[i] < 0) return 3; out[i] = x[i]; }
  return 0;
}
"""


def build(source: str, folder: Path, name: str) -> ctypes.CDLL:
    file = folder / f"{name}.c"
    file.write_text(source)
    library = folder / f"{name}.so"
    command = ["gcc", "-O1", "-shared", "-fPIC", str(file), "-o", str(library)]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(library))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    made = build(SOURCE, tmp_path_factory.mktemp("c"), "mine")
    made.last_seen.restype = ctypes.c_void_p
    return made


def c_axpy(library: ctypes.CDLL, name: str = "test_c_axpy") -> extend.CustomOp:
    def numbers(inputs: Any, outputs: Any, a: float) -> tuple[float, ...]:
        return inputs[0].size, float(a)

    return extend.custom_op(
        name,
        "(...), (...) -> (...)",
        {
            "float32": extend.c_function(library.axpy_f32, numbers=numbers),
            "int32": extend.c_function(library.axpy_i32, numbers=numbers),
        },
        vjp=lambda inputs, outputs, cotangents, a: (cotangents[0] * a, cotangents[0]),
    )


@needs_gcc
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_a_c_function_in_every_mode(library: ctypes.CDLL, dtype: str) -> None:
    axpy = c_axpy(library)
    x, y = np.arange(6).reshape(2, 3).astype(dtype), np.ones((2, 3), dtype)
    close(axpy(x, y, a=2.0), 2 * x + y)
    close(pl.jit(lambda x, y: axpy(x, y, a=2.0) + y)(pl.Tensor(x), pl.Tensor(y)), 2 * x + 2 * y)
    close(pl.vmap(lambda x: axpy(x, pl.Tensor(y[0]), a=2.0))(pl.Tensor(x)), 2 * x + y)
    if dtype == "float32":
        close(pl.grad(lambda x: axpy(x, x, a=2.0).sum())(pl.Tensor(x)), np.full((2, 3), 3.0))


@needs_gcc
def test_a_c_function_gets_the_array_itself(library: ctypes.CDLL) -> None:
    axpy, x = c_axpy(library), rand(1000)
    lowered = pl.jit(lambda x: axpy(x, x, a=1.0)).lower(pl.Tensor(x))
    lowered.executable.run([x])
    assert library.last_seen() == x.ctypes.data
    axpy(np.zeros(1000, np.float32), x, a=1.0)
    tensor = pl.Tensor(x)
    axpy(tensor, tensor, a=1.0)
    assert library.last_seen() == tensor.numpy().ctypes.data


@needs_gcc
def test_calls_of_a_c_function_leave_no_references_behind(library: ctypes.CDLL) -> None:
    axpy, tensor = c_axpy(library, "test_c_leaks"), pl.Tensor(rand(64))
    jitted, array = pl.jit(lambda x: axpy(x, x, a=2.0)), tensor.numpy()
    calls: list[Callable[[], Any]] = [lambda: axpy(tensor, tensor, a=2.0), lambda: jitted(tensor)]
    for call in calls:
        for _ in range(20):
            call()
        gc.collect()
        before = sys.getrefcount(array), len(gc.get_objects())
        for _ in range(200):
            call()
        gc.collect()
        assert sys.getrefcount(array) == before[0]
        assert len(gc.get_objects()) - before[1] < 40


@needs_gcc
def test_the_status_of_a_c_function_is_an_error(library: ctypes.CDLL) -> None:
    op = extend.custom_op(
        "test_positive", "(n) -> (n)",
        {"float32": extend.c_function(
            library.positive_f32, numbers=lambda i, o: (i[0].size,), status=True
        )},
    )  # fmt: skip
    for call in (op, pl.jit(op)):
        close(call(pl.ones(3)), np.ones(3))
        with pytest.raises(LoweringError, match="failed, got status 3"):
            call(-pl.ones(3))


@needs_gcc
def test_a_c_function_with_a_workspace(library: ctypes.CDLL, tmp_path: Path) -> None:
    op = extend.custom_op(
        "test_workspace", "(n) -> (n)",
        {"float32": extend.c_function(
            library.reverse_f32,
            numbers=lambda inputs, outputs: (inputs[0].size,),
            workspace=lambda inputs, outputs: inputs[0].nbytes,
        )},
    )  # fmt: skip
    for n in (3, 1000):
        x = rand(n)
        want = x[::-1] * 2
        jitted = pl.jit(lambda x: op(x) * 2.0)
        close(op(x), x[::-1])
        close(jitted(pl.Tensor(x)), want)
        plan = jitted.lower(pl.Tensor(x)).memory
        assert any(r.name == "scratch of test_workspace" for r in plan.rectangles)
        assert plan.peak >= x.nbytes
    export = export_c(lambda x: op(x) * 2.0, pl.Tensor(x), folder=tmp_path)
    assert "(const float *, float *, void *, int64_t)" in export.source.read_text()
    (tmp_path / "mine.c").write_text(SOURCE)
    program = compile_c(export, flags=("-O1", str(tmp_path / "mine.c")))
    np.testing.assert_allclose(program.run(x)[0], want)


@needs_gcc
def test_what_a_c_function_gets_is_checked(library: ctypes.CDLL) -> None:
    rules: list[tuple[str, Any]] = [
        ("numbers must return", {"numbers": lambda i, o: ("n",)}),
        ("workspace must return", {"workspace": lambda i, o: -1}),
    ]
    for text, rule in rules:
        made = extend.c_function(library.reverse_f32, **rule)
        op = extend.custom_op("test_bad_numbers", "(n) -> (n)", {"float32": made})
        with pytest.raises(ArgumentError, match=text):
            op(pl.ones(3))


@needs_gcc
def test_exported_programs_call_the_c_function(library: ctypes.CDLL, tmp_path: Path) -> None:
    axpy, x = c_axpy(library), rand(2, 3)
    export = export_c(lambda x: axpy(x + 1.0, x, a=2.0) * 3.0, pl.Tensor(x), folder=tmp_path)
    text = export.source.read_text()
    assert "void axpy_f32(const float *, const float *, float *, int64_t, double);" in text
    (tmp_path / "mine.c").write_text(SOURCE)
    program = compile_c(export, flags=("-O1", str(tmp_path / "mine.c")))
    np.testing.assert_allclose(program.run(x)[0], (2 * (x + 1) + x) * 3, rtol=1e-5)


@needs_gcc
def test_exported_programs_return_the_failure_of_a_c_function(
    library: ctypes.CDLL, tmp_path: Path
) -> None:
    op = extend.custom_op(
        "test_export_status", "(n) -> (n)",
        {"float32": extend.c_function(
            library.positive_f32, numbers=lambda i, o: (i[0].size,), status=True
        )},
    )  # fmt: skip
    export = export_c(lambda x: op(x) * 2.0, pl.ones(3), folder=tmp_path)
    assert "Returns 2 where one of your own functions" in export.header.read_text()
    (tmp_path / "mine.c").write_text(SOURCE)
    program = compile_c(export, flags=("-O1", str(tmp_path / "mine.c")))
    np.testing.assert_array_equal(program.run(np.ones(3, np.float32))[0], 2 * np.ones(3))
    with pytest.raises(CompileError, match="the C program returned 2"):
        program.run(-np.ones(3, np.float32))


def test_exported_programs_cannot_call_python(tmp_path: Path) -> None:
    op = extend.custom_op("test_not_exported", "(n) -> (n)", reference=np.sin)
    with pytest.raises(LoweringError, match=r"test_not_exported: .*which C cannot call"):
        export_c(op, pl.ones(3), folder=tmp_path)


@needs_gcc
def test_exported_programs_have_bodies_and_loops(tmp_path: Path) -> None:
    def nest(inputs: Any, outputs: Any) -> str:
        loop = "  for i in 0..64:\n    y[i] = x[63 - i] * 0.5"
        return f"kernel flip(x: f32[64]) -> (y: f32[64]) {{\n{loop}\n}}"

    def schedule(schedule: extend.Schedule, target: Any) -> None:
        schedule.apply(extend.split, "i", 8)

    flip = extend.custom_op(
        "test_export_flip", "(n) -> (n)", {"float32": extend.loops(nest, schedule=schedule)},
        reference=lambda x: x[::-1] * np.float32(0.5),
    )  # fmt: skip

    @extend.custom_op("test_export_square")
    def square(x: pl.Tensor) -> Any:
        return pl.multiply(x, x)

    x = rand(64)
    export = export_c(lambda x: flip(square(x)), pl.Tensor(x), folder=tmp_path)
    np.testing.assert_allclose(compile_c(export).run(x)[0], 0.5 * x[::-1] ** 2, rtol=1e-5)


def test_pointers_are_checked() -> None:
    with pytest.raises(ArgumentError, match="takes a pointer to a function, got it int"):
        extend.c_function(0)
    with pytest.raises(ArgumentError, match="wrap a pointer"):
        extend.custom_op("test_raw", "() -> ()", {"*": ctypes.pythonapi.Py_IncRef})


def test_a_kernel_of_another_library_shares_memory_by_dlpack() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    seen: list[int] = []

    def kernel(x: Any) -> Any:
        tensor = torch.from_dlpack(x)
        seen.append(tensor.data_ptr())
        return torch.erfinv(tensor).numpy()

    op = extend.custom_op("test_dlpack", "(...) -> (...)", {"float32": kernel})
    x = (rand(64) / 4).clip(-0.9, 0.9)
    lowered = pl.jit(op).lower(pl.Tensor(x))
    (made,) = lowered.executable.run([x])
    assert seen == [x.ctypes.data]
    np.testing.assert_allclose(pl.erf(pl.Tensor(made)).numpy(), x, rtol=1e-5, atol=1e-6)


# CUDA functions, on a stub of the runtime whose device is the host.

STUB = """
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
static int live, failing;
int stub_live(void) { return live; }
void stub_fail(int code) { failing = code; }
int cudaGetDeviceCount(int *n) { *n = 1; return 0; }
int cudaMalloc(void **p, size_t n) { *p = malloc(n); live++; return 0; }
int cudaFree(void *p) { free(p); live--; return 0; }
int cudaMemcpy(void *to, const void *from, size_t n, int kind) { memcpy(to, from, n); return 0; }
int cudaStreamCreate(void **s) { *s = 0; return 0; }
int cudaStreamDestroy(void *s) { return 0; }
int cudaStreamSynchronize(void *s) { return failing; }
const char *cudaGetErrorString(int code) { return "out of luck"; }
int launch_double(const float *x, float *y, int64_t n, void *stream) {
  for (int64_t i = 0; i < n; i++) y[i] = 2 * x[i];
  return n == 13 ? 7 : 0;
}
"""


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> tuple[ctypes.CDLL, str]:
    folder = tmp_path_factory.mktemp("cuda")
    return build(STUB, folder, "stub"), str(folder / "stub.so")


def cuda_double(stub: tuple[ctypes.CDLL, str], name: str = "test_cuda") -> extend.CustomOp:
    made = extend.cuda_function(
        stub[0].launch_double, numbers=lambda i, o: (i[0].size,), runtime=stub[1]
    )
    return extend.custom_op(name, "(n) -> (n)", {"float32": made})


@needs_gcc
def test_a_cuda_function_runs_on_copies(stub: tuple[ctypes.CDLL, str]) -> None:
    op, x = cuda_double(stub), rand(6)
    for call in (op, pl.jit(op)):
        close(call(pl.Tensor(x)), 2 * x)
    assert stub[0].stub_live() == 0


@needs_gcc
def test_cuda_errors_surface_and_leak_nothing(stub: tuple[ctypes.CDLL, str]) -> None:
    op = cuda_double(stub, "test_cuda_errors")
    with pytest.raises(DeviceError, match="the launch failed, got status 7"):
        pl.jit(op)(pl.ones(13))
    stub[0].stub_fail(2)
    with pytest.raises(DeviceError, match="cudaStreamSynchronize: out of luck, got status 2"):
        op(pl.ones(3))
    stub[0].stub_fail(0)
    assert stub[0].stub_live() == 0


@needs_gcc
def test_without_a_device_the_cpu_kernel_runs(stub: tuple[ctypes.CDLL, str]) -> None:
    away = extend.cuda_function(stub[0].launch_double, runtime="no_such_library.so")
    both = {("cuda", "float32"): away, "float32": lambda x: x * np.float32(5)}
    close(extend.custom_op("test_two_devices", "(n) -> (n)", both)(pl.ones(2)), [5.0, 5.0])
    alone = extend.custom_op("test_no_device", "(n) -> (n)", {"float32": away})
    with pytest.raises(DTypeError, match="there are: float32 on cuda"):
        alone(pl.ones(2))
