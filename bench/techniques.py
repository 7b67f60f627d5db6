"""What each technique gives: the training steps with it and without it, in turns."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

import pellucid as pl
from bench.models import WORKS, Work, pellucid_step
from bench.timing import as_row, race, write_rows
from pellucid.codegen import llvm_expr, llvm_store
from pellucid.compile import Compiled, compile_graph
from pellucid.core.config import Config, current_config
from pellucid.passes import group_fusion
from pellucid.runtime.executable import Executable
from pellucid.schedule.recipes import contraction

_NO_DONATION: Mapping[int, int] = MappingProxyType({})
_FRESH = replace(current_config(), cache=False)
_NAMES = itertools.count()


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


def _executable(compiled: Compiled, config: Config = _FRESH, donate: bool = True) -> Executable:
    donated = compiled.donated if donate else _NO_DONATION
    # a name of its own keeps the code apart from that with the technique, in every cache
    target = replace(compiled.target, name=f"{compiled.target.name} {next(_NAMES)}")
    return Executable(compile_graph(compiled.graph, target, config, donate=donated))


def _variants(compiled: Compiled) -> dict[str, Executable]:
    """The whole, and one executable per technique that is left out."""
    found = {"everything": _executable(compiled)}
    for name in ("group_fusion", "sink_movement"):
        found[f"without {name}"] = _executable(compiled, replace(_FRESH, disable_passes=(name,)))
    with _replaced(group_fusion, remake_cheap_values=_nothing):
        found["without computing again"] = _executable(compiled)
    with _replaced(contraction, _dots=_never, _with_lines=_same, _epilogue=lambda _: 1 << 20):
        found["without forms for small products"] = _executable(compiled)
    with _replaced(contraction, _pack_wide=_nothing):
        found["without packing the lanes' operand"] = _executable(compiled)
    with _replaced(llvm_expr, MOST_STEP=1), _replaced(llvm_store, MOST_STEP=1):
        found["with gathers for strided lanes"] = _executable(compiled)
    found["without donation"] = _executable(compiled, donate=False)
    return found


def _inputs(executable: Executable) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    arrays = []
    for port in executable.program.inputs:
        array = np.zeros(port.shape, port.numpy)
        if array.dtype.kind == "f":  # moments must not be negative
            array[...] = np.abs(rng.standard_normal(port.shape)) * 0.05
        arrays.append(array)
    return arrays


def _steps(work: Work) -> dict[str, Callable[[], object]]:
    step = pellucid_step(work.pellucid(), work.lr)
    x, y = (pl.Tensor(a) for a in work.batch(np.random.default_rng(0)))
    calls: dict[str, Callable[[], object]] = {}
    for name, executable in _variants(step.lower(x, y).compiled).items():
        arrays = _inputs(executable)
        calls[name] = lambda e=executable, a=arrays: e.run(a)  # type: ignore[misc]  # bound now
    return calls


def main(threads: int, out: Path) -> None:
    """Print and write the steps' times; each line leaves out one technique."""
    pl.set_num_threads(threads)
    result: list[dict[str, object]] = []
    print(f"{'work':30} {f'{threads} thread(s)':36} {'median ms':>10} {'best ms':>9} {'x best':>7}")
    for work in WORKS:
        times = race(_steps(work), rounds=9, slot=0.03)
        whole = times["everything"].best
        for name, t in times.items():
            cells = f"{t.median * 1e3:10.3f} {t.best * 1e3:9.3f} {t.best / whole:7.2f}"
            print(f"{work.name:30} {name:36} {cells}")
            result.append(as_row(work.name, name, t, threads=threads))
    write_rows(out, result)
