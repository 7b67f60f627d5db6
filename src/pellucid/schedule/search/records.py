"""What searches found, on disk: the choice for each kernel, and every measurement for the model.

Enters: a folder. Leaves: choices by kernel key, for one machine. Two files of JSON, one record per
line, only ever added to: `chosen.jsonl` is read whenever programs are compiled, `trials.jsonl` by
searches alone. A line is written by one call, so that two searches at once do not mix theirs, and
one that is damaged is left out. A record counts on the machine, with the threads and the recipes
it was measured with: there it gives the same code again; elsewhere the rules hold.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.config import Config
from pellucid.core.log import get_logger
from pellucid.core.target import Target
from pellucid.schedule.choice import RULES, Choice

LOG = get_logger("schedule.search")
NONE: Mapping[str, Choice] = MappingProxyType({})
"""Choices of no kernel: the rules hold everywhere."""
_CHOSEN, _TRIALS = "chosen.jsonl", "trials.jsonl"
_MOST_TRIALS = 4000  # the latest, for the model


@dataclass(frozen=True, slots=True)
class Found:
    """A kernel's choice, with seconds by it and by the rules when they were last compared."""

    kernel: str
    name: str
    choice: Choice
    seconds: float
    rule_seconds: float


@dataclass(frozen=True, slots=True)
class Known:
    """Measurements: features (a vector each), seconds, and the kernel of each."""

    rows: Sequence[NDArray[np.float64]] = ()
    seconds: Sequence[float] = ()
    kernels: Sequence[str] = ()


class Records:
    """The records in a folder for one machine.

    Args:
        folder: made when something is kept.
        machine: what `machine_key` says of it.
    """

    def __init__(self, folder: Path, machine: str) -> None:
        self.folder, self.machine = folder, machine

    def chosen(self) -> Mapping[str, Choice]:
        """The choice last kept for each kernel, by the kernel's key; rules are left out."""
        return _chosen(self.folder / _CHOSEN, self.machine)

    def keep(self, found: Found) -> None:
        """Use a choice for its kernel from now on; one without values gives it back to the rules.

        Raises:
            OSError: the folder cannot be written.
        """
        self._append(_CHOSEN, {
            "kernel": found.kernel, "name": found.name, "choice": dict(found.choice.values),
            "seconds": found.seconds, "rule_seconds": found.rule_seconds,
        })  # fmt: skip

    def add(
        self, kernel: str, choice: Choice, features: NDArray[np.float64], seconds: float
    ) -> None:
        """Keep a measurement.

        Raises:
            OSError: the folder cannot be written.
        """
        if math.isfinite(seconds):
            self._append(_TRIALS, {
                "kernel": kernel, "choice": dict(choice.values), "seconds": seconds,
                "features": [round(float(f), 5) for f in features],
            })  # fmt: skip

    def known(self, but: str = "") -> Known:
        """Measurements of all kernels but one, for a model."""
        read = list(_lines(self.folder / _TRIALS, self.machine))[-_MOST_TRIALS:]
        good = [r for r in read if r["kernel"] != but]
        return Known(
            [np.array(r["features"], float) for r in good],
            [float(r["seconds"]) for r in good],
            [str(r["kernel"]) for r in good],
        )

    def _append(self, name: str, record: dict[str, Any]) -> None:
        """Add a line. The line break in front keeps it whole behind one that was cut off."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"machine": self.machine, **record})
        file = os.open(self.folder / name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, f"\n{line}\n".encode())
        finally:
            os.close(file)


def open_records(config: Config, target: Target, threads: int) -> Records:
    """The records beside the compile cache, for a machine and a number of threads."""
    return Records(config.cache_dir / "tuning", machine_key(target, threads))


def tuned_choices(config: Config, target: Target) -> Mapping[str, Choice]:
    """What programs are compiled with: the choices found before, none where nothing was tuned."""
    path = config.cache_dir / "tuning" / _CHOSEN
    if not config.cache or not path.exists():
        return NONE
    return open_records(config, target, config.threads).chosen()


def machine_key(target: Target, threads: int) -> str:
    """A digest of what a measurement depends on besides its kernel."""
    text = f"{target!r} {threads} threads, recipes {recipes_digest()}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def recipes_digest() -> str:
    """A digest of the sources that turn a choice into a schedule and read its features."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for path in sorted([*root.rglob("*.py")]):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _chosen(path: Path, machine: str) -> Mapping[str, Choice]:
    """Read once for each state of the file."""
    try:
        stat = path.stat()
    except OSError:
        return NONE
    return _chosen_in(path, machine, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=8)
def _chosen_in(path: Path, machine: str, _changed: int, _size: int) -> Mapping[str, Choice]:
    found: dict[str, Choice] = {}
    for record in _lines(path, machine):
        try:
            found[str(record["kernel"])] = Choice.parse(json.dumps(record["choice"]))
        except (ValueError, KeyError):
            LOG.warning("%s: a record without a choice is left out", path)
    return MappingProxyType({k: c for k, c in found.items() if c != RULES})


def _lines(path: Path, machine: str) -> Iterator[dict[str, Any]]:
    """The records of a machine, in the order in which they were kept."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    damaged = 0
    for line in text.splitlines():
        if not line:
            continue
        try:
            record = json.loads(line)
            if record["machine"] == machine and _whole(record):
                yield record
        except (ValueError, KeyError, TypeError):
            damaged += 1
    if damaged:
        LOG.warning("%s: %d damaged lines are left out", path, damaged)


def _whole(record: dict[str, Any]) -> bool:
    fields: Sequence[object] = (record["kernel"], record["choice"], record["seconds"])
    return all(x is not None for x in fields)
