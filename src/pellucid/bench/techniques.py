"""What each technique gives: the training steps with it, and with it left out, in turns.

The variants stand where other rows have peers; `--all` shows every one. Results are not compared:
every variant runs on states of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.bench.adapters import graph_load
from pellucid.bench.anew import compile_anew
from pellucid.bench.row import Array, Candidate, Goal, Race, Row, Setting
from pellucid.bench.works import WORKS, Work, pellucid_step
from pellucid.codegen import llvm_expr, llvm_store
from pellucid.compile import Compiled
from pellucid.core.config import Config, current_config
from pellucid.passes import group_fusion
from pellucid.runtime.executable import Executable
from pellucid.schedule.recipes import contraction


@contextmanager
def _replaced(module: Any, **names: Any) -> Iterator[None]:
    """A module's functions replaced for a while."""
    before = {name: getattr(module, name) for name in names}
    for name, value in names.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def _never(*_: object) -> bool:
    return False


def _same(tiling: Any, *_: object) -> Any:
    return tiling


def _nothing(*_: object) -> None:
    return None


def _executable(
    compiled: Compiled, config: Config | None = None, donate: bool = True
) -> Executable:
    return Executable(compile_anew(compiled, config, donate))


def _without_pass(name: str) -> Callable[[Compiled], Executable]:
    return lambda c: _executable(c, replace(current_config(), disable_passes=(name,)))


def _recomputing(compiled: Compiled) -> Executable:
    with _replaced(group_fusion, remake_cheap_values=_nothing):
        return _executable(compiled)


def _small_forms(compiled: Compiled) -> Executable:
    with _replaced(contraction, _dots=_never, _with_lines=_same, _epilogue=lambda _: 1 << 20):
        return _executable(compiled)


def _packing(compiled: Compiled) -> Executable:
    with _replaced(contraction, _pack_wide=_nothing):
        return _executable(compiled)


def _strided_lanes(compiled: Compiled) -> Executable:
    with _replaced(llvm_expr, MOST_STEP=1), _replaced(llvm_store, MOST_STEP=1):
        return _executable(compiled)


VARIANTS: Mapping[str, Callable[[Compiled], Executable]] = {
    "no fusion": _without_pass("group_fusion"),
    "no sinking": _without_pass("sink_movement"),
    "no recomputing": _recomputing,
    "no small forms": _small_forms,
    "no wide packing": _packing,
    "gathers instead": _strided_lanes,
    "no donation": lambda c: _executable(c, donate=False),
}


def _inputs(executable: Executable) -> list[Array]:
    rng = np.random.default_rng(0)
    arrays = []
    for port in executable.program.inputs:
        array = np.zeros(port.shape, port.numpy)
        if array.dtype.kind == "f":  # moments must not be negative
            array[...] = np.abs(rng.standard_normal(port.shape)) * 0.05
        arrays.append(array)
    return arrays


def _candidate(executable: Executable) -> Candidate:
    arrays = _inputs(executable)
    return Candidate(lambda: executable.run(arrays), list)


def _make(work: Work) -> Callable[[Setting], Race]:
    def make(_: Setting) -> Race:
        x, y = (pl.Tensor(a) for a in work.batch(np.random.default_rng(0)))
        compiled = pellucid_step(work.pellucid()).lower(x, y).compiled

        def variant(build: Callable[[Compiled], Executable]) -> Callable[[], Candidate]:
            return lambda: _candidate(build(compiled))

        return Race(
            ours=_candidate(_executable(compiled)),
            load=graph_load(compiled.passes.graph),
            peers={name: variant(build) for name, build in VARIANTS.items()},
        )

    return make


ROWS = tuple(
    Row(name=f"techniques {work.name}", group="techniques", goal=Goal(), make=_make(work))
    for work in WORKS
)
