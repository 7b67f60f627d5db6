"""A program's run as a Chrome trace, for Perfetto (ui.perfetto.dev) or `chrome://tracing`.

Enters: a program and the start and end of its calls. Leaves: JSON. One track shows kernels with
their nodes, sources and costs, one counter the bytes of the arena that are alive.
Source: the Trace Event Format; times are microseconds.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.files import write_atomically
from pellucid.runtime.program import Program, ProgramCall


def trace_events(program: Program, times: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The events of one run, which begins at time 0.

    Args:
        program: what ran.
        times: start and end of each call, nanoseconds, shape (calls, 2).
    """
    begin = int(times[0, 0]) if len(times) else 0
    micro = (times - begin) / 1e3
    events = [_named("process_name", program.name), _named("thread_name", "kernels")]
    for k, call in enumerate(program.calls):
        start, end = (float(t) for t in micro[k])
        events.append(_kernel(call, start, end))
        alive = sum(r.size for r in program.plan.rectangles if r.start <= k <= r.end)
        events.append(
            {"name": "arena", "ph": "C", "pid": 0, "ts": start, "args": {"bytes alive": alive}}
        )
    return events


def write_trace(path: Path, program: Program, times: NDArray[np.int64]) -> None:
    """Write one run's trace to a file, whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    text = json.dumps({"traceEvents": trace_events(program, times), "displayTimeUnit": "ns"})
    write_atomically(path, text.encode())


def _kernel(call: ProgramCall, start: float, end: float) -> dict[str, Any]:
    args = {
        "nodes": ", ".join(call.nodes),
        "sources": ", ".join(call.sources),
        "flops": call.flops,
        "bytes": call.nbytes,
    }
    return {
        "name": call.kernel,
        "cat": "kernel",
        "ph": "X",
        "pid": 0,
        "tid": 0,
        "ts": start,
        "dur": end - start,
        "args": args,
    }


def _named(what: str, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": 0, "tid": 0, "args": {"name": name}}
