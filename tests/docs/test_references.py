"""What pages refer to exists: links, make targets, commands, settings, files and tests."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from pellucid.core import config
from tests.docs.page import ROOT, blocks, page_name, pages

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_SETTING = re.compile(r"PELLUCID_[A-Z_]+")
_CODE = re.compile(r"`([^`]+)`")
_PATH = re.compile(r"[\w.]+/(?:[\w.]+/)*(?:[\w.]+\.(?:py|md|toml))?")
_PRIVATE = re.compile(r"/work/|/root/|/tmp/|/home/")


@pytest.mark.parametrize("path", pages(), ids=page_name)
def test_links_resolve(path: Path) -> None:
    for target in _LINK.findall(_prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path
        assert found.exists(), f"{page_name(path)}: no {target}"
        if anchor and found.suffix == ".md":
            assert anchor in _anchors(found), f"{page_name(path)}: no heading for {target}"


@pytest.mark.parametrize("path", pages(), ids=page_name)
def test_files_named_exist(path: Path) -> None:
    for code in _CODE.findall(_prose(path)):
        if _PATH.fullmatch(code):
            places = (ROOT / code, ROOT / "src" / "pellucid" / code, path.parent / code)
            assert any(p.exists() for p in places), f"{page_name(path)}: no {code}"


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / t).resolve() for t in _LINK.findall(_prose(index))}
    missing = {p for p in (ROOT / "docs").rglob("*.md") if p != index} - linked
    names = sorted(map(page_name, missing))
    assert not missing, f"docs/README.md lists all pages; add links to {names}"


def test_every_layer_has_a_page() -> None:
    layout = _prose(ROOT / "docs" / "layout.md")
    layers = re.findall(r"\[`(\w+)`\]", layout)
    assert {f"{layer}.md" for layer in layers} == {
        p.name for p in (ROOT / "docs" / "layers").iterdir()
    }


@pytest.mark.parametrize("path", pages(), ids=page_name)
def test_commands_exist(path: Path) -> None:
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.language in ("console", "bash", "sh"):
            for line in block.text.splitlines():
                problem = _problem_of(line)
                assert not problem, f"{page_name(path)}:{block.line}: {problem}"


@pytest.mark.parametrize("path", pages(), ids=page_name)
def test_pages_name_no_private_place(path: Path) -> None:
    assert not _PRIVATE.search(path.read_text(encoding="utf-8")), page_name(path)


def test_settings_are_documented_and_known() -> None:
    known = set(_SETTING.findall(config.__doc__ or ""))
    assert known == set(config._KNOWN)
    named = {s for p in pages() for s in _SETTING.findall(_prose(p))}
    assert named == known, "documented in docs/, but not read, or the other way round"


def test_capabilities_name_files_and_tests_that_exist() -> None:
    rows = list(_capability_rows())
    assert len(rows) >= 30
    for row in rows:
        where, tests = row[2], row[3]
        for path in _CODE.findall(where):
            assert (ROOT / "src" / "pellucid" / path).exists() or (ROOT / path).exists(), row
        for test in _CODE.findall(tests):
            file, _, name = test.partition("::")
            assert (ROOT / file).exists(), row
            assert not name or name in _tests_in(ROOT / file), row


def test_capability_ids_come_once() -> None:
    ids = [row[0] for row in _capability_rows()]
    assert len(set(ids)) == len(ids)


def _prose(path: Path) -> str:
    """The page without its code blocks."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for block in blocks("\n".join(lines)):
        for number in range(block.line - 1, block.end - 1):
            lines[number] = ""
    return "\n".join(lines)


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", _prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def _problem_of(line: str) -> str:
    """Why a shell line would not work; empty if nothing is known against it."""
    words = shlex.split(line.removeprefix("$ "), comments=True)
    for start, word in enumerate(words):
        if word == "make" and start + 1 < len(words) and words[start + 1] not in _targets():
            return f"no make target {words[start + 1]!r}"
        if word == "pellucid" and (start == 0 or words[start - 1] == "&&"):
            return _command_problem(words[start + 1 :])
        if word == "-m" and words[start - 1].startswith("python"):
            module = words[start + 1]
            return "" if importlib.util.find_spec(module) else f"no module {module!r}"
    return ""


@cache
def _targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def _command_problem(words: list[str]) -> str:
    if importlib.util.find_spec("pellucid.command.main") is None:
        return ""
    command: click.Command = importlib.import_module("pellucid.command.main").main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        if name not in command.commands:
            return f"no command {name!r}"
        command = command.commands[name]
    if "--" in words:  # what follows is for another program
        words = words[: words.index("--")]
    options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    unknown = [w for w in words if w.startswith("-") and w.split("=")[0] not in options]
    return f"{command.name} has no option {unknown[0]!r}" if unknown else ""


def _capability_rows() -> Iterator[list[str]]:
    """Cells of the table rows: id, what, where, test, figure, missing."""
    for line in (ROOT / "docs" / "capabilities.md").read_text(encoding="utf-8").splitlines():
        cells = [c.strip() for c in line.strip("|").split(" | ")]
        if re.match(r"\| [A-Z]{2}-\d+ ", line):
            assert len(cells) == 6, line
            yield cells


@cache
def _tests_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
