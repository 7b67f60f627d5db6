"""Kernels built by hand, compiled for every runnable target, against the loop interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.codegen.llvm import assembly, kernel_scratch_bytes, render_kernel
from pellucid.core.dtype import (
    DType,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint8,
)
from pellucid.core.target import Target
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    For,
    If,
    Kernel,
    Load,
    LoopKind,
    Stmt,
    Store,
    Var,
    compare,
    iadd,
    ifloordiv,
    imin,
    imod,
    imul,
    isub,
    select,
)
from tests.codegen.native import run
from tests.codegen.targets import HOST, each_target, poison, samples

I, J, K = Var("i"), Var("j"), Var("k")  # noqa: E741 the loop variables, as in formulas
SIZES = [0, 1, 2, 3, 5, 7, 13, 16, 17, 31, 64, 100, 131]


def fn(name: str, *args: Expr, dtype: DType | None = None) -> Expr:
    return Call(name, args, dtype or args[0].dtype)


def check(kernel: Kernel, target: Target, seed: int = 0, exact: bool = True) -> list[NDArray[Any]]:
    """Runs the kernel both ways from poisoned outputs and compares every output."""
    count = len(kernel.params) - kernel.outputs
    inputs = [
        samples(b.dtype, b.size, seed + i).reshape(b.shape)
        if b.dtype != int64
        else np.random.default_rng(seed).integers(0, 5, b.shape)
        for i, b in enumerate(kernel.params[:count])
    ]
    if not exact:
        inputs = [np.nan_to_num(a, nan=1, posinf=2, neginf=3) if a.dtype.kind == "f" else a
                  for a in inputs]  # fmt: skip
    return check_on(kernel, target, inputs, exact)


def check_on(
    kernel: Kernel, target: Target, inputs: list[NDArray[Any]], exact: bool = True
) -> list[NDArray[Any]]:
    outputs = kernel.params[len(inputs) :]
    wanted = [poison(b.shape, b.dtype) for b in outputs]
    got = [poison(b.shape, b.dtype) for b in outputs]
    run_kernel(kernel, *inputs, *wanted)
    run(kernel, target, *inputs, *got)
    for name, a, b in zip(outputs, wanted, got, strict=True):
        if exact:
            np.testing.assert_array_equal(b, a, err_msg=name.name)
        else:
            np.testing.assert_allclose(b, a, rtol=2e-5, atol=1e-4, err_msg=name.name)
    return got


def nest(kind: LoopKind, extent: int | Expr, *body: Stmt, var: str = "i") -> For:
    return For(var, Const(extent) if isinstance(extent, int) else extent, body, kind)


@each_target
@pytest.mark.parametrize("n", SIZES)
def test_vector_loops_of_every_size(n: int, target: Target) -> None:
    a, b = Buffer("a", (n,), float32), Buffer("b", (n,), float32)
    o, w = Buffer("o", (n,), float32), Buffer("w", (n,), uint8)
    body = [
        Store(o, (I,), fn("sub", fn("mul", Load(a, (I,)), Load(b, (I,))), Const(1.5, float32))),
        Store(w, (I,), Call("cast", (fn("lt", Load(a, (I,)), Load(b, (I,)), dtype=bool_),), uint8)),
    ]
    check(Kernel("k", (a, b, o, w), 2, (nest("vector", n, *body),)), target)


@each_target
@pytest.mark.parametrize("dtype", [float16, float64, int8, int32, int64, bool_], ids=str)
def test_vector_loops_of_every_width(dtype: DType, target: Target) -> None:
    a, b, o = (Buffer(x, (71,), dtype) for x in "abo")
    body = Store(o, (I,), fn("max", Load(a, (I,)), Load(b, (I,))))
    check(Kernel("k", (a, b, o), 1, (nest("vector", 71, body),)), target)


@each_target
@pytest.mark.parametrize("n", [1, 3, 16, 37])
def test_strided_reversed_and_indirect_access(n: int, target: Target) -> None:
    a, idx = Buffer("a", (n, 5), float32), Buffer("idx", (n,), int64)
    names = ("column", "flipped", "taken", "spread", "column_out", "splat")
    shapes = [(n,), (n,), (n,), (n, 5), (n, 3), (n,)]
    outs = [Buffer(x, s, float32) for x, s in zip(names, shapes, strict=True)]
    back = isub(n - 1, I)
    body = (
        Store(outs[0], (I,), Load(a, (I, Const(2)))),
        Store(outs[1], (back,), Load(a, (back, Load(idx, (I,))))),
        Store(outs[2], (I,), Load(a, (imod(Load(idx, (I,)), n), Const(1)))),
        Store(outs[4], (I, Const(1)), Load(a, (I, Const(0)))),
        Store(outs[5], (I,), Load(a, (Const(0), Const(3)))),
        Store(outs[3], (I, Load(idx, (I,))), Load(a, (Const(0), Const(4)))),
    )
    kernel = Kernel("k", (a, idx, *outs), len(outs), (nest("vector", n, *body),))
    inputs = [samples(float32, n * 5).reshape(n, 5), np.arange(n) * 3 % 5]
    check_on(kernel, target, inputs)


@each_target
@pytest.mark.parametrize("n", [1, 5, 16, 37, 200])
def test_reversed_contiguous(n: int, target: Target) -> None:
    a, o = Buffer("a", (n,), uint8), Buffer("o", (n,), uint8)
    p = Buffer("p", (n,), uint8)
    body = (
        Store(o, (I,), Load(a, (isub(n - 1, I),))),
        Store(p, (isub(n - 1, I),), Load(a, (I,))),
    )
    check(Kernel("k", (a, o, p), 2, (nest("vector", n, *body),)), target)


@each_target
@pytest.mark.parametrize("n", [1, 4, 16, 33, 400])
@pytest.mark.parametrize(
    ("name", "dtype"),
    [("add", float32), ("max", float32), ("min", int32), ("mul", float64), ("and", bool_),
     ("or", uint8), ("add", int8), ("max", uint8), ("add", float16)],
    ids=str,
)  # fmt: skip
def test_reduction_over_lanes(name: str, dtype: DType, n: int, target: Target) -> None:
    a, s = Buffer("a", (n,), dtype), Buffer("s", (), dtype)
    first = Store(s, (), Const(True if dtype == bool_ else 1, dtype))
    body = Store(s, (), fn(name, Load(s, ()), Load(a, (I,))))
    kernel = Kernel("k", (a, s), 1, (first, nest("vector", n, body)))
    small = np.random.default_rng(n).uniform(0.5, 1.5, n).astype(dtype.numpy)
    inputs = [small if dtype.is_float else samples(dtype, n, 3)]
    if name == "add" and dtype == int8:
        inputs = [np.random.default_rng(n).integers(-2, 3, n).astype(np.int8)]
    wanted, got = poison((), dtype), poison((), dtype)
    run_kernel(kernel, *inputs, wanted)
    run(kernel, target, *inputs, got)
    if dtype.is_float:
        tolerance = 0.05 if dtype == float16 else 1e-5
        np.testing.assert_allclose(got.astype(float), wanted.astype(float), rtol=tolerance)
    else:
        assert got == wanted


@each_target
@pytest.mark.parametrize("n", [1, 16, 45, 333])
def test_softmax_rows(n: int, target: Target) -> None:
    a, o = Buffer("a", (5, n), float32), Buffer("o", (5, n), float32)
    top, total = (Buffer(x, (), float32, "local") for x in ("top", "total"))
    at = (I, J)
    power = fn("exp", fn("sub", Load(a, at), Load(top, ())))
    body = (
        Store(top, (), Const(float("-inf"), float32)),
        nest("vector", n, Store(top, (), fn("max", Load(top, ()), Load(a, at))), var="j"),
        Store(total, (), Const(0.0, float32)),
        nest("vector", n, Store(o, at, power),
             Store(total, (), fn("add", Load(total, ()), Load(o, at))), var="j"),
        nest("vector", n, Store(o, at, fn("div", Load(o, at), Load(total, ()))), var="j"),
    )  # fmt: skip
    kernel = Kernel("k", (a, o), 1, (nest("serial", 5, Alloc(top, (Alloc(total, body),))),))
    got = check(kernel, target, exact=False)[0]
    np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-5)


@each_target
@pytest.mark.parametrize("n", [1, 16, 45])
def test_split_loop_with_a_dynamic_tail(n: int, target: Target) -> None:
    a, o, s = Buffer("a", (n,), float32), Buffer("o", (n,), float32), Buffer("s", (1,), int32)
    at = iadd(imul(16, I), J)
    body = (
        Store(o, (at,), fn("add", Load(a, (at,)), Const(2.0, float32))),
        Store(s, (Const(0),), fn("add", Load(s, (Const(0),)), Const(3, int32))),
    )
    inner = nest("vector", imin(16, isub(n, imul(16, I))), *body, var="j")
    first = Store(s, (Const(0),), Const(0, int32))
    check(Kernel("k", (a, o, s), 2, (first, nest("serial", -(-n // 16), inner))), target)


@pytest.mark.parametrize("kind", ["serial", "vector", "parallel"])
@pytest.mark.parametrize("extent", [-20, -3, 0, 1, 21])
def test_extents_read_from_memory(kind: LoopKind, extent: int) -> None:
    a, o = Buffer("a", (1,), int64), Buffer("o", (40,), int64)
    fill = nest("serial", 40, Store(o, (I,), Const(7)))
    loop = nest(kind, Load(a, (Const(0),)), Store(o, (I,), imul(I, 2)))
    got = check_on(Kernel("k", (a, o), 1, (fill, loop)), HOST, [np.array([extent])])[0]
    assert (got == 7).sum() == 40 - max(0, extent)


def test_maximum_with_a_nan_constant_is_nan() -> None:
    a, o = Buffer("a", (20,), float32), Buffer("o", (20,), float32)
    value = fn("max", Load(a, (I,)), Const(float("nan"), float32))
    got = check(Kernel("k", (a, o), 1, (nest("vector", 20, Store(o, (I,), value)),)), HOST)[0]
    assert np.isnan(got).all()


@each_target
def test_predicated_lanes_do_not_touch_memory_out_of_bounds(target: Target) -> None:
    n, m = 40, 7
    a, o, p = Buffer("a", (m,), float32), Buffer("o", (n,), float32), Buffer("p", (n,), int32)
    inside = compare("lt", I, m)
    body = (
        If(inside, (Store(o, (I,), Load(a, (I,))),), (Store(o, (I,), Const(-1.0, float32)),)),
        Store(p, (I,), Const(0, int32)),
        If(compare("eq", imod(I, 3), 1), (Store(p, (I,), Call("cast", (I,), int32)),)),
        If(compare("lt", n, I), (Store(o, (I,), Load(a, (imul(I, 1 << 40),))),)),
    )
    check(Kernel("k", (a, o, p), 2, (nest("vector", n, *body),)), target)


@each_target
def test_serial_loops_and_private_buffers_inside_a_vector_loop(target: Target) -> None:
    n, m = 21, 6
    a, o = Buffer("a", (m, n), float32), Buffer("o", (n,), float32)
    acc = Buffer("acc", (2,), float32, "local")
    update = Store(acc, (Const(1),), fn("add", Load(acc, (Const(1),)), Load(a, (J, I))))
    body = Alloc(acc, (
        Store(acc, (Const(1),), Const(0.0, float32)),
        nest("serial", m, update, var="j"),
        If(compare("lt", imod(I, 2), 1), (Store(acc, (Const(1),), Const(9.0, float32)),)),
        Store(o, (I,), Load(acc, (Const(1),))),
    ))  # fmt: skip
    check(Kernel("k", (a, o), 1, (nest("vector", n, body),)), target)


@each_target
def test_vector_loops_without_simd_form_run_as_scalar_loops(target: Target) -> None:
    n = 19
    a, idx = Buffer("a", (n,), float32), Buffer("idx", (n,), int64)
    o, t = Buffer("o", (5,), float32), Buffer("t", (n,), float32)
    add = Store(o, (Load(idx, (I,)),), fn("add", Load(o, (Load(idx, (I,)),)), Load(a, (I,))))
    inner = nest("serial", iadd(I, 1), Store(t, (I,), Call("cast", (J,), float32)), var="j")
    zero = nest("serial", 5, Store(o, (I,), Const(0.0, float32)))
    kernel = Kernel("k", (a, idx, o, t), 2, (zero, nest("vector", n, add, inner)))
    check(kernel, target, exact=False)


def tile_kernel(m: int, n: int, k: int) -> Kernel:
    """A register-tiled matrix product on panels of its operands."""
    a, b = Buffer("a", (k, m), float32), Buffer("b", (k, n), float32)
    c, acc = Buffer("c", (m, n), float32), Buffer("acc", (m, n), float32, "local")
    term = fn("mul", Load(a, (K, I)), Load(b, (K, J)))

    def tile(store: Store) -> For:
        return nest("unroll", m, nest("vector", n, store, var="j"))

    clear = tile(Store(acc, (I, J), Const(0.0, float32)))
    update = tile(Store(acc, (I, J), fn("add", Load(acc, (I, J)), term)))
    body = (clear, nest("serial", k, update, var="k"), tile(Store(c, (I, J), Load(acc, (I, J)))))
    return Kernel("tile", (a, b, c), 1, (Alloc(acc, body),))


@each_target
@pytest.mark.parametrize("shape", [(4, 8, 9), (6, 5, 3), (1, 1, 1), (2, 37, 5), (3, 28, 0)])
def test_register_tile(shape: tuple[int, int, int], target: Target) -> None:
    check(tile_kernel(*shape), target, exact=False)


def test_register_tile_keeps_its_accumulators_in_registers() -> None:
    rows = 6 if HOST.vector_registers == 16 else 12
    kernel = tile_kernel(rows, 2 * HOST.lanes(float32), 256)
    text = assembly(render_kernel(kernel, HOST, "tile"), HOST)
    if HOST.name in ("avx512", "avx2"):
        assert text.count("vfmadd") == 2 * rows
        assert "rsp" not in text


@each_target
def test_local_buffer_indexed_by_a_serial_loop(target: Target) -> None:
    n = 11
    a, o = Buffer("a", (n,), int32), Buffer("o", (n,), int32)
    t = Buffer("t", (n,), int32, "local")
    body = (
        nest("serial", n, Store(t, (isub(n - 1, I),), Load(a, (I,)))),
        nest("vector", n, Store(o, (I,), Load(t, (I,)))),
    )
    check(Kernel("k", (a, o), 1, (Alloc(t, body),)), target)


@each_target
@pytest.mark.parametrize("kind", ["serial", "vector"])
def test_reshape_indices(kind: LoopKind, target: Target) -> None:
    a, o = Buffer("a", (5, 6, 7), int32), Buffer("o", (7, 30), int32)
    flat = iadd(imul(I, 30), J)
    source = (ifloordiv(flat, 42), imod(ifloordiv(flat, 7), 6), imod(flat, 7))
    inner = nest(kind, 30, Store(o, (I, J), Load(a, source)), var="j")
    check(Kernel("k", (a, o), 1, (nest("serial", 7, inner),)), target)


def test_aligned_reshape_indices_need_no_division() -> None:
    a, o = Buffer("a", (9, 64), float32), Buffer("o", (9 * 64,), float32)
    flat = iadd(imul(I, 64), J)
    load = Load(a, (ifloordiv(flat, 64), imod(flat, 64)))
    inner = nest("vector", 64, Store(o, (flat,), load), var="j")
    text = render_kernel(Kernel("k", (a, o), 1, (nest("serial", 9, inner),)), HOST, "f")
    assert "div" not in text
    assert "gather" not in text


@each_target
def test_padding_by_select(target: Target) -> None:
    n = 10
    a, o = Buffer("a", (n,), float32), Buffer("o", (n + 4,), float32)
    inside = fn("and", compare("ge", I, 2), compare("lt", I, n + 2))
    at = select(inside, isub(I, 2), Const(0))
    value = select(inside, Load(a, (at,)), Const(0.0, float32))
    check(Kernel("k", (a, o), 1, (nest("vector", n + 4, Store(o, (I,), value)),)), target)


@each_target
@pytest.mark.parametrize("n", [1, 2, 37])
def test_parallel_loops_with_temporaries(n: int, target: Target) -> None:
    m = 19
    a, o = Buffer("a", (3, n, m), float32), Buffer("o", (3, n, m), float32)
    row, shared = Buffer("row", (m,), float32, "temp"), Buffer("shared", (n,), float32, "temp")
    inner = Alloc(row, (
        nest("vector", m, Store(row, (K,), Load(a, (I, J, K))), var="k"),
        nest("vector", m, Store(o, (I, J, K), fn("add", Load(row, (isub(m - 1, K),)),
                                                 Load(shared, (J,)))), var="k"),
    ))  # fmt: skip
    loops = nest("serial", 3,
                 nest("serial", n, Store(shared, (J,), Load(a, (I, J, Const(0)))), var="j"),
                 nest("parallel", n, inner, var="j"))  # fmt: skip
    kernel = Kernel("k", (a, o), 1, (Alloc(shared, (loops,)),))
    shared_bytes, private_bytes = kernel_scratch_bytes(kernel)
    assert shared_bytes >= 4 * n
    assert private_bytes == 128
    check(kernel, target)


def test_parallel_loop_in_a_parallel_loop_runs_once_per_iteration() -> None:
    o = Buffer("o", (7, 9), int64)
    value = iadd(imul(I, 10), J)
    inner = nest("parallel", 9, Store(o, (I, J), value), var="j")
    check(Kernel("k", (o,), 1, (nest("parallel", 7, inner),)), HOST)


def test_sequential_dependence_is_kept() -> None:
    n = 9
    o = Buffer("o", (n,), int64)
    first = Store(o, (Const(0),), Const(1))
    step = Store(o, (iadd(I, 1),), iadd(Load(o, (I,)), Load(o, (Const(0),))))
    change = Store(o, (Const(0),), iadd(Load(o, (Const(0),)), 1))
    check(Kernel("k", (o,), 1, (first, nest("serial", n - 1, step, change))), HOST)


def test_unguarded_loads_do_not_leave_their_condition() -> None:
    a, o = Buffer("a", (2,), int64), Buffer("o", (3,), int64)
    far = Load(a, (Const(1 << 50),))
    body = (
        nest("serial", 3, Store(o, (I,), Const(0))),
        If(compare("gt", Load(a, (Const(0),)), 100), (Store(o, (Const(0),), far),)),
        nest("serial", Load(a, (Const(1),)), Store(o, (Const(1),), far), var="j"),
    )
    check_on(Kernel("k", (a, o), 1, body), HOST, [np.zeros(2, np.int64)])
