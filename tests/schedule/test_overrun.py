"""Tiles that run on past an open size do the last row's work again."""

from __future__ import annotations

import pytest

from pellucid.core.dtype import float32
from pellucid.core.errors import ScheduleError
from pellucid.core.size import Dim, as_size
from pellucid.core.target import Target
from pellucid.loop.flatten import flatten_open
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    For,
    Kernel,
    Load,
    Store,
    Var,
    as_expr,
    const,
)
from pellucid.loop.key import kernel_key
from pellucid.loop.sizes import is_fixed, kernel_dims, likely_value
from pellucid.loop.verifier import verify_kernel
from pellucid.schedule.overrun import overrun
from pellucid.schedule.recipes.versions import schedule_versions
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split

N, M = as_size(Dim("n", likely=20)), as_size(Dim("m"))
X, Y = Buffer("x", (N, 4), float32), Buffer("y", (N, 4), float32)


def doubled(source: Buffer = X) -> Kernel:
    i, j = Var("i"), Var("j")
    load = Load(source, (i, j))
    store = Store(Y, (i, j), Call("add", (load, load), float32))
    body = For("i", as_expr(N), (For("j", as_expr(4), (store,)),))
    return Kernel("doubled", (X, Y), 1, (body,))


def test_overrun_makes_extents_constant() -> None:
    text = str(overrun(split(doubled(), "i", 8), "io"))
    assert (
        text
        == """\
kernel doubled(x: f32[n, 4]) -> (y: f32[n, 4]) {
  for io in 0..($n + 7) // 8:
    if 8 <= $n - io * 8:
      for ii in 0..8:
        for j in 0..4:
          y[io * 8 + ii, j] = x[io * 8 + ii, j] + x[io * 8 + ii, j]
    else:
      for ii in 0..8:
        for j in 0..4:
          y[io * 8 + min(ii, $n - io * 8 - 1), j] = x[io * 8 + min(ii, $n - io * 8 - 1), j] + \
x[io * 8 + min(ii, $n - io * 8 - 1), j]
}
"""
    )


def test_overrun_is_refused_where_what_is_stored_is_read() -> None:
    with pytest.raises(ScheduleError, match="what is stored is read"):
        overrun(split(doubled(Y), "i", 8), "io")
    with pytest.raises(ScheduleError, match="all its tiles are full"):
        overrun(doubled(), "i")


def test_specialize_asks_at_run_time() -> None:
    text = str(specialize(split(doubled(), "i", 8), "io"))
    assert "if 8 <= $n - io * 8:" in text
    assert "for ii in 0..$n - io * 8:" in text


def test_open_sizes_in_kernels() -> None:
    kernel = doubled()
    assert [d.name for d in kernel_dims(kernel)] == ["n"]
    assert likely_value(as_expr(2 * N + 1)) == 41
    assert is_fixed(as_expr(N * M // 3))
    assert not is_fixed(Var("i"))
    bounded = as_size(Dim("n", 2, 9))
    params = tuple(Buffer(b.name, (bounded, 4), float32) for b in kernel.params)
    assert kernel_key(kernel) != kernel_key(Kernel("doubled", params, 1, ()))


def test_open_strides_become_indices() -> None:
    source, target = Buffer("x", (N, M), float32), Buffer("y", (N,), float32)
    body = For("i", as_expr(N), (Store(target, (Var("i"),), Load(source, (Var("i"), Var("i")))),))
    text = str(flatten_open(Kernel("diagonal", (source, target), 1, (body,))))
    assert "x: f32[m*n]" in text
    assert "y[i] = x[i * $m + i]" in text


def test_a_few_tiles_need_no_full_ones() -> None:
    text = str(overrun(split(doubled(), "i", 8), "io", True))
    assert "if" not in text
    assert text.count("for ii in 0..8:") == 1


def test_products_have_a_version_for_a_few_rows() -> None:
    n = as_size(Dim("n"))
    shapes = {"x": (n, 99), "w": (99, 256), "y": (n, 256)}
    x, w, y = (Buffer(name, shape, float32) for name, shape in shapes.items())
    i, j, k = Var("i"), Var("j"), Var("k")
    acc = Buffer("acc", (), float32, "local")
    total = Load(acc, ())
    term = Call("mul", (Load(x, (i, k)), Load(w, (k, j))), float32)
    inner = (
        Store(acc, (), const(0.0, float32)),
        For("k", Const(99), (Store(acc, (), Call("add", (total, term), float32)),)),
        Store(y, (i, j), total),
    )
    body = For("i", as_expr(n), (For("j", Const(256), (Alloc(acc, inner),)),))
    kernel = Kernel("product", (x, w, y), 1, (body,))
    target = Target(
        name="avx2", vector_bits=256, vector_registers=16, has_fma=True, cores=1,
        l1_bytes=32 << 10, l2_bytes=1 << 20, l3_bytes=32 << 20, cpu="x86-64-v3",
    )  # fmt: skip
    steps = schedule_versions(kernel, target)
    assert [s.name for s in steps[-2:]] == ["for few", "for few"]
    text = str(steps[-1].kernel)
    assert "if $n <= 32:" in text
    assert "if $n <= 1:" in text
    verify_kernel(steps[-1].kernel)
