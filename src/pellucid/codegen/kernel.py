"""One kernel on its way from a naive nest to an object file, each form made when first asked for.

Enters: a kernel as `lower/` made it, which of its inputs are constants, and a target. Leaves:
schedule steps, LLVM IR, machine code as text and as an object file with the scratch memory it
wants, and the code that prepares constants for it. Knows no program and no addresses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pellucid.codegen.llvm import assembly, compile_ir, render_kernel
from pellucid.codegen.llvm_kernel import kernel_scratch_bytes
from pellucid.core.shape import Shape
from pellucid.core.size import Dim
from pellucid.core.size_input import size_of_row, size_row
from pellucid.core.target import Target
from pellucid.loop.compute import Recipe
from pellucid.loop.flatten import flatten_open
from pellucid.loop.ir import Kernel
from pellucid.loop.sizes import kernel_dims
from pellucid.lower.inplace import inplace_params
from pellucid.schedule.choice import RULES, Choice
from pellucid.schedule.hoist import Hoisted, hoist
from pellucid.schedule.recipes.versions import schedule_versions
from pellucid.schedule.trace import Step


class Scratch(NamedTuple):
    """Bytes of working memory a kernel gets as its last argument: once, and again per thread."""

    shared: int
    per_thread: int

    def nbytes(self, threads: int) -> int:
        """The whole for a pool of so many threads."""
        return self.shared + threads * self.per_thread


class PackObject(NamedTuple):
    """The code that makes a copy of constants once, in the order in which a kernel reads them.

    Attributes:
        code: an object file with one function, `symbol(sources..., copy, [scratch])`.
        symbol: its name.
        sources: positions of the constants among the kernel's parameters as lowered.
        shape: of the copy.
        dtype: its name.
        scratch: bytes of working memory.
    """

    code: bytes
    symbol: str
    sources: tuple[int, ...]
    shape: Shape
    dtype: str
    scratch: int


class KernelObject(NamedTuple):
    """A kernel's object file, the scratch memory its code wants, and what it is called with.

    Attributes:
        code: the object file.
        scratch: working memory.
        params: for each pointer it takes, the position among the parameters as lowered, or
            `-1 - k` for the copy that `packs[k]` makes.
        packs: what makes copies of constants.
    """

    code: bytes
    scratch: Scratch
    params: tuple[int, ...]
    packs: tuple[PackObject, ...] = ()

    def to_bytes(self) -> bytes:
        """As stored: the length of a JSON head, the head, the object files."""
        packs = [[len(p.code), *p[1:]] for p in self.packs]
        scratch = [size_row(n) for n in self.scratch]
        head = json.dumps([len(self.code), scratch, self.params, packs]).encode()
        codes = b"".join([self.code, *(p.code for p in self.packs)])
        return len(head).to_bytes(8, "little") + head + codes

    @staticmethod
    def from_bytes(data: bytes) -> KernelObject:
        """As it was before `to_bytes`."""
        end = 8 + int.from_bytes(data[:8], "little")
        size, scratch, params, rows = json.loads(data[8:end])
        code, packs, end = data[end : end + size], [], end + size
        for length, symbol, sources, shape, dtype, working in rows:
            part = data[end : end + length]
            packs.append(PackObject(part, symbol, tuple(sources), tuple(shape), dtype, working))
            end += length
        made = Scratch(*map(size_of_row, scratch))
        return KernelObject(code, made, tuple(params), tuple(packs))


@dataclass(frozen=True)
class CompiledKernel:
    """One distinct kernel: the nest as lowered, and each form it takes on the way to object code.

    Attributes:
        symbol: the object's exported function.
        kernel: the naive nest.
        target: the machine it is compiled for.
        constants: names of the parameters whose contents never change.
        choice: values for the schedule's decisions; the recipes' rules hold for all others.
        recipe: schedules it instead of the package's own.
    """

    symbol: str
    kernel: Kernel
    target: Target
    constants: frozenset[str] = frozenset()
    choice: Choice = RULES
    recipe: Recipe | None = None

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The schedule, step by step; the last step's kernel is what is compiled."""
        target, choice = self.target, self.choice
        return schedule_versions(self.kernel, target, self.constants, choice, self.recipe)

    @cached_property
    def hoisted(self) -> Hoisted:
        """The scheduled nest without the copies of constants, and these by themselves."""
        return hoist(self.steps[-1].kernel, self.constants)

    @property
    def scheduled(self) -> Kernel:
        """The nest that is compiled."""
        return self.hoisted.kernel

    @cached_property
    def ir(self) -> str:
        """LLVM IR."""
        params = self.kernel.params
        pairs = inplace_params(self.kernel, range(len(params)))
        overlapping = frozenset(params[i].name for pair in pairs for i in pair)
        made = flatten_open(self.scheduled)
        return render_kernel(made, self.target, self.symbol, overlapping, self.dims)

    @cached_property
    def dims(self) -> tuple[Dim, ...]:
        """The open sizes that it takes."""
        return kernel_dims(self.kernel)

    @property
    def scratch(self) -> Scratch:
        """The scratch memory it wants."""
        return Scratch(*kernel_scratch_bytes(flatten_open(self.scheduled)))

    @cached_property
    def object(self) -> KernelObject:
        """What runs."""
        places = {p.name: i for i, p in enumerate(self.kernel.params)}
        packs = self.hoisted.packs
        places |= {pack.params[-1].name: -1 - k for k, pack in enumerate(packs)}
        params = tuple(places[p.name] for p in self.scheduled.params)
        made = tuple(self._pack(k, places) for k in range(len(packs)))
        return KernelObject(compile_ir(self.ir, self.target), self.scratch, params, made)

    def _pack(self, number: int, places: Mapping[str, int]) -> PackObject:
        kernel, symbol = self.hoisted.packs[number], f"{self.symbol}_pack{number}"
        *sources, copy = kernel.params
        return PackObject(
            code=compile_ir(render_kernel(kernel, self.target, symbol), self.target),
            symbol=symbol,
            sources=tuple(places[p.name] for p in sources),
            shape=copy.shape,
            dtype=copy.dtype.name,
            scratch=Scratch(*kernel_scratch_bytes(kernel)).nbytes(1),
        )

    @cached_property
    def assembly(self) -> str:
        """Machine code as text."""
        return assembly(self.ir, self.target)
