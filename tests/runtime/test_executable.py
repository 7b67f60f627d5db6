"""Programs run, keep state in place, come from the cache, and are freed when dropped."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pellucid.compile import Compiled, compile_graph
from pellucid.core.errors import ArgumentError, CompileError, DTypeError, ShapeError
from pellucid.graph.interpreter import interpret
from pellucid.graph.ir import Graph
from pellucid.runtime.cache import Cache
from pellucid.runtime.executable import Executable, load_program
from tests.runtime.programs import affine, chain, config_in, train_step


def arrays_for(graph: Graph, seed: int = 0) -> list[NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(v.shape).astype(v.dtype.numpy) for v in graph.inputs]


def executable(graph: Graph, folder: Path, **donate: int) -> Executable:
    pairs = {int(k.removeprefix("o")): v for k, v in donate.items()}
    return Executable(compile_graph(graph, config=config_in(folder), donate=pairs))


@pytest.mark.parametrize("graph", [affine(), affine(0), affine(1), train_step(), chain(3, 40)])
def test_results_are_the_interpreters(graph: Graph, tmp_path: Path) -> None:
    inputs = arrays_for(graph)
    for got, want in zip(
        executable(graph, tmp_path).run(inputs), interpret(graph, *inputs), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
        assert got.dtype == want.dtype


def test_outputs_are_fresh_every_time(tmp_path: Path) -> None:
    program, (x, w) = executable(affine(), tmp_path), arrays_for(affine())
    first = program.run([x, w])
    kept = [a.copy() for a in first]
    program.run([w * 2, w])
    for a, b in zip(first, kept, strict=True):
        np.testing.assert_array_equal(a, b)


def test_inputs_are_seen_anew_when_they_change(tmp_path: Path) -> None:
    program, (x, w) = executable(affine(), tmp_path), arrays_for(affine())
    np.testing.assert_allclose(program.run([x, w])[0], x + w)
    x[:] = 5
    np.testing.assert_allclose(program.run([x, w])[0], 5 + w)
    for _ in range(5):
        fresh = np.random.default_rng(1).standard_normal(8).astype(np.float32)
        np.testing.assert_allclose(program.run([fresh, w])[0], fresh + w)
        del fresh


def test_inputs_that_are_not_contiguous_or_writeable_are_fine(tmp_path: Path) -> None:
    program, (x, w) = executable(affine(), tmp_path), arrays_for(affine())
    wide = np.repeat(x, 2)[::2]
    w.flags.writeable = False
    for _ in range(2):
        np.testing.assert_allclose(program.run([wide, w])[0], x + w)


def test_given_outputs_are_written(tmp_path: Path) -> None:
    program, (x, w) = executable(affine(), tmp_path), arrays_for(affine())
    outputs = [np.zeros(8, np.float32) for _ in range(2)]
    results = program.run([x, w], outputs)
    assert [a is b for a, b in zip(results, outputs, strict=True)] == [True, True]
    np.testing.assert_allclose(outputs[1], x * w)


def test_donated_state_is_updated_in_place(tmp_path: Path) -> None:
    graph = train_step()
    x, w = arrays_for(graph)
    program = executable(graph, tmp_path, o1=1)
    state = w.copy()
    for _ in range(3):
        loss, w = interpret(graph, x, w)
        got = program.run([x, state])
        assert got[1] is state
        np.testing.assert_allclose(state, w, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(got[0], loss, rtol=1e-4)


def test_donated_state_that_cannot_be_overwritten_is_copied(tmp_path: Path) -> None:
    graph = train_step()
    x, w = arrays_for(graph)
    _, new = interpret(graph, x, w)
    program = executable(graph, tmp_path, o1=1)
    w.flags.writeable = False
    before = w.copy()
    np.testing.assert_allclose(program.run([x, w])[1], new, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(w, before)
    strided = np.asfortranarray(w)
    np.testing.assert_allclose(program.run([x, strided])[1], new, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(strided, before)


def test_inputs_that_share_donated_memory_keep_their_old_values(tmp_path: Path) -> None:
    graph = affine()
    program = executable(graph, tmp_path, o0=0)
    for first, second in ((slice(0, 8), slice(0, 8)), (slice(0, 8), slice(4, 12))):
        memory = np.arange(12, dtype=np.float32)
        x, w = memory[first], memory[second]
        old_x, old_w = x.copy(), w.copy()
        got = program.run([x, w])
        np.testing.assert_array_equal(got[0], old_x + old_w)
        np.testing.assert_array_equal(got[1], old_x * old_w)
        again = program.run([got[0], w])
        np.testing.assert_array_equal(again[0], got[0])


def test_two_donated_inputs_of_one_array(tmp_path: Path) -> None:
    program = executable(affine(), tmp_path, o0=0, o1=1)
    both = np.arange(8, dtype=np.float32)
    old = both.copy()
    total, product = program.run([both, both])
    np.testing.assert_array_equal(total, old + old)
    np.testing.assert_array_equal(product, old * old)


@pytest.mark.parametrize(
    ("inputs", "error", "text"),
    [
        ([np.zeros(8, np.float32)], ArgumentError, "takes 2 inputs"),
        ([np.zeros(7, np.float32)] * 2, ShapeError, r"input 0 must have shape \(8,\)"),
        ([np.zeros(8), np.zeros(8)], DTypeError, "input 0 must have dtype float32, got it float64"),
        ([np.zeros(8, ">f4")] * 2, DTypeError, "must have dtype float32"),
    ],
)
def test_wrong_inputs_are_refused(
    inputs: list[NDArray[Any]], error: type[Exception], text: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=text):
        executable(affine(), tmp_path).run(inputs)


def test_wrong_outputs_are_refused(tmp_path: Path) -> None:
    program, (x, w) = executable(affine(), tmp_path), arrays_for(affine())
    good = np.zeros(8, np.float32)
    with pytest.raises(ArgumentError, match="makes 2 outputs"):
        program.run([x, w], [good])
    with pytest.raises(ArgumentError, match="apart from all other arrays"):
        program.run([x, w], [good, good])
    with pytest.raises(ArgumentError, match="apart from all other arrays"):
        program.run([x, w], [good, x])
    with pytest.raises(ShapeError, match="output 1"):
        program.run([x, w], [good, np.zeros(9, np.float32)])


def test_the_second_load_comes_from_the_cache(tmp_path: Path) -> None:
    graph = train_step()
    first = executable(graph, tmp_path, o1=1)
    again = compile_graph(train_step(), config=config_in(tmp_path), donate={1: 1})
    second = Executable(again)
    assert (first.cached, second.cached) == (False, True)
    assert "lowered" not in vars(again)
    assert second.program == first.program
    x, w = arrays_for(graph)
    np.testing.assert_array_equal(first.run([x, w.copy()])[1], second.run([x, w.copy()])[1])


def test_other_donations_and_shapes_are_other_programs(tmp_path: Path) -> None:
    executable(train_step(), tmp_path)
    assert not executable(train_step(), tmp_path, o1=1).cached
    assert not executable(train_step(65), tmp_path).cached
    assert executable(train_step(), tmp_path).cached


ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from pathlib import Path
from pellucid.compile import compile_graph
from pellucid.runtime.executable import Executable
from tests.runtime.programs import config_in, train_step
import numpy as np
program = Executable(compile_graph(train_step(), config=config_in(Path(sys.argv[1]))))
loss, new = program.run([np.ones((64, 20), np.float32), np.zeros((20, 5), np.float32)])
print(program.cached, loss)
"""


def in_process(folder: Path) -> str:
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip() + done.stderr.strip()


@pytest.mark.slow
def test_another_process_finds_it_and_mends_damage(tmp_path: Path) -> None:
    assert in_process(tmp_path) == "False 0.0"
    assert in_process(tmp_path) == "True 0.0"
    for path in (tmp_path / "programs").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-100])
    assert in_process(tmp_path).startswith("False 0.0")
    assert in_process(tmp_path) == "True 0.0"


def test_an_interrupt_in_compilation_leaves_no_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: Compiled, objects: Any) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Compiled, "entry_object", interrupt)
        with pytest.raises(KeyboardInterrupt):
            executable(train_step(), tmp_path)
    program = executable(train_step(), tmp_path)
    assert not program.cached
    assert program.run(arrays_for(train_step()))[0].shape == ()


def test_threads_share_a_program(tmp_path: Path) -> None:
    graph = chain(3, 64)
    program = executable(graph, tmp_path)
    wrong: list[int] = []

    def work(seed: int) -> None:
        inputs = arrays_for(graph, seed)
        (want,) = interpret(graph, *inputs)
        for _ in range(20):
            if not np.allclose(program.run(inputs)[0], want, rtol=1e-3, atol=1e-4):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_dropped_programs_are_freed(tmp_path: Path) -> None:
    x, w = arrays_for(affine())
    gc.freeze()  # what other tests hold need not be walked at each collection
    for n in range(30):
        program = executable(affine(8, f"affine{n}"), tmp_path)
        results = program.run([x, w])
        entry = program._entry
        del program
        gc.collect()
        assert entry.library.addresses  # type: ignore[attr-defined]  # the function holds its code
        del entry
        gc.collect()
        np.testing.assert_allclose(results[0], x + w)
    gc.unfreeze()


def test_profiled_times_are_in_order(tmp_path: Path) -> None:
    graph = chain(3, 64)
    program = executable(graph, tmp_path)
    inputs = arrays_for(graph)
    results, times = program.run_profiled(inputs)
    np.testing.assert_array_equal(results[0], program.run(inputs)[0])
    assert times.shape == (len(program.program.calls), 2)
    flat = times.reshape(-1)
    assert (np.diff(flat) >= 0).all()
    assert flat[0] > 0


def test_a_program_without_a_cache(tmp_path: Path) -> None:
    compiled = compile_graph(affine(), config=config_in(tmp_path))
    program, cached = load_program(compiled, Cache(None))
    assert not cached
    assert [p.shape for p in program.outputs] == [(8,), (8,)]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    x, w = arrays_for(affine())
    np.testing.assert_allclose(executable(affine(), tmp_path / "file").run([x, w])[0], x + w)


def test_a_kernel_that_fails_names_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> str:
        raise ValueError("no registers left")

    monkeypatch.setattr("pellucid.codegen.kernel.render_kernel", fail)
    with pytest.raises(CompileError, match=r"kernel \w+: ValueError: no registers left"):
        executable(affine(11, "unlucky"), tmp_path)
