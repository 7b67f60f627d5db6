"""Every page of the documentation runs, and prints what it says it prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.operators import OPERATORS, operators_page
from tests.docs.page import Page, PageError, blocks, matches, output_of, page_name, pages, refreshed

MOST_NOT_RUN = 3


@pytest.mark.parametrize("path", pages(), ids=page_name)
def test_page_runs_and_prints_what_it_shows(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Page(path).check()


def test_few_blocks_are_not_run() -> None:
    skipped = [
        f"{page_name(p)}:{b.line}: {b.skipped}"
        for p in pages()
        for b in blocks(p.read_text(encoding="utf-8"))
        if b.skipped
    ]
    print(*skipped, sep="\n")
    assert len(skipped) <= MOST_NOT_RUN, "\n".join(skipped)


def test_no_python_block_avoids_running() -> None:
    for path in pages():
        for block in blocks(path.read_text(encoding="utf-8")):
            assert block.language != "python" or not block.options, page_name(path)


def test_operator_page_is_what_the_catalogue_gives() -> None:
    assert OPERATORS.read_text(encoding="utf-8") == operators_page(), (
        "run `python -m tests.docs.generate`"
    )


# the runner itself


def _page(folder: Path, text: str) -> Page:
    path = folder / "sample.md"
    path.write_text(text, encoding="utf-8")
    return Page(path)


def test_wrong_output_names_page_and_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = _page(tmp_path, "# T\n\n```python\nprint(1)\n```\n\n```text\n2\n```\n")
    with pytest.raises(PageError, match=r"sample\.md:8: the page shows\n2\n--- but .*\n1"):
        page.check()


def test_wrong_arrow_comment_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PageError, match=r"sample\.md:2"):
        _page(tmp_path, "```python\nprint(1)  # -> 2\n```\n").check()


def test_error_names_the_line_of_a_later_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "```python\nx = 1\n```\n\n```python\ny = x\nz = y / 0\n```\n"
    with pytest.raises(PageError, match=r"sample\.md:7: ZeroDivisionError"):
        _page(tmp_path, text).check()


def test_warning_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PageError, match="UserWarning: careful"):
        _page(tmp_path, "```python\nimport warnings\nwarnings.warn('careful')\n```\n").check()


def test_marked_block_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = _page(tmp_path, "<!-- not run: needs a net -->\n```python\n1 / 0\n```\n")
    page.check()
    assert page.blocks[0].skipped == "needs a net"


def test_ellipsis_and_varying_figures() -> None:
    assert matches("a\n...\nz", "a\nb\nc\nz\n")
    assert not matches("a\n...\nz", "a\nb\n")
    assert matches("took 1.5 ms", "took  12.25 ms", ["figures-vary"])
    assert not matches("took 1.5 ms", "took 2.5 s", ["figures-vary"])
    assert matches("a\nb", "c\nd\n", ["varies"])
    assert not matches("a\nb", "c\n", ["varies"])


def test_output_belongs_to_the_block_directly_above() -> None:
    text = "```python\n1\n```\n\nwords\n\n```text\n1\n```\n"
    found = blocks(text)
    assert output_of(text, found[0], found) is None
    close = text.replace("words\n\n", "")
    found = blocks(close)
    assert output_of(close, found[0], found) == found[1]


def test_refreshed_output_keeps_its_ellipsis() -> None:
    assert refreshed("a\n...\nz", "1\n2\n3\n4\n") == "1\n...\n4"
    assert refreshed("a", "1\n2\n") == "1\n2"


def test_update_renews_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    block = "```python\nprint({})\n```\n\n```text\n{}\n```\n"
    text = block.format(1, "?") + block.format(2, "...")
    assert _page(tmp_path, text).updated() == text.replace("?", "1")
