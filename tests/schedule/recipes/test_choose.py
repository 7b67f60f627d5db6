"""Recipes keep the meaning on every shape, and give each kind of nest the form it is meant to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid import ops
from pellucid.core.dtype import float32
from pellucid.core.target import Target
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, TensorType, Value, emit
from pellucid.loop.ir import Const, Kernel, Prefetch
from pellucid.loop.rewrite import allocated, loops, walk
from pellucid.loop.verifier import verify_kernel
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.ops.conv import CONV2D_KERNEL_GRAD
from pellucid.ops.pooling import avg_pool2d, max_pool2d
from pellucid.passes import group_fusion
from pellucid.schedule.recipes import contraction, operands, plan, rows, schedule_kernel, tiling
from pellucid.schedule.recipes.shape import outer_nest
from pellucid.schedule.trace import Schedule
from tests.lower.execution import agree, build, random_arrays, run_program
from tests.random_graphs import assert_same_results, random_graph, random_inputs


def target(bits: int, registers: int, cores: int = 2) -> Target:
    return Target(
        name=f"{bits}", vector_bits=bits, vector_registers=registers, has_fma=True, cores=cores,
        l1_bytes=32768, l2_bytes=1 << 19, l3_bytes=1 << 23,
    )  # fmt: skip


SSE2, AVX2, NEON, AVX512 = target(128, 16), target(256, 16), target(128, 32), target(512, 32)
TARGETS = (SSE2, AVX2, NEON, AVX512)


def f(*shape: int) -> TensorType:
    return TensorType(shape, float32)


@pytest.fixture
def everything_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads, copies and tiles for the small shapes a test can afford."""
    for module in (plan, contraction, rows):
        monkeypatch.setattr(module, "PARALLEL_WORK", 8)
    for name, value in (
        ("LEAST_WORK", 8), ("FAR_BYTES", 16), ("PAGE_BYTES", 16), ("FEWEST_USES", 1),
    ):  # fmt: skip
        for module in (contraction, operands, tiling):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)


def scheduled(kernel: Kernel, machine: Target) -> Kernel:
    steps = schedule_kernel(kernel, machine)
    assert steps[0].kernel is kernel
    verify_kernel(steps[-1].kernel)
    return steps[-1].kernel


def check(graph: Graph, machine: Target) -> None:
    program = lower_graph(group_fusion.run(graph))
    arrays = random_arrays(graph)
    got = run_program(program, arrays, lambda k: scheduled(k, machine))
    agree(got, interpret(graph, *arrays), 1e-4)


def only_kernel(make: Callable[..., Value], *types: TensorType) -> Kernel:
    (call,) = lower_graph(group_fusion.run(build(make, *types))).calls
    return call.kernel


def kinds(kernel: Kernel) -> dict[str, int]:
    found = [x.kind for x in loops(kernel.body)]
    return {k: found.count(k) for k in set(found)}


@pytest.mark.usefixtures("everything_pays")
@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize(
    ("m", "k", "n"), [(1, 1, 1), (7, 5, 3), (13, 16, 33), (24, 8, 64), (2, 40, 70), (70, 3, 2)]
)
def test_matrix_products(m: int, k: int, n: int, machine: Target) -> None:
    check(build(ops.matmul, f(m, k), f(k, n)), machine)
    check(build(lambda a, b: ops.matmul(a, ops.transpose(b)), f(m, k), f(n, k)), machine)
    check(build(lambda a, b: ops.matmul(ops.transpose(a), b), f(k, m), f(k, n)), machine)


@pytest.mark.usefixtures("everything_pays")
@pytest.mark.parametrize("machine", [AVX2, AVX512], ids=lambda t: t.name)
def test_epilogues_and_batches(machine: Target) -> None:
    check(
        build(
            lambda x, w, b, r: ops.add(ops.gelu(ops.add(ops.matmul(x, w), b)), r),
            f(13, 9), f(9, 37), f(37), f(13, 37),
        ),
        machine,
    )  # fmt: skip
    check(build(ops.matmul, f(2, 3, 9, 8), f(2, 3, 8, 19)), machine)


@pytest.mark.usefixtures("everything_pays")
@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions(stride: int) -> None:
    def make(x: Value, w: Value) -> Value:
        return ops.relu(ops.conv2d(x, w, stride=stride, padding=1))

    check(build(make, f(2, 3, 9, 11), f(4, 3, 3, 3)), AVX512)


@pytest.mark.usefixtures("everything_pays")
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (3, 64), (40, 3), (4, 96), (17, 130)])
@pytest.mark.parametrize("axis", [0, 1, None])
def test_reductions(shape: tuple[int, ...], axis: int | None) -> None:
    for reduce in (ops.sum, ops.max, ops.prod):
        check(build(lambda x, r=reduce: r(x, axis=axis), f(*shape)), AVX2)


@pytest.mark.usefixtures("everything_pays")
@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_random_programs(seed: int) -> None:
    graph = random_graph(seed, 10)
    arrays = random_inputs(graph, seed)
    program = lower_graph(group_fusion.run(graph))
    got = run_program(program, arrays, lambda k: scheduled(k, AVX2))
    assert_same_results(graph, got, interpret(graph, *arrays))


def test_elementwise_has_threads_and_lanes() -> None:
    kernel = only_kernel(ops.exp, f(300, 400))
    assert kinds(scheduled(kernel, AVX2)) == {"parallel": 1, "vector": 1}
    small = only_kernel(ops.exp, f(3, 4))
    assert kinds(scheduled(small, AVX2)) == {"vector": 1}


def test_column_sums_walk_memory_along_its_rows() -> None:
    kernel = scheduled(only_kernel(lambda x: ops.sum(x, axis=0), f(20, 128)), AVX512)
    (lane,) = [x for x in loops(kernel.body) if x.kind == "vector"]
    assert any(x.kind == "serial" for x in loops(lane.body))  # each lane sums its own column


@pytest.mark.parametrize(("machine", "tile"), [(AVX512, (8, 32)), (AVX2, (6, 16)), (NEON, (12, 8))])
def test_register_tiles_fill_the_registers(machine: Target, tile: tuple[int, int]) -> None:
    kernel = only_kernel(ops.matmul, f(48 * 4, 64), f(64, 128))
    made = scheduled(kernel, machine)
    shapes = {b.shape for b in allocated(made.body) if b.scope == "local"}
    lanes = machine.lanes(float32)
    assert shapes  # the accumulators
    for height, columns in shapes:
        assert columns == tile[1]
        assert height * columns // lanes + columns // lanes + 1 <= machine.vector_registers


def test_large_operands_are_packed_unless_rows_are_read_along_memory() -> None:
    kernel = only_kernel(ops.matmul, f(1024, 1024), f(1024, 1024))
    steps = [s.name for s in schedule_kernel(kernel, AVX512)]
    assert steps.count("pack") == 1
    assert "parallelize" in steps
    turned = only_kernel(
        lambda a, b: ops.matmul(ops.transpose(a, (1, 0)), b), f(1024, 1024), f(1024, 1024)
    )
    assert [s.name for s in schedule_kernel(turned, AVX512)].count("pack") == 2
    direct = only_kernel(ops.matmul, f(64, 64), f(64, 64))
    assert "pack" not in [s.name for s in schedule_kernel(direct, AVX512)]


def test_a_reduction_to_one_element_is_shared_in_parts_of_its_extent_alone() -> None:
    kernel = only_kernel(ops.sum, f(640, 1024))
    made = scheduled(kernel, AVX2)
    assert kinds(made)["parallel"] == 1
    (parts,) = [x for x in loops(made.body) if x.kind == "parallel"]
    many = [x for x in loops(scheduled(kernel, target(256, 16, cores=64)).body)]
    assert [x.extent for x in many if x.kind == "parallel"] == [parts.extent]


def test_one_core_means_no_threads() -> None:
    kernel = only_kernel(ops.matmul, f(128, 128), f(128, 128))
    assert "parallel" not in kinds(scheduled(kernel, target(512, 32, cores=1)))


def test_tile_heights_waste_little() -> None:
    assert tiling.tile_height(64, 12) == 8
    assert tiling.tile_height(784, 14) == 14
    assert tiling.tile_height(5, 12) == 5
    for extent in range(1, 300):
        height = tiling.tile_height(extent, 12)
        assert 1 <= height <= 12
        assert np.ceil(extent / height) * height < extent + height


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(4, 24), st.integers(4, 24)), window=st.integers(1, 4),
    stride=st.integers(1, 3), padding=st.integers(0, 2), planes=st.integers(1, 3),
    machine=st.sampled_from(TARGETS),
)  # fmt: skip
def test_windows_with_padding(
    *, size: tuple[int, int], window: int, stride: int, padding: int, planes: int, machine: Target
) -> None:
    padding = min(padding, window // 2)

    def make(x: Value) -> Value:
        y = max_pool2d(x, window, stride=stride, padding=padding)
        return ops.add(y, avg_pool2d(x, window, stride=stride, padding=padding))

    check(build(make, f(1, planes, *size)), machine)


def test_padded_windows_have_no_conditions_inside() -> None:
    kernel = only_kernel(lambda x: max_pool2d(x, 3, stride=2, padding=1), f(1, 8, 40, 40))
    vectors = [x for x in loops(scheduled(kernel, AVX512).body) if x.kind == "vector"]
    plain = [x for x in vectors if "select" not in str(x)]
    assert len(vectors) == 2  # the first row, and all others
    assert len(plain) == 1


def _prefetched(kernel: Kernel) -> set[str]:
    return {s.buffer.name for s in walk(kernel.body) if isinstance(s, Prefetch)}


def test_what_an_epilogue_reads_is_asked_for_ahead() -> None:
    def update(x: Value, dy: Value, w: Value) -> Value:
        return ops.subtract(w, ops.matmul(ops.transpose(x), dy))

    machine = replace(AVX512, l1_bytes=1 << 10)
    kernel = scheduled(only_kernel(update, f(48, 40), f(48, 70), f(40, 70)), machine)
    weights = [b.name for b in kernel.params[:-1] if b.shape == (40, 70)]
    assert _prefetched(kernel) == set(weights)
    odd = scheduled(only_kernel(update, f(47, 40), f(47, 70), f(40, 70)), machine)
    assert not _prefetched(odd)  # no even stretch of the reduction


def test_far_rows_are_asked_for_ahead_where_they_are_not_copied() -> None:
    machine = replace(AVX512, l2_bytes=1 << 15)
    few = scheduled(only_kernel(ops.matmul, f(9, 64), f(64, 512)), machine)
    assert _prefetched(few) == {few.params[1].name}


def test_an_operand_that_lies_across_is_copied_in_blocks() -> None:
    def turned(a: Value, b: Value) -> Value:
        return ops.matmul(a, ops.transpose(b))

    kernel = scheduled(only_kernel(turned, f(96, 64), f(96, 64)), AVX512)
    inner = [y for x in loops(kernel.body) if x.kind == "vector" for y in loops(x.body)]
    assert any(y.kind == "unroll" and y.extent == Const(16) for y in inner)


def test_taps_of_a_single_tile_leave_a_loop_for_threads() -> None:
    x, dy = f(64, 6, 14, 14), f(64, 16, 10, 10)
    kernel = scheduled(
        only_kernel(
            lambda x, dy: emit(
                CONV2D_KERNEL_GRAD, x, dy, kernel=(5, 5), stride=(1, 1), dilation=(1, 1), groups=1
            ),
            x,
            dy,
        ),
        AVX512,
    )
    shared = [x for x in loops(kernel.body) if x.kind == "parallel"]
    assert any(x.extent == Const(6) for x in shared)


def test_neighbours_of_an_image_are_not_taken_for_rows_that_lie_across() -> None:
    image, weights = f(64, 6, 14, 14), f(16, 6, 5, 5)
    kernel = scheduled(only_kernel(ops.conv2d, image, weights), AVX512)
    inner = [y for x in loops(kernel.body) if x.kind == "vector" for y in loops(x.body)]
    assert not any(y.kind == "unroll" for y in inner)


@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize(("k", "n"), [(8, 64), (37, 300), (17, 1), (64, 257)])
def test_a_vector_by_a_large_matrix_is_read_in_the_order_of_memory(
    k: int, n: int, machine: Target
) -> None:
    small = replace(machine, l1_bytes=1 << 10, l2_bytes=1 << 6)
    graph = build(lambda x, w, b: ops.relu(ops.add(ops.matmul(x, w), b)), f(1, k), f(k, n), f(n))
    check(graph, small)
    if k * n >= 1 << 11:
        (call,) = lower_graph(group_fusion.run(graph)).calls
        order = [x.var for x in loops(scheduled(call.kernel, small).body)]
        assert "ko" in order  # some rows at a time, outside the tiles


@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize(
    ("m", "k", "n"), [(2, 9, 130), (5, 37, 300), (8, 16, 96), (13, 17, 257), (16, 64, 160)]
)
def test_few_rows_by_a_large_matrix_read_it_in_the_order_of_memory(
    m: int, k: int, n: int, machine: Target
) -> None:
    small = replace(machine, l1_bytes=1 << 11, l2_bytes=8 * m * k, l3_bytes=1 << 12)
    for turned in (False, True):  # the few rows along the reduction, or across it

        def make(x: Value, w: Value, b: Value, turned: bool = turned) -> Value:
            x = ops.transpose(x) if turned else x
            return ops.relu(ops.add(ops.matmul(x, w), b))

        graph = build(make, f(k, m) if turned else f(m, k), f(k, n), f(n))
        check(graph, small)
        (call,) = lower_graph(group_fusion.run(graph)).calls
        made = scheduled(call.kernel, small)
        steps = schedule_kernel(call.kernel, small)
        assert ("k0", 8, "ko", "ki") in [tuple(s.args) for s in steps if s.name == "split"]
        assert any(
            s.buffer.shape == (k, n) for s in walk(made.body) if isinstance(s, Prefetch)
        ) == (m > 7)


@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize("k", [131, 139, 263, 521])
def test_what_a_dot_product_leaves_over_of_its_vectors_is_added_after(
    k: int, machine: Target
) -> None:
    def make(x: Value, w: Value, b: Value) -> Value:
        return ops.add(ops.matmul(x, ops.transpose(w)), b)

    for m, n in ((1, 24), (3, 10), (2, 7)):
        graph = build(make, f(m, k), f(n, k), f(n))
        check(graph, machine)
        (call,) = lower_graph(group_fusion.run(graph)).calls
        made = scheduled(call.kernel, machine)
        assert any(b.shape[-1:] == (machine.lanes(float32),) for b in allocated(made.body))


def test_few_columns_are_one_vector_and_rows_that_meet_in_a_set_are_few() -> None:
    machine = replace(AVX512, l2_bytes=1 << 22)
    for k, height in ((1000, 25), (1024, 8)):
        made = scheduled(only_kernel(ops.matmul, f(1000, k), f(k, 16)), machine)
        sums = [b.shape for b in allocated(made.body) if b.scope == "local"]
        assert (height, 16) in sums


@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize(("m", "n"), [(8, 2), (12, 3), (7, 4), (4, 5)])
def test_a_narrow_matrix_is_turned_to_lie_along_the_reduction(
    m: int, n: int, machine: Target
) -> None:
    if 2 * n > machine.lanes(float32):
        return
    check(build(ops.matmul, f(m, 512), f(512, n)), machine)
    kernel = scheduled(only_kernel(ops.matmul, f(m, 512), f(512, n)), machine)
    assert (n, 512) in {b.shape for b in allocated(kernel.body)}


def test_results_of_a_brief_sum_are_written_along_memory() -> None:
    machine = replace(target(512, 32, cores=1), l2_bytes=1 << 16)
    kernel = scheduled(only_kernel(ops.matmul, f(96, 8), f(8, 320)), machine)
    order = [x.var for x in loops(kernel.body)]
    assert order.index("i0o") < order.index("i1o")
    few = scheduled(only_kernel(ops.matmul, f(24, 8), f(8, 320)), machine)
    order = [x.var for x in loops(few.body)]
    assert order.index("i1o") < order.index("i0o")


def test_few_rows_by_a_large_matrix_leave_the_matrix_to_the_lanes() -> None:
    wide = choose_for(f(96, 3072), f(3072, 768)).wide
    assert wide.buffer.shape == (3072, 768)


def choose_for(a: TensorType, b: TensorType) -> tiling.Tiling:
    kernel = only_kernel(ops.matmul, a, b)
    nest = outer_nest(kernel)
    found = tiling.find_contraction(nest)
    assert found is not None
    chosen = tiling.choose_tiling(Schedule(kernel), nest, found, AVX512)
    assert chosen is not None
    return chosen


@pytest.mark.usefixtures("everything_pays")
@pytest.mark.parametrize("machine", TARGETS, ids=lambda t: t.name + str(t.vector_registers))
@pytest.mark.parametrize("axis", [0, 1])
def test_loops_side_by_side_have_threads_and_lanes_each(machine: Target, axis: int) -> None:
    def join(x: Value, y: Value) -> Value:
        return ops.concatenate([x, y], axis)

    made = scheduled(only_kernel(join, f(17, 33), f(17, 33)), machine)
    assert kinds(made)["parallel"] == kinds(made)["vector"] == 2
    check(build(join, f(17, 33), f(17, 33)), machine)


def test_a_rolled_array_is_copied_in_pieces_without_conditions() -> None:
    made = scheduled(only_kernel(lambda x: ops.roll(x, 7, 1), f(64, 300)), AVX512)
    assert [x.extent for x in loops(made.body) if x.kind == "vector"] == [Const(7), Const(293)]
    assert "select" not in str(made)
