"""What several commands share: an option for extents, and a line that shows how far they are."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

import click

from pellucid.core.config import MOST_THREADS
from pellucid.core.errors import ArgumentError


def parse_extents(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    """Whole numbers with `x` between them (`2048x2048x1024`), as an option's callback.

    Raises:
        BadParameter: anything else was given.
    """
    if value is None:
        return None
    parts = value.lower().split("x")
    if not all(p.isascii() and p.isdigit() and len(p) < 10 for p in parts):
        raise click.BadParameter(f"{value!r} is not like 512 or 2048x2048x1024", ctx, param)
    return tuple(map(int, parts))


def parse_counts(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Thread counts with commas between them (`1,2`), each once, as an option's callback.

    Raises:
        BadParameter: anything else was given.
    """
    parts = value.split(",")
    if not all(p.isascii() and p.isdigit() and 1 <= int(p[:9]) <= MOST_THREADS for p in parts):
        raise click.BadParameter(
            f"{value!r} is not a list of thread counts such as 1,2", ctx, param
        )
    return tuple(dict.fromkeys(map(int, parts)))


def parse_names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Names with commas between them, as an option's callback; none where nothing was given."""
    return tuple(part.strip() for part in value.split(",")) if value else ()


def check_folder(path: Path) -> None:
    """Refuse, before the work is done, a file that could not be written after it.

    Raises:
        ArgumentError: its folder does not exist, or nothing may be written there.
    """
    if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        fix = "name a folder that exists and may be written to"
        raise ArgumentError("output", f"{path} cannot be written", fix=fix)


class Progress:
    """A line on a terminal's error stream that is rewritten, and gone at the end."""

    def __init__(self) -> None:
        self.shown = sys.stderr.isatty()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._write("")

    def __call__(self, what: str, done: int, total: int) -> None:
        """Say that `done` of `total` parts of something are over."""
        self._write(f"{what}: {done} of {total}" if done < total else "")

    def _write(self, text: str) -> None:
        if self.shown:
            click.echo(f"\r\x1b[2K{text}", err=True, nl=False)
