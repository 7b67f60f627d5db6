"""One kernel on its way from a naive nest to an object file, each form made when first asked for.

Enters: a kernel as `lower/` made it, and a target. Leaves: schedule steps, LLVM IR, machine code as
text and as an object file with the scratch memory it wants. Knows no program and no addresses.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pellucid.codegen.llvm import assembly, compile_ir, render_kernel
from pellucid.codegen.llvm_kernel import kernel_scratch_bytes
from pellucid.core.target import Target
from pellucid.loop.ir import Kernel
from pellucid.lower.inplace import inplace_params
from pellucid.schedule.recipes import schedule_kernel
from pellucid.schedule.trace import Step


class Scratch(NamedTuple):
    """Bytes of working memory a kernel gets as its last argument: once, and again per thread."""

    shared: int
    per_thread: int

    def nbytes(self, threads: int) -> int:
        """The whole for a pool of so many threads."""
        return self.shared + threads * self.per_thread


class KernelObject(NamedTuple):
    """A kernel's object file, and the scratch memory its code wants."""

    code: bytes
    scratch: Scratch

    def to_bytes(self) -> bytes:
        """As stored."""
        return struct.pack("<qq", *self.scratch) + self.code

    @staticmethod
    def from_bytes(data: bytes) -> KernelObject:
        """As it was before `to_bytes`."""
        return KernelObject(data[16:], Scratch(*struct.unpack("<qq", data[:16])))


@dataclass(frozen=True)
class CompiledKernel:
    """One distinct kernel: the nest as lowered, and each form it takes on the way to object code.

    Attributes:
        symbol: the object's exported function.
        kernel: the naive nest.
        target: the machine it is compiled for.
    """

    symbol: str
    kernel: Kernel
    target: Target

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The schedule, step by step; the last step's kernel is what is compiled."""
        return schedule_kernel(self.kernel, self.target)

    @property
    def scheduled(self) -> Kernel:
        """The nest that is compiled."""
        return self.steps[-1].kernel

    @cached_property
    def ir(self) -> str:
        """LLVM IR."""
        params = self.kernel.params
        pairs = inplace_params(self.kernel, range(len(params)))
        overlapping = frozenset(params[i].name for pair in pairs for i in pair)
        return render_kernel(self.scheduled, self.target, self.symbol, overlapping)

    @property
    def scratch(self) -> Scratch:
        """The scratch memory it wants."""
        return Scratch(*kernel_scratch_bytes(self.scheduled))

    @cached_property
    def object(self) -> KernelObject:
        """What runs."""
        return KernelObject(compile_ir(self.ir, self.target), self.scratch)

    @cached_property
    def assembly(self) -> str:
        """Machine code as text."""
        return assembly(self.ir, self.target)
