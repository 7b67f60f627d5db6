"""`pellucid bench`: runs rows for each thread count, shows them as they come, writes the JSON."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from pellucid.bench.catalogue import select
from pellucid.bench.goals import describe
from pellucid.bench.outcome import Outcome
from pellucid.bench.peers import PEERS
from pellucid.bench.report import conditions, write_report
from pellucid.bench.row import Row, Setting
from pellucid.bench.run import run_rows
from pellucid.bench.table import HEAD, details, line, summary
from pellucid.bench.timing import Pace
from pellucid.core.errors import ArgumentError, did_you_mean

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What to measure, and how.

    Attributes:
        rows: names or groups, `*` for anything; all where empty.
        threads: the thread counts, one after the other.
        peers: who takes part; all where empty.
        pace: rounds and slots.
        quick: few short rounds and small rows.
        every: show every candidate.
        json: where to write the outcomes.
    """

    rows: tuple[str, ...] = ()
    threads: tuple[int, ...] = (1, 2)
    peers: tuple[str, ...] = ()
    pace: Pace = field(default_factory=Pace)
    quick: bool = False
    every: bool = False
    json: Path | None = None


def run_bench(bench: Bench, progress: Progress) -> None:
    """Measure, print each row as it is done, and write the JSON after each.

    Args:
        bench: what to measure.
        progress: told what is being measured.

    Raises:
        ArgumentError: a row or a peer does not exist.
        OSError: the JSON cannot be written.
        KeyboardInterrupt: after what was measured is summed up.
    """
    rows = select(bench.rows)
    for peer in bench.peers:
        if peer not in PEERS:
            fix = did_you_mean(peer, PEERS) or f"peers are {', '.join(PEERS)}"
            raise ArgumentError("bench", f"there is no peer {peer!r}", fix=fix)
    outcomes: list[Outcome] = []
    total, under = len(rows) * len(bench.threads), conditions()

    def begin(name: str) -> None:
        progress(f"measuring {name}", len(outcomes), total)

    try:
        with _stopped_by_sigterm():
            for outcome in _outcomes(bench, rows, begin):
                outcomes.append(outcome)
                progress("", 1, 1)
                _show(outcome, outcomes, bench.every)
                if bench.json is not None:
                    write_report(bench.json, outcomes, under)
    finally:
        if outcomes:
            click.echo(f"\n{summary(outcomes)}")


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does: with the process that measures."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def list_rows(patterns: Sequence[str]) -> str:
    """Names and goals of the rows."""
    return "\n".join(
        f"{row.name:36} {row.group:12} {describe(row.goal, row.unit)}".rstrip()
        for row in select(patterns)
    )


def _outcomes(bench: Bench, rows: Sequence[Row], begin: Callable[[str], None]) -> Iterator[Outcome]:
    for threads in bench.threads:
        setting = Setting(threads=threads, peers=bench.peers, quick=bench.quick)
        with contextlib.closing(run_rows(rows, setting, bench.pace, begin)) as running:
            yield from running


def _show(outcome: Outcome, outcomes: Sequence[Outcome], every: bool) -> None:
    """The row, under a heading where its group begins."""
    last = outcomes[-2] if len(outcomes) > 1 else None
    if last is None or (last.group, last.threads) != (outcome.group, outcome.threads):
        click.echo(f"\n{outcome.group}, {outcome.threads} thread(s)\n{HEAD}")
    click.echo(line(outcome))
    for text in details(outcome) if every else ():
        click.echo(text)
