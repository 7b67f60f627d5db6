"""Programs that call functions of the host: results, failures, state, the cache."""

from __future__ import annotations

import ctypes
import gc
import signal
import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import pellucid as pl
from pellucid import ops
from pellucid.compile import compile_graph
from pellucid.core.config import current_config
from pellucid.core.dtype import float32, int32
from pellucid.core.errors import ArgumentError, DTypeError, LoweringError, ShapeError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph, GraphBuilder, TensorType, Value, emit, emit_all
from pellucid.graph.op import Cost, Op, Sample
from pellucid.loop.compute import CFunction, HostCall, Lowering, host_lowering
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.runtime import host
from pellucid.runtime.executable import Executable
from pellucid.runtime.profiler import profile
from pellucid.tensor.dispatch import apply
from tests.runtime.programs import config_in

Array = NDArray[Any]
ROWS = TensorType((3, 4), float32)


def host_op(
    reference: Callable[..., Any],
    lower: Callable[..., Lowering] | None = None,
    name: str = "host_test",
) -> Op:
    return Op(
        name=name,
        doc="A test's own.",
        infer=lambda x, *rest: x,
        reference=reference,
        vjp=None,
        jvp=None,
        batch=None,
        lower=lower or host_lowering(reference),
        cost=lambda inputs, outputs, attrs: Cost(1, sum(t.nbytes for t in (*inputs, *outputs))),
        samples=lambda: [Sample((ROWS,))],
    )


def graph_of(op: Op, make: Callable[[Value], Sequence[Value]] | None = None) -> Graph:
    """`op(x + 1) * 2`, or what `make` makes of `x`."""
    with GraphBuilder("host_program") as builder:
        x = builder.input(ROWS, "x")
        made = make(x) if make else [ops.multiply(emit(op, ops.add(x, 1.0)), 2.0)]
        return builder.finish(made)


def executable(graph: Graph, folder: Path, **options: Any) -> Executable:
    return Executable(compile_graph(graph, config=config_in(folder), **options))


X = np.arange(12, dtype=np.float32).reshape(3, 4)


def reverse(x: Array) -> Array:
    return x[::-1, ::-1]


def fail(x: Array) -> Array:
    raise ZeroDivisionError("on purpose")


def test_a_python_function_runs_between_kernels(tmp_path: Path) -> None:
    loaded = executable(graph_of(host_op(reverse)), tmp_path)
    for _ in range(3):
        np.testing.assert_array_equal(loaded.run([X])[0], (reverse(X) + 1) * 2)
    assert [c.kernel for c in loaded.program.calls] == ["add", "host_test", "mul"]


def test_it_gets_read_only_arrays_of_the_program(tmp_path: Path) -> None:
    seen: list[Array] = []

    def look(x: Array) -> Array:
        seen.append(x)
        with pytest.raises(ValueError, match="read-only"):
            x[0] = 1
        return x

    graph = graph_of(host_op(look), lambda x: [emit(host_op(look), x)])
    loaded = executable(graph, tmp_path)
    given_array = X.copy()
    np.testing.assert_array_equal(loaded.run([given_array])[0], X)
    assert seen[0].ctypes.data == given_array.ctypes.data
    del loaded, given_array
    gc.collect()
    np.testing.assert_array_equal(seen[0], X)  # it holds on to its memory


def test_a_program_from_the_cache_calls_the_function_of_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not executable(graph_of(host_op(reverse, name="of_today")), tmp_path).cached
    gc.collect()  # while there are two operators of one name, the cache tells them apart
    loaded = executable(graph_of(host_op(lambda x: x + 1, name="of_today")), tmp_path)
    assert loaded.cached
    assert "passes" not in loaded.compiled.seconds
    np.testing.assert_array_equal(loaded.run([X])[0], (X + 2) * 2)
    gc.collect()
    monkeypatch.setattr(host, "find_host_calls", lambda graph, keys: {})  # as after a rewrite
    again = executable(graph_of(host_op(lambda x: x + 3, name="of_today")), tmp_path)
    np.testing.assert_array_equal(again.run([X])[0], (X + 4) * 2)


@pytest.mark.parametrize("count", [1, 40])
def test_long_programs_and_profiles(tmp_path: Path, count: int) -> None:
    op = host_op(lambda x: x + 1)

    def many(x: Value) -> list[Value]:
        for _ in range(2 * count):
            x = ops.multiply(emit(op, x), 0.5)
        return [x]

    want = X
    for _ in range(2 * count):
        want = (want + 1) * np.float32(0.5)
    loaded = executable(graph_of(op, many), tmp_path)
    np.testing.assert_array_equal(loaded.run([X])[0], want)
    assert len(loaded.compiled.hosts) == 1  # one way of calling, however many calls
    made = profile(loaded, [X], repeats=2)
    assert [c.kernel for c in made.calls] == ["host_test", "mul"] * 2 * count
    assert "host_test" in made.table()


def test_an_exception_ends_the_program_and_surfaces(tmp_path: Path) -> None:
    after: list[Array] = []

    def note(x: Array) -> Array:
        after.append(x)
        return x

    def make(x: Value) -> list[Value]:
        return [emit(host_op(note, name="note"), emit(host_op(fail), x))]

    loaded = executable(graph_of(host_op(fail), make), tmp_path)
    for run in (loaded.run, loaded.run_profiled):
        with pytest.raises(ZeroDivisionError, match="on purpose"):
            run([X])
    assert not after


def test_one_failure_does_not_spoil_the_next_run(tmp_path: Path) -> None:
    def sometimes(x: Array) -> Array:
        if x[0, 0] < 0:
            raise ValueError("negative")
        return x

    loaded = executable(graph_of(host_op(sometimes)), tmp_path)
    with pytest.raises(ValueError, match="negative"):
        loaded.run([X - 5])
    np.testing.assert_array_equal(loaded.run([X])[0], (X + 1) * 2)


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (lambda x: x[0], ShapeError, r"output 0 must have shape \(3, 4\), got it \(4,\)"),
        (lambda x: x.astype(np.float64), DTypeError, "must have dtype float32, got it float64"),
        (lambda x: (x, x), ArgumentError, "must return 1 arrays, got it 2"),
    ],
)
def test_results_are_checked(
    tmp_path: Path, function: Callable[..., Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        executable(graph_of(host_op(function)), tmp_path).run([X])


def test_an_interrupt_inside_a_function_ends_the_program(tmp_path: Path) -> None:
    def interrupted(x: Array) -> Array:
        signal.raise_signal(signal.SIGINT)
        return x

    graph = graph_of(host_op(interrupted), lambda x: [emit(host_op(interrupted), x)])
    loaded = executable(graph, tmp_path, donate={0: 0})
    state, kept = X.copy(), list[Any]()
    with pytest.raises(KeyboardInterrupt):
        loaded.run([state], keep=kept.append)
    np.testing.assert_array_equal(state, X)
    assert not kept


@pytest.mark.parametrize("late", [False, True])
def test_donated_state_survives_a_failure(tmp_path: Path, late: bool) -> None:
    """The new state is made before the call that fails, or by that call itself."""
    op = host_op(fail)

    def make(x: Value) -> list[Value]:
        return [emit(op, ops.add(x, 1.0))] if late else [ops.add(x, 1.0), emit(op, x)]

    loaded = executable(graph_of(op, make), tmp_path, donate={0: 0})
    state, kept = X.copy(), list[Any]()
    with pytest.raises(ZeroDivisionError):
        loaded.run([state], keep=kept.append)
    np.testing.assert_array_equal(state, X)
    assert not kept


def test_donated_state_is_updated_in_place(tmp_path: Path) -> None:
    op = host_op(reverse)
    graph = graph_of(op, lambda x: [ops.add(x, 1.0), emit(op, x)])
    loaded, state = executable(graph, tmp_path, donate={0: 0}), X.copy()
    new, flipped = loaded.run([state])
    assert new is state
    np.testing.assert_array_equal(state, X + 1)
    np.testing.assert_array_equal(flipped, reverse(X))
    # behind the function, the update itself writes over the state: no copy
    assert [c.kernel for c in loaded.program.calls] == ["host_test", "add"]


def test_several_outputs_constants_and_empty_arrays(tmp_path: Path) -> None:
    def reference(x: Array, table: Array, none: Array) -> tuple[Array, Array, Array]:
        return x + table, table.astype(np.int32), none

    op = replace(
        host_op(reference),
        infer=lambda x, table, none: (x, TensorType(table.shape, int32), none),
    )

    def make(x: Value) -> Sequence[Value]:
        none = ops.slice_(x, (0, 0), (0, 4))
        return emit_all(op, x, ops.constant(np.full((), 2.5, np.float32)), none)

    got = executable(graph_of(op, make), tmp_path).run([X])
    for a, b in zip(got, (X + np.float32(2.5), np.int32(2), X[:0]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_constants_are_folded_by_the_reference() -> None:
    op = host_op(reverse)
    graph = graph_of(op, lambda x: [ops.add(x, emit(op, ops.constant(X)))])
    assert [c.kernel.name for c in compile_graph(graph).lowered.calls] == ["add"]


def test_the_call_is_opaque_to_lowering() -> None:
    program = lower_graph(graph_of(host_op(reverse)))
    (call,) = [c for c in program.calls if c.host is not None]
    assert call.kernel.body == ()
    assert not call.inplace


def test_a_function_may_call_the_program_it_is_in(tmp_path: Path) -> None:
    depth = threading.local()

    def nested(x: Array) -> Array:
        if getattr(depth, "inside", False):
            return x
        depth.inside = True
        return loaded.run([x])[0]

    loaded = executable(graph_of(host_op(nested)), tmp_path)
    np.testing.assert_array_equal(loaded.run([X])[0], ((X + 2) * 2) * 2)


def test_threads_share_a_program(tmp_path: Path) -> None:
    loaded = executable(graph_of(host_op(reverse)), tmp_path)
    wrong: list[int] = []

    def work(k: int) -> None:
        for _ in range(50):
            if not np.array_equal(loaded.run([X + k])[0], (reverse(X) + k + 1) * 2):
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_a_dropped_program_drops_its_functions(tmp_path: Path) -> None:
    def function(x: Array) -> Array:
        return x

    reference = weakref.ref(function)
    loaded = executable(graph_of(host_op(function)), tmp_path)
    loaded.run([X])
    del loaded, function
    gc.collect()
    assert reference() is None


def test_jit_and_eager_agree() -> None:
    op = host_op(reverse, name="host_reverse")

    def call(x: Value) -> Value:
        return emit(op, x)

    def program(x: pl.Tensor) -> pl.Tensor:
        return apply(call, x + 1.0) * 2.0  # type: ignore[no-any-return]  # one tensor

    x, compiled = pl.asarray(X), pl.jit(program)
    for _ in range(20):  # beyond the runs after which direct calls are planned
        np.testing.assert_array_equal(compiled(x).numpy(), program(x).numpy())


def test_jitted_state_is_as_before_after_a_failure() -> None:
    calls = 0

    def sometimes(x: Array) -> Array:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("third time")
        return x

    op, state = host_op(sometimes, name="host_sometimes"), pl.Buffer(X)

    def call(x: Value) -> Value:
        return emit(op, x)

    @pl.jit
    def step() -> None:
        state.assign_(state + 1.0)
        state.assign_(apply(call, state) * 1.0)

    for count in (1, 2):
        step()
        np.testing.assert_array_equal(state.numpy(), X + count)
    with pytest.raises(RuntimeError, match="third time"):
        step()
    np.testing.assert_array_equal(state.numpy(), X + 2)
    step()
    np.testing.assert_array_equal(state.numpy(), X + 3)


# C functions, here from Python: machine code calls them as it would a library's.

_PLAIN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_double)
_STATUS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


def c_function(function: Any, *numbers: float, status: bool = False) -> CFunction:
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    return CFunction("test", address, function, numbers, status)


def test_a_c_function_gets_pointers_and_numbers(tmp_path: Path) -> None:
    seen: list[int] = []

    def scale(x: int, y: int, n: int, factor: float) -> None:
        seen.append(x)
        source, target = ((ctypes.c_float * n).from_address(p) for p in (x, y))
        target[:] = [v * factor for v in source]

    called = HostCall(run=c_function(_PLAIN(scale), 12, 2.5))
    op = host_op(lambda x: x * 2.5, lambda *_: called)
    loaded = executable(graph_of(op, lambda x: [emit(op, x)]), tmp_path)
    given_array = X.copy()
    np.testing.assert_array_equal(loaded.run([given_array])[0], X * 2.5)
    assert seen == [given_array.ctypes.data]


def test_the_status_of_a_c_function(tmp_path: Path) -> None:
    def refuse(x: int, y: int) -> int:
        return 7

    called = HostCall(run=c_function(_STATUS(refuse), status=True))
    op = host_op(lambda x: x, lambda *_: called)
    with pytest.raises(LoweringError, match="host_test: the function failed, got status 7"):
        executable(graph_of(op), tmp_path).run([X])


def test_a_c_function_without_status_is_called_directly(tmp_path: Path) -> None:
    """It cannot fail, so that state may be written before it, and calls go past Python."""

    def copy(x: int, y: int) -> None:
        ctypes.memmove(y, x, X.nbytes)

    plain = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)
    called = HostCall(run=c_function(plain(copy)))
    op = host_op(lambda x: x.copy(), lambda *_: called, name="test_direct_c")
    loaded = executable(
        graph_of(op, lambda x: [ops.add(x, 1.0), emit(op, x)]), tmp_path, donate={1: 0}
    )
    assert loaded.hosts is not None
    assert not loaded.hosts.may_fail
    state = X.copy()
    np.testing.assert_array_equal(loaded.run([state])[0], X + 1)
    np.testing.assert_array_equal(state, X)

    def call(x: Value) -> Value:
        return emit(op, x)

    jitted = pl.jit(lambda x: apply(call, x) * 2.0)
    for k in range(12):
        np.testing.assert_array_equal(jitted(pl.Tensor(X + k)).numpy(), (X + k) * 2)


# Random programs: functions of the host between kernels, with donated state.


def _steps(draw: st.DrawFn, x: Value, y: Value, own: Sequence[Op]) -> list[Value]:
    values = [x, y]
    for _ in range(draw(st.integers(1, 12))):
        a, b = (draw(st.sampled_from(values)) for _ in range(2))
        kind = draw(st.integers(0, 5))
        if kind == 0:
            values.append(ops.add(a, b))
        elif kind == 1:
            values.append(ops.tanh(ops.matmul(a, ops.transpose(b, (1, 0)))))
        elif kind == 2:
            values.append(ops.multiply(a, 0.5))
        elif kind == 3:
            values.append(ops.transpose(ops.reshape(a, (4, 4)), (1, 0)))
        else:
            values.append(emit(own[kind - 4], a, b))
    return values[2:]


@st.composite
def host_programs(draw: st.DrawFn) -> tuple[Graph, dict[int, int]]:
    """A graph of two inputs, and which outputs replace which of them."""
    square = TensorType((4, 4), float32)
    own = [
        host_op(lambda a, b: a[::-1] - b.T, name="flipped"),
        host_op(lambda a, b: np.tanh(a) + b, name="tanh_add"),
    ]
    with GraphBuilder("random_host") as builder:
        made = _steps(draw, builder.input(square, "x"), builder.input(square, "y"), own)
        count = draw(st.integers(1, min(3, len(made))))
        outputs = draw(st.lists(st.sampled_from(made), min_size=count, max_size=count))
        graph = builder.finish(outputs)
    pairs = draw(st.sampled_from([{}, {0: 0}, {0: 1}, {len(outputs) - 1: 1}]))
    return graph, pairs


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(host_programs(), st.integers(0, 2**16))
def test_random_programs_equal_the_interpreter(
    program: tuple[Graph, dict[int, int]], seed: int
) -> None:
    graph, pairs = program
    rng = np.random.default_rng(seed)
    inputs = [rng.standard_normal((4, 4)).astype(np.float32) for _ in range(2)]
    want = interpret(graph, *inputs)
    config = replace(current_config(), cache=False)
    loaded = Executable(compile_graph(graph, config=config, donate=pairs))
    got = loaded.run([a.copy() for a in inputs])
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
