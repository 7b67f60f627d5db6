from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import pellucid as pl
from pellucid.command import staircase as module
from pellucid.command.main import main
from pellucid.command.staircase import Staircase, climb
from pellucid.command.staircase_show import (
    staircase_json,
    staircase_page,
    staircase_svg,
    staircase_text,
    write_staircase,
)
from pellucid.command.staircase_work import WORKS
from pellucid.core.errors import ArgumentError, CompileError
from pellucid.core.target import Target
from pellucid.loop.ir import Kernel
from pellucid.loop.parser import parse_kernel
from pellucid.runtime import workbench
from pellucid.schedule.recipes import schedule_kernel
from pellucid.schedule.trace import Step

SMALL = {
    "gemm": (33, 47, 29),
    "conv": (2, 3, 9, 7, 5),
    "softmax": (17, 31),
    "attention": (1, 2, 19, 8),
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ROUNDS", 1)
    monkeypatch.setattr(module, "time_slot", lambda run: run() or 1e-3)
    monkeypatch.setattr(module, "_bandwidth", lambda *_: (50.0, "copy"))
    monkeypatch.setattr(module, "machine_limits", lambda: None)


def _run(*args: str) -> Result:
    return CliRunner().invoke(main, ["staircase", *args])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("work", sorted(WORKS))
def test_every_step_is_right_and_explained(work: str) -> None:
    said: list[tuple[str, int, int]] = []
    stairs = climb(work, SMALL[work], 1, lambda *args: said.append(args))
    assert stairs.rungs[0].name == "lower"
    assert len(stairs.rungs) > 2
    assert max(r.error for r in stairs.rungs) < 1e-5
    assert all(r.rate > 0 and r.of_limit > 0 and r.why.endswith(".") for r in stairs.rungs)
    assert all(str(parse_kernel(r.loops)) == r.loops for r in stairs.rungs)
    assert sum(share for _, share in stairs.shares) == pytest.approx(1)
    assert stairs.kernel in dict(stairs.shares)
    assert {what for what, _, _ in said} == {"checking", "measuring"}


@pytest.mark.parametrize("work", sorted(WORKS))
def test_references_agree_with_the_eager_library(work: str) -> None:
    arrays = WORKS[work].inputs(np.random.default_rng(1), SMALL[work])
    eager = WORKS[work].function(*map(pl.Tensor, arrays))
    np.testing.assert_allclose(np.asarray(eager), WORKS[work].reference(*arrays), atol=1e-4)


@pytest.mark.usefixtures("quick")
def test_slow_steps_are_run_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SLOW_OPERATIONS", 1)
    monkeypatch.setattr(module, "_STEP_S", 1e-5)
    stairs = climb("gemm", (64, 64, 64), 1)
    assert 0 < stairs.rungs[0].part < 0.2
    assert max(r.error for r in stairs.rungs) < 1e-5
    assert "run in part" in staircase_text(stairs)


@pytest.mark.usefixtures("quick")
def test_a_wrong_step_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def schedule(kernel: Kernel, target: Target, recipe: Any = None) -> tuple[Step, ...]:
        steps = schedule_kernel(kernel, target, recipe=recipe)
        wrong = parse_kernel(str(steps[-1].kernel).replace("0.0", "1.0"))
        return (*steps, Step("spoil", (3,), wrong))

    monkeypatch.setattr(workbench, "schedule_kernel", schedule)
    with pytest.raises(CompileError, match=r"step spoil: results are off by .* of the largest"):
        climb("gemm", (8, 8, 8), 1)


@pytest.fixture(scope="module")
def stairs() -> Staircase:
    return climb("gemm", (40, 40, 40), 1)


def test_text_has_a_bar_per_step(stairs: Staircase) -> None:
    text = staircase_text(stairs)
    assert text.startswith("gemm 40×40×40, float32, 1 thread\n")  # times
    assert text.count("·") + text.count("█") > 20 * len(stairs.rungs)
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "kernel dot_general(" not in text
    assert staircase_text(stairs, loops=True).count("kernel dot_general(") == len(stairs.rungs)


def test_a_full_bar_is_full(stairs: Staircase) -> None:
    rung = replace(stairs.rungs[0], of_limit=1.3)
    assert "█" * 30 + " lower" in staircase_text(replace(stairs, rungs=(rung,)))
    rung = replace(stairs.rungs[0], of_limit=0.5)
    assert "█" * 15 + "·" * 15 + " lower" in staircase_text(replace(stairs, rungs=(rung,)))


def test_picture_and_page_are_whole_and_need_nothing_else(stairs: Staircase) -> None:
    svg = ET.fromstring(staircase_svg(stairs))
    bars = [e for e in svg if e.tag.endswith("rect")]
    assert len(bars) == len(stairs.rungs)
    assert all(0 < float(b.attrib["width"]) < 1000 for b in bars)
    page = staircase_page(stairs)
    assert page.count("<details>") == len(stairs.rungs)
    for text in (page, staircase_svg(stairs)):
        assert "href" not in text
        assert "src=" not in text


def test_figures_as_json(stairs: Staircase) -> None:
    read = json.loads(staircase_json(stairs))
    assert read["kernel"] == "dot_general"
    assert [r["name"] for r in read["rungs"]] == [r.name for r in stairs.rungs]
    assert read["rungs"][0]["seconds"] > 0


def test_files_by_their_endings(stairs: Staircase, tmp_path: Path) -> None:
    for ending, start in ((".svg", "<svg"), (".html", "<!DOCTYPE"), (".json", "{")):
        write_staircase(stairs, tmp_path / f"a{ending}")
        assert (tmp_path / f"a{ending}").read_text(encoding="utf-8").startswith(start)
    with pytest.raises(ArgumentError, match=r"must end in \.svg, \.html or \.json"):
        write_staircase(stairs, tmp_path / "a.png")


@pytest.mark.usefixtures("quick")
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = pl.get_num_threads()
    done = _run("gemm", "--size", "24", "--threads", "1", "--loops", "--out", "x.json")
    assert done.exit_code == 0, done.output
    assert "gemm 24×24×24" in done.output  # times
    assert "written: x.json" in done.output
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
    assert pl.get_num_threads() == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("gemm", "--size", "8xx"), "is not like 512 or 2048x2048x1024"),
        (("gemm", "--size", "8x8"), "the size of gemm is rowsxcolumnsxdepth"),
        (("softmax", "--size", "0"), "the size of softmax"),
        (("gemm", "--size", "99999"), "more than 8 GB"),
        (("gemm", "--out", "x.png"), "must end in"),
        (("gemm", "--out", "nowhere/x.svg"), "nowhere/x.svg cannot be written"),
        (("gemm", "--threads", "9999"), "threads must be"),
        (("lstm",), "is not one of"),
    ],
)
def test_what_does_not_fit_is_said(
    args: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = _run(*args)
    assert done.exit_code in (1, 2)
    assert message in done.output
    assert not list(tmp_path.iterdir())
