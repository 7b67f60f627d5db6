"""Profiles have a row per call, and leave the caller's arrays alone."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from pellucid.compile import compile_graph
from pellucid.runtime.executable import Executable
from pellucid.runtime.machine import MachineLimits
from pellucid.runtime.profiler import profile
from pellucid.runtime.trace import trace_events, write_trace
from tests.runtime.programs import chain, config_in, train_step

LIMITS = MachineLimits(
    cpu="test", threads=1, flops={1: 1e9}, read={"DRAM": {1: 1e9}}, copy={"DRAM": {1: 1e9}},
    latency_ns={"DRAM": 100.0}, fork_join_ns=1.0, wake_ns=1.0, seconds=1.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Executable:
    config = config_in(tmp_path_factory.mktemp("cache"))
    return Executable(compile_graph(train_step(), config=config, donate={1: 1}))


def test_a_row_per_call(program: Executable) -> None:
    inputs = [np.ones((64, 20), np.float32), np.ones((20, 5), np.float32)]
    made = profile(program, inputs, repeats=3, limits=LIMITS)
    assert [c.kernel for c in made.calls] == [c.kernel for c in program.program.calls]
    assert all(c.seconds > 0 for c in made.calls)
    assert made.seconds == pytest.approx(sum(c.seconds for c in made.calls))
    assert sum(c.flops for c in made.calls) >= 2 * 2 * 64 * 20 * 5
    first = made.calls[0]
    assert first.roof == pytest.approx(max(first.flops, first.nbytes) / 1e9)
    assert (inputs[1] == 1).all()


def test_the_table_shows_rates_and_shares(program: Executable) -> None:
    inputs = [np.ones((64, 20), np.float32), np.ones((20, 5), np.float32)]
    text = profile(program, inputs, repeats=2, limits=LIMITS).table()
    assert text.startswith("train_step: ")
    assert "GFLOP/s" in text
    assert len(text.splitlines()) == 2 + len(program.program.calls)
    assert "%" in profile(program, inputs, repeats=1).table()


def test_a_trace_has_an_event_per_call_in_order(tmp_path: Path) -> None:
    program = Executable(compile_graph(chain(4, 64), config=config_in(tmp_path)))
    _, times = program.run_profiled([np.ones((64, 64), np.float32)])
    path = tmp_path / "trace.json"
    write_trace(path, program.program, times)
    events = json.loads(path.read_text())["traceEvents"]
    assert events == json.loads(json.dumps(trace_events(program.program, times)))
    kernels = [e for e in events if e["ph"] == "X"]
    assert [e["name"] for e in kernels] == [c.kernel for c in program.program.calls]
    assert kernels[0]["ts"] == 0
    for before, after in itertools.pairwise(kernels):
        assert before["ts"] + before["dur"] <= after["ts"] + 1e-3
    alive = [e["args"]["bytes alive"] for e in events if e["ph"] == "C"]
    assert max(alive) <= program.program.plan.no_reuse
    assert len(alive) == len(kernels)
