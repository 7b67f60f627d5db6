"""One process of the benchmark: a thread count, and rows one after the other.

Run as `python -m pellucid.bench.worker`. Enters: a request as JSON on standard input. Leaves: one
JSON object per line on standard output: what begins, and each outcome. What libraries print goes to
standard error instead.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pellucid as pl
from pellucid.bench.catalogue import select
from pellucid.bench.measure import measure
from pellucid.bench.row import Setting
from pellucid.bench.timing import QUICK, Pace
from pellucid.runtime.machine import known_limits, machine_limits


def main() -> None:
    """Measure what the request asks for."""
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")  # of peers; nothing here is the user's code
    request = json.load(sys.stdin)
    setting = Setting(**request["setting"])
    pl.set_num_threads(setting.threads)
    serve(
        [str(name) for name in request["rows"]],
        setting,
        QUICK if setting.quick else Pace(**request["pace"]),
        lambda line: print(json.dumps(line), file=lines),
    )


def serve(
    names: list[str], setting: Setting, pace: Pace, send: Callable[[dict[str, Any]], None]
) -> None:
    """Measure rows by name and send what begins and what comes of it."""
    if known_limits() is None and not setting.quick:
        send({"begin": "the machine's limits"})
    limits = known_limits() if setting.quick else machine_limits()
    for row in select(names):
        send({"begin": row.name})
        send({"outcome": measure(row, setting, pace, limits).to_json()})


if __name__ == "__main__":
    main()
