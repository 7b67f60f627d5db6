"""The outcomes as JSON, with what they depend on: machine, versions, commit, settings."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pellucid.bench.outcome import Outcome
from pellucid.bench.peers import PEERS, environment
from pellucid.core.files import write_atomically
from pellucid.core.version import VERSION
from pellucid.runtime.machine import cpu_name, known_limits


def conditions() -> dict[str, Any]:
    """What figures depend on, apart from the program."""
    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "pellucid": VERSION,
        "commit": _commit(),
        "numpy": np.__version__,
        "peers": {p.name: p.missing() or p.version() for p in PEERS.values()},
        "dropped_variables": environment(1, os.environ)[1],
        "limits": known.table().splitlines() if (known := known_limits()) else [],
    }


def write_report(path: Path, outcomes: Sequence[Outcome], under: Mapping[str, Any]) -> None:
    """Write all outcomes, and the conditions they came under.

    Raises:
        OSError: the file cannot be written.
    """
    report = {"conditions": dict(under), "rows": [o.to_json() for o in outcomes]}
    write_atomically(path, (json.dumps(report, indent=1) + "\n").encode())


def _commit() -> str:
    """The commit of the package's folder, where it is in a repository."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
