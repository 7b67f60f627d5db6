"""Kernel keys ignore names and see everything else."""

from __future__ import annotations

from dataclasses import replace

from pellucid.core.dtype import float32, float64
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
    Store,
    Var,
    compare,
)
from pellucid.loop.key import kernel_key


def scale(names: str = "xyi", n: int = 8, factor: float = 2.0) -> Kernel:
    x, y = Buffer(names[0], (n,), float32), Buffer(names[1], (n,), float32)
    i = Var(names[2])
    body = Store(y, (i,), Call("mul", (Load(x, (i,)), Const(factor, float32)), float32))
    return Kernel(f"scale_{names}", (x, y), 1, (For(names[2], Const(n), (body,)),))


def test_names_do_not_count() -> None:
    assert kernel_key(scale("xyi")) == kernel_key(scale("abj"))


def test_structure_counts() -> None:
    base = scale()
    loop = base.body[0]
    assert isinstance(loop, For)
    x, y = base.params
    i = Var("i")
    store = loop.body[0]
    others = [
        scale(n=9),
        scale(factor=3.0),
        replace(base, outputs=2),
        replace(base, body=(replace(loop, kind="parallel"),)),
        replace(base, body=(loop, loop)),
        replace(base, params=(x, y, Buffer("z", (1,), float32))),
        replace(base, body=(For("i", Const(8), (Store(y, (i,), Load(x, (i,))),)),)),
        replace(base, body=(For("i", Const(8), (Store(y, (Const(0),), Load(x, (i,))),)),)),
        replace(base, body=(If(compare("lt", 0, 1), (loop,)),)),
        replace(base, body=(If(compare("lt", 0, 1), (), (loop,)),)),
        replace(base, body=(Alloc(Buffer("t", (4,), float32, "local"), (loop,)),)),
        replace(base, body=(Alloc(Buffer("t", (4,), float32, "temp"), (loop,)),)),
        replace(base, body=(Alloc(Buffer("t", (4,), float64, "temp"), (loop,)),)),
        replace(base, body=(For("j", Const(1), (For("i", Const(8), (store,)),)),)),
    ]
    keys = [kernel_key(kernel) for kernel in [base, *others]]
    assert len(set(keys)) == len(keys)


def test_which_loop_a_variable_belongs_to_counts() -> None:
    y = Buffer("y", (4, 4), float32)

    def nest(first: Expr, second: Expr) -> Kernel:
        store = Store(y, (first, second), Const(1.0, float32))
        return Kernel("k", (y,), 1, (For("i", Const(4), (For("j", Const(4), (store,)),)),))

    assert kernel_key(nest(Var("i"), Var("j"))) != kernel_key(nest(Var("j"), Var("i")))


def test_a_reused_variable_name_is_two_variables() -> None:
    y = Buffer("y", (4,), float32)
    store = Store(y, (Var("i"),), Const(1.0, float32))
    other = Store(y, (Var("j"),), Const(1.0, float32))
    same = Kernel("k", (y,), 1, (For("i", Const(4), (store,)), For("i", Const(4), (store,))))
    apart = Kernel("k", (y,), 1, (For("i", Const(4), (store,)), For("j", Const(4), (other,))))
    assert kernel_key(same) == kernel_key(apart)
