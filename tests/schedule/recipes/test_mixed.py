"""Products of narrow numbers: exact integers, float32 sums, on every kind of machine."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pellucid import ops
from pellucid.core.dtype import DType, as_dtype, float32, int32
from pellucid.core.target import Target
from pellucid.graph.ir import TensorType
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.ir import Kernel
from pellucid.loop.rewrite import loops
from pellucid.loop.verifier import verify_kernel
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.schedule.hoist import hoist
from pellucid.schedule.recipes import mixed, mixed_tiles, plan, schedule_kernel
from tests.codegen.native import run
from tests.codegen.targets import HOST, each_target
from tests.lower.execution import build
from tests.schedule.recipes.test_choose import AVX2, AVX512, NEON, SSE2

Array = NDArray[Any]
VNNI = replace(AVX512, features="+avx512vnni,+avx512bf16,+f16c")
DOTPROD = replace(NEON, features="+neon,+dotprod")
MACHINES = (SSE2, AVX2, AVX512, VNNI, DOTPROD)
PAIRS = [("i8", "i8"), ("u8", "i8"), ("i8", "u8"), ("u8", "u8")]


@pytest.fixture
def everything_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PARALLEL_WORK", 8)
    monkeypatch.setattr(mixed_tiles, "PARALLEL_WORK", 8)
    monkeypatch.setattr(mixed, "LEAST_WORK", 8)
    monkeypatch.setattr(mixed, "LEAST_DEPTH", 1)
    monkeypatch.setattr(mixed_tiles, "PAGE_BYTES", 16)
    monkeypatch.setattr(mixed_tiles, "DIRECT_STEPS", 4)


def product(
    shape: tuple[int, int, int], dtypes: tuple[DType, DType], *, turned: str = "", lead: int = 0
) -> Kernel:
    """`matmul` of `[m, k]` and `[k, n]`; `turned` names the operands that are transposed."""
    (m, n, k), batch = shape, ((lead,) if lead else ())
    a = (*batch, *((k, m) if "a" in turned else (m, k)))
    b = (*batch, *((n, k) if "b" in turned else (k, n)))
    axes: Any = (tuple(range(len(batch))),) * 2
    contract: Any = ((len(batch) + ("a" not in turned),), (len(batch) + ("b" in turned),))
    result = float32 if dtypes[0].is_float else int32
    graph = build(
        lambda x, y: ops.dot_general(x, y, contract, axes, result),
        TensorType(a, dtypes[0]), TensorType(b, dtypes[1]),
    )  # fmt: skip
    (call,) = lower_graph(graph).calls
    return call.kernel


def operands(kernel: Kernel, seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    made = []
    for buffer in kernel.params[:2]:
        if buffer.dtype.is_float:
            made.append(rng.normal(size=buffer.shape).astype(buffer.dtype.numpy))
            continue
        limits = np.iinfo(buffer.dtype.name)
        values = rng.integers(int(limits.min), int(limits.max) + 1, buffer.shape)
        values[..., : max(1, buffer.shape[-1] // 3)] = rng.choice([limits.min, limits.max])
        made.append(values.astype(buffer.dtype.numpy))
    return made


def exact(kernel: Kernel, a: Array, b: Array) -> Array:
    """What the interpreter makes of the kernel as it was lowered."""
    out = np.full(kernel.params[2].shape, 55, kernel.params[2].dtype.numpy)
    run_kernel(kernel, a, b, out)
    return out


def check(kernel: Kernel, got: Array, a: Array, b: Array) -> None:
    want = exact(kernel, a, b)
    if kernel.params[2].dtype == int32:
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("everything_pays")
@pytest.mark.parametrize("machine", MACHINES, ids=lambda m: f"{m.name}{m.features[:12]}")
@pytest.mark.parametrize("pair", [*PAIRS, ("bf16", "bf16"), ("f16", "f16")], ids=str)
@pytest.mark.parametrize("turned", ["", "a", "b", "ab"])
def test_every_machines_schedule_keeps_the_sums(
    machine: Target, pair: tuple[str, str], turned: str
) -> None:
    dtypes = as_dtype(pair[0]), as_dtype(pair[1])
    for shape in ((5, 7, 11), (18, 40, 9), (1, 33, 64), (3, 20, 260)):
        kernel = product(shape, dtypes, turned=turned)
        made = schedule_kernel(kernel, machine)[-1].kernel
        verify_kernel(made)
        assert any(s.name in ("isolate", "privatize") for s in schedule_kernel(kernel, machine))
        a, b = operands(kernel)
        got = np.full(kernel.params[2].shape, 99, kernel.params[2].dtype.numpy)
        run_kernel(made, a, b, got, seed=1)
        check(kernel, got, a, b)


@pytest.mark.usefixtures("everything_pays")
@each_target
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_compiled_products_are_right_for_any_shape(target: Target, data: st.DataObject) -> None:
    size = st.sampled_from([1, 2, 3, 5, 13, 16, 17, 31, 64, 67, 97])
    shape = data.draw(size), data.draw(size), data.draw(size)
    pair = data.draw(st.sampled_from([*PAIRS, ("bf16", "bf16"), ("f16", "f16"), ("f16", "bf16")]))
    turned, lead = (
        data.draw(st.sampled_from(["", "a", "b", "ab"])),
        data.draw(st.sampled_from([0, 3])),
    )
    kernel = product(shape, (as_dtype(pair[0]), as_dtype(pair[1])), turned=turned, lead=lead)
    made = schedule_kernel(kernel, target)[-1].kernel
    a, b = operands(kernel, seed=shape[0])
    got = np.full(kernel.params[2].shape, 99, kernel.params[2].dtype.numpy)
    run(made, target, a, b, got)
    check(kernel, got, a, b)


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_the_largest_products_of_a_long_sum_are_exact(pair: tuple[str, str]) -> None:
    dtypes = as_dtype(pair[0]), as_dtype(pair[1])
    kernel = product((20, 48, 5003), dtypes)
    for pick in ("min", "max"):
        a, b = (
            np.full(x.shape, getattr(np.iinfo(x.dtype.name), pick), x.dtype.numpy)
            for x in kernel.params[:2]
        )
        b[::2] = np.iinfo(b.dtype).max
        got = np.full((20, 48), 99, np.int32)
        run(schedule_kernel(kernel, HOST)[-1].kernel, HOST, a, b, got)
        np.testing.assert_array_equal(got, a.astype(np.int64) @ b.astype(np.int64))


def test_sums_beyond_int32_wrap() -> None:
    kernel = product((16, 32, 40000), (as_dtype("uint8"), as_dtype("uint8")))
    a, b = (np.full(x.shape, 255, np.uint8) for x in kernel.params[:2])
    got = np.zeros((16, 32), np.int32)
    run(schedule_kernel(kernel, HOST)[-1].kernel, HOST, a, b, got)
    assert (got == np.int64(255 * 255 * 40000).astype(np.int32)).all()


def test_bfloat16_sums_are_as_good_as_float32s() -> None:
    kernel = product((24, 64, 2048), (as_dtype("bf16"), as_dtype("bf16")))
    a, b = operands(kernel)
    got = np.zeros((24, 64), np.float32)
    run(schedule_kernel(kernel, HOST)[-1].kernel, HOST, a, b, got)
    x, y = a.astype(np.float64), b.astype(np.float64)
    # every sum is rounded at most 2048 times
    assert (np.abs(got - x @ y) <= 2048 * 2.0**-24 * (np.abs(x) @ np.abs(y))).all()


def test_words_only_where_the_machine_multiplies_them() -> None:
    kernel = product((64, 64, 64), (as_dtype("i8"), as_dtype("i8")))
    for machine, fn in ((VNNI, "dot4u"), (DOTPROD, "dot4s"), (AVX2, "dot2s")):
        assert fn in str(schedule_kernel(kernel, machine)[-1].kernel)
    brains = product((64, 64, 64), (as_dtype("bf16"), as_dtype("bf16")))
    assert "dot2b" in str(schedule_kernel(brains, VNNI)[-1].kernel)
    assert "dot2b" not in str(schedule_kernel(brains, AVX2)[-1].kernel)


def test_threads_share_large_products() -> None:
    kernel = product((256, 256, 256), (as_dtype("i8"), as_dtype("i8")))
    made = schedule_kernel(kernel, VNNI)[-1].kernel
    assert sum(x.kind == "parallel" for x in loops(made.body)) == 2


def test_few_rows_read_weights_once_in_the_order_of_memory() -> None:
    pair = as_dtype("i8"), as_dtype("i8")
    direct = schedule_kernel(product((4, 512, 512), pair), VNNI)
    assert not any(s.name == "pack" for s in direct)
    along = schedule_kernel(product((4, 512, 512), pair, turned="b"), VNNI)
    assert any(s.name == "privatize" for s in along)
    constant = schedule_kernel(product((4, 512, 512), pair), VNNI, ("x1",))
    assert any(s.name == "pack" for s in constant)
    assert [p.name for p in hoist(constant[-1].kernel, ("x1",)).packs]
    many = schedule_kernel(product((64, 512, 512), pair), VNNI)
    assert any(s.name == "pack" for s in many)


def test_subnormal_bfloat16_counts_in_full_or_as_zero() -> None:
    kernel = product((4, 64, 64), (as_dtype("bf16"), as_dtype("bf16")))
    a, b = (np.ones(x.shape, x.dtype.numpy) for x in kernel.params[:2])
    a[0], b[:, 0] = 2.0**-130, 2.0**20
    got = np.full((4, 64), 99, np.float32)
    run(schedule_kernel(kernel, HOST)[-1].kernel, HOST, a, b, got)
    assert got[0, 0] in (0, 64 * 2.0**-110)
    assert (got[1:, 1:] == 64).all()
