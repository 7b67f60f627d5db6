"""What each technique gives: training steps and frozen networks with it and without it, in turns.

The variants stand where other rows have peers; `--all` shows every one. Every variant runs
on states of its own, which start equal.
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
from pellucid.bench.fresh import INFER
from pellucid.bench.inference import INPUTS, make_model
from pellucid.bench.row import Array, Candidate, Goal, Race, Row, Setting
from pellucid.bench.works import WORKS, Work, pellucid_step
from pellucid.codegen import llvm_expr, llvm_kernel, llvm_store
from pellucid.codegen.llvm_kernel import Writer
from pellucid.compile import Compiled
from pellucid.core.config import current_config
from pellucid.passes import group_fusion
from pellucid.runtime.executable import Executable
from pellucid.schedule.recipes import contraction, tiling


@dataclass(frozen=True, slots=True)
class Patch:
    """A name of a module or class that is replaced while a variant is compiled."""

    owner: ModuleType | type
    name: str
    value: Any


@contextmanager
def _replaced(patches: Sequence[Patch]) -> Iterator[None]:
    with ExitStack() as stack:
        for p in patches:
            stack.callback(setattr, p.owner, p.name, getattr(p.owner, p.name))
            setattr(p.owner, p.name, p.value)
        yield


def _never(*_: object) -> bool:
    return False


def _same(tiling: Any, *_: object) -> Any:
    return tiling


def _nothing(*_: object) -> None:
    return None


def _none_of_them(*_: object) -> frozenset[str]:
    return frozenset()


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


_PASSES = (
    "sink_movement", "fold_scales", "narrow_windows", "transform_convolutions", "choose_layouts",
    "absorb_padding", "pack_kernels",
)  # fmt: skip

VARIANTS: Mapping[str, Variant] = {
    "no fusion": Variant(disabled=("group_fusion",)),
    **{f"no {name}": Variant(disabled=(name,)) for name in _PASSES},
    "no recomputing": Variant(patches=(Patch(group_fusion, "remake_cheap_values", _nothing),)),
    "no small forms": Variant(
        patches=(
            Patch(contraction, "_dots", _never),
            Patch(tiling, "_with_lines", _same),
            Patch(contraction, "_epilogue", lambda _: 1 << 20),
        )
    ),
    "no blocks": Variant(patches=(Patch(contraction, "_blocked", _never),)),
    "no wide packing": Variant(patches=(Patch(contraction, "pack_wide", _nothing),)),
    "no prefetching": Variant(patches=(Patch(Writer, "_prefetch", _nothing),)),
    "no streaming": Variant(patches=(Patch(llvm_kernel, "far_outputs", _none_of_them),)),
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
    return Candidate(
        lambda: executable.run(arrays), lambda: [np.array(a) for a in executable.run(arrays)]
    )


def _race(compiled: Compiled) -> Race:
    def without(variant: Variant) -> Callable[[], Candidate]:
        return lambda: _candidate(variant.compile(compiled))

    return Race(
        ours=_candidate(Variant().compile(compiled)),
        load=graph_load(compiled.passes.graph),
        peers={name: without(variant) for name, variant in VARIANTS.items()},
    )


def _step(work: Work) -> Callable[[Setting], Race]:
    def make(_: Setting) -> Race:
        x, y = (pl.Tensor(a) for a in work.batch(np.random.default_rng(0)))
        return _race(pellucid_step(work.pellucid()).lower(x, y).compiled)

    return make


def _frozen(name: str) -> Callable[[Setting], Race]:
    def make(_: Setting) -> Race:
        x = pl.Tensor(np.zeros(INPUTS[name], np.float32))
        return _race(pl.freeze(make_model(name), x).lower().compiled)

    return make


_MAKERS = {
    **{work.name: _step(work) for work in WORKS},
    **{INFER + name: _frozen(name) for name in INPUTS},
}

ROWS = tuple(
    Row(name=f"techniques {name}", group="techniques", goal=Goal(), make=make)
    for name, make in _MAKERS.items()
)
