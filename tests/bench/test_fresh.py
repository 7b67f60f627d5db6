from __future__ import annotations

import pytest

from pellucid.bench.fresh import INFER, NOBODY, run_fresh, run_import, run_peak_of_numpy
from pellucid.bench.resident import peak_resident_bytes
from pellucid.bench.row import OURS, Setting
from pellucid.bench.scaling import compile_seconds
from pellucid.bench.startup import sample_each
from pellucid.core.errors import ArgumentError


def test_memory_is_that_of_the_process() -> None:
    before = peak_resident_bytes()
    block = bytearray(64 << 20)
    block[:: 1 << 12] = bytes(len(block[:: 1 << 12]))
    assert peak_resident_bytes() >= max(before, 64 << 20)
    numpy = run_peak_of_numpy(1)
    assert 5e6 < numpy < run_fresh("memory", "tiny b8", NOBODY, 1)


def test_first_steps_are_those_of_the_work_and_who_is_named() -> None:
    """Some networks are trained in one row and run frozen in another, under the same name."""
    with pytest.raises(ArgumentError, match="no_such_peer"):
        run_fresh("first", "mlp b64", "no_such_peer", 1)
    assert run_fresh("first", INFER + "mlp b1", OURS, 1) > 0


def test_imports_are_timed_in_fresh_processes() -> None:
    assert 0 < run_import("json", 1) < 60
    with pytest.raises(ArgumentError, match="a fresh process failed: ModuleNotFoundError"):
        run_import("no_such_module", 1)


def test_peers_that_fail_are_left_out_of_samples() -> None:
    def measure(who: str) -> list[float]:
        if who != OURS:
            raise ArgumentError("bench", "it broke")
        return [1.0, 2.0]

    found = sample_each(Setting(), ("numpy",), measure)
    assert found.seen == {OURS: [1.0, 2.0]}
    assert found.errors == {"numpy": "bench: it broke."}
    assert not sample_each(Setting(peers=("jax",)), ("numpy",), measure).errors


def test_ours_must_not_fail() -> None:
    def measure(_: str) -> list[float]:
        raise ArgumentError("bench", "it broke")

    with pytest.raises(ArgumentError, match="it broke"):
        sample_each(Setting(), (), measure)


@pytest.mark.slow
def test_compile_time_counts_compiling() -> None:
    assert 0 < compile_seconds(1) < 600
