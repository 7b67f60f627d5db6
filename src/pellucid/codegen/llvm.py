"""LLVM for the host CPU: targets, kernels and program entries as LLVM IR text, text to object code.

Enters: scheduled kernels and a `Target`. Leaves: LLVM IR text, then relocatable object bytes or
assembly. Linking and running are in `runtime/native.py`. The kernels arrive scheduled and
vectorised, so a few LLVM passes are enough.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from pellucid.codegen.llvm_emitter import Function, Module
from pellucid.codegen.llvm_kernel import kernel_scratch_bytes, write_kernel
from pellucid.core.config import usable_cores
from pellucid.core.errors import CompileError
from pellucid.core.target import Target
from pellucid.loop.ir import Kernel

__all__ = [
    "LLVM_VERSION", "KernelArguments", "assembly", "compile_ir", "host_target",
    "kernel_scratch_bytes", "render_entry", "render_kernel",
]  # fmt: skip

LLVM_VERSION = f"llvmlite {llvmlite.__version__} LLVM {'.'.join(map(str, llvm.llvm_version_info))}"

llvm.initialize_native_target()
llvm.initialize_native_asmprinter()

_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _cache_bytes(level: int, default: int) -> int:
    """The size of the data (or shared) cache at `level` as Linux reports it, else `default`."""
    for index in sorted(_CACHES.glob("index*")):
        size = _read(index / "size")
        if _read(index / "level") == str(level) and _read(index / "type") != "Instruction" and size:
            return int(size.rstrip("KMG")) * _UNITS.get(size[-1], 1)
    return default


def _vectors(features: str, machine: str) -> tuple[str, int, int, bool]:
    """Name, vector bits, vector registers and fused multiply-add of a CPU."""
    present = set(features.split(","))
    if "+avx512f" in present and {"+avx512vl", "+avx512bw", "+avx512dq"} <= present:
        return "avx512", 512, 32, True
    if "+avx2" in present:
        return "avx2", 256, 16, "+fma" in present
    if machine in ("aarch64", "arm64"):
        return "neon", 128, 32, True
    return ("sse2" if machine in ("x86_64", "AMD64") else "generic"), 128, 16, "+fma" in present


def host_target() -> Target:
    """The machine this process runs on; cache sizes have defaults where unknown."""
    features = llvm.get_host_cpu_features().flatten()
    name, bits, registers, has_fma = _vectors(features, platform.machine())
    return Target(
        name=name, vector_bits=bits, vector_registers=registers, has_fma=has_fma,
        cores=usable_cores(), l1_bytes=_cache_bytes(1, 32768), l2_bytes=_cache_bytes(2, 524288),
        l3_bytes=_cache_bytes(3, 8 << 20), cpu=llvm.get_host_cpu_name(), features=features,
    )  # fmt: skip


def render_kernel(
    kernel: Kernel, target: Target, symbol: str, overlapping: frozenset[str] = frozenset()
) -> str:
    """A module with one exported function `void symbol(ptr p0, ptr p1, ..., [ptr scratch])`.

    `scratch` is there when `kernel_scratch_bytes(kernel)` is not `(0, 0)`. Parallel loops call the
    external `void @pellucid_parallel_for(ptr fn, ptr context, i64 n)` with `fn(ptr context, i64
    begin, i64 end, i64 thread)`, `thread` below the pool's thread count. Params whose memory may be
    shared, an output's with an input's that it replaces, are named in `overlapping`.

    Raises:
        LoweringError: the kernel calls a function that has no code here.
    """
    module = Module()
    write_kernel(module, kernel, target, symbol, overlapping)
    return f"; kernel {kernel.name}\n{module.text()}"


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelArguments:
    """One kernel call of a program: its symbol and the pointer table entries it gets."""

    symbol: str
    slots: tuple[int, ...]
    scratch: int | None = None


def render_entry(calls: Sequence[KernelArguments], symbol: str, profiled: bool = False) -> str:
    """`void symbol(ptr table)` that runs `calls` in order with the pointers `table[slot]`.

    With `profiled`, `void symbol(ptr table, ptr times)` also writes each call's start and end in
    nanoseconds of the monotonic clock to `times[2 * i]` and `times[2 * i + 1]` (int64).
    """
    module = Module()
    params = "ptr %table, ptr %times" if profiled else "ptr %table"
    entry = Function(module, symbol, params, "nounwind")
    clock = _Clock(entry) if profiled else None
    for position, call in enumerate(calls):
        slots = [*call.slots, *([] if call.scratch is None else [call.scratch])]
        pointers = [_table_entry(entry, slot) for slot in slots]
        if clock:
            clock.store(2 * position)
        module.declare(f"void @{call.symbol}({', '.join('ptr' for _ in slots)})")
        entry.effect(f"call void @{call.symbol}({', '.join(f'ptr {p}' for p in pointers)})")
        if clock:
            clock.store(2 * position + 1)
    entry.finish()
    return module.text()


def _table_entry(entry: Function, slot: int) -> str:
    place = entry.pure(f"getelementptr ptr, ptr %table, i64 {slot}")
    return entry.pure(f"load ptr, ptr {place}, align 8")


class _Clock:
    """Stores the monotonic clock's nanoseconds into `%times`."""

    # CLOCK_MONOTONIC, as the C library of each system numbers it.
    _MONOTONIC = 6 if platform.system() == "Darwin" else 1

    def __init__(self, entry: Function) -> None:
        self.entry = entry
        self.time = entry.alloca("[2 x i64]", 8)
        entry.module.declare("i32 @clock_gettime(i32, ptr)")

    def store(self, position: int) -> None:
        entry = self.entry
        entry.emit(f"call i32 @clock_gettime(i32 {self._MONOTONIC}, ptr {self.time})")
        seconds = entry.emit(f"load i64, ptr {self.time}")
        rest = entry.emit(
            f"load i64, ptr {entry.pure(f'getelementptr i64, ptr {self.time}, i64 1')}"
        )
        scaled = entry.emit(f"mul i64 {seconds}, 1000000000")
        total = entry.emit(f"add i64 {scaled}, {rest}")
        place = entry.pure(f"getelementptr i64, ptr %times, i64 {position}")
        entry.effect(f"store i64 {total}, ptr {place}")


def _machine(target: Target, level: int) -> llvm.TargetMachine:
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=target.cpu, features=target.features, opt=level, reloc="pic", codemodel="small"
    )


def _optimised(text: str, target: Target, level: int) -> tuple[llvm.ModuleRef, llvm.TargetMachine]:
    # A context of its own per module: contexts are not safe to share between threads.
    context = llvm.create_context()
    try:
        module = llvm.parse_assembly(text, context=context)
        module.verify()
    except RuntimeError as error:
        raise CompileError("llvm", f"LLVM refuses the code: {error}\n{text}") from error
    machine = _machine(target, level)
    module.data_layout = str(machine.target_data)
    tuning = llvm.create_pipeline_tuning_options(speed_level=level)
    builder = llvm.create_pass_builder(machine, tuning)
    if "alwaysinline" in text:
        inliner = llvm.create_new_module_pass_manager()
        inliner.add_always_inliner_pass()
        inliner.run(module, builder)
    passes = llvm.create_new_function_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)
    return module, machine


def compile_ir(text: str, target: Target, opt_level: int = 1) -> bytes:
    """Object code of a module for the host's system and `target`'s CPU.

    Safe to call from several threads. `opt_level` is LLVM's code generation level, 1 to 3.

    Raises:
        CompileError: the text is not valid LLVM IR; the message holds it.
    """
    module, machine = _optimised(text, target, opt_level)
    return bytes(machine.emit_object(module))


def assembly(text: str, target: Target, opt_level: int = 1) -> str:
    """Assembly of a module, as `compile_ir` would generate it.

    Raises:
        CompileError: the text is not valid LLVM IR; the message holds it.
    """
    module, machine = _optimised(text, target, opt_level)
    return str(machine.emit_assembly(module))
