from __future__ import annotations

import threading
import time
from typing import Any, cast

import numpy as np
import pytest

from pellucid.bench.checks import DifferenceError, check, difference
from pellucid.bench.measure import measure
from pellucid.bench.peers import PEERS, Peer, environment
from pellucid.bench.row import OURS, Goal, Load, Row, Samples, Setting
from pellucid.bench.timing import QUICK, Pace, race, rest, summary
from pellucid.runtime.machine import MachineLimits
from tests.bench.rows import array, broken, candidate, race_row

FAST = Pace(rounds=3, slot=0.0, rest=0.0)
LEVELS = ("L1", "L2", "L3", "DRAM")
LIMITS = MachineLimits(
    cpu="a machine",
    threads=1,
    flops={1: 1e9},
    read={name: {1: 1e9} for name in LEVELS},
    copy={name: {1: 5e8} for name in LEVELS},
    latency_ns=dict.fromkeys(LEVELS, 1.0),
    fork_join_ns=1.0,
    wake_ns=1.0,
    seconds=1.0,
)


@pytest.fixture(autouse=True)
def _peers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in (("here", "json"), ("also here", "json"), ("absent", "no.such_module")):
        monkeypatch.setitem(cast("dict[str, Peer]", PEERS), name, Peer(name, (module,), "thing"))


def test_candidates_take_turns() -> None:
    calls: list[str] = []
    steps = {name: lambda name=name: calls.append(name) for name in "ab"}
    found = race(cast("Any", steps), FAST)
    assert "".join(calls) == "aabb" + 3 * "aabb"
    assert found["a"].rounds == 3


def test_a_rest_lasts_until_no_thread_is_busy_or_the_time_is_over() -> None:
    end = time.perf_counter() + 0.15

    def spin() -> None:
        while time.perf_counter() < end:
            pass

    thread = threading.Thread(target=spin)
    thread.start()
    start = time.perf_counter()
    rest(0.02)
    assert time.perf_counter() - start < 0.1
    rest(10.0)
    assert end <= time.perf_counter() < end + 5.0
    thread.join()


def test_a_summary_has_median_best_and_spread() -> None:
    found = summary([float(n) for n in range(11, 0, -1)])
    assert (found.median, found.best, found.low, found.high, found.rounds) == (6, 1, 2, 10, 11)


def test_a_row_compares_then_races() -> None:
    row = race_row({"here": candidate, "absent": broken})
    found = measure(row, Setting(), FAST, None)
    assert found.failed == ""
    assert set(found.figures) == {OURS, "here"}
    assert found.differences == {"here": 0.0}
    assert found.errors == {"absent": "not installed (pip install thing)"}
    assert found.verdict is not None
    assert found.verdict.best_peer == "here"


def test_only_named_peers_take_part() -> None:
    row = race_row({"here": candidate, "also here": broken, "absent": broken})
    found = measure(row, Setting(peers=("here",)), FAST, None)
    assert set(found.figures) == {OURS, "here"}
    assert not found.errors


def test_a_peer_that_fails_is_left_out() -> None:
    found = measure(race_row({"here": broken, "also here": candidate}), Setting(), FAST, None)
    assert found.errors == {"here": "RuntimeError: cannot be built"}
    assert set(found.figures) == {OURS, "also here"}


def test_unequal_results_stop_the_row() -> None:
    found = measure(race_row({"here": lambda: candidate(1.01)}), Setting(), FAST, None)
    assert found.verdict is None
    assert not found.figures
    assert "the result differs from that of here" in found.failed
    assert "9.9e-03" in found.failed


def test_a_row_that_fails_is_an_outcome() -> None:
    def make(_: Setting) -> Samples:
        raise ValueError("no such thing")

    row = Row(name="bad", group="tests", goal=Goal(), make=make)
    assert measure(row, Setting(), FAST, None).failed == "ValueError: no such thing"


def test_samples_are_judged_in_their_unit() -> None:
    def make(_: Setting) -> Samples:
        return Samples(seen={OURS: [2e6, 3e6, 4e6], "here": [6e6]}, floor=2.7e6)

    row = Row(name="bytes", group="tests", goal=Goal(ratio=2.0), make=make, unit="B")
    verdict = measure(row, Setting(), FAST, None).verdict
    assert verdict is not None
    assert (verdict.ratio, verdict.share, verdict.reached) == (2.0, 0.9, True)


def test_the_limit_that_binds_is_named() -> None:
    found = measure(race_row({}, load=Load(5, 100, 100)), Setting(), QUICK, LIMITS)
    assert (found.limit, found.limit_rate, found.nbytes) == ("L1", 5e8, 200)
    assert found.floor == pytest.approx(4e-7)
    found = measure(race_row({}, load=Load(1000, 100, 1)), Setting(), QUICK, LIMITS)
    assert (found.limit, found.floor) == ("FMA", 1e-6)


def test_differences_are_relative_to_the_largest_element() -> None:
    assert difference("r", "p", [array(1, 2)], [array(1, 4)]) == 0.5
    assert difference("r", "p", [array(0)], [array(0)]) == 0.0
    assert difference("r", "p", [array(np.nan, 2)], [array(np.nan, 2)]) == 0.0
    assert difference("r", "p", [array(np.inf, 2)], [array(np.inf, 2)]) == 0.0
    assert difference("r", "p", [array()], [array()]) == 0.0
    with pytest.raises(DifferenceError, match="shapes differ from those of p"):
        difference("r", "p", [array(1)], [array(1, 2)])
    with pytest.raises(DifferenceError, match="NaN or infinities are elsewhere"):
        difference("r", "p", [array(np.nan, 2)], [array(1, 2)])
    with pytest.raises(DifferenceError, match="differs from that of p"):
        check("r", "p", float("nan"), 0.1)


def test_processes_get_one_thread_count_and_no_pinned_kernels() -> None:
    given = {"HOME": "/", "OPENBLAS_CORETYPE": "Haswell", "OMP_NUM_THREADS": "7", "XLA_FLAGS": "x"}
    env, dropped = environment(2, given)
    assert dropped == ["OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "XLA_FLAGS"]
    assert env["HOME"] == "/"
    assert "OPENBLAS_CORETYPE" not in env
    assert env["OMP_NUM_THREADS"] == env["PELLUCID_THREADS"] == env["NPROC"] == "2"
