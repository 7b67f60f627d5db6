from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import pellucid as pl
from pellucid.command.main import main
from pellucid.command.programs import make_problem
from pellucid.compile import PASSES
from pellucid.core.config import Config
from pellucid.core.errors import ArgumentError
from pellucid.deploy import find_compiler
from pellucid.runtime.cache import open_cache
from tests.data.test_datasets import write_mnist

_VOID = {"meta", "link", "br", "img", "hr"}


class _Balanced(HTMLParser):
    """Checks that tags nest, and collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _VOID:
            self.open.append(tag)
        self.loads += [v or "" for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def _run(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


def _check_report(text: str) -> None:
    page = _Balanced()
    page.feed(text)
    assert page.open == []
    assert all(link.startswith("#") for link in page.loads)
    assert "@import" not in text
    assert "$" not in re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)  # all filled in


@pytest.mark.slow
def test_the_tour_of_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = _run("tour", "--model", "mlp", "--steps", "1", "--output", ".")
    assert done.exit_code == 0, done.output
    made = sorted(p.name for p in tmp_path.iterdir())
    assert made == ["model.c", "model.h", "model.safetensors", "report.html"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["mlp", *(pytest.param(m, marks=pytest.mark.slow) for m in ("cnn", "gpt"))]
)
def test_a_short_tour_shows_every_layer(model: str, tmp_path: Path) -> None:
    done = _run("tour", "--model", model, "--steps", "3", "--output", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert "graph as recorded" in done.output
    assert "after the passes" in done.output
    assert "memory plan: arena" in done.output
    assert "reloaded in a fresh process" in done.output
    assert "bit for bit" in done.output
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    _check_report(text)
    assert text.count("<svg") == 4
    assert text.count("<title>") > 20  # pictures explain themselves
    for part in (
        "graph step(",
        "define void @kernel_",
        "alloc ",
        "group_fusion",
        "of roof",
        "1. split(",
    ):
        assert part in text, part
    changed = set(re.findall(r"The graph after (\w+) <small>", text))
    assert changed <= {p.name for p in PASSES}
    assert "group_fusion" in changed
    assert set(re.findall(r"<pre>kernel (\w+)\(", text))
    assert re.search(r"<pre>programs\.py:\d+  \S+", text)  # the user's line, with its text
    plan = re.search(
        r"arena ([\d,]+) B; lower bound ([\d,]+) B; without reuse ([\d,]+) B", done.output
    )
    assert plan is not None
    for size in plan.groups():
        assert f"{size} B</text>" in text
    assert (
        pl.load(tmp_path / "model.safetensors").keys()
        == make_problem(model).model.state_dict().keys()
    )
    if find_compiler() is None:
        assert "no C compiler" in done.output
    else:
        count = len(make_problem(model).x_test)
        assert f"{count} of {count} predictions equal Python's" in done.output


@pytest.mark.slow
def test_the_tour_reaches_98_percent(tmp_path: Path) -> None:
    done = _run("tour", "--output", str(tmp_path), "--seed", "3")
    assert done.exit_code == 0, done.output
    accuracy = re.search(r"^test accuracy ([\d.]+)%", done.output, re.MULTILINE)
    assert accuracy is not None
    assert float(accuracy[1]) >= 98.0


def test_help_names_the_commands() -> None:
    done = _run("--help")
    assert done.exit_code == 0
    for command in ("tour", "machine", "cache", "staircase"):
        assert command in done.output
    assert "--model" in _run("tour", "--help").output
    assert pl.__version__ in _run("--version").output


def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    done = _run("tour", "--output", str(taken / "below"))
    assert done.exit_code == 1
    assert "cannot be written" in done.output
    assert "training" not in done.output


def test_wrong_options_are_named() -> None:
    assert "'resnet' is not one of" in _run("tour", "--model", "resnet").output
    assert _run("tour", "--steps", "0").exit_code == 2
    assert "is not in the range" in _run("tour", "--steps", "1" + "0" * 30).output
    assert "is not in the range" in _run("tour", "--seed", "1" + "0" * 30).output
    mixed = _run("tour", "--model", "cnn", "--mnist", ".")
    assert mixed.exit_code == 2
    assert "--mnist goes with --model mlp" in mixed.output
    with pytest.raises(ArgumentError, match=r"no model is named 'cn'\. Fix: did you mean 'cnn'"):
        make_problem("cn")


@pytest.mark.parametrize("name", ["PELLUCID_THREADS", "PELLUCID_FOO"])
def test_settings_that_do_not_fit_are_one_line(name: str) -> None:
    code = "from pellucid.command.main import main; main()"
    command = [sys.executable, "-c", code, "cache", "info"]
    env = {**os.environ, name: "0"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(rf"Error: config: .*{name}.*\n", done.stderr)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CC", "gcc '", "$CC cannot be split into words (No closing quotation), got $CC"),
        ("PELLUCID_DUMP", "file", "the folder of PELLUCID_DUMP cannot be written, got folder file"),
    ],
)
def test_other_settings_are_refused_before_training(
    name: str, value: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    code = "from pellucid.command.main import main; main()"
    command = [sys.executable, "-c", code, "tour", "--steps", "1", "--output", "made"]
    env = {**os.environ, name: value}
    done = subprocess.run(
        command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "test accuracy" not in done.stdout


def test_mnist_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    done = _run("tour", "--model", "mlp", "--mnist", str(tmp_path), "--output", str(tmp_path / "o"))
    assert done.exit_code == 1
    assert "Error: load_mnist" in done.output
    assert "Traceback" not in done.output


def test_mnist_with_less_than_a_batch_is_one_message(tmp_path: Path) -> None:
    write_mnist(tmp_path, 31)
    done = _run("tour", "--model", "mlp", "--mnist", str(tmp_path), "--output", str(tmp_path / "o"))
    assert done.exit_code == 1
    assert re.search(r"training part of .* must have 32 images or more.*got count 31", done.output)
    write_mnist(tmp_path, 32)
    assert len(next(make_problem("mlp", tmp_path).batches(0))[0]) == 32


def test_machine_and_cache_print() -> None:
    assert "GFLOP/s" in _run("machine").output
    assert re.search(r"\d+ entries, [\d.,]+ MB", _run("cache", "info").output)


@pytest.mark.parametrize("command", ["info", "clear"])
def test_a_cache_that_cannot_be_used_is_said(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    cache = open_cache(Config(cache_dir=tmp_path / "file"))
    monkeypatch.setattr("pellucid.command.main.open_cache", lambda: cache)
    done = _run("cache", command)
    assert done.exit_code == 1
    assert "cannot be used: nothing is kept. Fix: set PELLUCID_CACHE_DIR" in done.output


@pytest.mark.slow
def test_cache_clear_empties_it(tmp_path: Path) -> None:
    env = {**os.environ, "PELLUCID_CACHE_DIR": str(tmp_path)}
    code = "import pellucid as pl; pl.jit(lambda x: x + 1)(pl.ones(3))"
    subprocess.run([sys.executable, "-c", code], env=env, check=True)
    command = [sys.executable, "-c", "from pellucid.command.main import main; main()", "cache"]
    cleared = subprocess.run(
        [*command, "clear"], env=env, check=True, capture_output=True, text=True
    )
    assert re.match(r"removed [1-9]\d* entries", cleared.stdout)
    info = subprocess.run([*command, "info"], env=env, check=True, capture_output=True, text=True)
    assert ": 0 entries" in info.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for children")
def test_ctrl_c_stops_the_tour_and_leaves_no_parts(tmp_path: Path) -> None:
    code = "from pellucid.command.main import main; main()"
    child = subprocess.Popen(
        [sys.executable, "-u", "-c", code, "tour", "--output", str(tmp_path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("training"):
            break
    time.sleep(0.3)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130, errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
