"""Cost against size: time per element in cache and in memory, compile time by layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.bench.adapters import graph_load
from pellucid.bench.anew import compile_anew
from pellucid.bench.limits import find_roof
from pellucid.bench.row import OURS, Goal, Row, Samples, Setting
from pellucid.bench.works import make_gpt, pellucid_step, text_batch
from pellucid.compile import this_machine
from pellucid.nn import functional as F
from pellucid.runtime.executable import Executable
from pellucid.runtime.machine import machine_limits

_MEMORY_ELEMENTS = 1 << 25
_LAYERS = (4, 48)

_KERNELS: dict[str, Callable[..., Any]] = {
    "relu": F.relu,
    "scale": lambda x: x * 2.0 + 1.0,
    "sum": lambda x: x.sum(),
}


def _flatness(fn: Callable[..., Any]) -> Callable[[Setting], Samples]:
    """How much more of its limit a kernel loses at one size than at the other, at least 1."""

    def measure(setting: Setting) -> Samples:
        cached = this_machine().l2_bytes * setting.threads // 2 // 8  # both arrays in half of it
        small, large = (_Kernel(fn, size) for size in (cached, _MEMORY_ELEMENTS))
        seen = []
        for _ in range(1 if setting.quick else 9):
            apart = small.lost() / large.lost()
            seen.append(max(apart, 1 / apart))
        return Samples(seen={OURS: seen})

    return measure


class _Kernel:
    """A function at one size; its kernels are timed inside the program, without the call."""

    def __init__(self, fn: Callable[..., Any], size: int) -> None:
        x = np.random.default_rng(0).standard_normal(size, np.float32)
        self.lowered = pl.jit(fn).lower(pl.Tensor(x))
        roof = find_roof(graph_load(self.lowered.passes.graph), machine_limits())
        self.floor = roof.seconds if roof else 1.0

    def lost(self) -> float:
        """Time over the least that is possible."""
        return self.lowered.profile(repeats=9).seconds / self.floor


def compile_seconds(layers: int) -> float:
    """Seconds to compile a training step of the character GPT, tracing and caches apart."""
    x, y = (pl.Tensor(a) for a in text_batch(np.random.default_rng(0)))
    traced = pellucid_step(make_gpt(layers)).lower(x, y).compiled
    fresh = compile_anew(traced)
    Executable(fresh)
    return sum(fresh.seconds.values())


def _layers(setting: Setting) -> Samples:
    few, many = (2, 4) if setting.quick else _LAYERS
    return Samples(seen={OURS: [compile_seconds(many) / compile_seconds(few)]})


ROWS = (
    *(
        Row(
            name=f"flatness {name}",
            group="scaling",
            goal=Goal(most=1.2),
            make=_flatness(fn),
            unit="",
        )
        for name, fn in _KERNELS.items()
    ),
    Row(
        name="compile gpt 48 over 4 layers",
        group="scaling",
        goal=Goal(most=1.3),
        make=_layers,
        unit="",
    ),
)
