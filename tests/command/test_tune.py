from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import pellucid as pl
from pellucid.command import tune as module
from pellucid.command.main import main
from pellucid.command.tune import Tune, watch_script
from pellucid.compile import this_machine
from pellucid.core.config import read_config
from pellucid.runtime import tuning
from pellucid.schedule.search.records import open_records

SCRIPT = """
import sys
import pellucid as pl

@pl.jit
def product(a, b):
    return pl.relu(a @ b)

a, b = pl.randn(48, 64), pl.randn(64, 80)
for _ in range({runs}):
    product(a, b)
print("arguments", sys.argv[1:])
{more}
"""


def _script(folder: Path, runs: int = 5, more: str = "") -> str:
    path = folder / "model.py"
    path.write_text(SCRIPT.format(runs=runs, more=more), encoding="utf-8")
    return str(path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = read_config({"PELLUCID_CACHE_DIR": str(tmp_path / "cache")})
    monkeypatch.setattr(module, "current_config", lambda: config)
    monkeypatch.setattr(tuning, "MOST_TRIALS", 4)
    monkeypatch.setattr(tuning, "_ROUNDS", 2)


def _run(*args: str) -> Result:
    return CliRunner().invoke(main, ["tune", *args])


@pytest.mark.usefixtures("quick")
def test_the_command(tmp_path: Path) -> None:
    done = _run(_script(tmp_path), "--budget", "2", "--", "one", "--two")
    assert done.exit_code == 0, done.output
    assert "arguments ['one', '--two']" in done.output
    assert "1 compiled programs, 5 runs, 1 distinct kernels" in done.output
    assert "dot_general" in done.output
    assert "tried)" in done.output
    assert "product" in done.output.split("whole programs")[1]
    config = read_config({"PELLUCID_CACHE_DIR": str(tmp_path / "cache")})
    records = open_records(config, this_machine(), pl.get_num_threads())
    assert 0 < len(records.known().seconds) <= 4


@pytest.mark.usefixtures("quick")
def test_threads(tmp_path: Path) -> None:
    before = pl.get_num_threads()
    try:
        done = _run(_script(tmp_path), "--budget", "1", "--threads", "1")
    finally:
        pl.set_num_threads(before)
    assert done.exit_code == 0, done.output
    if before != 1:
        assert "set PELLUCID_THREADS=1" in done.output


@pytest.mark.skipif(sys.platform == "win32", reason="no timers there")
def test_a_script_without_an_end_is_stopped(tmp_path: Path) -> None:
    script = _script(tmp_path, more="while True:\n    product(a, b)\n")
    argv, path = list(sys.argv), list(sys.path)
    (watched,) = watch_script(Tune(script=script, budget_s=1.0, run_s=1.0))
    assert watched.runs > 5
    assert (sys.argv, sys.path) == (argv, path)


def test_a_module_and_an_exit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    _script(tmp_path, more="sys.exit(3)")
    (watched,) = watch_script(Tune(script="model", budget_s=1.0, run_s=30.0))
    assert watched.runs == 5


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("no/such.py", "there is no file no/such.py"),
        ("{folder}/fails.py", "failed: ZeroDivisionError"),
        ("{folder}/idle.py", "ran no compiled program"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_what_does_not_work_is_said(script: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text("1 / 0\n")
    (tmp_path / "idle.py").write_text("x = 1\n")
    done = _run(script.format(folder=tmp_path))
    assert done.exit_code == 1
    assert message in done.output


def test_without_a_cache_nothing_could_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "current_config", lambda: read_config({"PELLUCID_CACHE": "0"}))
    done = _run(_script(tmp_path))
    assert done.exit_code == 1
    assert "cache is switched off" in done.output
