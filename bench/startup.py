"""Import time, cold compile and warm start, in fresh processes that find byte code as users do."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.timing import write_rows

_IMPORT = "import time; t = time.perf_counter(); import pellucid; print(time.perf_counter() - t)"
_STEP = """
import time
from bench.models import WORKS, pellucid_step
import numpy as np, pellucid as pl
work = WORKS[{index}]
step = pellucid_step(work.pellucid(), work.lr)
x, y = (pl.Tensor(a) for a in work.batch(np.random.default_rng(0)))
t = time.perf_counter(); step(x, y); print(time.perf_counter() - t)
"""


_BYTE_CODE = tempfile.TemporaryDirectory()


def _run(code: str, cache: str) -> float:
    env = {**os.environ, "PELLUCID_CACHE_DIR": cache, "PYTHONPYCACHEPREFIX": _BYTE_CODE.name}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def main(out: Path) -> None:
    """Print and write the figures."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as cache:
        _run(_IMPORT, cache)
        times = [_run(_IMPORT, cache) for _ in range(7)]
        print(f"{'import':40} {statistics.median(times):8.3f} s")
        rows.append({"work": "import", "seconds": statistics.median(times)})
    for index, name in ((0, "mlp"), (1, "lenet"), (2, "gpt")):
        with tempfile.TemporaryDirectory() as cache:
            code = _STEP.format(index=index)
            cold = _run(code, cache)
            warm = statistics.median(_run(code, cache) for _ in range(3))
        print(f"{name + ' step: first call, cold cache':40} {cold:8.3f} s")
        print(f"{name + ' step: first call, warm cache':40} {warm:8.3f} s")
        rows.append({"work": name, "cold_seconds": cold, "warm_seconds": warm})
    write_rows(out, rows)
