"""Measure one row: equal results, then the race, then the verdict.

Enters: a `Row` and a `Setting`. Leaves: an `Outcome`, also where the row or a peer fails.
"""

from __future__ import annotations

import gc
import time
from contextlib import nullcontext
from dataclasses import replace

from pellucid.bench.beside import busy_process
from pellucid.bench.checks import check, difference
from pellucid.bench.goals import describe, judge
from pellucid.bench.limits import PROBE, find_roof, probe, seen
from pellucid.bench.outcome import Outcome
from pellucid.bench.peers import PEERS
from pellucid.bench.row import OURS, Candidate, Race, Row, Samples, Setting
from pellucid.bench.timing import QUICK, Pace, race, summary
from pellucid.runtime.machine import MachineLimits


def measure(row: Row, setting: Setting, pace: Pace, limits: MachineLimits | None) -> Outcome:
    """What comes of the row.

    Args:
        row: what to measure.
        setting: threads and peers.
        pace: rounds, slots and rests.
        limits: the machine's, to hold the figures against.
    """
    begun = time.perf_counter()
    unit, threads = row.unit, setting.threads
    blank = Outcome(
        row=row.name, group=row.group, threads=threads, unit=unit, goal=describe(row.goal, unit)
    )
    try:
        made = row.make(setting)
        if isinstance(made, Race):
            outcome = _race(row, made, setting, pace, limits, blank)
        else:
            outcome = _sampled(row, made, blank)
    except Exception as error:  # a row that fails is one line of the table, not the end of it
        outcome = replace(blank, failed=_said(error))
    gc.collect()
    return replace(outcome, seconds=time.perf_counter() - begun)


def _sampled(row: Row, made: Samples, blank: Outcome) -> Outcome:
    figures = {name: summary(values) for name, values in made.seen.items()}
    verdict = judge(row.goal, figures, made.floor, row.unit)
    return replace(
        blank, figures=figures, errors=dict(made.errors), floor=made.floor, verdict=verdict
    )


def _race(
    row: Row,
    made: Race,
    setting: Setting,
    pace: Pace,
    limits: MachineLimits | None,
    blank: Outcome,
) -> Outcome:
    candidates, errors = _candidates(made, setting)
    differences = _compare(row.name, made, candidates, errors)
    roof = find_roof(made.load, limits) if limits else None
    probes = {} if pace == QUICK else probe(roof, made.load, setting.threads)
    steps = {name: c.run for name, c in candidates.items()} | {n: p[0] for n, p in probes.items()}
    with busy_process() if made.beside else nullcontext():
        figures = race(steps, pace)
    if roof and probes:
        roof = seen(roof, probes[PROBE][1], figures[PROBE])
    figures.pop(PROBE, None)
    return replace(
        blank,
        figures=figures,
        verdict=judge(row.goal, figures, roof.seconds if roof else 0.0, row.unit),
        errors=errors,
        differences=differences,
        flops=made.load.flops,
        nbytes=made.load.read + made.load.written,
        limit=roof.name if roof else "",
        limit_rate=roof.rate if roof else 0.0,
        floor=roof.seconds if roof else 0.0,
    )


def _candidates(made: Race, setting: Setting) -> tuple[dict[str, Candidate], dict[str, str]]:
    """Ours and all peers that take part, and why others do not."""
    candidates, errors = {OURS: made.ours}, dict[str, str]()
    for name, make in made.peers.items():
        if not setting.wants(name) and name in PEERS:
            continue
        if missing := PEERS[name].missing() if name in PEERS else "":
            errors[name] = missing
            continue
        try:
            candidates[name] = make()
        except Exception as error:  # the other peers still count
            errors[name] = _said(error)
    return candidates, errors


def _compare(
    row: str, made: Race, candidates: dict[str, Candidate], errors: dict[str, str]
) -> dict[str, float]:
    """Differences by peer. Peers that fail leave `candidates`."""
    found: dict[str, float] = {}
    expected = made.ours.result()
    for name, candidate in [item for item in candidates.items() if item[0] != OURS]:
        try:
            theirs = candidate.result()
        except Exception as error:  # the other peers still count
            errors[name] = _said(error)
            del candidates[name]
            continue
        found[name] = difference(row, name, expected, theirs)
        check(row, name, found[name], made.tolerance)
    return found


def _said(error: Exception) -> str:
    """The error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
