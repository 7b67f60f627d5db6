"""Words and dot products: the interpreter's results on every target, at the extremes too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.codegen.llvm import render_kernel
from pellucid.core.dtype import as_dtype, bfloat16, float16, float32
from pellucid.core.target import Target
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Kernel
from pellucid.loop.parser import parse_kernel
from tests.codegen.native import run
from tests.codegen.targets import HOST, each_target

Array = NDArray[Any]
WORDS, LANES = 5, 37
CASES = [
    ("dot4s", 4, "i8", "i8"), ("dot4u", 4, "u8", "i8"),
    ("dot2s", 2, "i16", "i16"), ("dot2b", 2, "bf16", "bf16"),
]  # fmt: skip


def dots(fn: str, size: int, a: str, b: str, *, kind: str, along: bool) -> Kernel:
    """`y[i] = sum over words of fn`; `along`: the numbers of a word are neighbours in memory."""
    total = "f32" if fn == "dot2b" else "i32"
    shape = f"{LANES}, {WORDS * size}" if along else f"{WORDS * size}, {LANES}"
    numbers = [f"{size} * w + {n}" for n in range(size)]
    words = [
        ", ".join(f"{name}[i, {n}]" if along else f"{name}[{n}, i]" for n in numbers)
        for name in ("a", "b")
    ]
    return parse_kernel(f"""
kernel dots(a: {a}[{shape}], b: {b}[{shape}]) -> (y: {total}[{LANES}]) {{
  {kind}for i in 0..{LANES}:
    y[i] = {total}(0)
    for w in 0..{WORDS}:
      y[i] = y[i] + {fn}(pack{size}({words[0]}), pack{size}({words[1]}))
}}
""")


def operands(kernel: Kernel, *, extreme: bool) -> list[Array]:
    rng = np.random.default_rng(3)
    made = []
    for buffer in kernel.params[:2]:
        if buffer.dtype.is_float:
            made.append(rng.normal(size=buffer.shape).astype(buffer.dtype.numpy))
            continue
        limits = np.iinfo(buffer.dtype.name)
        low, high = int(limits.min), int(limits.max)
        values = rng.integers(low, high + 1, buffer.shape)
        if extreme:
            values = rng.choice([low, high], buffer.shape)
        made.append(values.astype(buffer.dtype.numpy))
    return made


@each_target
@pytest.mark.parametrize("case", CASES, ids=lambda c: str(c[0]))
@pytest.mark.parametrize("kind", ["", "vector "])
@pytest.mark.parametrize("along", [False, True])
def test_sums_are_the_interpreters(
    target: Target, case: tuple[str, int, str, str], kind: str, along: bool
) -> None:
    kernel = dots(*case, kind=kind, along=along)
    for extreme in (False, True):
        arrays = operands(kernel, extreme=extreme)
        want, got = (np.full(LANES, 77, kernel.params[-1].dtype.numpy) for _ in range(2))
        run_kernel(kernel, *arrays, want)
        run(kernel, target, *arrays, got)
        wide = [x.astype(np.float64 if case[0] == "dot2b" else np.int64) for x in arrays]
        exact = np.sum(wide[0] * wide[1], axis=1 if along else 0)
        if case[0] == "dot2b":
            np.testing.assert_allclose(got, exact, rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(want, exact, rtol=1e-5, atol=1e-5)
        else:
            np.testing.assert_array_equal(got, exact.astype(np.uint32).view(np.int32))
            np.testing.assert_array_equal(want, got)


@pytest.mark.parametrize("kind", ["", "vector "])
def test_bfloat16_dots_hand_on_nan_and_infinity(kind: str) -> None:
    kernel = dots("dot2b", 2, "bf16", "bf16", kind=kind, along=False)
    a, b = (np.ones(kernel.params[0].shape, bfloat16.numpy) for _ in range(2))
    a[3, 1], a[4, 2], a[5, 3], b[5, 3] = np.nan, np.inf, np.inf, 0
    got = np.zeros(LANES, np.float32)
    run(kernel, HOST, a, b, got)
    assert np.isnan(got[1])
    assert got[2] == np.inf
    assert np.isnan(got[3])
    assert got[4] == 10


def _features(name: str, bits: int, features: str) -> Target:
    return replace(HOST, name=name, vector_bits=bits, features=features)


@pytest.mark.parametrize(
    ("target", "fn", "instruction"),
    [
        (_features("avx512", 512, "+avx512f,+avx512vnni"), "dot4u", "vpdpbusd.512"),
        (_features("avx2", 256, "+avx2,+avxvnni"), "dot4u", "vpdpbusd.256"),
        (_features("avx512", 512, "+avx512f,+avx512vnni"), "dot2s", "vpdpwssd.512"),
        (_features("avx512", 512, "+avx512f,+avx512bw"), "dot2s", "avx512.pmaddw.d.512"),
        (_features("avx2", 256, "+avx2"), "dot2s", "avx2.pmadd.wd"),
        (_features("sse2", 128, "+sse2"), "dot2s", "sse2.pmadd.wd"),
        (_features("avx512", 512, "+avx512f,+avx512bf16"), "dot2b", "dpbf16ps.512"),
        (_features("neon", 128, "+neon,+dotprod"), "dot4s", "neon.sdot"),
    ],
)
def test_each_machine_uses_its_instruction(target: Target, fn: str, instruction: str) -> None:
    case = next(c for c in CASES if c[0] == fn)
    kernel = dots(*case, kind="vector ", along=False)
    assert instruction in render_kernel(kernel, target, "dots")
    plain = replace(target, features="")
    assert instruction not in render_kernel(kernel, plain, "dots")


def _casts(source: str, result: str, count: int) -> Kernel:
    return parse_kernel(f"""
kernel casts(x: {source}[{count}]) -> (y: {result}[{count}]) {{
  vector for i in 0..{count}:
    y[i] = cast(x[i], {result})
}}
""")


@each_target
@pytest.mark.parametrize("name", ["bf16", "f16"])
def test_every_half_float_widens_exactly(target: Target, name: str) -> None:
    x = np.arange(1 << 16, dtype=np.uint16).view(as_dtype(name).numpy)
    got = np.empty(x.size, np.float32)
    run(_casts(name, "f32", x.size), target, x, got)
    np.testing.assert_array_equal(got, x.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(got), np.signbit(x.astype(np.float32)))


@each_target
@pytest.mark.parametrize("dtype", [bfloat16, float16], ids=str)
def test_every_half_float_and_the_points_between_round_to_even(target: Target, dtype: Any) -> None:
    whole = np.arange(1 << 16, dtype=np.uint16).view(dtype.numpy).astype(np.float32)
    with np.errstate(all="ignore"):
        between = (whole + np.roll(whole, -1)) / np.float32(2)
    x = np.concatenate([
        whole, between, np.nextafter(between, np.float32(np.inf)),
        np.nextafter(between, np.float32(-np.inf)),
        np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 1, 0x80000001], np.uint32).view(np.float32),
    ])  # fmt: skip
    got = np.empty(x.size, dtype.numpy)
    run(_casts("f32", dtype.short, x.size), target, x, got)
    with np.errstate(all="ignore"):
        want = x.astype(dtype.numpy)
    nan = np.isnan(want.astype(np.float32))
    np.testing.assert_array_equal(np.isnan(got.astype(np.float32)), nan)
    np.testing.assert_array_equal(got.view(np.uint16)[~nan], want.view(np.uint16)[~nan])
    assert float32.numpy == x.dtype
