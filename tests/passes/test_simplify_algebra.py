from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.core import dtype as dt
from pellucid.passes.rules_arithmetic import exact_reciprocal
from pellucid.passes.rules_logic import holds
from pellucid.passes.simplify_algebra import run
from tests.passes.golden import check, check_unchanged


def program(*lines: str, inputs: str = "x: f32[6], y: f32[6]", result: str = "r") -> str:
    body = "".join(f"  {line}\n" for line in (*lines, f"return {result}"))
    return f"graph g({inputs}) {{\n{body}}}\n"


def const(value: float, dtype: str = "f32", n: int = 6) -> tuple[str, str]:
    return (
        f"k: {dtype}[] = constant(value=array({dtype}[], [{value}]))",
        f"c: {dtype}[{n}] = broadcast_to(k, shape=({n},))",
    )


GONE = program(result="x")


@pytest.mark.parametrize(
    ("op", "value"),
    [("mul", 1.0), ("div", 1.0), ("sub", 0.0), ("add", -0.0), ("pow", 1.0)],
)
def test_neutral_element_goes(op: str, value: float) -> None:
    check(run, program(*const(value), f"r: f32[6] = {op}(x, c)"), GONE)


@pytest.mark.parametrize("op", ["mul", "add"])
def test_neutral_element_on_the_left_goes(op: str) -> None:
    value = 1.0 if op == "mul" else -0.0
    check(run, program(*const(value), f"r: f32[6] = {op}(c, x)"), GONE)


@pytest.mark.parametrize(
    ("op", "value"), [("add", 0.0), ("sub", -0.0), ("mul", 0.0), ("mul", 2.0), ("div", 3.0)]
)
def test_what_would_change_bits_stays(op: str, value: float) -> None:
    check_unchanged(run, program(*const(value), f"r: f32[6] = {op}(x, c)"))


def test_the_size_of_a_negated_unsigned_number_is_not_its_own() -> None:
    lines = ("n: u8[6] = neg(x)", "r: u8[6] = abs(n)")
    check_unchanged(run, program(*lines, inputs="x: u8[6]"))


@pytest.mark.parametrize(
    ("op", "value"), [("add", 0), ("sub", 0), ("mul", 1), ("floordiv", 1), ("or", 0), ("and", -1)]
)
def test_integer_neutral_element_goes(op: str, value: int) -> None:
    ints = "x: i32[6]"
    check(
        run,
        program(*const(value, "i32"), f"r: i32[6] = {op}(x, c)", inputs=ints),
        program(inputs=ints, result="x"),
    )


@pytest.mark.parametrize(("op", "value"), [("mul", 0), ("and", 0), ("mod", 1)])
def test_integer_zero_wins(op: str, value: int) -> None:
    before = program(*const(value, "i32"), f"r: i32[6] = {op}(x, c)", inputs="x: i32[6]")
    zeros = (
        "constant: i32[] = constant(value=array(i32[], [0]))",
        "r: i32[6] = broadcast_to(constant, shape=(6,))",
    )
    if op == "and":  # the literal itself is the result
        zeros = (zeros[0].replace("constant:", "k:"), "c: i32[6] = broadcast_to(k, shape=(6,))")
    check(run, before, program(*zeros, inputs="x: i32[6]", result="c" if op == "and" else "r"))


def test_integer_constants_are_reassociated() -> None:
    before = program(
        "k: i32[] = constant(value=array(i32[], [3]))",
        "c: i32[6] = broadcast_to(k, shape=(6,))",
        "m: i32[] = constant(value=array(i32[], [4]))",
        "d: i32[6] = broadcast_to(m, shape=(6,))",
        "a: i32[6] = mul(x, c)",
        "r: i32[6] = mul(d, a)",
        inputs="x: i32[6]",
    )
    after = program(
        "constant: i32[] = constant(value=array(i32[], [12]))",
        "broadcast_to: i32[6] = broadcast_to(constant, shape=(6,))",
        "r: i32[6] = mul(x, broadcast_to)",
        inputs="x: i32[6]",
    )
    check(run, before, after)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("a: f32[6] = neg(y)", "r: f32[6] = add(x, a)"), "sub(x, y)"),
        (("a: f32[6] = neg(x)", "r: f32[6] = add(a, y)"), "sub(y, x)"),
        (("a: f32[6] = neg(y)", "r: f32[6] = sub(x, a)"), "add(x, y)"),
        (("a: f32[6] = neg(x)", "b: f32[6] = neg(y)", "r: f32[6] = mul(a, b)"), "mul(x, y)"),
        (("a: f32[6] = neg(x)", "b: f32[6] = neg(y)", "r: f32[6] = div(a, b)"), "div(x, y)"),
        ((*const(-1.0), "r: f32[6] = mul(x, c)"), "neg(x)"),
        ((*const(2.0), "r: f32[6] = pow(x, c)"), "mul(x, x)"),
        (("a: f32[6] = abs(x)", "r: f32[6] = abs(a)"), "abs(x)"),
        (("a: f32[6] = neg(x)", "r: f32[6] = abs(a)"), "abs(x)"),
        (("a: f32[6] = ceil(x)", "r: f32[6] = floor(a)"), "ceil(x)"),
        (("a: f32[6] = stop_gradient(x)", "r: f32[6] = exp(a)"), "exp(x)"),
    ],
)
def test_cheaper_form(lines: tuple[str, ...], expected: str) -> None:
    kept = {"abs(x)": "a", "ceil(x)": "a"} if "neg" not in lines[0] else {}
    name = kept.get(expected, "r")
    check(run, program(*lines), program(f"{name}: f32[6] = {expected}", result=name))


@pytest.mark.parametrize(
    "lines",
    [
        ("a: f32[6] = neg(x)", "r: f32[6] = neg(a)"),
        ("r: f32[6] = max(x, x)",),
        ("r: f32[6] = min(x, x)",),
        ("a: f32[3, 2] = reshape(x, shape=(3, 2))", "r: f32[6] = reshape(a, shape=(6,))"),
        ("a: f64[6] = cast(x, dtype=f64)", "r: f32[6] = cast(a, dtype=f32)"),
        ("r: f32[6] = slice(x, start=(0,), stop=(6,), step=(1,))",),
        ("r: f32[6] = broadcast_to(x, shape=(6,))",),
        ("r: f32[6] = transpose(x, permutation=(0,))",),
        ("r: f32[6] = prod(x, axes=())",),
        ("a: bool[6] = isnan(x)", "r: f32[6] = where(a, x, x)"),
    ],
)
def test_what_does_nothing_goes(lines: tuple[str, ...]) -> None:
    check(run, program(*lines), GONE)


def test_power_of_two_division_becomes_multiplication() -> None:
    after = program(
        "constant: f32[] = constant(value=array(f32[], [0.125]))",
        "broadcast_to: f32[6] = broadcast_to(constant, shape=(6,))",
        "r: f32[6] = mul(x, broadcast_to)",
    )
    check(run, program(*const(8.0), "r: f32[6] = div(x, c)"), after)


def test_reciprocal_is_exact_only_for_normal_powers_of_two() -> None:
    assert exact_reciprocal(-4.0, dt.float32) == -0.25
    assert exact_reciprocal(3.0, dt.float32) is None
    assert exact_reciprocal(2.0**-140, dt.float32) is None
    assert exact_reciprocal(2.0**127, dt.float32) is None
    assert exact_reciprocal(2.0**127, dt.float64) == 2.0**-127
    assert exact_reciprocal(float("inf"), dt.float32) is None
    assert exact_reciprocal(0.0, dt.float32) is None


def test_negated_factor_goes_into_the_constant() -> None:
    before = program(*const(3.0), "a: f32[6] = neg(x)", "r: f32[6] = mul(a, c)")
    after = program(
        "constant: f32[] = constant(value=array(f32[], [-3.0]))",
        "broadcast_to: f32[6] = broadcast_to(constant, shape=(6,))",
        "r: f32[6] = mul(x, broadcast_to)",
    )
    check(run, before, after)


def test_cube_is_two_products() -> None:
    after = program("mul: f32[6] = mul(x, x)", "r: f32[6] = mul(mul, x)")
    check(run, program(*const(3.0), "r: f32[6] = pow(x, c)"), after, exact=False)


BOOLS = "p: bool[4], q: bool[4], x: i32[4], y: i32[4]"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("a: bool[4] = not(p)", "r: bool[4] = not(a)"), "p"),
        (("r: bool[4] = and(p, p)",), "p"),
        (("r: bool[4] = or(p, p)",), "p"),
        ((*const(True, "bool", 4), "r: bool[4] = and(p, c)"), "p"),
        ((*const(False, "bool", 4), "r: bool[4] = or(c, p)"), "p"),
        ((*const(False, "bool", 4), "r: bool[4] = xor(c, p)"), "p"),
        ((*const(True, "bool", 4), "r: i32[4] = where(c, x, y)"), "x"),
        ((*const(False, "bool", 4), "r: i32[4] = where(c, x, y)"), "y"),
        (("r: i32[4] = where(p, y, y)",), "y"),
        (("a: bool[4] = not(p)", "r: i32[4] = where(a, x, y)"), "where(p, y, x)"),
        (("a: bool[4] = eq(x, y)", "r: bool[4] = not(a)"), "ne(x, y)"),
        (("a: bool[4] = lt(x, y)", "r: bool[4] = not(a)"), "ge(x, y)"),
        ((*const(True, "bool", 4), "r: bool[4] = xor(p, c)"), "not(p)"),
    ],
)
def test_logic(lines: tuple[str, ...], expected: str) -> None:
    before = program(*lines, inputs=BOOLS)
    if "(" not in expected:
        after = program(inputs=BOOLS, result=expected)
    else:
        dtype = "i32" if "where" in expected else "bool"
        after = program(f"r: {dtype}[4] = {expected}", inputs=BOOLS)
    check(run, before, after)


def test_not_less_stays_for_floats() -> None:
    check_unchanged(run, program("a: bool[6] = lt(x, y)", "r: bool[6] = not(a)"))


@pytest.mark.parametrize(
    ("source", "middle", "target"),
    [
        ("f32", "f16", "f32"),  # loses digits
        ("i32", "f32", "i64"),  # 24 digits only
        ("i32", "f64", "i8"),  # saturates, where a direct cast wraps around
        ("f32", "i32", "f64"),  # truncates
        ("i32", "u32", "i64"),  # loses the sign
        ("f16", "bf16", "f32"),
        ("i32", "bool", "i32"),
    ],
)
def test_lossy_cast_stays(source: str, middle: str, target: str) -> None:
    lines = (
        f"a: {middle}[6] = cast(x, dtype={middle})",
        f"r: {target}[6] = cast(a, dtype={target})",
    )
    check_unchanged(run, program(*lines, inputs=f"x: {source}[6]"))


@pytest.mark.parametrize(
    ("source", "middle", "target"),
    [
        ("f16", "f32", "bf16"),
        ("u8", "i32", "i8"),
        ("i16", "f32", "f64"),
        ("bool", "f16", "i32"),
        ("u16", "f32", "i64"),
        ("bf16", "f64", "i32"),
    ],
)
def test_lossless_cast_in_the_middle_goes(source: str, middle: str, target: str) -> None:
    inputs = f"x: {source}[6]"
    lines = (
        f"a: {middle}[6] = cast(x, dtype={middle})",
        f"r: {target}[6] = cast(a, dtype={target})",
    )
    after = program(f"r: {target}[6] = cast(x, dtype={target})", inputs=inputs)
    check(run, program(*lines, inputs=inputs), after)


def edges_of(dtype: dt.DType) -> list[NDArray[Any]]:
    if dtype.is_float:
        top = {"float8_e4m3fn": 448.0, "float8_e5m2": 57344.0}.get(dtype.name)
        values = [top, -top, 0.015625] if top else [1 + 2.0 ** -_digits(dtype), 3.0, -0.5]
    else:
        bounds = np.iinfo(dtype.name)
        values = [bounds.min, bounds.max, bounds.max - 1]
    return [np.asarray(v).astype(dtype.numpy) for v in values]


def _digits(dtype: dt.DType) -> int:
    return {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}[dtype.name]


def test_holds_is_what_numpy_says() -> None:
    for wide, narrow in itertools.product(dt.REAL, dt.REAL):
        if holds(wide, narrow) and narrow.kind != "bool":
            for edge in edges_of(narrow):
                back = edge.astype(wide.numpy).astype(narrow.numpy)
                assert back == edge, (wide, narrow, edge)


def test_holds_knows_what_is_lost() -> None:
    lossy = [(dt.float32, dt.int32), (dt.int8, dt.uint8), (dt.float16, dt.bfloat16)]
    lossy += [(dt.bfloat16, dt.float16), (dt.int64, dt.float32), (dt.bool_, dt.int8)]
    assert not any(holds(wide, narrow) for wide, narrow in lossy)


def test_transposes_compose() -> None:
    inputs = "x: f32[2, 3, 4]"
    before = program(
        "a: f32[4, 2, 3] = transpose(x, permutation=(2, 0, 1))",
        "r: f32[2, 4, 3] = transpose(a, permutation=(1, 0, 2))",
        inputs=inputs,
    )
    after = program("r: f32[2, 4, 3] = transpose(x, permutation=(0, 2, 1))", inputs=inputs)
    check(run, before, after)


def test_transpose_of_size_one_axes_is_a_reshape() -> None:
    inputs = "x: f32[1, 3, 1, 4]"
    before = program("r: f32[3, 1, 4, 1] = transpose(x, permutation=(1, 0, 3, 2))", inputs=inputs)
    check(
        run, before, program("r: f32[3, 1, 4, 1] = reshape(x, shape=(3, 1, 4, 1))", inputs=inputs)
    )


def test_movement_of_one_literal_is_that_literal() -> None:
    inputs = "x: f32[2, 2]"
    before = program(
        "k: f32[1] = constant(value=array(f32[1], [5.0]))",
        "a: f32[3, 4] = broadcast_to(k, shape=(3, 4))",
        "b: f32[4, 3] = transpose(a, permutation=(1, 0))",
        "c: f32[12] = reshape(b, shape=(12,))",
        "d: f32[4] = slice(c, start=(1,), stop=(5,), step=(1,))",
        "e: f32[2, 2] = reshape(d, shape=(2, 2))",
        "r: f32[2, 2] = mul(x, e)",
        inputs=inputs,
    )
    after = program(
        "constant: f32[] = constant(value=array(f32[], [5.0]))",
        "e: f32[2, 2] = broadcast_to(constant, shape=(2, 2))",
        "r: f32[2, 2] = mul(x, e)",
        inputs=inputs,
    )
    check(run, before, after)


Bounds = tuple[int, int, int]


def sliced(name: str, source: str, bounds: Bounds) -> str:
    start, stop, step = bounds
    n = len(range(*bounds))
    return f"{name}: f32[{n}] = slice({source}, start=({start},), stop=({stop},), step=({step},))"


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        ((1, 9, 2), (1, 4, 1), (3, 8, 2)),
        ((9, -1, -1), (3, -1, -1), (6, 10, 1)),
        ((0, 10, 3), (3, -1, -2), (9, 2, -6)),
        ((2, 8, 1), (3, 3, 1), (0, 0, 1)),
    ],
)
def test_slices_compose(first: Bounds, second: Bounds, both: Bounds) -> None:
    inputs = "x: f32[10]"
    before = program(sliced("a", "x", first), sliced("r", "a", second), inputs=inputs)
    check(run, before, program(sliced("r", "x", both), inputs=inputs))


def test_slice_of_a_concatenation_reads_its_part() -> None:
    inputs = "x: f32[2, 3], y: f32[2, 5]"
    before = program(
        "a: f32[2, 8] = concatenate(x, y, axis=1)",
        "r: f32[1, 4] = slice(a, start=(1, 4), stop=(2, 8), step=(1, 1))",
        inputs=inputs,
    )
    after = program(
        "r: f32[1, 4] = slice(y, start=(1, 1), stop=(2, 5), step=(1, 1))", inputs=inputs
    )
    check(run, before, after)


def test_slice_across_parts_stays() -> None:
    inputs = "x: f32[2, 3], y: f32[2, 5]"
    before = program(
        "a: f32[2, 8] = concatenate(x, y, axis=1)",
        "r: f32[2, 4] = slice(a, start=(0, 2), stop=(2, 6), step=(1, 1))",
        inputs=inputs,
    )
    check_unchanged(run, before)


def test_empty_part_of_a_concatenation_goes() -> None:
    inputs = "x: f32[3], y: f32[0]"
    before = program("r: f32[3] = concatenate(y, x, axis=0)", inputs=inputs)
    check(run, before, program(inputs=inputs, result="x"))


def test_reduction_over_size_one_is_a_reshape() -> None:
    inputs = "x: f32[4, 1]"
    before = program("r: f32[4] = sum(x, axes=(1,))", inputs=inputs)
    after = program("r: f32[4] = reshape(x, shape=(4,))", inputs=inputs)
    check(run, before, after, exact=False)  # NumPy's sum of one -0.0 is 0.0


def test_maximum_of_repeats_is_the_value() -> None:
    inputs = "x: f32[4, 1]"
    before = program(
        "a: f32[4, 3] = broadcast_to(x, shape=(4, 3))",
        "r: f32[4] = reduce_max(a, axes=(1,))",
        inputs=inputs,
    )
    check(run, before, program("r: f32[4] = reshape(x, shape=(4,))", inputs=inputs))


def test_maximum_over_no_elements_stays() -> None:
    inputs = "x: bool[4, 1]"
    before = program(
        "a: bool[4, 0] = broadcast_to(x, shape=(4, 0))",
        "r: bool[4] = any(a, axes=(1,))",
        inputs=inputs,
    )
    check_unchanged(run, before)


def test_nested_maxima_are_one() -> None:
    inputs = "x: f32[2, 3, 4]"
    before = program(
        "a: f32[2, 4] = reduce_max(x, axes=(1,))", "r: f32[2] = reduce_max(a, axes=(1,))",
        inputs=inputs,
    )  # fmt: skip
    check(run, before, program("r: f32[2] = reduce_max(x, axes=(1, 2))", inputs=inputs))


def test_nested_float_sums_stay() -> None:
    inputs = "x: f32[2, 3, 4]"
    check_unchanged(
        run,
        program("a: f32[2, 4] = sum(x, axes=(1,))", "r: f32[2] = sum(a, axes=(1,))", inputs=inputs),
    )


def test_broadcasts_compose_and_drop_leading_reshapes() -> None:
    inputs = "x: f32[3]"
    before = program(
        "a: f32[1, 3] = reshape(x, shape=(1, 3))",
        "b: f32[2, 3] = broadcast_to(a, shape=(2, 3))",
        "r: f32[5, 2, 3] = broadcast_to(b, shape=(5, 2, 3))",
        inputs=inputs,
    )
    check(run, before, program("r: f32[5, 2, 3] = broadcast_to(x, shape=(5, 2, 3))", inputs=inputs))
