"""LLVM for the host CPU: targets, kernels and program entries as LLVM IR text, text to object code.

Enters: scheduled kernels and a `Target`. Leaves: LLVM IR text, then relocatable object bytes or
assembly. Linking and running are in `runtime/native.py`. The kernels arrive scheduled and
vectorised, so a few LLVM passes are enough.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from pellucid.codegen.llvm_emitter import Module
from pellucid.codegen.llvm_entry import KernelArguments, render_entry
from pellucid.codegen.llvm_kernel import kernel_scratch_bytes, write_kernel
from pellucid.core.config import usable_cores
from pellucid.core.errors import CompileError
from pellucid.core.size import Dim
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
    kernel: Kernel,
    target: Target,
    symbol: str,
    overlapping: frozenset[str] = frozenset(),
    dims: Sequence[Dim] = (),
) -> str:
    """A module with one exported function `void symbol(ptr p0, ptr p1, ..., [ptr scratch])`.

    `scratch` is there when `kernel_scratch_bytes(kernel)` is not `(0, 0)`. Parallel loops call the
    external `void @pellucid_parallel_for(ptr fn, ptr context, i64 n)` with `fn(ptr context, i64
    begin, i64 end, i64 thread)`, `thread` below the pool's thread count. Params whose memory may be
    shared, an output's with an input's that it replaces, are named in `overlapping`. Open sizes, in
    the order of `dims`, come between params and scratch.

    Raises:
        LoweringError: the kernel calls a function that has no code here.
    """
    module = Module()
    write_kernel(module, kernel, target, symbol, overlapping, dims)
    return f"; kernel {kernel.name}\n{module.text()}"


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
