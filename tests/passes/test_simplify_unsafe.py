from __future__ import annotations

import pytest

from pellucid.passes import simplify_algebra
from pellucid.passes.simplify_unsafe import run
from tests.passes.golden import check, check_unchanged

HEAD = "graph g(x: f32[6], y: f32[6], z: f32[3, 1], w: f32[2, 3]) {\n"


def program(*lines: str, result: str = "r") -> str:
    return HEAD + "".join(f"  {line}\n" for line in (*lines, f"return {result}")) + "}\n"


def const(value: float, name: str = "c") -> tuple[str, str]:
    return (
        f"k_{name}: f32[] = constant(value=array(f32[], [{value}]))",
        f"{name}: f32[6] = broadcast_to(k_{name}, shape=(6,))",
    )


def made(value: float) -> tuple[str, str]:
    return (
        f"constant: f32[] = constant(value=array(f32[], [{value}]))",
        "broadcast_to: f32[6] = broadcast_to(constant, shape=(6,))",
    )


ABS = "a: f32[6] = abs(x)"
SCALED = "r: f32[6] = mul(x, broadcast_to)"
CHEAPER = [
    (
        (*const(2.0), *const(3.0, "d"), "a: f32[6] = mul(x, c)", "r: f32[6] = mul(d, a)"),
        (*made(6.0), SCALED),
    ),
    (
        (*const(2.0), *const(3.0, "d"), "a: f32[6] = add(c, x)", "r: f32[6] = add(a, d)"),
        (*made(5.0), "r: f32[6] = add(x, broadcast_to)"),
    ),
    ((*const(5.0), "r: f32[6] = div(x, c)"), (*made(0.2), SCALED)),
    (
        (ABS, "b: f32[6] = sqrt(a)", "r: f32[6] = div(y, b)"),
        (ABS, "rsqrt: f32[6] = rsqrt(a)", "r: f32[6] = mul(y, rsqrt)"),
    ),
    (("a: f32[6] = mul(x, x)", "r: f32[6] = sqrt(a)"), ("r: f32[6] = abs(x)",)),
    (("a: f32[6] = sub(x, y)", "r: f32[6] = neg(a)"), ("r: f32[6] = sub(y, x)",)),
    ((ABS, *const(0.5), "r: f32[6] = pow(a, c)"), (ABS, "r: f32[6] = sqrt(a)")),
    (
        ("a: f32[3] = sum(w, axes=(0,))", "r: f32[] = sum(a, axes=(0,))"),
        ("r: f32[] = sum(w, axes=(0, 1))",),
    ),
]


@pytest.mark.parametrize(("lines", "expected"), CHEAPER)
def test_cheaper_for_real_numbers(lines: tuple[str, ...], expected: tuple[str, ...]) -> None:
    check(run, program(*lines), program(*expected), exact=False)
    check_unchanged(simplify_algebra.run, program(*lines))


@pytest.mark.parametrize(
    "lines",
    [
        ("a: f32[6] = exp(x)", "r: f32[6] = log(a)"),
        (*const(0.0), "r: f32[6] = add(c, x)"),
        (*const(-0.0), "r: f32[6] = sub(x, c)"),
    ],
)
def test_what_does_nothing_to_real_numbers_goes(lines: tuple[str, ...]) -> None:
    check(run, program(*lines), program(result="x"), exact=False)
    check_unchanged(simplify_algebra.run, program(*lines))


@pytest.mark.parametrize(
    ("line", "value"), [("mul(x, c)", 0.0), ("sub(x, x)", 0.0), ("div(x, x)", 1.0)]
)
def test_constant_for_real_numbers(line: str, value: float) -> None:
    before = program(*const(0.0), f"r: f32[6] = {line}")
    text = made(value)
    after = program(text[0], text[1].replace("broadcast_to: f32", "r: f32"))
    if line == "mul(x, c)":
        text = const(0.0)
        after = program(made(0.0)[0], "r: f32[6] = broadcast_to(constant, shape=(6,))")
    check(run, before, after, exact=False)


def test_reciprocal_of_what_is_repeated_is_taken_once() -> None:
    before = program(
        "a: f32[3, 2] = transpose(w, permutation=(1, 0))",
        "s: f32[3, 1] = exp(z)",
        "b: f32[3, 2] = broadcast_to(s, shape=(3, 2))",
        "r: f32[3, 2] = div(a, b)",
    )
    after = program(
        "a: f32[3, 2] = transpose(w, permutation=(1, 0))",
        "s: f32[3, 1] = exp(z)",
        "constant: f32[] = constant(value=array(f32[], [1.0]))",
        "broadcast_to: f32[3, 1] = broadcast_to(constant, shape=(3, 1))",
        "div: f32[3, 1] = div(broadcast_to, s)",
        "broadcast_to_1: f32[3, 2] = broadcast_to(div, shape=(3, 2))",
        "r: f32[3, 2] = mul(a, broadcast_to_1)",
    )
    check(run, before, after, exact=False)


def test_sum_of_repeats_is_a_product() -> None:
    before = program(
        "a: f32[3, 4] = broadcast_to(z, shape=(3, 4))", "r: f32[3] = sum(a, axes=(1,))"
    )
    after = program(
        "reshape: f32[3] = reshape(z, shape=(3,))",
        "constant: f32[] = constant(value=array(f32[], [4.0]))",
        "broadcast_to: f32[3] = broadcast_to(constant, shape=(3,))",
        "r: f32[3] = mul(reshape, broadcast_to)",
    )
    check(run, before, after, exact=False)


def test_sum_of_scaled_is_a_scaled_sum() -> None:
    before = program(*const(3.0), "a: f32[6] = mul(x, c)", "r: f32[] = sum(a, axes=(0,))")
    after = program(
        "sum: f32[] = sum(x, axes=(0,))",
        "constant: f32[] = constant(value=array(f32[], [3.0]))",
        "r: f32[] = mul(sum, constant)",
    )
    check(run, before, after, exact=False)


def test_integers_keep_the_safe_rules_only() -> None:
    check_unchanged(
        run,
        """
        graph g(x: i32[3]) {
          a: i32[3] = neg(x)
          r: i32[3] = pow(x, a)
          return r
        }
        """,
    )


def test_overflow_is_not_made_by_reassociation() -> None:
    check_unchanged(
        run,
        program(*const(1e30), *const(1e20, "d"), "a: f32[6] = mul(x, c)", "r: f32[6] = mul(a, d)"),
    )
