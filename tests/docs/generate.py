"""Bring the generated parts of docs/ up to date: `python -m tests.docs.generate [pages...]`.

Rewrites docs/operators.md from the catalogue and, on every page, the output blocks that no longer
fit what their code prints. `--figures` also renews blocks in which only measured numbers differ.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.docs.operators import OPERATORS, operators_page
from tests.docs.page import Page, page_name, pages


def update_page(path: Path, *, figures: bool = False) -> bool:
    """Renew one page in a temporary folder; whether it changed."""
    page = Page(path)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        text = page.updated(figures=figures)
    if text != page.text:
        path.write_text(text, encoding="utf-8")
    return text != page.text


def main(arguments: Sequence[str]) -> None:
    """Renew operators.md and the pages named (all of them by default)."""
    named = [Path(a).resolve() for a in arguments if not a.startswith("-")]
    if not named:
        OPERATORS.write_text(operators_page(), encoding="utf-8")
    for path in named or pages():
        changed = update_page(path, figures="--figures" in arguments)
        print(f"{'changed' if changed else 'as it was'}  {page_name(path)}")


if __name__ == "__main__":
    main(sys.argv[1:])
