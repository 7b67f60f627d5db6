"""What schedules need to know about the machine code is generated for."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.core.dtype import DType


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A machine to compile for: its vectors, registers and caches. Sizes in bytes unless named
    otherwise.
    """

    name: str
    vector_bits: int
    vector_registers: int
    has_fma: bool
    cores: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    cpu: str = ""
    features: str = ""

    def lanes(self, dtype: DType) -> int:
        """Elements of `dtype` in one vector register."""
        return max(1, self.vector_bits // max(8, dtype.bits))

    def has(self, feature: str) -> bool:
        """Whether the machine has an LLVM feature: `avx512vnni`, `avx512bf16`, `f16c` and so on."""
        return f"+{feature}" in self.features.split(",")
