"""Custom operators by name and over time: refusals, registering again, leaks, threads, loops."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pellucid as pl
from pellucid import extend
from pellucid.compile import compile_graph
from pellucid.core.errors import (
    ArgumentError,
)
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import GraphBuilder
from pellucid.graph.key import graph_key
from pellucid.graph.parser import parse_graph
from pellucid.graph.printer import print_graph
from pellucid.ops.catalogue import CATALOGUE
from tests.tensor.custom_ops import axpy_op, close, rand, smooth_nest, smooth_op

Array = NDArray[Any]


@pytest.mark.parametrize("name", ["add", "fused", "call", "dot_general"])
def test_names_of_the_package_are_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name} is an operator of the package"):
        extend.custom_op(name, "() -> ()", reference=np.sin)


@pytest.mark.parametrize("name", ["my op", "", "1st", "a-b"])
def test_names_are_identifiers(name: str) -> None:
    with pytest.raises(ArgumentError, match="must be an identifier"):
        extend.custom_op(name, "() -> ()", reference=np.sin)


def test_arguments_that_go_together() -> None:
    with pytest.raises(ArgumentError, match="has no kernel"):
        extend.custom_op("test_empty", "() -> ()")
    with pytest.raises(ArgumentError, match="need a type rule"):
        extend.custom_op("test_empty", None, {"*": np.sin})  # type: ignore[call-overload]
    with pytest.raises(ArgumentError, match="no reference"):
        extend.custom_op("test_empty", "(n) -> (n)", {"*": extend.loops(smooth_nest)})
    with pytest.raises(ArgumentError, match="names no dtype"):
        extend.custom_op("test_empty", "() -> ()", {"float33": np.sin})
    with pytest.raises(ArgumentError, match="key that says nothing"):
        extend.custom_op("test_empty", "() -> ()", {"float32, int32": np.sin})


def test_a_name_can_be_registered_again() -> None:
    def plus(k: float) -> extend.CustomOp:
        return extend.custom_op("test_again", "(n) -> (n)", reference=lambda x: x + np.float32(k))

    one = plus(1.0)
    first = pl.jit(one)
    close(first(pl.zeros(2)), [1.0, 1.0])
    two = plus(2.0)
    close(two(pl.zeros(2)), [2.0, 2.0])
    close(pl.jit(two)(pl.zeros(2)), [2.0, 2.0])
    close(first(pl.zeros(2)), [1.0, 1.0])
    close(pl.jit(lambda x: one(x) + two(x) * 10.0)(pl.zeros(2)), [21.0, 21.0])
    assert (one.registration, two.registration) == (1, 2)
    assert extend.custom_ops()["test_again"] is two


def test_loops_registered_again_are_compiled_again() -> None:
    def scaled(k: float) -> extend.CustomOp:
        def nest(inputs: Any, outputs: Any) -> str:
            loop = f"  for i in 0..4:\n    y[i] = x[i] * {k}"
            return f"kernel s(x: f32[4]) -> (y: f32[4]) {{\n{loop}\n}}"

        return extend.custom_op(
            "test_scaled", "(n) -> (n)", {"float32": extend.loops(nest)},
            reference=lambda x: x * np.float32(k),
        )  # fmt: skip

    for k in (2.0, 3.0):
        op = scaled(k)
        close(pl.jit(lambda x, op=op: op(x))(pl.ones(4)), [k] * 4)


def test_stored_programs_of_other_numbers_have_other_keys() -> None:
    """Two runs of a script may register one name with other numbers caught in its functions."""

    def key(k: float) -> str:
        def nest(inputs: Any, outputs: Any) -> str:
            loop = f"  for i in 0..4:\n    y[i] = x[i] * {k}"
            return f"kernel s(x: f32[4]) -> (y: f32[4]) {{\n{loop}\n}}"

        op = extend.custom_op(
            "test_keys", "(n) -> (n)", {"*": extend.loops(nest)}, reference=lambda x: x * k
        )
        with GraphBuilder("keys") as builder:
            made = op(builder.input(extend.TensorType((4,), pl.float32)))
        return compile_graph(builder.finish([made])).key

    keys = []
    for k in (2.0, 3.0, 2.0):
        keys.append(key(k))
        gc.collect()
    assert keys[0] == keys[2] != keys[1]


def test_calls_leave_no_references_behind() -> None:
    axpy, x = axpy_op("test_leaks"), rand(64)
    jitted = pl.jit(lambda x, y: axpy(x, y, a=2.0))
    tensor = pl.Tensor(x)
    array = tensor.numpy()
    calls: list[Callable[[pl.Tensor], Any]] = [
        lambda t: axpy(t, t, a=2.0),
        lambda t: jitted(t, t),
    ]
    for call in calls:
        call(tensor)
        before = sys.getrefcount(array), len(gc.get_objects())
        for _ in range(50):
            call(tensor)
        gc.collect()
        assert sys.getrefcount(array) == before[0]
        assert len(gc.get_objects()) - before[1] < 40


def test_an_operator_nobody_has_any_more_goes() -> None:
    def body(x: pl.Tensor) -> Any:
        return x + 1.0

    op = extend.custom_op("test_gone")(body)
    gone = weakref.ref(op)
    assert "test_gone" in extend.custom_ops()
    del op
    gc.collect()
    assert gone() is None
    assert "test_gone" not in extend.custom_ops()


def test_registering_and_calling_from_threads() -> None:
    failures: list[BaseException] = []

    def work(k: int) -> None:
        try:
            for n in range(5):
                op = extend.custom_op(
                    "test_threads",
                    "(n) -> (n)",
                    reference=lambda x, k=k, n=n: x + x.dtype.type(k * 10 + n),
                )
                close(op(pl.zeros(2)), [k * 10 + n] * 2)
                close(pl.jit(lambda x, op=op: op(x) * 2.0)(pl.zeros(2)), [2 * (k * 10 + n)] * 2)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures


def test_eager_calls_of_the_host_stay_interpreted() -> None:
    calls = 0

    def count(x: Array) -> Array:
        nonlocal calls
        calls += 1
        return x

    op = extend.custom_op("test_counted", "(n) -> (n)", reference=count)
    x = pl.ones(3)
    for _ in range(3):
        op(x)
    assert calls == 3


def test_operators_inside_control_flow() -> None:
    axpy = axpy_op("test_in_loops")

    def looped(x: pl.Tensor) -> Any:
        def step(carry: pl.Tensor, row: pl.Tensor) -> Any:
            made = axpy(carry, row, a=0.5)
            return made, made.sum()

        return pl.scan(step, x[0], x)

    x = pl.Tensor(rand(5, 3))
    want, carry = [], x.numpy()[0]
    for row in x.numpy():
        carry = np.float32(0.5) * carry + row
        want.append(carry.sum())
    last, sums = pl.jit(looped)(x)
    close(last, carry)
    close(sums, want)
    grad = pl.grad(lambda x: looped(x)[0].sum())
    close(pl.jit(grad)(x), grad(x).numpy())
    branch = pl.jit(lambda x: pl.cond(x.sum() > 0, lambda x: axpy(x, x, a=1.0), lambda x: x, x))
    close(branch(pl.ones(2)), [2.0, 2.0])
    close(branch(-pl.ones(2)), [-1.0, -1.0])


def test_a_failure_inside_a_loop_ends_the_program() -> None:
    calls: list[float] = []

    def stops(x: Array) -> Array:
        calls.append(float(x[0]))
        if x[0] > 2:
            raise ValueError("far enough")
        return x + 1

    op = extend.custom_op("test_stops", "(n) -> (n)", reference=stops)
    state = pl.Buffer([0.0])

    @pl.jit
    def count(x: pl.Tensor) -> Any:
        state.assign_(state + 1.0)
        return pl.fori_loop(0, 100, lambda i, x: op(x), x)

    with pytest.raises(ValueError, match="far enough"):
        count(pl.zeros(1))
    assert calls[-4:] == [0.0, 1.0, 2.0, 3.0]
    close(state, [0.0])


@pytest.mark.parametrize("kind", ["host", "loops", "body"])
def test_operators_of_open_sizes(kind: str) -> None:
    """Loops as text and functions of the host get a program per size; a body one for all."""
    axpy, smooth = axpy_op("test_open_axpy"), smooth_op(name="test_open_smooth")

    @extend.custom_op("test_open_body")
    def body(x: pl.Tensor) -> Any:
        return x * pl.sigmoid(x)

    f: Any = {"host": lambda x: axpy(x, x, a=2.0), "loops": smooth, "body": body}[kind]
    jitted = pl.jit(lambda x: f(x) + 1.0, dynamic={"x": {0: "n"}})
    for n in (64, 8, 17):
        x = pl.Tensor(rand(n))
        close(jitted(x), f(x).numpy() + 1)


def test_graphs_with_custom_operators_print_and_parse() -> None:
    axpy = axpy_op("test_text")

    @extend.custom_op("test_text_body")
    def body(x: pl.Tensor) -> Any:
        return x * pl.sigmoid(x)

    graph = pl.jit(lambda x: axpy(body(x), x, a=2.0)).lower(pl.ones(3)).graph
    catalogue = {**CATALOGUE, axpy.name: axpy.op, body.name: body.op}
    again = parse_graph(print_graph(graph), catalogue)
    assert graph_key(again) == graph_key(graph)
    x = rand(3)
    want = axpy(body(x), x, a=2.0).numpy()
    close(pl.Tensor(interpret(again, x)[0]), want)


def test_profiles_traces_and_reports_know_custom_operators(tmp_path: Path) -> None:
    axpy = axpy_op("test_shown")
    jitted = pl.jit(lambda x: axpy(x + 1.0, x, a=2.0) @ x)
    lowered = jitted.lower(pl.ones(8))
    assert "test_shown" in lowered.profile(repeats=2).table()
    lowered.write_trace(tmp_path / "trace.json")
    assert "test_shown" in (tmp_path / "trace.json").read_text()
    assert "test_shown" in str(lowered.graph)
    jitted(pl.ones(8))
    assert "compiled" in jitted.explain()
    assert lowered.llvm
    assert lowered.asm


SCALE = 2.0


def test_a_name_that_a_rule_reads_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    @extend.custom_op("test_reads_body")
    def body(x: pl.Tensor) -> Any:
        return x * SCALE

    kernel = extend.custom_op(
        "test_reads_rule", "(n) -> (n)", reference=lambda x: x, vjp=lambda i, o, c: c[0] * SCALE
    )
    x, module = pl.ones(2), sys.modules[__name__]
    grad = pl.grad(lambda x: kernel(x).sum())
    jitted = pl.jit(body), pl.jit(grad)
    runs: list[Callable[[], Any]] = [
        lambda: body(x), lambda: grad(x), lambda: jitted[0](x), lambda: jitted[1](x)
    ]  # fmt: skip
    for scale in (2.0, 3.0, 2.0):
        monkeypatch.setattr(module, "SCALE", scale)
        for run in runs:
            close(run(), [scale, scale])
