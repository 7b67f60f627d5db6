from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pellucid.schedule
from pellucid.loop.parser import parse_kernel
from pellucid.loop.simplify import simplify
from pellucid.schedule.explain import SENTENCES, explain
from pellucid.schedule.reorder import reorder
from pellucid.schedule.split import split
from pellucid.schedule.trace import Schedule, Step

KERNEL = parse_kernel("""
kernel k(x: f32[8, 8]) -> (y: f32[8, 8]) {
  for i in 0..8:
    for j in 0..8:
      y[i, j] = x[i, j]
}
""")
NOT_STEPS = {"expand_unrolled", "neutral"}


def primitives() -> list[str]:
    """The public functions from a kernel to a kernel, by reading the layer's files."""
    names = []
    for path in sorted(Path(pellucid.schedule.__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                made = isinstance(node.returns, ast.Name) and node.returns.id == "Kernel"
                names += [node.name] if made and node.name == path.stem else []
    return names


@pytest.mark.parametrize("name", [*primitives(), "lower", "simplify"])
def test_every_primitive_has_a_sentence(name: str) -> None:
    assert name in SENTENCES


def test_primitives_are_found() -> None:
    assert {"split", "reorder", "pack", "stage", "lanes"} <= set(primitives())


def test_sentences_name_what_a_step_was_given() -> None:
    schedule = Schedule(KERNEL).apply(split, "j", 4, "jo", "ji").apply(reorder, "jo", "i", "ji")
    said = [explain(step) for step in schedule.apply(simplify).steps]
    assert "j in blocks of 4" in said[1]
    assert all(s[0].isupper() and s.endswith(".") and len(s) <= 90 for s in said)


def test_an_unknown_step_is_named() -> None:
    assert explain(Step("reverse", ("i",), KERNEL)) == "The step reverse."
