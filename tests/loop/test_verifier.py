"""The verifier: what it accepts, and each rule broken once."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from pellucid.core.dtype import bool_, float32, float64
from pellucid.core.errors import VerifyError
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
    Stmt,
    Store,
    Var,
    const,
)
from pellucid.loop.parser import parse_kernel
from pellucid.loop.verifier import verify_kernel
from tests.loop.kernels import matmul

HEAD = "kernel k(x: f32[64], n: i64[4], m: f32[8, 8]) -> (y: f32[64], z: f32[8, 8]) {\n"


def body(text: str) -> Kernel:
    lines = "\n".join("  " + line for line in text.strip("\n").splitlines())
    return parse_kernel(HEAD + lines + "\n}\n")


ACCEPTED = {
    "tail": """
for io in 0..6:
  for ii in 0..min(12, 64 - io * 12):
    y[io * 12 + ii] = x[io * 12 + ii]""",
    "guard": """
for io in 0..6:
  for ii in 0..12:
    if io * 12 + ii < 64:
      y[io * 12 + ii] = x[io * 12 + ii]""",
    "two tails": """
for io in 0..4:
  for im in 0..min(20, 64 - io * 20):
    for ii in 0..min(7, min(20, 64 - io * 20) - im):
      y[io * 20 + im + ii] = 0.0""",
    "fused": """
parallel for f in 0..64:
  z[f // 8, f % 8] = m[f % 8, f // 8]""",
    "fused flat": """
for f in 0..64:
  y[f // 8 * 8 + f % 8] = x[f]""",
    "clamped gather": """
for i in 0..4:
  y[i] = x[min(max(n[i], 0), 63)]""",
    "guarded scatter": """
for i in 0..4:
  if n[i] >= 0 & n[i] < 64:
    y[n[i]] = 1.0""",
    "select": """
for i in 0..64:
  y[i] = x[select(i > 0, i - 1, 0)]""",
    "reversed": """
parallel for i in 0..64:
  y[63 - i] = x[i]""",
    "or": """
for i in 0..80:
  if i < 10 | i < 64:
    y[i] = 0.0""",
    "else": """
for i in 0..80:
  if i >= 64:
    pass
  else:
    y[i] = 0.0""",
    "empty": """
for i in 0..0:
  y[i + 1000] = 0.0""",
    "unequal": """
for i in 0..65:
  if i != 64:
    y[i] = 0.0""",
    "strided tiles": """
parallel for i in 0..8:
  alloc t: f32[8] local
  for j in 0..8:
    t[j] = x[i * 8 + j]
  for j in 0..8:
    y[j * 8 + i] = t[j]""",
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepts(name: str) -> None:
    verify_kernel(body(ACCEPTED[name]))


REFUSED = {
    "index 0 of x is 64 >= 64 at io = 5, ii = 4": """
for io in 0..6:
  for ii in 0..12:
    y[0] = x[io * 12 + ii]""",
    "index 0 of y is -1 < 0 at i = 0": """
for i in 0..64:
  y[i - 1] = 0.0""",
    "index 0 of y is 64 >= 64 at i = 64": """
for i in 0..70:
  if i > 63:
    y[i] = 0.0""",
    "index 1 of z is 8 >= 8 at f = 8": """
for f in 0..64:
  z[f % 8, f] = 0.0""",
    "cannot prove index 0 of x to be within 0..64": """
for i in 0..4:
  y[i] = x[n[i]]""",
    "iterations 0 and 1 of parallel loop 'i' both touch y[0]": """
parallel for i in 0..64:
  y[0] = x[i]""",
    "iterations 0 and 1 of parallel loop 'i' both touch y[1]": """
parallel for i in 0..8:
  for j in 0..3:
    y[i + j] = 0.0""",
    "of parallel loop 'i' both touch y": """
parallel for i in 0..63:
  y[i + 1] = y[i]""",
    "input x is written": "x[0] = 0.0",
    "z needs one index per axis": "z[0] = 0.0",
    "indices of y must be int64": "y[1.0] = 0.0",
    "a store to y must have its dtype": "y[0] = f64(0.0)",
    "variable 'q' is not in scope": "y[q] = 0.0",
    "the name 'i' is already in scope": """
for i in 0..2:
  for i in 0..2:
    y[i] = 0.0""",
    "the name 'x' is already in scope": """
alloc x: f32[] local
x[] = 0.0""",
    "the extent of unroll loop 'j' must be constant": """
for i in 0..4:
  unroll for j in 0..i:
    y[j] = 0.0""",
    "the extent of 'i' must be int64": """
for i in 0..2.0:
  y[i] = 0.0""",
    "a condition must be bool": """
if 1:
  y[0] = 0.0""",
}


@pytest.mark.parametrize("message", REFUSED)
def test_refuses(message: str) -> None:
    with pytest.raises(VerifyError, match=re.escape(message)):
        verify_kernel(body(REFUSED[message]))


Y, T = Buffer("y", (), float32), Buffer("t", (), float32, "local")
ONE = const(1.0, float32)


@pytest.mark.parametrize(
    ("stmt", "message"),
    [
        (Store(Y, (), Load(T, ())), "buffer 't' is not in scope"),
        (Store(replace(Y, shape=(2,)), (Const(0),), ONE), "buffer 'y' is not in scope"),
        (Store(Y, (), Const(1, float32)), "the literal 1 is not a f32"),
        (Store(Y, (), Call("add", (ONE, ONE), float64)), "has dtype f32, not f64"),
        (Store(Y, (), Call("ad", (ONE, ONE), float32)), "unknown scalar function 'ad'"),
        (Store(Y, (), Call("and", (ONE, ONE), float32)), "is not defined on float"),
        (Alloc(replace(Y, name="w"), (Store(Y, (), ONE),)), "cannot have scope param"),
        (For("y", Const(2), ()), "the name 'y' is already in scope"),
        (If(Call("lt", (Var("i"), Const(1)), bool_), ()), "variable 'i' is not in scope"),
    ],
)
def test_refuses_trees_that_have_no_text(stmt: Stmt, message: str) -> None:
    with pytest.raises(VerifyError, match=re.escape(message)):
        verify_kernel(Kernel("k", (Y,), 1, (stmt,)))


def test_parameters() -> None:
    with pytest.raises(VerifyError, match="names of their own"):
        verify_kernel(Kernel("k", (Y, Y), 1, ()))
    with pytest.raises(VerifyError, match="more outputs than parameters"):
        verify_kernel(Kernel("k", (Y,), 2, ()))


def test_a_deep_expression_is_fine() -> None:
    value: Expr = ONE
    for _ in range(50):
        value = Call("add", (value, ONE), float32)
    verify_kernel(Kernel("k", (Y,), 1, (Store(Y, (), value),)))
    verify_kernel(matmul(37, 11, 53))
