"""A staircase as text with bars, as JSON, and as a picture: SVG, alone or in a page of HTML."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from html import escape
from pathlib import Path

from pellucid.command.staircase import Rung, Staircase
from pellucid.core.errors import ArgumentError
from pellucid.core.files import write_atomically

_BAR, _COLUMNS = 30, 100
_INDENT = " " * 22
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_WIDTH, _ROW, _TOP, _LEFT, _RIGHT = 1060, 40, 84, 470, 150
_STYLE = """
svg { font: 13px system-ui, sans-serif; background: #fff; color: #222 }
.title { font-size: 17px; font-weight: 600 }
.why, .unit { fill: #666; font-size: 11px }
.step { font-family: ui-monospace, monospace; font-size: 12px }
.bar { fill: #3b7dd8 }
.last { fill: #1b9e5a }
.limit { stroke: #c33; stroke-dasharray: 5 4 }
"""
_PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body {{ max-width: {width}px; margin: 2em auto; font: 15px system-ui, sans-serif }}
pre {{ overflow-x: auto; background: #f4f4f4; padding: 1em; font-size: 12px }}
svg {{ width: 100% }}</style>
<body>
{picture}
{kernels}
</body>
</html>
"""


def staircase_text(stairs: Staircase, *, loops: bool = False) -> str:
    """All steps with bars as long as their share of the limit; on request each with its loops."""
    lines = [_title(stairs), *_about(stairs), ""]
    lines.append(f"{'':>3} {stairs.unit:>8} {'of limit':>8}")
    for k, rung in enumerate(stairs.rungs):
        figures = f"{k:>3} {rung.rate:>8.2f} {rung.of_limit:>8.1%} "
        lines.append(f"{figures}{_bar(rung.of_limit)} {_short(rung.name, 46)}")
        lines += textwrap.wrap(
            rung.why, _COLUMNS, initial_indent=_INDENT, subsequent_indent=_INDENT
        )
        if loops:
            lines += ["", textwrap.indent(rung.loops.rstrip(), "      "), ""]
    lines += ["", *_notes(stairs)]
    return "\n".join(lines)


def staircase_json(stairs: Staircase) -> str:
    """Everything as JSON."""
    return json.dumps(asdict(stairs), indent=1)


def staircase_svg(stairs: Staircase) -> str:
    """A picture of bars that needs nothing beside it; the loops of a step are its bar's title."""
    height = _TOP + _ROW * len(stairs.rungs) + 24
    limit = _WIDTH - _RIGHT
    parts = [
        f'<text class="title" x="16" y="28">{escape(_title(stairs))}</text>',
        *(
            f'<text class="why" x="16" y="{46 + 15 * k}">{escape(line)}</text>'
            for k, line in enumerate(_about(stairs))
        ),
        *(part for k, rung in enumerate(stairs.rungs) for part in _drawn(stairs, k, rung)),
        f'<path class="limit" d="M{limit},{_TOP - 8}V{height - 16}"/>',
        f'<text class="why" x="{limit + 4}" y="{_TOP - 12}">limit {stairs.limit:.0f} '
        f"{stairs.unit}</text>",
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(_title(stairs))}"><style>{_STYLE}</style>'
        f"{''.join(parts)}</svg>\n"
    )


def staircase_page(stairs: Staircase) -> str:
    """The picture, and below it each step's loop nest, folded away."""
    kernels = "\n".join(
        f"<details><summary>{k}. {escape(r.name)}</summary><p>{escape(r.why)}</p>"
        f"<pre>{escape(r.loops)}</pre></details>"
        for k, r in enumerate(stairs.rungs)
    )
    return _PAGE.format(
        title=escape(_title(stairs)), width=_WIDTH, picture=staircase_svg(stairs), kernels=kernels
    )


def write_staircase(stairs: Staircase, path: Path) -> None:
    """Write a file of the kind that its name ends in: `.svg`, `.html` or `.json`.

    Raises:
        ArgumentError: another ending.
        OSError: the file cannot be written.
    """
    check_ending(path)
    text = {".svg": staircase_svg, ".html": staircase_page, ".json": staircase_json}[path.suffix]
    write_atomically(path, text(stairs).encode())


def check_ending(path: Path) -> None:
    """Refuse a file name that does not say which kind is wanted.

    Raises:
        ArgumentError: it ends in something else than `.svg`, `.html` and `.json`.
    """
    if path.suffix not in (".svg", ".html", ".json"):
        raise ArgumentError("staircase", f"{path} must end in .svg, .html or .json")


def _title(stairs: Staircase) -> str:
    size = "×".join(map(str, stairs.size))  # the sign for times
    threads = "1 thread" if stairs.threads == 1 else f"{stairs.threads} threads"
    return f"{stairs.work} {size}, float32, {threads}"


def _about(stairs: Staircase) -> list[str]:
    """The machine and its limit, and which kernel of the program this is."""
    lines = [f"{stairs.cpu}; limit: {stairs.limit:.1f} {stairs.unit} ({stairs.limit_name})"]
    if len(stairs.shares) > 1:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in stairs.shares)
        lines.append(f"{stairs.kernel}, the costliest of {len(stairs.shares)} kernels: {shares}")
    return lines


def _notes(stairs: Staircase) -> Iterator[str]:
    """What was checked, and what was not run whole."""
    first, last = stairs.rungs[0], stairs.rungs[-1]
    worst = max(r.error for r in stairs.rungs)
    yield (
        f"{last.rate / first.rate:,.0f} times as fast as the definition; results within "
        f"{worst:.1e} of the largest, at every step"
    )
    parts = [r.part for r in stairs.rungs if r.part < 1]
    if parts:
        yield (
            f"{len(parts)} slow steps were run in part (at least {min(parts):.1%} of the work) "
            "and scaled up"
        )


def _bar(share: float) -> str:
    whole, rest = divmod(round(min(max(share, 0.0), 1.0) * _BAR * 8), 8)
    return ("█" * whole + _EIGHTHS[rest] * (rest > 0)).ljust(_BAR, "·")


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _drawn(stairs: Staircase, k: int, rung: Rung) -> Iterator[str]:
    """A step: what it is on the left, its bar and figures on the right."""
    y, span = _TOP + _ROW * k, _WIDTH - _RIGHT - _LEFT
    width = max(1.0, min(rung.of_limit, 1.2) * span)
    kind = "bar last" if k == len(stairs.rungs) - 1 else "bar"
    yield f'<text class="step" x="16" y="{y + 14}">{k}. {escape(_short(rung.name, 62))}</text>'
    yield f'<text class="why" x="16" y="{y + 28}">{escape(_short(rung.why, 84))}</text>'
    yield (
        f'<rect class="{kind}" x="{_LEFT}" y="{y + 3}" width="{width:.1f}" height="24">'
        f"<title>{escape(rung.loops)}</title></rect>"
    )
    x = _LEFT + width + 6
    yield (
        f'<text x="{x:.1f}" y="{y + 20}">{rung.rate:.3g} '
        f'<tspan class="unit">{stairs.unit}, {rung.of_limit:.1%}</tspan></text>'
    )
