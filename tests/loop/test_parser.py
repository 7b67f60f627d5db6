"""The text form: what it looks like, and that it reads back exactly."""

from __future__ import annotations

import pytest

from pellucid.core.dtype import float32
from pellucid.core.errors import VerifyError
from pellucid.loop.ir import Alloc, Buffer, Const, Kernel, Load, Store, const, iadd, isub
from pellucid.loop.parser import parse_kernel
from pellucid.loop.printer import print_expr, print_kernel
from tests.loop.kernels import matmul, moments, pointwise

EVERYTHING = """kernel k(a: f32[4], i: i32[4], h: f16[]) -> (b: f32[4], c: bool[4]) {
  parallel for x in 0..4:
    if x < 3 & x % 2 == 0:
      b[x] = -1.5e-07 * (a[x] - (a[x] - 2.0)) + cast(h[], f32)
    else:
      b[x] = f32(-inf)
    c[x] = (i[x] << i32(2)) + i32(-3) >= i32(7) | false
    alloc u: f32[2] temp:
      vector for y in 0..2:
        u[y] = 0.0
    alloc t: f64[2] local
    t[0] = f64(0.5)
    unroll for z in 0..1:
      t[1] = cast(select(c[x], bitcast(i[x], f32), exp(a[x])), f64)
}
"""


def test_text_reads_back_to_itself() -> None:
    assert print_kernel(parse_kernel(EVERYTHING)) == EVERYTHING


@pytest.mark.parametrize("kernel", [matmul(3, 4, 5), pointwise(7), moments(9)])
def test_kernels_read_back_equal(kernel: Kernel) -> None:
    assert parse_kernel(print_kernel(kernel)) == kernel


def test_parentheses_keep_the_tree() -> None:
    x = Load(Buffer("x", (), float32), ())
    left = iadd(isub(Load(Buffer("n", (), float32), ()), Const(1)), Const(2))
    assert print_expr(left) == "n[] - 1 + 2"
    assert print_expr(isub(Const(1), isub(left, left))) == "1 - (n[] - 1 + 2 - (n[] - 1 + 2))"
    assert print_expr(x) == "x[]"


def test_alloc_that_ends_early_reads_back() -> None:
    t, y = Buffer("t", (), float32, "local"), Buffer("y", (), float32)
    body = (Alloc(t, (Store(t, (), const(1.0, float32)),)), Store(y, (), const(2.0, float32)))
    kernel = Kernel("k", (y,), 1, body)
    assert parse_kernel(print_kernel(kernel)) == kernel


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("y[0] = x[0]", "line 2: unknown buffer 'x'"),
        ("y[0] = 1.0 +", "expected 'an expression'"),
        ("y[0] = 1.0 2.0", "unexpected '2.0'"),
        ("y[0]", "expected a loop, if, alloc or store"),
        ("alloc t f32 local", "a buffer reads"),
        ("    y[0] = 1.0", "unexpected indentation"),
    ],
)
def test_errors_name_the_line(line: str, message: str) -> None:
    with pytest.raises(VerifyError, match=message.replace("(", r"\(")):
        parse_kernel(f"kernel k() -> (y: f32[1]) {{\n  {line}\n}}\n")


def test_a_text_that_is_no_kernel() -> None:
    with pytest.raises(VerifyError, match="a kernel reads"):
        parse_kernel("hello")


@pytest.mark.parametrize("value", [0.1, 1 / 3, 3.4028234663852886e38, 1e-45, 1e300, -0.0])
def test_float32_literals_are_rounded_and_print_in_few_digits(value: float) -> None:
    literal = const(value, float32)
    text = print_expr(literal)
    y = Buffer("y", (1,), float32)
    kernel = Kernel("k", (y,), 1, (Store(y, (Const(0),), literal),))
    assert len(text) <= 16
    assert parse_kernel(str(kernel)) == kernel
    assert print_expr(const(0.1, float32)) == "0.1"
