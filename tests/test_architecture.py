"""What a linter does not know about the code base: layer order, file length, one LLVM door."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "pellucid"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def test_layout_page_lists_the_layers_of_the_import_contract() -> None:
    page = (ROOT / "docs" / "layout.md").read_text()
    listed = [
        re.findall(r"`(\w+)`", line.split("—")[0])
        for line in page.splitlines()
        if re.match(r"\d+\.", line)
    ]
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = config["tool"]["importlinter"]["contracts"][0]["layers"]
    contract = [
        [part.strip().removeprefix("pellucid.") for part in layer.split(":")] for layer in layers
    ]
    assert listed == contract


def test_every_package_folder_is_a_layer() -> None:
    page = (ROOT / "docs" / "layout.md").read_text()
    for folder in PACKAGE.iterdir():
        if (folder / "__init__.py").exists():
            assert f"`{folder.name}`" in page, f"{folder.name} is not in docs/layout.md"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 600


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_functions_stay_short(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            has_doc = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            start = first.end_lineno if has_doc else node.lineno
            assert (node.end_lineno or 0) - (start or 0) <= 60, (
                f"{path.name}:{node.lineno} {node.name}"
            )


def test_llvmlite_has_one_door() -> None:
    users = {p.relative_to(PACKAGE).as_posix() for p in SOURCES if "llvmlite" in _imports(p)}
    assert users <= {"codegen/llvm.py", "codegen/llvm_compile.py", "runtime/native.py"}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name.split(".")[0] for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_importing_needs_no_peer_and_no_test_tool() -> None:
    code = (
        "import sys, pellucid; "
        "unwanted = 'torch', 'jax', 'scipy', 'pytest', 'hypothesis', 'click'; "
        "print([m for m in unwanted if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_no_c_in_the_repository() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    assert not [f for f in tracked if f.endswith((".c", ".cc", ".cpp", ".h", ".cu", ".s"))]
