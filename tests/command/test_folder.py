"""The tour's folder is looked at, and held by one tour at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from pellucid.command.folder import check_folder, hold_folder
from pellucid.command.main import main
from pellucid.core.errors import ArgumentError

HOLDER = """
import sys
from pathlib import Path
from pellucid.command.folder import hold_folder
with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_made(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b", ["x"])
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.c").write_text("an older one")
    (tmp_path / "report.html").mkdir()
    check_folder(tmp_path, ["model.c"])
    with pytest.raises(ArgumentError, match=r"report\.html is in the way.*Fix: choose another"):
        check_folder(tmp_path, ["model.c", "report.html"])
    done = CliRunner().invoke(main, ["tour", "--output", str(tmp_path)])
    assert done.exit_code == 1
    assert "report.html is in the way" in done.output
    assert "training" not in done.output


def test_one_tour_at_a_time(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        done = CliRunner().invoke(main, ["tour", "--output", str(tmp_path)])
        (tmp_path / "other").mkdir()
        with hold_folder(tmp_path / "other"):
            pass
    assert done.exit_code == 1
    assert "another tour is writing into" in done.output
    with hold_folder(tmp_path):
        pass


def test_a_process_that_dies_lets_go(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with (
            pytest.raises(ArgumentError, match="another tour is writing"),
            hold_folder(tmp_path),
        ):
            pass
        child.kill()
        child.wait()
        with hold_folder(tmp_path):
            pass
