"""The kernels that measure a machine, written in loop IR and compiled like any other.

Enters: sizes and a target. Leaves: kernels whose time is a limit: arithmetic that touches no
memory, loads and copies that do no arithmetic, loads that wait for each other, empty loops.
"""

from __future__ import annotations

from pellucid.core.dtype import float32, int64
from pellucid.core.target import Target
from pellucid.loop.ir import (
    Alloc,
    Buffer,
    Call,
    Const,
    Expr,
    For,
    Kernel,
    Load,
    Stmt,
    Store,
    Var,
    iadd,
    imul,
)

LINE_BYTES = 64


def arithmetic_chains(target: Target) -> int:
    """Independent multiply-add chains: enough to hide their latency, few enough for registers."""
    return 24 if target.vector_registers >= 32 else 10


def fma_kernel(target: Target, threads: int, rounds: int) -> Kernel:
    """Per thread, `rounds` times `acc = acc * a + b` on vectors that stay in registers."""
    lanes, chains = target.lanes(float32), arithmetic_chains(target)
    x, y = Buffer("x", (2,), float32), Buffer("y", (threads, chains * lanes), float32)
    acc = Buffer("acc", (chains, lanes), float32, "local")

    def step(place: tuple[Expr, ...]) -> Expr:
        factor, term = Load(x, (Const(0),)), Load(x, (Const(1),))
        return Call("fma", (Load(acc, place), factor, term), float32)

    c, v = Var("c"), Var("v")
    start = _lanes(chains, lanes, Store(acc, (c, v), Const(0.0, float32)))
    work = For("r", Const(rounds), (_lanes(chains, lanes, Store(acc, (c, v), step((c, v)))),))
    column = iadd(imul(c, lanes), v)
    end = _lanes(chains, lanes, Store(y, (Var("t"), column), Load(acc, (c, v))))
    return _per_thread("fma", (x, y), threads, (Alloc(acc, (start, work, end)),))


def read_kernel(target: Target, threads: int, size: int, rounds: int) -> Kernel:
    """Per thread, `rounds` times the sum of its own `size` float32 elements."""
    lanes, chains = target.lanes(float32), 8
    x = Buffer("x", (threads, size), float32)
    y = Buffer("y", (threads, chains * lanes), float32)
    acc = Buffer("acc", (chains, lanes), float32, "local")
    t, c, v = Var("t"), Var("c"), Var("v")
    element = Load(x, (t, iadd(imul(Var("i"), chains * lanes), iadd(imul(c, lanes), v))))
    total = Call("add", (Load(acc, (c, v)), element), float32)
    start = _lanes(chains, lanes, Store(acc, (c, v), Const(0.0, float32)))
    sweep = For(
        "i", Const(size // (chains * lanes)), (_lanes(chains, lanes, Store(acc, (c, v), total)),)
    )
    end = _lanes(chains, lanes, Store(y, (t, iadd(imul(c, lanes), v)), Load(acc, (c, v))))
    body = Alloc(acc, (start, For("r", Const(rounds), (sweep,)), end))
    return _per_thread("read", (x, y), threads, (body,))


def copy_kernel(target: Target, threads: int, size: int, rounds: int) -> Kernel:
    """Per thread, `rounds` copies of its own `size` float32 elements."""
    lanes, chains = target.lanes(float32), 4
    x, y = (Buffer(name, (threads, size), float32) for name in "xy")
    column = iadd(imul(Var("i"), chains * lanes), iadd(imul(Var("c"), lanes), Var("v")))
    place = (Var("t"), column)
    move = _lanes(chains, lanes, Store(y, place, Load(x, place)))
    sweep = For("i", Const(size // (chains * lanes)), (move,))
    return _per_thread("copy", (x, y), threads, (For("r", Const(rounds), (sweep,)),))


def chase_kernel(size: int, steps: int) -> Kernel:
    """`steps` loads, each from the index that the one before gave."""
    x, y = Buffer("x", (size,), int64), Buffer("y", (1,), int64)
    at = Buffer("at", (1,), int64, "local")
    zero = (Const(0),)
    step = Store(at, zero, Load(x, (Load(at, zero),)))
    body = (
        Store(at, zero, Const(0)),
        For("i", Const(steps), (step,)),
        Store(y, zero, Load(at, zero)),
    )
    return Kernel("chase", (x, y), 1, (Alloc(at, body),))


def fork_kernel(threads: int, rounds: int) -> Kernel:
    """`rounds` parallel loops of one store per thread, each on a cache line of its own."""
    apart = LINE_BYTES // int64.itemsize
    y = Buffer("y", (threads, apart), int64)
    store = Store(y, (Var("t"), Const(0)), Var("r"))
    loop = For("t", Const(threads), (store,), "parallel")
    return Kernel("fork", (y,), 1, (For("r", Const(rounds), (loop,)),))


def _lanes(chains: int, lanes: int, store: Stmt) -> For:
    return For("c", Const(chains), (For("v", Const(lanes), (store,), "vector"),), "unroll")


def _per_thread(
    name: str, params: tuple[Buffer, ...], threads: int, body: tuple[Stmt, ...]
) -> Kernel:
    loop = For("t", Const(threads), body, "parallel" if threads > 1 else "serial")
    return Kernel(name, params, 1, (loop,))
