"""Every primitive on awkward sizes keeps the interpreter's result; illegal uses are refused."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pellucid.core.errors import ScheduleError
from pellucid.loop.ir import Kernel
from pellucid.loop.parser import parse_kernel
from pellucid.loop.printer import print_kernel
from pellucid.loop.rewrite import loops
from pellucid.schedule.distribute import distribute
from pellucid.schedule.fuse import fuse
from pellucid.schedule.pack import pack
from pellucid.schedule.parallelize import parallelize
from pellucid.schedule.peel import peel
from pellucid.schedule.reorder import reorder
from pellucid.schedule.rfactor import rfactor
from pellucid.schedule.specialize import specialize
from pellucid.schedule.split import split
from pellucid.schedule.stage import stage
from pellucid.schedule.tile import tile
from pellucid.schedule.trace import Schedule
from pellucid.schedule.unroll import expand_unrolled, unroll
from pellucid.schedule.vectorize import vectorize
from tests.loop.kernels import check_same, matmul, moments, pointwise

SIZES = [
    *[(1, 1, 1), (6, 8, 16), (7, 1, 17), (13, 5, 31), (12, 4, 32)],
    pytest.param((37, 10, 53), marks=pytest.mark.slow),
]


def body(text: str) -> Kernel:
    head = "kernel k(x: f32[64], m: f32[8, 8]) -> (y: f32[64], z: f32[8, 8]) {\n"
    lines = "\n".join("  " + line for line in text.strip("\n").splitlines())
    return parse_kernel(f"{head}{lines}\n}}\n")


def matmul_schedule(kernel: Kernel) -> Schedule:
    """The register-tiled, packed product, by primitives alone."""
    schedule = Schedule(kernel)
    schedule.apply(tile, ("i", "j"), (6, 16)).apply(distribute, "ji").apply(distribute, "ii")
    schedule.apply(reorder, "k", "ii", "ji")
    schedule.apply(pack, "B", ("jo", "k", "ji")).apply(pack, "A", ("k", "ii"), "io")
    schedule.apply(parallelize, "io").apply(parallelize, "jo_B")
    last: list[tuple[Callable[..., Kernel], str, tuple[int, ...]]] = [
        (specialize, "io", ()), (specialize, "jo", ()), (specialize, "jo_B", ()),
        (unroll, "ii", ()), (vectorize, "ji", ()), (vectorize, "ji_B", ()), (unroll, "k", (4,)),
    ]  # fmt: skip
    for primitive, var, args in last:
        if any(loops(schedule.kernel.body, var)):  # loops of one iteration are gone by now
            schedule.apply(primitive, var, *args)
    return schedule


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_every_step_of_the_product_keeps_the_result(sizes: tuple[int, int, int]) -> None:
    kernel = matmul(*sizes)
    for step in matmul_schedule(kernel).steps:
        check_same(kernel, step.kernel)


def test_the_product_ends_in_constant_tiles() -> None:
    text = print_kernel(matmul_schedule(matmul(37, 10, 53)).kernel)
    assert "min(" not in text
    assert "parallel for io in 0..7:" in text
    assert "acc[ii, ji] + Ap[ko * 4 + ku, ii] * Bp[jo, ko * 4 + ku, ji]" in text
    assert text.splitlines()[1] == "  alloc Bp: f32[4, 10, 16] temp"


@pytest.mark.parametrize("n", [1, 2, 7, 12, 13, 64, 97])
@pytest.mark.parametrize("factor", [1, 3, 12, 100])
def test_split_specialize_peel_unroll(n: int, factor: int) -> None:
    kernel = pointwise(n)
    halves = split(kernel, "i", factor)
    check_same(kernel, halves)
    check_same(kernel, specialize(halves, "io"))
    check_same(kernel, peel(halves, "io"))
    check_same(kernel, split(halves, "ii", 2, "a", "b"))
    unrolled = unroll(kernel, "i", factor)
    check_same(kernel, unrolled)
    check_same(kernel, expand_unrolled(unrolled))
    check_same(kernel, vectorize(parallelize(kernel, "i"), "i"))


@pytest.mark.parametrize("n", [1, 5, 16, 17, 100])
@pytest.mark.parametrize("lanes", [1, 4, 16])
def test_rfactor(n: int, lanes: int) -> None:
    kernel = moments(n)
    partial = rfactor(kernel, "k", lanes)
    check_same(kernel, partial)
    check_same(kernel, vectorize(partial, "ki"))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_fuse_and_parallelize(sizes: tuple[int, int, int]) -> None:
    kernel = matmul(*sizes)
    fused = fuse(kernel, "i", "j", "f")
    check_same(kernel, fused)
    check_same(kernel, parallelize(fused, "f"))
    check_same(kernel, reorder(kernel, "j", "i"))
    tiles = fuse(tile(kernel, ("i", "j"), (4, 8)), "io", "jo", "t")
    check_same(kernel, parallelize(tiles, "t"))


def test_stage_reads_in_only_where_needed() -> None:
    kernel = body("""
for i in 0..8:
  for j in 0..8:
    z[i, j] = 0.0
for i in 0..8:
  for k in 0..8:
    for j in 0..8:
      z[i, j] = z[i, j] + m[i, k] * m[k, j]""")
    staged = stage(split(kernel, "i", 3), "z", ("ii", "j"), "io")
    check_same(kernel, staged)
    text = print_kernel(staged)
    assert text.count("= z[") == 1
    assert text.count("  z[") == 2


def test_pack_takes_the_padding_along() -> None:
    kernel = body("""
for o in 0..8:
  for i in 0..8:
    z[o, i] = 0.0
    for k in 0..3:
      z[o, i] = z[o, i] + m[o, k] * select(i + k < 8, x[min(i + k, 7)], 0.0)""")
    packed = pack(kernel, "x", ("k", "i"))
    check_same(kernel, packed)
    text = print_kernel(packed)
    assert "xp[k_x, i_x] = select(i_x + k_x < 8, x[min(i_x + k_x, 7)], 0.0)" in text
    assert "z[o, i] + m[o, k] * xp[k, i]" in text


def test_distribute_expands_private_buffers() -> None:
    kernel = matmul(3, 4, 5)
    once = distribute(kernel, "j")
    check_same(kernel, once)
    assert "alloc acc: f32[5] local" in print_kernel(once)


COPY = "for i in 0..8:\n  for j in 0..8:\n    z[i, j] = m[j, i]"
SCAN = "for i in 0..63:\n  y[i + 1] = y[i] + x[i]"
SHIFT = "for i in 0..7:\n  for j in 0..7:\n    z[i + 1, j] = z[i, j + 1]"
SUM = "for i in 0..64:\n  y[0] = y[0] + x[i]"
TWO = "for i in 0..63:\n  y[i + 1] = x[i]\n  z[0, 0] = y[i]"

REFUSED: list[tuple[str, Callable[..., Kernel], tuple[object, ...], str]] = [
    (COPY, split, ("q", 2), "there is no loop 'q', got the loops i, j"),
    (COPY, split, ("i", 0), "factor must be >= 1"),
    (COPY, split, ("i", 2, "x"), "the name 'x' is in use"),
    (COPY, reorder, ("i", "i"), "name each loop once"),
    (COPY, tile, (("i", "j"), (2,)), "one factor per loop"),
    (COPY, vectorize, ("i",), "the body of 'i' must be stores only"),
    (COPY, rfactor, ("j", 4), "the body of 'j' must be updates only"),
    (COPY, pack, ("x", ("i", "j")), "x is not read here"),
    (COPY, pack, ("z", ("i", "j")), "z is written here"),
    (COPY, pack, ("m", ("i",)), "the index of m also depends on ['j']"),
    (COPY, pack, ("n", ("i",)), "there is no buffer 'n'"),
    (COPY, stage, ("m", ("j",), "i"), "m is not written here"),
    (COPY, stage, ("z", ("i",), "j"), "must be inside the loop"),
    (SCAN, parallelize, ("i",), "may touch the same element of y"),
    (SCAN, vectorize, ("i",), "may touch the same element of y"),
    (SCAN, rfactor, ("i", 4), "must be updates only"),
    (SUM, parallelize, ("i",), "may touch the same element of y"),
    (SUM, vectorize, ("i",), "use rfactor"),
    (SHIFT, reorder, ("j", "i"), "accesses to z would change places"),
    (TWO, distribute, ("i",), "pass values through y"),
]


@pytest.mark.parametrize(("text", "primitive", "args", "message"), REFUSED)
def test_refuses(
    text: str, primitive: Callable[..., Kernel], args: tuple[object, ...], message: str
) -> None:
    with pytest.raises(ScheduleError, match=re.escape(message)):
        primitive(body(text), *args)


def test_extents_that_depend_on_other_loops() -> None:
    halves = split(split(body(COPY), "i", 3), "j", 3)
    with pytest.raises(ScheduleError, match="the extent of 'ii' depends on"):
        reorder(halves, "ii", "io")
    with pytest.raises(ScheduleError, match="depends on the outer loop"):
        fuse(halves, "io", "ii")
    with pytest.raises(ScheduleError, match="must be constant"):
        vectorize(halves, "ji")
    with pytest.raises(ScheduleError, match="must be constant"):
        unroll(halves, "ii")
    with pytest.raises(ScheduleError, match="perfectly nested"):
        fuse(matmul(2, 3, 4), "j", "k")


def test_sums_may_be_reordered_and_kept_order_is_fine() -> None:
    kernel = body("for i in 0..8:\n  for j in 0..8:\n    y[0] = y[0] + m[i, j]")
    check_same(kernel, reorder(kernel, "j", "i"))


def test_steps_are_remembered() -> None:
    schedule = Schedule(pointwise(10)).apply(split, "i", 4).apply(parallelize, "io")
    assert [s.name for s in schedule.steps] == ["lower", "split", "parallelize"]
    assert schedule.steps[1].args == ("i", 4)
    assert str(schedule.steps[1]).startswith("split(i, 4)\nkernel pointwise")
