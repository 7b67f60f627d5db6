"""What each technique gives: the training steps with it, and with it left out, in turns.

The variants stand where other rows have peers; `--all` shows every one. Results are not compared:
every variant runs on states of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

import pellucid as pl
from pellucid.bench.adapters import graph_load
from pellucid.bench.anew import compile_anew
from pellucid.bench.row import Array, Candidate, Goal, Race, Row, Setting
from pellucid.bench.works import WORKS, Work, pellucid_step
from pellucid.codegen import llvm_expr, llvm_store
from pellucid.compile import Compiled
from pellucid.core.config import current_config
from pellucid.passes import group_fusion
from pellucid.runtime.executable import Executable
from pellucid.schedule.recipes import contraction, tiling


@dataclass(frozen=True, slots=True)
class Patch:
    """A name of a module that is replaced while a variant is compiled."""

    module: ModuleType
    name: str
    value: Any


@contextmanager
def _replaced(patches: Sequence[Patch]) -> Iterator[None]:
    with ExitStack() as stack:
        for p in patches:
            stack.callback(setattr, p.module, p.name, getattr(p.module, p.name))
            setattr(p.module, p.name, p.value)
        yield


def _never(*_: object) -> bool:
    return False


def _same(tiling: Any, *_: object) -> Any:
    return tiling


def _nothing(*_: object) -> None:
    return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """A way to compile with a technique left out.

    Attributes:
        patches: names that are replaced meanwhile.
        disabled: passes that are off.
        donate: whether outputs take over inputs' memory.
    """

    patches: tuple[Patch, ...] = ()
    disabled: tuple[str, ...] = ()
    donate: bool = True

    def compile(self, compiled: Compiled) -> Executable:
        """The program, compiled so."""
        config = replace(current_config(), disable_passes=self.disabled)
        with _replaced(self.patches):
            return Executable(compile_anew(compiled, config, self.donate))


VARIANTS: Mapping[str, Variant] = {
    "no fusion": Variant(disabled=("group_fusion",)),
    "no sinking": Variant(disabled=("sink_movement",)),
    "no recomputing": Variant(patches=(Patch(group_fusion, "remake_cheap_values", _nothing),)),
    "no small forms": Variant(
        patches=(
            Patch(contraction, "_dots", _never),
            Patch(tiling, "_with_lines", _same),
            Patch(contraction, "_epilogue", lambda _: 1 << 20),
        )
    ),
    "no wide packing": Variant(patches=(Patch(contraction, "pack_wide", _nothing),)),
    "gathers instead": Variant(
        patches=(Patch(llvm_expr, "MOST_STEP", 1), Patch(llvm_store, "MOST_STEP", 1))
    ),
    "no donation": Variant(donate=False),
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

        def without(variant: Variant) -> Callable[[], Candidate]:
            return lambda: _candidate(variant.compile(compiled))

        return Race(
            ours=_candidate(Variant().compile(compiled)),
            load=graph_load(compiled.passes.graph),
            peers={name: without(variant) for name, variant in VARIANTS.items()},
        )

    return make


ROWS = tuple(
    Row(name=f"techniques {work.name}", group="techniques", goal=Goal(), make=_make(work))
    for work in WORKS
)
