from __future__ import annotations

import logging
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pellucid import ops
from pellucid.codegen.kernel import CompiledKernel
from pellucid.compile import compile_graph
from pellucid.core.config import read_config
from pellucid.core.target import Target
from pellucid.schedule.choice import Choice
from pellucid.schedule.search.records import (
    Found,
    Records,
    machine_key,
    open_records,
    tuned_choices,
)
from tests.lower.execution import build
from tests.schedule.recipes.test_choose import AVX2, AVX512, f

TALL = Choice.of({"height": 3})


def _found(kernel: str, choice: Choice = TALL) -> Found:
    return Found(kernel, "matmul", choice, 1e-3, 2e-3)


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    records = Records(tmp_path, "here")
    assert records.chosen() == {}
    records.keep(_found("a"))
    records.keep(_found("b", Choice.of({"pack_wide": True, "layout": "lines"})))
    records.keep(_found("a", Choice.of({"height": 5})))
    assert Records(tmp_path, "here").chosen() == {
        "a": Choice.of({"height": 5}),
        "b": Choice.of({"pack_wide": True, "layout": "lines"}),
    }
    records.keep(_found("a", Choice()))
    assert set(records.chosen()) == {"b"}


def test_other_machines_see_nothing_of_it(tmp_path: Path) -> None:
    Records(tmp_path, "here").keep(_found("a"))
    assert Records(tmp_path, "there").chosen() == {}
    assert machine_key(AVX2, 2) != machine_key(AVX2, 1)
    assert machine_key(AVX2, 2) != machine_key(replace(AVX2, l2_bytes=1), 2)


def test_measurements_for_the_model(tmp_path: Path) -> None:
    records = Records(tmp_path, "here")
    records.add("a", TALL, np.array([1.0, 2.0]), 3e-3)
    records.add("b", TALL, np.array([4.0, 5.0]), 6e-3)
    records.add("c", TALL, np.array([4.0, 5.0]), float("inf"))
    known = records.known(but="a")
    assert known.kernels == ["b"]
    assert known.seconds == [6e-3]
    np.testing.assert_array_equal(known.rows[0], [4.0, 5.0])
    assert len(records.known().seconds) == 2


def test_damaged_lines_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = Records(tmp_path, "here")
    records.keep(_found("a"))
    path = tmp_path / "chosen.jsonl"
    path.write_bytes(path.read_bytes() + b'{"machine": "here", "kern')  # cut off
    records.keep(_found("b"))
    path.write_bytes(path.read_bytes() + b'\n[1]\n\xff\xfe\n{"machine": "here"}\n')
    with caplog.at_level(logging.WARNING, "pellucid"):
        assert set(records.chosen()) == {"a", "b"}
    assert "damaged lines are left out" in caplog.text


def test_two_searches_at_once_keep_whole_lines(tmp_path: Path) -> None:
    def keep(start: int) -> None:
        records = Records(tmp_path, "here")
        for k in range(start, start + 100):
            records.keep(_found(f"k{k}", Choice.of({"name": "x" * 500, "height": k})))

    threads = [threading.Thread(target=keep, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    chosen = Records(tmp_path, "here").chosen()
    assert len(chosen) == 400
    assert all(dict(c.values)["height"] == int(k[1:]) for k, c in chosen.items())


def test_programs_are_compiled_with_what_was_found(tmp_path: Path) -> None:
    config = read_config({"PELLUCID_CACHE_DIR": str(tmp_path)})
    graph = build(ops.matmul, f(64, 48), f(48, 80))
    before = compile_graph(graph, AVX512, config)
    assert tuned_choices(config, AVX512) == {}
    open_records(config, AVX512, config.threads).keep(_found(before.kernel_keys[0]))
    after = compile_graph(graph, AVX512, config)
    assert before.key != after.key
    assert before.symbols != after.symbols
    assert before.ir != after.ir
    assert after.kernel_of(0).choice == TALL
    again = compile_graph(graph, AVX512, config)
    assert (again.key, again.symbols, again.ir) == (after.key, after.symbols, after.ir)
    assert compile_graph(graph, AVX2, config).choices == {}
    off = read_config({"PELLUCID_CACHE_DIR": str(tmp_path), "PELLUCID_CACHE": "0"})
    assert compile_graph(graph, AVX512, off).ir == before.ir


@pytest.mark.parametrize("machine", [AVX2, AVX512], ids=lambda t: t.name)
def test_a_record_gives_the_same_code_again(machine: Target, tmp_path: Path) -> None:
    (call,) = compile_graph(build(ops.matmul, f(64, 48), f(48, 80)), machine).lowered.calls
    choice = Choice.of({"height": 5, "vectors": 3, "pack_wide": True})
    made = CompiledKernel("kernel", call.kernel, machine, frozenset(), choice)
    Records(tmp_path, "here").keep(_found("a", choice))
    again = Records(tmp_path, "here").chosen()["a"]
    assert CompiledKernel("kernel", call.kernel, machine, frozenset(), again).ir == made.ir
    assert CompiledKernel("kernel", call.kernel, machine).ir != made.ir
