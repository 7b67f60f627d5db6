"""Every stage of a compilation can be looked at, equal kernels are one, keys see what matters."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pellucid import ops
from pellucid.codegen.kernel import CompiledKernel
from pellucid.compile import PASSES, compile_graph, optimize, this_machine
from pellucid.core.config import Config, current_config
from pellucid.core.dtype import float32
from pellucid.core.errors import ArgumentError, CompileError
from pellucid.core.version import source_digest
from pellucid.graph.foreign import foreign_digest
from pellucid.graph.ir import Graph, GraphBuilder, TensorType
from pellucid.graph.verifier import verify
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.runtime.dump import dump_program
from tests.runtime.programs import affine, config_in, train_step


class DictStore:
    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}
        self.hits = 0

    def get(self, key: str) -> bytes | None:
        self.hits += key in self.data
        return self.data.get(key)

    def put(self, key: str, data: bytes) -> None:
        self.data[key] = data


def layers(count: int) -> Graph:
    """`count` equal layers, each a kernel or more of its own."""
    builder = GraphBuilder("layers")
    with builder:
        x = builder.input(TensorType((32, 32), float32), "x")
        for k in range(count):
            w = builder.input(TensorType((32, 32), float32), f"w{k}")
            x = ops.tanh(ops.matmul(x, w))
        return builder.finish([x])


def test_stages_run_only_when_asked_for() -> None:
    compiled = compile_graph(train_step())
    assert compiled.seconds == {}
    assert compiled.key
    assert set(compiled.seconds) == set()
    assert compiled.lowered.calls
    assert {"passes", "lower"} <= set(compiled.seconds)


def test_every_form_of_a_program_can_be_read() -> None:
    compiled = compile_graph(train_step(), keep_dumps=True)
    verify(compiled.passes.graph)
    assert len(compiled.passes.stats) == len([p for p in PASSES if not p.unsafe])
    assert compiled.passes.stats[0].before is compiled.graph
    kernel = compiled.kernel_of(0)
    assert kernel.steps[0].kernel == compiled.lowered.calls[0].kernel
    assert f"@{kernel.symbol}(" in compiled.ir
    assert kernel.symbol in compiled.assembly
    assert kernel.object.code[:4] in (b"\x7fELF", b"\xcf\xfa\xed\xfe") or kernel.object.code


def test_equal_kernels_compile_once() -> None:
    compiled = compile_graph(layers(6))
    assert len(compiled.lowered.calls) >= 6
    assert len(compiled.kernels) <= len(compiled.lowered.calls) // 6 + 1
    assert len(compiled.symbols) == len(compiled.lowered.calls)


def test_stored_kernels_are_not_compiled_again() -> None:
    store = DictStore()
    first = compile_graph(layers(2)).objects(store)
    again = compile_graph(layers(3))
    assert store.hits == 0
    second = again.objects(store)
    assert store.hits == len(again.kernels)
    assert "schedule" not in again.seconds
    assert second == first


def test_objects_do_not_depend_on_how_many_threads_compile() -> None:
    one, two = (
        compile_graph(train_step(), config=replace(current_config(), threads=n)).objects()
        for n in (1, 2)
    )
    assert len(one) > 1
    assert list(one.items()) == list(two.items())


@pytest.mark.parametrize("form", ["ir", "object"])
def test_a_kernel_that_fails_is_named_and_no_thread_goes_on(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: CompiledKernel) -> object:
        raise ValueError("no registers left")

    monkeypatch.setattr(CompiledKernel, form, property(fail))
    compiled = compile_graph(train_step(), config=replace(current_config(), threads=2))
    with pytest.raises(CompileError, match=r"kernel \w+: ValueError: no registers left"):
        compiled.objects()
    assert not [t for t in threading.enumerate() if t.name.startswith("pellucid-llvm")]


def test_keys_see_what_changes_the_code() -> None:
    graph, machine = train_step(), this_machine()
    keys = [
        compile_graph(graph).key,
        compile_graph(train_step(65)).key,
        compile_graph(graph, donate={1: 1}).key,
        compile_graph(graph, replace(machine, cores=machine.cores + 1)).key,
        compile_graph(
            graph, config=replace(current_config(), unsafe_math=not current_config().unsafe_math)
        ).key,
        compile_graph(
            graph, config=replace(current_config(), disable_passes=("fold_constants",))
        ).key,
    ]
    assert len(set(keys)) == len(keys)
    assert compile_graph(train_step()).key == keys[0]


def test_passes_keep_the_meaning_and_can_be_switched_off(tmp_path: Path) -> None:
    config = config_in(tmp_path)
    names = {p.name for p in PASSES}
    result = optimize(affine(), replace(config, disable_passes=tuple(names)))
    assert result.stats == ()
    shaped = optimize(train_step(), replace(config, disable_passes=("group_fusion",)))
    assert "group_fusion" not in {s.name for s in shaped.stats}


def test_an_unknown_pass_is_refused_with_a_hint(tmp_path: Path) -> None:
    config = Config(cache_dir=tmp_path, disable_passes=("fold_constant",))
    with pytest.raises(ArgumentError, match="did you mean 'fold_constants'"):
        compile_graph(affine(), config=config)


def test_every_pass_has_a_name_and_a_sentence() -> None:
    for step in PASSES:
        assert step.name == step.run.__module__.rpartition(".")[2]
        assert step.doc.endswith(".")


def test_own_ops_need_no_foreign_digest_and_others_get_one() -> None:
    assert foreign_digest(train_step()) == ""
    builder = GraphBuilder("custom")
    record = affine().nodes[0].op

    def reference(a: object, b: object) -> object:
        return a

    op = replace(record, name="custom", reference=reference)
    with builder:
        x = builder.input(TensorType((3,), float32))
        graph = builder.finish(builder.emit(op, [x, x], {}))
    assert len(foreign_digest(graph)) == 64
    assert foreign_digest(graph) == foreign_digest(graph)


def test_dumps_hold_every_form(tmp_path: Path) -> None:
    folder = dump_program(compile_graph(train_step()), tmp_path)
    names = sorted(p.name for p in folder.iterdir())
    assert {"graph.txt", "optimized.txt", "passes.txt"} <= set(names)
    assert any(n.startswith("kernel_000_") and n.endswith(".ll") for n in names)
    assert (folder / "graph.txt").read_text().startswith("graph train_step(")


def test_optimised_graphs_lower_and_interpret_alike() -> None:
    graph = layers(2)
    optimised = optimize(graph).graph
    assert len(lower_graph(optimised).inputs) == len(graph.inputs)


def test_the_source_digest_is_one_per_process() -> None:
    assert len(source_digest()) == 64
    assert source_digest() is source_digest()
