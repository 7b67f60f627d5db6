"""The machine's limits are plausible, kept, and measured again when the file is damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pellucid.compile import this_machine
from pellucid.core.config import Config
from pellucid.loop.interpreter import run_kernel
from pellucid.loop.verifier import verify_kernel
from pellucid.runtime import machine
from pellucid.runtime.machine import MachineLimits, known_limits, machine_limits, measure_limits
from pellucid.runtime.machine_kernels import (
    arithmetic_chains,
    chase_kernel,
    copy_kernel,
    fma_kernel,
    fork_kernel,
    read_kernel,
)


@pytest.fixture(scope="module")
def limits() -> MachineLimits:
    return measure_limits(replace(this_machine(), l3_bytes=4 << 20), call_s=0.0005)


def test_figures_are_plausible(limits: MachineLimits) -> None:
    assert 1e9 < limits.flops[1] < 1e12
    assert limits.read["L1"][1] > limits.read["DRAM"][1] > 1e8
    assert limits.latency_ns["L1"] < limits.latency_ns["DRAM"]
    assert 0.2 < limits.latency_ns["L1"] < 100
    assert limits.fork_join_ns > 0
    assert limits.seconds < 60


def test_the_table_names_every_level(limits: MachineLimits) -> None:
    for word in ("GFLOP/s", "L1", "L2", "L3", "DRAM", "fork-join"):
        assert word in limits.table()


def test_the_roof_is_the_slower_of_arithmetic_and_memory(limits: MachineLimits) -> None:
    peak, memory = limits.flops[limits.threads], limits.read["DRAM"][limits.threads]
    assert limits.roof(int(peak), 0) == pytest.approx(1, rel=1e-3)
    assert limits.roof(0, int(memory)) == pytest.approx(1, rel=1e-3)
    assert limits.roof(0, int(memory), "L1") < 1


def test_the_level_is_the_nearest_that_holds_the_data(limits: MachineLimits) -> None:
    target = this_machine()
    assert limits.level(64) == "L1"
    assert limits.level(target.l1_bytes * limits.threads + 1) == "L2"
    assert limits.level(1 << 40) == "DRAM"
    assert replace(limits, read={"DRAM": limits.read["DRAM"]}).level(64) == "DRAM"


def test_limits_are_kept_and_damage_is_mended(
    limits: MachineLimits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def measure(target: object) -> MachineLimits:
        measured.append(target)
        return limits

    monkeypatch.setattr(machine, "measure_limits", measure)
    config = Config(cache_dir=tmp_path)
    assert known_limits(config) is None
    assert machine_limits(config) == limits
    assert machine_limits(config) == known_limits(config) == limits
    assert len(measured) == 1
    for path in tmp_path.iterdir():
        path.write_text(path.read_text()[:-20])
    assert machine_limits(config) == limits
    assert len(measured) == 2
    machine_limits(config, again=True)
    assert len(measured) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "spoilt"),
    [
        ("flops", {"1": -5.0}),
        ("flops", {}),
        ("fork_join_ns", -1.0),
        ("wake_ns", 1e300),
        ("seconds", float("nan")),
        ("latency_ns", {"L1": 1.0}),
        ("read", {"DRAM": {"1": 1e9}}),
        ("threads", 0),
        ("threads", "two"),
        ("fork_join_ns", None),
    ],
)
def test_figures_that_cannot_be_are_measured_again(
    name: str,
    spoilt: object,
    limits: MachineLimits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "measure_limits", lambda target: limits)
    config = Config(cache_dir=tmp_path)
    machine_limits(config)
    (path,) = tmp_path.iterdir()
    path.write_text(json.dumps({**json.loads(path.read_text()), name: spoilt}))
    assert known_limits(config) is None
    assert machine_limits(config) == known_limits(config) == limits


def test_a_folder_that_cannot_be_written_is_no_error(
    limits: MachineLimits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(machine, "measure_limits", lambda target: limits)
    assert machine_limits(Config(cache_dir=tmp_path / "file")) == limits


def test_the_kernels_compute_what_they_say() -> None:
    target = this_machine()
    width = arithmetic_chains(target) * (target.vector_bits // 32)
    y = np.zeros((2, width), np.float32)
    run_kernel(fma_kernel(target, 2, 3), np.array([0.5, 1], np.float32), y)
    np.testing.assert_array_equal(y, 1.75)
    step = 8 * (target.vector_bits // 32)
    x = np.arange(2 * 2 * step, dtype=np.float32).reshape(2, 2 * step)
    sums = np.zeros((2, step), np.float32)
    run_kernel(read_kernel(target, 2, 2 * step, 2), x, sums)
    np.testing.assert_array_equal(sums.sum(axis=1), 2 * x.sum(axis=1))
    copied = np.zeros_like(x)
    run_kernel(copy_kernel(target, 2, 2 * step, 2), x, copied)
    np.testing.assert_array_equal(copied, x)
    at = np.zeros(1, np.int64)
    run_kernel(chase_kernel(4, 6), np.array([2, 0, 3, 1]), at)
    assert at[0] == 3
    marks = np.zeros((3, 8), np.int64)
    run_kernel(fork_kernel(3, 5), marks)
    assert marks[:, 0].tolist() == [4, 4, 4]


def test_the_kernels_are_well_formed() -> None:
    target = this_machine()
    for kernel in (
        fma_kernel(target, 2, 3),
        read_kernel(target, 2, 4096, 2),
        copy_kernel(target, 2, 4096, 2),
        fork_kernel(3, 5),
    ):
        verify_kernel(kernel)
