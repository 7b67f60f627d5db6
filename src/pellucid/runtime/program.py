"""A program ready to run on this machine: objects, calls, ports, constants and the memory plan.

Enters from `compile.py` (`make_program`) or the cache (`from_bytes`); leaves to `executable.py`.
Data only: what running, profiling and drawing a program takes without its graph.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.codegen.kernel import Scratch
from pellucid.codegen.llvm import KernelArguments
from pellucid.compile import Compiled, ObjectStore
from pellucid.core.dtype import as_dtype
from pellucid.core.errors import CompileError
from pellucid.core.shape import Shape
from pellucid.lower.flow import from_rows, own_slots, spans, to_rows, turns
from pellucid.lower.program import KernelCall, LoweredProgram
from pellucid.runtime.constants import pack_constants
from pellucid.runtime.memory_plan import Lifetime, MemoryPlan, Rectangle, plan_memory


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: its slot, shape and dtype name."""

    slot: int
    shape: Shape
    dtype: str

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype."""
        return as_dtype(self.dtype).numpy


@dataclass(frozen=True, slots=True)
class ProgramCall:
    """One call: what runs, on which slots, for which values and lines, at what cost in all turns of
    the loops it is in.

    `host` is the slot of the record of a function of the host.
    """

    kernel: str
    symbol: str
    slots: tuple[int, ...]
    scratch: int | None
    nodes: tuple[str, ...]
    sources: tuple[str, ...]
    flops: int
    nbytes: int
    host: int | None = None

    @property
    def arguments(self) -> KernelArguments:
        """As the entry's generator wants it."""
        return KernelArguments(
            symbol=self.symbol, slots=self.slots, scratch=self.scratch, host=self.host
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """Everything that running takes.

    Attributes:
        name: the graph's.
        entry: symbol of `void entry(ptr table)`.
        calls: in order.
        inputs: where each input's pointer goes.
        outputs: where each output's pointer goes.
        donated: for each output made in an input's memory, that input.
        slots: entries of the pointer table.
        plan: offsets of temporaries and scratch memory in the arena.
        constants: arrays by slot.
        objects: object files by symbol, the entry's among them.
        flow: the calls' numbers in their branches and loops.
        shared: in words, equal parts that were optimised once.
    """

    name: str
    entry: str
    calls: tuple[ProgramCall, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    donated: Mapping[int, int]
    slots: int
    plan: MemoryPlan
    constants: Mapping[int, NDArray[Any]]
    objects: Mapping[str, bytes]
    flow: tuple[Any, ...]
    shared: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """As stored: the length of a JSON head, the head, the bytes of constants and objects."""
        arrays = {slot: np.ascontiguousarray(a) for slot, a in self.constants.items()}
        head = {
            "name": self.name,
            "entry": self.entry,
            "calls": [_row(call) for call in self.calls],
            "inputs": [_row(port) for port in self.inputs],
            "outputs": [_row(port) for port in self.outputs],
            "donated": list(self.donated.items()),
            "slots": self.slots,
            "plan": [self.plan.peak, self.plan.no_reuse, self.plan.bound],
            "rectangles": [_row(r) for r in self.plan.rectangles],
            "constants": [
                [slot, a.shape, as_dtype(a.dtype).name, a.nbytes] for slot, a in arrays.items()
            ],
            "shared": self.shared,
            "flow": to_rows(self.flow),
            "objects": [[symbol, len(data)] for symbol, data in self.objects.items()],
        }
        text = json.dumps(head, separators=(",", ":")).encode()
        blobs = [a.tobytes() for a in arrays.values()] + list(self.objects.values())
        return b"".join([len(text).to_bytes(8, "little"), text, *blobs])

    @staticmethod
    def from_bytes(data: bytes) -> Program:
        """As it was before `to_bytes`."""
        end = 8 + int.from_bytes(data[:8], "little")
        head = json.loads(data[8:end])
        blobs = _cut(data, end, [c[3] for c in head["constants"]] + [o[1] for o in head["objects"]])
        constants = {
            slot: np.frombuffer(next(blobs), as_dtype(dtype).numpy).reshape(shape)
            for slot, shape, dtype, _ in head["constants"]
        }
        return Program(
            name=head["name"],
            entry=head["entry"],
            calls=tuple(ProgramCall(*map(_frozen, row)) for row in head["calls"]),
            inputs=tuple(Port(*map(_frozen, row)) for row in head["inputs"]),
            outputs=tuple(Port(*map(_frozen, row)) for row in head["outputs"]),
            donated=dict(head["donated"]),
            slots=head["slots"],
            plan=MemoryPlan(tuple(Rectangle(*row) for row in head["rectangles"]), *head["plan"]),
            constants=constants,
            objects={symbol: next(blobs) for symbol, _ in head["objects"]},
            flow=from_rows(head["flow"]),
            shared=tuple(head["shared"]),
        )


def make_program(compiled: Compiled, threads: int, store: ObjectStore | None = None) -> Program:
    """Compile what is not in `store`, and place memory for `threads` threads.

    Raises:
        CompileError: a pass or a kernel failed.
    """
    objects = compiled.objects(store)
    arguments, packs = compiled.bind(objects)
    lowered = compiled.lowered
    scratch = {a.scratch: objects[a.symbol].scratch for a in arguments if a.scratch is not None}
    code = {symbol: made.code for symbol, made in objects.items()}
    graph = compiled.graph
    hosts = sum(a.host is not None for a in arguments)
    return Program(
        name=lowered.name,
        entry=compiled.entry,
        calls=tuple(map(_call, lowered.calls, arguments, turns(lowered.steps))),
        inputs=_ports(lowered.inputs, [v.type for v in graph.inputs]),
        outputs=_ports(lowered.outputs, [v.type for v in graph.outputs]),
        donated=dict(compiled.donated),
        slots=len(lowered.slots) + len(scratch) + len(packs) + hosts,
        plan=plan_program(lowered, arguments, scratch, threads),
        constants=_used(pack_constants(_constants(lowered), packs), arguments, compiled.flow),
        objects={**code, compiled.entry: compiled.entry_object(arguments)},
        flow=compiled.flow,
        shared=tuple(map(str, compiled.passes.shared)),
    )


def _used(
    constants: Mapping[int, NDArray[Any]], calls: Sequence[KernelArguments], steps: Sequence[Any]
) -> dict[int, NDArray[Any]]:
    """Those that a call, branch or loop still reads, in the order of their first use."""
    slots = dict.fromkeys(slot for call in calls for slot in call.slots)
    slots.update(dict.fromkeys(own_slots(steps)))
    return {slot: constants[slot] for slot in slots if slot in constants}


def plan_program(
    lowered: LoweredProgram,
    arguments: Sequence[KernelArguments],
    scratch: Mapping[int, Scratch],
    threads: int,
) -> MemoryPlan:
    """Place a program's temporaries, and the scratch memory of its calls, in one arena."""
    alive, calls = spans(lowered.steps, lambda call: call.args), lowered.calls
    temps = [s for s in lowered.slots if s.role == "temp" and s.id in alive and s.type.nbytes]
    lives = [Lifetime(s.id, f"t{s.id}", s.type.nbytes, *alive[s.id]) for s in temps]
    for k, (call, args) in enumerate(zip(calls, arguments, strict=True)):
        if args.scratch is not None:
            nbytes = scratch[args.scratch].nbytes(threads)
            lives.append(Lifetime(args.scratch, f"scratch of {call.kernel.name}", nbytes, k, k))
    shares = [(c.args[o], c.args[i]) for c in calls for o, i in c.inplace]
    return plan_memory(_named(lives, lowered), shares)


def _named(lives: Sequence[Lifetime], lowered: LoweredProgram) -> list[Lifetime]:
    """Temporaries by the name of the graph value that is first made in them."""
    names: dict[int, str] = {}
    for call in lowered.calls:
        outputs = call.args[len(call.args) - call.kernel.outputs :]
        for slot, node in zip(outputs, call.nodes, strict=False):
            names.setdefault(slot, node)
    return [Lifetime(x.slot, names.get(x.slot, x.name), x.nbytes, x.start, x.end) for x in lives]


def _constants(lowered: LoweredProgram) -> dict[int, NDArray[Any]]:
    constants = {}
    for slot in lowered.slots:
        if slot.role == "constant":
            if slot.value is None:
                raise CompileError("program", "a constant has no value", operands={"slot": slot.id})
            constants[slot.id] = slot.value
    return constants


def _call(call: KernelCall, arguments: KernelArguments, times: int) -> ProgramCall:
    return ProgramCall(
        call.kernel.name, arguments.symbol, arguments.slots, arguments.scratch,
        call.nodes, call.sources, call.cost.flops * times, call.cost.bytes * times, arguments.host,
    )  # fmt: skip


def _ports(slots: Sequence[int], types: Sequence[Any]) -> tuple[Port, ...]:
    return tuple(
        Port(slot, type.shape, type.dtype.name) for slot, type in zip(slots, types, strict=True)
    )


def _row(record: Port | ProgramCall | Rectangle) -> list[Any]:
    """A record's fields; `asdict` would copy what is in them."""
    return [getattr(record, field.name) for field in fields(record)]


def _cut(data: bytes, start: int, sizes: Sequence[int]) -> Iterator[bytes]:
    for size in sizes:
        yield data[start : start + size]
        start += size


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
