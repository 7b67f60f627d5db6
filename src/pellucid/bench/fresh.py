"""Measurements that need a process of their own: `python -m pellucid.bench.fresh WHAT WORK WHO`.

Enters: what to measure, a training problem, a framework. Leaves: one number on standard output.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.bench.inference import INPUTS, make_model
from pellucid.bench.peers import environment
from pellucid.bench.resident import peak_resident_bytes
from pellucid.bench.row import OURS
from pellucid.bench.steps import jax_candidate, torch_candidate
from pellucid.bench.works import WORKS, Work, pellucid_step
from pellucid.core.errors import ArgumentError

_IMPORT = "import time; t = time.perf_counter(); import {}; print(time.perf_counter() - t)"
_MEMORY_STEPS = 10
NOBODY = "nobody"
INFER = "infer "  # before the name of a network: it runs frozen, instead of training


def run_fresh(what: str, work: str, who: str, threads: int, **more: str) -> float:
    """The number that a fresh process measures; `more` goes into its environment.

    Raises:
        ArgumentError: the process failed.
    """
    return _number([sys.executable, "-m", __name__, what, work, who], threads, more)


def run_import(module: str, threads: int, **more: str) -> float:
    """Seconds that importing takes in a fresh process."""
    return run_code(_IMPORT.format(module), threads, **more)


def run_code(code: str, threads: int, **more: str) -> float:
    """The number that Python code prints in a fresh process.

    Raises:
        ArgumentError: the process failed.
    """
    return _number([sys.executable, "-c", code], threads, more)


def _number(command: list[str], threads: int, more: Mapping[str, str]) -> float:
    env = environment(threads, os.environ)[0] | dict(more)
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages have byte code
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        raise ArgumentError("bench", f"a fresh process failed: {said[0][:200]}")
    return float(done.stdout.split()[-1])


def _step(work: Work, who: str) -> Callable[[], object]:
    """A training step that was never called. Pellucid's model gives the others their weights."""
    model = work.pellucid()
    if who == OURS:
        x, y = (pl.Tensor(a) for a in work.batch(np.random.default_rng(0)))
        step = pellucid_step(model)
        return lambda: step(x, y)
    if who == "jax":
        return jax_candidate(work, model).run
    if who in ("torch", "torch.compile"):
        return torch_candidate(work, model, compiled=who == "torch.compile").run
    raise ArgumentError("bench", f"{who} has no training step")


def _first(work: str, who: str) -> float:
    """Seconds of the first call; importing and building the model are over."""
    frozen = work.removeprefix(INFER)
    step = _inference(frozen) if frozen != work else _step(_named(work), who)
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def _inference(name: str) -> Callable[[], object]:
    model, x = make_model(name), np.zeros(INPUTS[name], np.float32)
    return lambda: pl.freeze(model, x)(x)


def _named(work: str) -> Work:
    return next(w for w in WORKS if w.name == work)


def _memory(work: str, who: str) -> float:
    """The most bytes resident at once, imports included, over some steps; without a framework,
    before any of them.
    """
    if who == NOBODY:
        model = _named(work).pellucid()
        return peak_resident_bytes() if model else 0.0
    step: Any = _step(_named(work), who)
    gc.collect()
    for _ in range(_MEMORY_STEPS):
        step()
    return peak_resident_bytes()


def run_peak_of_numpy(threads: int) -> float:
    """The most bytes resident in a fresh process that imports NumPy and nothing else."""
    here = Path(__file__).with_name("resident.py")
    return _number([sys.executable, "-P", str(here)], threads, {})  # not this folder's names


_MEASURES = {"first": _first, "memory": _memory}


def main() -> None:
    """Measure what the command line says."""
    what, work, who = sys.argv[1:]
    sys.stdout.write(f"{_MEASURES[what](work, who)}\n")


if __name__ == "__main__":
    main()
