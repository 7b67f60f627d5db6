"""The whole benchmark: rows by thread count, each count in processes of its own.

Enters: rows and settings. Leaves: outcomes, as they come. A process that dies loses its row only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict
from typing import IO, Any

from pellucid.bench.goals import describe
from pellucid.bench.outcome import Outcome, from_json
from pellucid.bench.peers import environment
from pellucid.bench.row import Row, Setting
from pellucid.bench.timing import Pace

Progress = Callable[[str], None]


def run_rows(
    rows: Sequence[Row], setting: Setting, pace: Pace, progress: Progress
) -> Generator[Outcome, None, None]:
    """Measure the rows with one thread count; the process is ended when the caller stops."""
    waiting = list(rows)
    while waiting:
        current = ""
        with tempfile.TemporaryFile() as said:
            worker = _start(waiting, setting, pace, said)
            try:
                for line in _lines(worker):
                    if "begin" in line:
                        current = str(line["begin"])
                        progress(current)
                    else:
                        waiting.pop(0)
                        yield from_json(line["outcome"])
            finally:
                _end(worker)
            if not waiting:
                return
            lost = waiting.pop(0)
            yield _died(lost, setting, worker.returncode, said)


def _start(rows: Sequence[Row], setting: Setting, pace: Pace, said: IO[bytes]) -> Any:
    env, _ = environment(setting.threads, os.environ)
    worker = subprocess.Popen(
        [sys.executable, "-m", "pellucid.bench.worker"],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        text=True,
        start_new_session=True,  # Ctrl-C is for the parent, which then ends the worker
    )
    request = {"rows": [r.name for r in rows], "setting": asdict(setting), "pace": asdict(pace)}
    if worker.stdin is not None:
        worker.stdin.write(json.dumps(request))
        worker.stdin.close()
    return worker


def _lines(worker: Any) -> Iterator[dict[str, Any]]:
    for line in worker.stdout:
        yield json.loads(line)


def _end(worker: Any) -> None:
    """End the process where it still runs."""
    if worker.poll() is None:
        try:
            worker.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
    worker.stdout.close()


def _died(row: Row, setting: Setting, status: int, said: IO[bytes]) -> Outcome:
    said.seek(0)
    last = said.read().decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
    return Outcome(
        row=row.name,
        group=row.group,
        threads=setting.threads,
        unit=row.unit,
        goal=describe(row.goal, row.unit),
        failed=f"its process ended with status {status}: {last[0][:300]}",
    )
