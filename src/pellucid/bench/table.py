"""The outcomes as text: one line per row, a bar, the goal and whether it is reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pellucid.bench.goals import quantity
from pellucid.bench.outcome import Outcome
from pellucid.bench.row import OURS

_CELLS = 12
_CELL = 0.25  # of the best peer's time over ours
_EIGHTHS = " ▏▎▍▌▋▊▉█"

HEAD = (
    f"{'row':34} {'thr':>3} {'pellucid':>8} {'p10-p90':>17}  {'best peer':>8} {'':15}"
    f" {'ratio':>6} {'':{_CELLS}} {'of limit':>9}  goal"
)


def bar(ratio: float) -> str:
    """A bar of the ratio, four cells for 1; full at 3."""
    eighths = min(round(ratio / _CELL * 8), _CELLS * 8)
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(_CELLS)


def line(outcome: Outcome) -> str:
    """One row as one line."""
    start = f"{outcome.row:34} {outcome.threads:>3}"
    if outcome.verdict is None:
        return f"{start} stopped: {outcome.failed}"
    unit, verdict, ours = outcome.unit, outcome.verdict, outcome.figures[OURS]
    spread = f"{quantity(ours.low, unit)}-{quantity(ours.high, unit)}" if ours.rounds > 1 else ""
    best = outcome.figures[verdict.best_peer].median if verdict.best_peer else 0.0
    theirs = quantity(best, unit) if verdict.best_peer else "-"
    ratio = f"{verdict.ratio:6.2f}" if verdict.best_peer else f"{'-':>6}"
    share = f"{verdict.share:.0%} {outcome.limit}".rstrip() if verdict.share else "-"
    text = (
        f"{start} {quantity(ours.median, unit):>8} {spread:>17}  {theirs:>9} "
        f"{verdict.best_peer:15} {ratio} {bar(verdict.ratio)} {share:>9}  {_goal(outcome)}"
    )
    return text.rstrip()


def _goal(outcome: Outcome) -> str:
    verdict = outcome.verdict
    if not outcome.goal or verdict is None:
        return ""
    mark = {True: "reached", False: "MISSED", None: "not judged"}[verdict.reached]
    return f"{outcome.goal}: {mark}" + (f" ({verdict.why})" if verdict.why else "")


def details(outcome: Outcome) -> list[str]:
    """A line for each candidate of a row, and for each that was left out."""
    found = []
    for name, f in outcome.figures.items():
        median, low, high, best = (
            quantity(v, outcome.unit) for v in (f.median, f.low, f.high, f.best)
        )
        apart = outcome.differences.get(name)
        agrees = "" if apart is None else f"  differs by {apart:.0e}"
        found.append(f"    {name:16} {median:>9}  {low}-{high}  best {best}{agrees}")
    return found + [f"    {name:16} {why}" for name, why in outcome.errors.items()]


def summary(outcomes: Sequence[Outcome]) -> str:
    """How many goals are reached, and what was left out."""
    verdicts = [o.verdict for o in outcomes if o.goal and o.verdict]
    count = Counter(v.reached for v in verdicts)
    stopped = sum(o.verdict is None for o in outcomes)
    lines = [
        f"goals: {count[True]} reached, {count[False]} missed, {count[None]} not judged"
        + (f"; {stopped} rows stopped" if stopped else "")
    ]
    return "\n".join(lines + _left_out(outcomes))


def _left_out(outcomes: Iterable[Outcome]) -> list[str]:
    """Peers that did not take part, with the reason, and in how many rows."""
    reasons = Counter((name, why) for o in outcomes for name, why in o.errors.items())
    return [f"{name}: {why} [{n} rows]" for (name, why), n in sorted(reasons.items())]
