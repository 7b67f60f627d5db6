from __future__ import annotations

import pytest

from pellucid.passes.sink_movement import run
from tests.passes.golden import check, check_unchanged


def program(inputs: str, *lines: str, result: str = "r") -> str:
    body = "".join(f"  {line}\n" for line in (*lines, f"return {result}"))
    return f"graph g({inputs}) {{\n{body}}}\n"


def test_unary_runs_before_its_broadcast() -> None:
    inputs = "x: f32[3, 1]"
    before = program(
        inputs,
        "a: f32[3, 4] = broadcast_to(x, shape=(3, 4))",
        "r: f32[3, 4] = exp(a)",
    )
    after = program(
        inputs,
        "exp: f32[3, 1] = exp(x)",
        "r: f32[3, 4] = broadcast_to(exp, shape=(3, 4))",
    )
    check(run, before, after)


def test_binary_runs_at_the_common_smaller_shape() -> None:
    inputs = "x: f32[3, 1, 1], y: f32[4, 1]"
    before = program(
        inputs,
        "a: f32[3, 4, 5] = broadcast_to(x, shape=(3, 4, 5))",
        "b: f32[3, 4, 5] = broadcast_to(y, shape=(3, 4, 5))",
        "r: f32[3, 4, 5] = add(a, b)",
    )
    after = program(
        inputs,
        "broadcast_to: f32[3, 4, 1] = broadcast_to(x, shape=(3, 4, 1))",
        "broadcast_to_1: f32[3, 4, 1] = broadcast_to(y, shape=(3, 4, 1))",
        "add: f32[3, 4, 1] = add(broadcast_to, broadcast_to_1)",
        "r: f32[3, 4, 5] = broadcast_to(add, shape=(3, 4, 5))",
    )
    check(run, before, after)


def test_outer_sum_stays() -> None:
    check_unchanged(
        run,
        program(
            "x: f32[3, 1], y: f32[4]",
            "a: f32[3, 4] = broadcast_to(x, shape=(3, 4))",
            "b: f32[3, 4] = broadcast_to(y, shape=(3, 4))",
            "r: f32[3, 4] = add(a, b)",
        ),
    )


def test_transposes_meet_below_an_elementwise_op_and_cancel() -> None:
    inputs = "x: f32[2, 3], y: f32[2, 3]"
    before = program(
        inputs,
        "a: f32[3, 2] = transpose(x, permutation=(1, 0))",
        "b: f32[3, 2] = transpose(y, permutation=(1, 0))",
        "c: f32[3, 2] = mul(a, b)",
        "d: f32[3, 2] = tanh(c)",
        "r: f32[2, 3] = transpose(d, permutation=(1, 0))",
    )
    after = program(
        inputs, "mul: f32[2, 3] = mul(x, y)", "tanh: f32[2, 3] = tanh(mul)", result="tanh"
    )
    check(run, before, after)


def test_broadcast_goes_along_with_a_transpose() -> None:
    inputs = "x: f32[2, 3, 4], y: f32[3]"
    before = program(
        inputs,
        "a: f32[2, 4, 3] = transpose(x, permutation=(0, 2, 1))",
        "b: f32[2, 4, 3] = broadcast_to(y, shape=(2, 4, 3))",
        "r: f32[2, 4, 3] = add(a, b)",
    )
    after = program(
        inputs,
        "transpose: f32[1, 3, 1] = reshape(y, shape=(1, 3, 1))",
        "broadcast_to: f32[2, 3, 4] = broadcast_to(transpose, shape=(2, 3, 4))",
        "add: f32[2, 3, 4] = add(x, broadcast_to)",
        "r: f32[2, 4, 3] = transpose(add, permutation=(0, 2, 1))",
    )
    check(run, before, after)


def test_other_operand_in_its_own_order_keeps_the_transpose() -> None:
    check_unchanged(
        run,
        program(
            "x: f32[2, 3], y: f32[3, 2]",
            "a: f32[3, 2] = transpose(x, permutation=(1, 0))",
            "r: f32[3, 2] = add(a, y)",
        ),
    )


def test_reshape_sinks_below_a_bias() -> None:
    inputs = "x: f32[6, 4], b: f32[4]"
    before = program(
        inputs,
        "a: f32[2, 3, 4] = reshape(x, shape=(2, 3, 4))",
        "c: f32[2, 3, 4] = broadcast_to(b, shape=(2, 3, 4))",
        "r: f32[2, 3, 4] = add(a, c)",
    )
    after = program(
        inputs,
        "reshape: f32[1, 4] = reshape(b, shape=(1, 4))",
        "broadcast_to: f32[6, 4] = broadcast_to(reshape, shape=(6, 4))",
        "add: f32[6, 4] = add(x, broadcast_to)",
        "r: f32[2, 3, 4] = reshape(add, shape=(2, 3, 4))",
    )
    check(run, before, after)


def test_reshape_that_merges_a_repeated_axis_with_a_real_one_stays() -> None:
    check_unchanged(
        run,
        program(
            "x: f32[3, 1]",
            "a: f32[3, 4] = broadcast_to(x, shape=(3, 4))",
            "r: f32[12] = reshape(a, shape=(12,))",
        ),
    )


@pytest.mark.parametrize(
    ("move", "name", "ones", "full"),
    [
        ("transpose(a, permutation=(1, 0))", "transpose", "1, 3", "4, 3"),
        ("reshape(a, shape=(3, 2, 2))", "reshape", "3, 1, 1", "3, 2, 2"),
    ],
)
def test_movement_of_a_broadcast_moves_its_operand(
    move: str, name: str, ones: str, full: str
) -> None:
    inputs = "x: f32[3, 1]"
    first = "a: f32[3, 4] = broadcast_to(x, shape=(3, 4))"
    after = program(
        inputs,
        f"{name}: f32[{ones}] = reshape(x, shape=({ones}))",
        f"r: f32[{full}] = broadcast_to({name}, shape=({full}))",
    )
    check(run, program(inputs, first, f"r: f32[{full}] = {move}"), after)


def test_slice_of_a_broadcast_slices_its_operand() -> None:
    inputs = "x: f32[5, 1]"
    before = program(
        inputs,
        "a: f32[5, 4] = broadcast_to(x, shape=(5, 4))",
        "r: f32[2, 3] = slice(a, start=(1, 0), stop=(3, 3), step=(1, 1))",
    )
    after = program(
        inputs,
        "slice: f32[2, 1] = slice(x, start=(1, 0), stop=(3, 1), step=(1, 1))",
        "r: f32[2, 3] = broadcast_to(slice, shape=(2, 3))",
    )
    check(run, before, after)


def test_reduction_of_a_transpose_transposes_the_smaller_result() -> None:
    inputs = "x: f32[2, 3, 4]"
    before = program(
        inputs,
        "a: f32[4, 3, 2] = transpose(x, permutation=(2, 1, 0))",
        "r: f32[4, 2] = reduce_max(a, axes=(1,))",
    )
    after = program(
        inputs,
        "reduce_max: f32[2, 4] = reduce_max(x, axes=(1,))",
        "r: f32[4, 2] = transpose(reduce_max, permutation=(1, 0))",
    )
    check(run, before, after)


def test_reduction_over_axes_that_do_not_repeat_comes_first() -> None:
    inputs = "x: f32[3]"
    before = program(
        inputs,
        "a: f32[2, 3] = broadcast_to(x, shape=(2, 3))",
        "r: f32[2] = reduce_max(a, axes=(1,))",
    )
    after = program(
        inputs,
        "reduce_max: f32[] = reduce_max(x, axes=(0,))",
        "reduce_max_1: f32[1] = reshape(reduce_max, shape=(1,))",
        "r: f32[2] = broadcast_to(reduce_max_1, shape=(2,))",
    )
    check(run, before, after)


def dot(
    lhs: str, rhs: str, contract: str = "((1,), (0,))", batch: str = "((), ())", **attrs: str
) -> str:
    tail = "".join(f", {k}={v}" for k, v in attrs.items())
    return f"dot_general({lhs}, {rhs}, contract={contract}, batch={batch}{tail})"


def test_product_with_a_transposed_matrix_has_no_transpose() -> None:
    inputs = "x: f32[5, 3], w: f32[4, 3]"
    before = program(
        inputs,
        "a: f32[3, 4] = transpose(w, permutation=(1, 0))",
        f"r: f32[5, 4] = {dot('x', 'a')}",
    )
    check(
        run,
        before,
        program(inputs, f"r: f32[5, 4] = {dot('x', 'w', '((1,), (1,))')}"),
        exact=False,
    )


def test_transposed_left_operand_is_read_as_it_is() -> None:
    inputs = "x: f32[3, 5], w: f32[3, 4]"
    before = program(
        inputs,
        "a: f32[5, 3] = transpose(x, permutation=(1, 0))",
        f"r: f32[5, 4] = {dot('a', 'w')}",
    )
    check(
        run,
        before,
        program(inputs, f"r: f32[5, 4] = {dot('x', 'w', '((0,), (0,))')}"),
        exact=False,
    )


def test_transposed_product_swaps_its_operands() -> None:
    inputs = "x: f32[5, 3], w: f32[3, 4]"
    before = program(
        inputs,
        f"a: f32[5, 4] = {dot('x', 'w')}",
        "r: f32[4, 5] = transpose(a, permutation=(1, 0))",
    )
    after = program(inputs, f"r: f32[4, 5] = {dot('w', 'x', '((0,), (1,))')}")
    check(run, before, after, exact=False)


def test_product_that_is_read_twice_keeps_its_transpose() -> None:
    check_unchanged(
        run,
        program(
            "x: f32[5, 3], w: f32[3, 4]",
            f"a: f32[5, 4] = {dot('x', 'w')}",
            "r: f32[4, 5] = transpose(a, permutation=(1, 0))",
            result="r, a",
        ),
    )


def test_attention_heads_need_no_copies() -> None:
    inputs = "q: f32[2, 7, 3, 4], k: f32[2, 7, 3, 4]"
    before = program(
        inputs,
        "a: f32[2, 3, 7, 4] = transpose(q, permutation=(0, 2, 1, 3))",
        "b: f32[2, 3, 4, 7] = transpose(k, permutation=(0, 2, 3, 1))",
        f"r: f32[2, 3, 7, 7] = {dot('a', 'b', '((3,), (2,))', '((0, 1), (0, 1))')}",
    )
    after = program(
        inputs,
        f"r: f32[2, 3, 7, 7] = {dot('q', 'k', '((3,), (3,))', '((0, 2), (0, 2))')}",
    )
    check(run, before, after, exact=False)


def test_free_axes_out_of_order_keep_the_transpose() -> None:
    check_unchanged(
        run,
        program(
            "x: f32[5, 6, 3], w: f32[3, 4]",
            "a: f32[6, 5, 3] = transpose(x, permutation=(1, 0, 2))",
            f"r: f32[6, 5, 4] = {dot('a', 'w', '((2,), (0,))')}",
        ),
    )


def test_repeated_batch_of_the_right_operand_is_a_free_axis() -> None:
    inputs = "x: f32[2, 5, 3], w: f32[3, 4]"
    before = program(
        inputs,
        "a: f32[2, 3, 4] = broadcast_to(w, shape=(2, 3, 4))",
        f"r: f32[2, 5, 4] = {dot('x', 'a', '((2,), (1,))', '((0,), (0,))')}",
    )
    check(
        run,
        before,
        program(inputs, f"r: f32[2, 5, 4] = {dot('x', 'w', '((2,), (0,))')}"),
        exact=False,
    )


def test_two_repeated_batch_axes_go_one_after_the_other() -> None:
    inputs = "x: f32[2, 6, 5, 3], w: f32[3, 4]"
    before = program(
        inputs,
        "a: f32[2, 6, 3, 4] = broadcast_to(w, shape=(2, 6, 3, 4))",
        f"r: f32[2, 6, 5, 4] = {dot('x', 'a', '((3,), (2,))', '((0, 1), (0, 1))')}",
    )
    after = program(inputs, f"r: f32[2, 6, 5, 4] = {dot('x', 'w', '((3,), (0,))')}")
    check(run, before, after, exact=False)


def test_repeated_batch_of_the_left_operand_stays_where_the_order_would_change() -> None:
    check_unchanged(
        run,
        program(
            "x: f32[5, 3], w: f32[2, 3, 4]",
            "a: f32[2, 5, 3] = broadcast_to(x, shape=(2, 5, 3))",
            f"r: f32[2, 5, 4] = {dot('a', 'w', '((2,), (1,))', '((0,), (0,))')}",
        ),
    )


def test_reduction_of_a_reshape_reduces_its_operand() -> None:
    inputs = "x: f32[2, 3, 4, 5]"
    before = program(
        inputs,
        "a: f32[6, 2, 2, 5] = reshape(x, shape=(6, 2, 2, 5))",
        "r: f32[2, 2] = reduce_max(a, axes=(0, 3))",
    )
    after = program(
        inputs,
        "reduce_max: f32[4] = reduce_max(x, axes=(0, 1, 3))",
        "r: f32[2, 2] = reshape(reduce_max, shape=(2, 2))",
    )
    check(run, before, after)


def test_reduction_of_part_of_an_axis_stays() -> None:
    check_unchanged(
        run,
        program(
            "x: f32[6]",
            "a: f32[2, 3] = reshape(x, shape=(2, 3))",
            "r: f32[2] = reduce_max(a, axes=(1,))",
        ),
    )
