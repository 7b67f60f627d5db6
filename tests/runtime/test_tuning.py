from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import pellucid as pl
from pellucid.compile import this_machine
from pellucid.runtime import tuning
from pellucid.runtime.executable import Executable
from pellucid.runtime.kernel_bench import KernelBench
from pellucid.runtime.tuning import Result, compare_programs, find_jobs, tune_kernels
from pellucid.runtime.watch import Watched, watch_programs
from pellucid.schedule.choice import RULES, Choice
from pellucid.schedule.search.records import Found, Records
from pellucid.schedule.search.space import Space


def _watched(runs: int = 3) -> list[Watched]:
    """A product in a training step that updates its weights in place, and a softmax."""
    pl.manual_seed(0)
    weights = pl.Parameter(pl.randn(40, 50))

    @pl.jit
    def step(x: pl.Tensor) -> pl.Tensor:
        loss: pl.Tensor = pl.softmax(x @ weights, axis=-1).sum()
        weights.assign_(weights * 0.9 + x.T @ (x @ weights))
        return loss

    x = pl.randn(30, 40)
    with watch_programs() as seen:
        for _ in range(runs):
            step(x)
    return [w for w in seen if w.runs]


@pytest.fixture
def few_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "MOST_TRIALS", 6)
    monkeypatch.setattr(tuning, "_ROUNDS", 2)


def _tune(programs: Sequence[Watched], records: Records) -> list[Result]:
    jobs = find_jobs(programs)
    return list(tune_kernels(jobs, records, this_machine(), 5.0, lambda *_: None))


def test_jobs_are_the_distinct_kernels_by_their_time() -> None:
    programs = _watched()
    jobs = find_jobs([*programs, *programs])
    assert sum(job.share for job in jobs) == pytest.approx(1)
    assert [j.share for j in jobs] == sorted((j.share for j in jobs), reverse=True)
    assert len({j.key for j in jobs}) == len(jobs) == len(set(programs[0].compiled.kernel_keys))
    assert all(j.calls % 6 == 0 for j in jobs)
    assert any(j.shared for j in jobs)  # weights updated in place


@pytest.mark.usefixtures("few_trials")
def test_kernels_are_searched_and_results_kept(tmp_path: Path) -> None:
    programs, records = _watched(), Records(tmp_path, "here")
    results = _tune(programs, records)
    assert len(results) > 1
    for r in results:
        assert 0 < r.trials <= 6
        assert r.found.seconds <= r.found.rule_seconds
        assert not r.interrupted
    faster = {r.found.kernel: r.found.choice for r in results if r.found.choice != RULES}
    assert records.chosen() == faster
    assert len(records.known().seconds) == sum(r.trials for r in results)


@pytest.mark.usefixtures("few_trials")
def test_an_interrupt_keeps_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = [0]
    real = tuning.Stopwatch.seconds

    def measure(watch: tuning.Stopwatch, candidate: object) -> float:
        count[0] += 1
        if count[0] == 4:
            raise KeyboardInterrupt
        return real(watch, candidate)  # type: ignore[arg-type]

    monkeypatch.setattr(tuning.Stopwatch, "seconds", measure)
    records = Records(tmp_path, "here")
    results = _tune(_watched(), records)
    assert [r.interrupted for r in results] == [False] * (len(results) - 1) + [True]
    assert len(records.known().seconds) == 3


@pytest.mark.usefixtures("few_trials")
def test_wrong_candidates_never_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KernelBench, "right", lambda *_: False)
    results = _tune(_watched(), Records(tmp_path, "here"))
    assert all(r.found.choice == RULES for r in results)
    assert Records(tmp_path, "here").known().seconds == []


def test_a_choice_found_before_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, records = _watched(), Records(tmp_path, "here")
    job = find_jobs(programs)[0]
    decision = Space(job.kernel, this_machine(), job.constants).candidate().decisions[0]
    other = next(o for o in decision.options if o != decision.rule)
    before = Choice.of({decision.name: other})
    records.keep(Found(job.key, "", before, 1.0, 2.0))
    monkeypatch.setattr(tuning, "MOST_TRIALS", 2)
    seen: list[Choice] = []
    real = Records.add

    def add(records: Records, kernel: str, choice: Choice, *rest: object) -> None:
        seen.append(choice)
        real(records, kernel, choice, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Records, "add", add)
    next(iter(tune_kernels([job], records, this_machine(), 5.0, lambda *_: None)))
    assert seen == [RULES, before]


@pytest.mark.usefixtures("few_trials")
@pytest.mark.parametrize("pays", [True, False])
def test_what_does_not_pay_in_the_program_goes_back(
    pays: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs, records = _watched(), Records(tmp_path, "here")
    job = find_jobs(programs)[0]
    decision = Space(job.kernel, this_machine(), job.constants).candidate().decisions[0]
    choice = Choice.of({decision.name: next(o for o in decision.options if o != decision.rule)})
    found = Found(job.key, "", choice, 1.0, 2.0)
    records.keep(found)
    result = Result(job=job, found=found, trials=1)

    def profiled(pair: Sequence[Executable], _: int) -> list[list[float]]:
        calls = len(programs[0].compiled.kernel_keys)
        return [[2.0] * calls, [1.0 if pays else 3.0] * calls]

    monkeypatch.setattr(tuning, "_profiled", profiled)
    (compared,) = compare_programs(programs, [result], records)
    assert set(records.chosen()) == ({job.key} if pays else set())
    assert compared.runs == 3
    assert (compared.after < compared.before) == pays


def test_programs_give_the_same_results_with_any_choice() -> None:
    (watched,) = _watched()
    rng = np.random.default_rng(0)
    inputs = tuning._inputs(Executable(watched.compiled).program)
    expected = Executable(replace(watched.compiled, choices={})).run([a.copy() for a in inputs])
    for _ in range(3):
        choices = {
            job.key: Space(job.kernel, this_machine(), job.constants).random(rng).choice
            for job in find_jobs([watched])
        }
        changed = tuning._with_choices(watched.compiled, choices)
        got = Executable(changed).run([a.copy() for a in inputs])
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
