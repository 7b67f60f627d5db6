from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pellucid.bench import run
from pellucid.bench.catalogue import ROWS, select
from pellucid.bench.goals import Verdict
from pellucid.bench.outcome import from_json
from pellucid.bench.row import Setting
from pellucid.bench.table import bar, details, line, summary
from pellucid.bench.timing import Pace
from pellucid.command.main import main
from pellucid.core.errors import ArgumentError
from tests.bench.rows import figures, outcome


def _run(*args: str) -> Result:
    return CliRunner().invoke(main, ["bench", *args])


def test_names_are_unique_and_patterns_choose() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    assert not [n for n in names if set(n) & set("*?[]")]
    assert [r.name for r in select(["gemm 64", "gemm 12?"])] == ["gemm 64", "gemm 128"]
    assert {r.group for r in select(["steps"])} == {"steps"}
    assert select([]) == list(ROWS)
    with pytest.raises(ArgumentError, match="did you mean 'gemm 64'"):
        select(["gem 64"])


def test_a_line_says_all() -> None:
    found = outcome(
        figures=figures(ours=1e-3, torch=2e-3),
        verdict=Verdict("torch", 2.0, 0.5, True, "because"),
        limit="DRAM",
        errors={"jax": "not installed"},
        differences={"torch": 1e-7},
    )
    text = line(found)
    for part in ("a row", "1 ms", "950 us-1.2 ms", "2 ms torch", "2.00", "50% DRAM"):
        assert part in text
    assert text.endswith(">= 1x: reached (because)")
    assert any("differs by 1e-07" in d for d in details(found))
    assert any("not installed" in d for d in details(found))
    lost = outcome(failed="it broke")
    assert line(lost).endswith("stopped: it broke")
    said = summary([found, lost])
    assert said.splitlines()[0] == "goals: 1 reached, 0 missed, 0 not judged; 1 rows stopped"
    assert "jax: not installed [1 rows]" in said


def test_bars_grow_with_the_ratio() -> None:
    assert bar(0.0).strip() == ""
    assert bar(1.0).strip() == "████"
    assert bar(1.125).strip() == "████▌"
    assert {len(bar(r)) for r in (0.0, 0.3, 1.0, 2.99, 50.0)} == {12}


def test_outcomes_go_through_json() -> None:
    found = outcome(figures=figures(ours=1.0), verdict=Verdict("", 0.0, 0.0, None, ""))
    assert from_json(json.loads(json.dumps(found.to_json()))) == found
    lost = outcome(failed="it broke")
    assert from_json(json.loads(json.dumps(lost.to_json()))) == lost


def test_a_process_that_dies_loses_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = ROWS[:2]
    done = json.dumps({"outcome": outcome(row=second.name).to_json()})
    scripts = iter(
        ["print('Illegal thing', file=__import__('sys').stderr); raise SystemExit(3)",
         f"print({done!r})"]
    )  # fmt: skip

    def start(rows: Any, _: Setting, __: Pace, said: Any) -> Any:
        command = [sys.executable, "-c", next(scripts)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)

    monkeypatch.setattr(run, "_start", start)
    found = list(run.run_rows([first, second], Setting(), Pace(), lambda _: None))
    assert [o.row for o in found] == [first.name, second.name]
    assert found[0].failed == "its process ended with status 3: Illegal thing"


def test_a_quick_run_without_peers(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    args = ("--quick", "--threads", "1", "--peers", "numpy", "--all", "--json", str(path))
    done = _run("step tiny b8", *args)
    assert done.exit_code == 0, done.output
    assert "step tiny b8" in done.output
    assert "goals: 0 reached, 0 missed, 1 not judged" in done.output
    report = json.loads(path.read_text())
    assert report["conditions"]["peers"].keys() >= {"torch", "jax"}
    (row,) = report["rows"]
    assert row["figures"].keys() == {"pellucid"}
    assert row["flops"] > 10_000


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--peers", "torhc"], "did you mean 'torch'"),
        (["no such row"], "there is no row or group"),
        (["--threads", "1,x"], "not a list of thread counts"),
        (["--threads", "0"], "not a list of thread counts"),
    ],
)
def test_mistakes_are_one_message(args: list[str], said: str) -> None:
    done = _run(*args)
    assert done.exit_code != 0
    assert said in done.output


def test_rows_are_listed_with_their_goals() -> None:
    done = _run("--list", "steps")
    assert done.exit_code == 0
    assert ">= 50x torch, >= 10x jax" in done.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_keeps_what_was_measured(number: int, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    command = [sys.executable, "-m", "pellucid.command.main", "bench", "call eager add of 4",
               "compile gpt*", "--threads", "1", "--quick", "--peers", "numpy",
               "--json", str(path)]  # fmt: skip
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while not path.exists():
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(number)
    said, _ = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "goals: " in said
    assert len(json.loads(path.read_text())["rows"]) == 1
