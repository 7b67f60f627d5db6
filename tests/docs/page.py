"""A documentation page as something that runs.

Enters: a Markdown file. Leaves: its blocks, what they printed, and the page with its output blocks
brought up to date. All `python` blocks of a page are one file, `<page>.py`, run in order in one
module, so a source line such as `walkthrough.md`'s `walkthrough.py:12` counts lines of code only.

A `text` block directly below a `python` block is that block's output: `...` stands for anything.
`text figures-vary` compares everything but the numbers, `text varies` only the number of lines, and
`text x86-64` is compared on such machines only. `# -> 3` at the end of a line is the output
of a block without a `text` block. A block below `<!-- not run: reason -->` is shown, not run.
"""

from __future__ import annotations

import contextlib
import io
import platform
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pellucid import get_num_threads, set_num_threads

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(.*)$")
_SKIP = re.compile(r"^<!-- not run: (.+) -->$")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
_IS_X86 = platform.machine() in ("x86_64", "AMD64")
_ARROW = re.compile(r"# -> (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block: its info string's words, its text, the page line its text starts at."""

    language: str
    options: tuple[str, ...]
    text: str
    line: int
    skipped: str = ""

    @property
    def end(self) -> int:
        """The page line of the closing fence."""
        return self.line + len(self.text.splitlines())


class PageError(AssertionError):
    """A page that does not do what it says; names the page and the line."""


def pages() -> list[Path]:
    """README.md, where there is one, and every page below docs/."""
    readme = ROOT / "README.md"
    found = sorted((ROOT / "docs").rglob("*.md"))
    return [readme, *found] if readme.exists() else found


def page_name(path: Path) -> str:
    """The path as written in messages and test names."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found: list[Block] = []
    lines = text.splitlines()
    start, info, skipped = 0, "", ""
    for number, line in enumerate(lines, 1):
        match = _FENCE.match(line)
        if not match:
            continue
        if not start:
            above = _SKIP.match(lines[number - 2]) if number > 1 else None
            start, info, skipped = number, match[1].strip(), above[1] if above else ""
            continue
        words = info.split()
        body = "\n".join(lines[start : number - 1])
        found.append(Block(words[0] if words else "", tuple(words[1:]), body, start + 1, skipped))
        start = 0
    if start:
        raise PageError(f"line {start}: this block is never closed")
    return found


def output_of(text: str, block: Block, all_blocks: list[Block]) -> Block | None:
    """The `text` block that directly follows, if one does: only blank lines between."""
    after = next((b for b in all_blocks if b.line > block.end), None)
    if after is None or after.language != "text":
        return None
    between = text.splitlines()[block.end : after.line - 2]
    return None if any(line.strip() for line in between) else after


def matches(expected: str, printed: str, options: Sequence[str] = ()) -> bool:
    """Whether printed text is what the page shows."""
    if "x86-64" in options and not _IS_X86:
        return True
    if "figures-vary" in options:
        expected, printed = _masked(expected), _masked(printed)
    expected, printed = _trimmed(expected), _trimmed(printed)
    if "varies" in options:
        return len(expected.splitlines()) == len(printed.splitlines())
    pattern = re.escape(expected).replace(re.escape("..."), ".*?")
    return re.fullmatch(pattern, printed, re.DOTALL) is not None


def _masked(text: str) -> str:
    lines = [re.sub(r"\s+", " ", _NUMBER.sub("#", line)) for line in text.splitlines()]
    return "\n".join(lines)


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def refreshed(expected: str, printed: str) -> str:
    """The output block for what was printed; a line `...` keeps as many lines around it."""
    old, new = expected.splitlines(), _trimmed(printed).splitlines()
    if old.count("...") != 1:
        return "\n".join(new)
    cut = old.index("...")
    tail = len(old) - cut - 1
    return "\n".join([*new[:cut], "...", *(new[len(new) - tail :] if tail else [])])


class Page:
    """A page that is being run, in the current directory.

    Args:
        path: the Markdown file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self.blocks = blocks(self.text)
        self.python = [b for b in self.blocks if b.language == "python" and not b.skipped]
        self.source = Path(f"{path.stem}.py".replace("-", "_"))

    def run(self) -> Iterator[tuple[Block, str]]:
        """Each Python block and what it printed.

        Raises:
            PageError: a block raised; names its line on the page.
        """
        self.source.write_text("\n".join(b.text for b in self.python) + "\n", encoding="utf-8")
        module = ModuleType(self.source.stem)
        module.__file__ = str(self.source.resolve())
        before, threads = sys.modules.get(module.__name__), get_num_threads()
        sys.modules[module.__name__] = module
        line = 0
        try:
            for block in self.python:
                yield block, self._run_block(block, module, line)
                line += len(block.text.splitlines()) or 1
        finally:
            set_num_threads(threads)
            del sys.modules[module.__name__]
            if before is not None:
                sys.modules[module.__name__] = before

    def _run_block(self, block: Block, module: ModuleType, line: int) -> str:
        printed = io.StringIO()
        try:
            code = compile("\n" * line + block.text, str(self.source.resolve()), "exec")
            with contextlib.redirect_stdout(printed), warnings.catch_warnings():
                warnings.simplefilter("error")
                exec(code, module.__dict__)
        except Exception as error:
            where = block.line + _failing_line(error, self.source.name) - line - 1
            problem = f"{type(error).__name__}: {error}"
            raise PageError(f"{page_name(self.path)}:{where}: {problem}") from error
        return printed.getvalue()

    def check(self) -> None:
        """Run the page and compare what is printed with what is shown.

        Raises:
            PageError: a block raised, or printed something else.
        """
        for block, printed in self.run():
            shown = output_of(self.text, block, self.blocks)
            if shown is not None:
                where = f"{page_name(self.path)}:{shown.line}"
                _compare(where, shown.text, printed, shown.options)
            elif arrows := _ARROW.findall(block.text):
                where = f"{page_name(self.path)}:{block.line}"
                _compare(where, "\n".join(arrows), printed, ())

    def updated(self, *, figures: bool = False) -> str:
        """The page with every output block that no longer fits replaced by what is printed now.

        Args:
            figures: also replace blocks in which only the numbers differ.
        """
        lines = self.text.splitlines()
        made: list[tuple[Block, str]] = []
        for block, printed in self.run():
            shown = output_of(self.text, block, self.blocks)
            if shown is None:
                continue
            if not matches(shown.text, printed, () if figures else shown.options):
                made.append((shown, refreshed(shown.text, printed)))
        for shown, text in reversed(made):
            lines[shown.line - 1 : shown.end - 1] = text.splitlines()
        return "\n".join(lines) + "\n"


def _compare(where: str, expected: str, printed: str, options: Sequence[str]) -> None:
    if not matches(expected, printed, options):
        raise PageError(
            f"{where}: the page shows\n{expected}\n--- but this was printed:\n{printed}"
            "--- `python -m tests.docs.generate` brings pages up to date"
        )


def _failing_line(error: BaseException, file: str) -> int:
    if isinstance(error, SyntaxError) and error.lineno:
        return error.lineno
    line, trace = 1, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.endswith(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
