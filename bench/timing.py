"""Fair timing on a noisy machine: candidates take turns in short slots; medians and spreads over
rounds.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds per call over rounds: `low` and `high` are the 10th and 90th percentile."""

    median: float
    best: float
    low: float
    high: float
    rounds: int


def _slot(step: Step, seconds: float) -> float:
    calls, start = 0, time.perf_counter()
    while True:
        step()
        calls += 1
        spent = time.perf_counter() - start
        if spent >= seconds:
            return spent / calls


def race(
    steps: Mapping[str, Step], rounds: int = 15, slot: float = 0.05, rest: float = 0.02
) -> dict[str, Timing]:
    """Seconds per call of each candidate; they take turns, with a rest between so that spinning
    pools go to sleep.

    Args:
        steps: candidates by name; each is called once before timing.
        rounds: slots per candidate.
        slot: seconds per slot (at least one call).
        rest: seconds before each slot; threads of OpenBLAS spin for some 30 ms.
    """
    for step in steps.values():
        step()
        step()
    seen: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            time.sleep(rest)
            step()
            seen[name].append(_slot(step, slot))
    return {name: summary(times) for name, times in seen.items()}


def summary(times: list[float]) -> Timing:
    """Median, least, and the 10th and 90th percentile."""
    ordered = sorted(times)
    last = len(ordered) - 1
    return Timing(
        statistics.median(ordered),
        ordered[0],
        ordered[round(0.1 * last)],
        ordered[round(0.9 * last)],
        len(ordered),
    )


def machine() -> dict[str, str]:
    """What a figure depends on: processor, system, Python, commit."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":")[1].strip()
            for line in info.read_text().splitlines()
            if "model name" in line
        ]
        cpu = f"{names[0]} x{len(names)}" if names else cpu
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": cpu,
        "system": platform.platform(),
        "python": platform.python_version(),
        "commit": commit,
    }


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    """Write benchmark rows with the machine they were measured on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


def as_row(work: str, who: str, timing: Timing, **more: object) -> dict[str, object]:
    """One JSON row."""
    return {"work": work, "who": who, **asdict(timing), **more}
