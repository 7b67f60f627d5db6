"""A frozen graph as kernels, calls and memory for C: everything the text is printed from.

Enters: `Frozen`. Leaves: `Layout`. Kernels are scheduled for `C99`, a machine with small vectors
and caches and one core; the C compiler does the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from pellucid.codegen.c99 import c_scratch_bytes
from pellucid.codegen.kernel import Scratch
from pellucid.codegen.llvm import KernelArguments
from pellucid.compile import Compiled, compile_graph
from pellucid.core.errors import LoweringError
from pellucid.core.target import Target
from pellucid.deploy.freeze import Frozen, contents
from pellucid.graph.ir import ArrayAttr
from pellucid.loop.compute import CFunction
from pellucid.loop.ir import Kernel
from pellucid.lower.flow import map_steps, own_slots
from pellucid.lower.program import KernelCall, LoweredProgram
from pellucid.runtime.memory_plan import MemoryPlan
from pellucid.runtime.program import plan_program
from pellucid.schedule.recipes import schedule_kernel

C99 = Target(
    name="c99", vector_bits=128, vector_registers=16, has_fma=False, cores=1,
    l1_bytes=32 << 10, l2_bytes=256 << 10, l3_bytes=1 << 20,
)  # fmt: skip
"""What schedules may assume of a machine nobody has seen yet."""


@dataclass(frozen=True, slots=True)
class Weight:
    """A constant array: its name in Python, its C symbol, its contents."""

    name: str
    symbol: str
    array: NDArray[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A program for C.

    Attributes:
        program: slots and calls.
        kernels: the scheduled nests by symbol; equal ones once.
        calls: for each call the kernel's symbol, its slots, and the slot of its scratch memory.
        weights: by slot.
        plan: where temporaries and scratch memory lie in the arena.
    """

    program: LoweredProgram
    kernels: Mapping[str, Kernel]
    calls: tuple[KernelArguments, ...]
    weights: Mapping[int, Weight]
    plan: MemoryPlan


def lay_out(frozen: Frozen, *, schedule: bool = True) -> Layout:
    """Optimise, lower and schedule a frozen graph, and place its memory.

    Args:
        frozen: the program.
        schedule: tile, pack and vectorise the loops; else they stay as lowered.

    Raises:
        LoweringError: a node has no loop form.
    """
    compiled = compile_graph(frozen.graph, C99)
    # A kernel's parameters are `restrict`, so no output may share memory with an input.
    steps = map_steps(compiled.lowered.steps, lambda call: replace(call, inplace=()))
    program = replace(compiled.lowered, steps=steps)
    calls = program.calls
    symbols = _symbols(compiled)
    kernels = {
        # weights stay as they are, below their names
        symbols[s]: schedule_kernel(k.kernel, C99, recipe=k.recipe)[-1].kernel
        if schedule
        else k.kernel
        for s, k in compiled.kernels.items()
    }
    sizes = {symbol: c_scratch_bytes(kernel) for symbol, kernel in kernels.items()}
    count = len(program.slots)
    named = [
        (symbols[s], sizes[symbols[s]]) if c.host is None else _named(c)
        for s, c in zip(compiled.symbols, calls, strict=True)
    ]
    arguments = tuple(
        KernelArguments(symbol=s, slots=c.args, scratch=count + i if size else None)
        for i, ((s, size), c) in enumerate(zip(named, calls, strict=True))
    )
    scratch = {count + i: Scratch(size, 0) for i, (_, size) in enumerate(named) if size}
    return Layout(
        program=program,
        kernels=kernels,
        calls=arguments,
        weights=_weights(compiled, program, frozen.weights),
        plan=plan_program(program, arguments, scratch, threads=1),
    )


def _named(call: KernelCall) -> tuple[str, int]:
    """A call of the host: the C function's name, and the bytes it works in."""
    function = c_function_of(call)
    return function.name, function.workspace


def c_function_of(call: KernelCall) -> CFunction:
    """The C function that a call of the host names.

    Raises:
        LoweringError: it is a Python function, or has no name.
    """
    run = None if call.host is None else call.host.run
    if isinstance(run, CFunction) and identifier(run.name) == run.name != "":
        return run
    known = isinstance(run, CFunction)
    rule = "runs as a function without a name" if known else "runs as a Python function"
    raise LoweringError(
        call.kernel.name, f"{rule}, which C cannot call",
        operands={"it": ", ".join(call.nodes)}, source=", ".join(call.sources),
        fix="name it: c_function(..., name='my_function')" if known else "",
    )  # fmt: skip


def _symbols(compiled: Compiled) -> dict[str, str]:
    """Readable names of the distinct kernels, in the order of their first call."""
    return {
        symbol: f"kernel{i}_{identifier(kernel.kernel.name)}"
        for i, (symbol, kernel) in enumerate(compiled.kernels.items())
    }


def identifier(name: str) -> str:
    """`name` with what C does not allow in an identifier replaced by `_`."""
    return re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")


def _weights(
    compiled: Compiled, program: LoweredProgram, known: Mapping[str, str]
) -> dict[int, Weight]:
    made = _constant_names(compiled)
    used = {slot for call in program.calls for slot in call.args} | {*own_slots(program.steps)}
    found: dict[int, Weight] = {}
    taken: set[str] = set()
    for slot in program.slots:
        if slot.role == "constant" and slot.value is not None and slot.id in used:
            name = known.get(contents(slot.value)) or made.get(id(slot.value), "constant")
            found[slot.id] = Weight(name, unique(f"weight_{identifier(name)}", taken), slot.value)
    return found


def _constant_names(compiled: Compiled) -> dict[int, str]:
    """What the optimised graph calls each constant, by the identity of its array."""
    pairs = [
        (n.attrs["value"], n.outputs[0])
        for n in compiled.passes.graph.nodes
        if n.op.name == "constant"
    ]
    return {id(a.array): v.name for a, v in pairs if isinstance(a, ArrayAttr)}


def unique(name: str, taken: set[str]) -> str:
    """`name`, or `name_1`, `name_2`, … if it is taken; taken afterwards."""
    candidates: Iterable[str] = (name, *(f"{name}_{i}" for i in range(1, len(taken) + 2)))
    chosen = next(c for c in candidates if c not in taken)
    taken.add(chosen)
    return chosen
