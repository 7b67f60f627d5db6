"""A program ready to run on this machine: objects, calls, ports, constants and the memory plan.

Enters from `compile.py` (`make_program`) or the cache (`from_bytes`); leaves to `executable.py`.
Data only: what running, profiling and drawing a program takes without its graph.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.codegen.kernel import Scratch
from pellucid.codegen.llvm import KernelArguments
from pellucid.compile import AheadCall, Compiled, ObjectStore
from pellucid.core.dtype import as_dtype
from pellucid.core.errors import CompileError
from pellucid.core.shape import Shape
from pellucid.core.size import Dim, Sizes, bound, likely, prove, value_of
from pellucid.core.size_input import size_of_row, size_row
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

    `host` is the slot of the record of a function of the host, `host_key` finds the function.
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
    host_key: str = ""

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
        ahead: calls that loops make before their first step.
        shared: in words, equal parts that were optimised once.
        sizes: open sizes, and where each goes; `plan` is for likely ones, and costs are sizes too.
        numbers: what loops count with that is made of open sizes, and where it goes.
        lives: of a program with open sizes, what its memory plan is made from.
        shares: likewise, the slots that may share memory.
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
    ahead: tuple[KernelArguments, ...] = ()
    shared: tuple[str, ...] = ()
    sizes: tuple[tuple[Dim, int], ...] = ()
    numbers: tuple[tuple[int, int], ...] = ()
    lives: tuple[Lifetime, ...] = ()
    shares: tuple[tuple[int, int], ...] = ()

    def bound(self, sizes: Sizes) -> Program:
        """The program for these open sizes: ports and memory plan in numbers."""
        lives = [replace(x, nbytes=value_of(x.nbytes, sizes)) for x in self.lives]
        costs = [(value_of(c.flops, sizes), value_of(c.nbytes, sizes)) for c in self.calls]
        costed = zip(self.calls, costs, strict=True)
        return replace(
            self,
            calls=tuple(replace(c, flops=flops, nbytes=nbytes) for c, (flops, nbytes) in costed),
            inputs=tuple(replace(p, shape=bound(p.shape, sizes)) for p in self.inputs),
            outputs=tuple(replace(p, shape=bound(p.shape, sizes)) for p in self.outputs),
            plan=plan_memory([x for x in lives if x.nbytes], self.shares),
        )

    def to_bytes(self) -> bytes:
        """As stored: the length of a JSON head, the head, the bytes of constants and objects."""
        arrays = {slot: np.ascontiguousarray(a) for slot, a in self.constants.items()}
        head = {
            "name": self.name,
            "entry": self.entry,
            "calls": [_call_row(call) for call in self.calls],
            "inputs": [_port_row(port) for port in self.inputs],
            "outputs": [_port_row(port) for port in self.outputs],
            "donated": list(self.donated.items()),
            "slots": self.slots,
            "plan": [self.plan.peak, self.plan.no_reuse, self.plan.bound],
            "rectangles": [_row(r) for r in self.plan.rectangles],
            "constants": [
                [slot, a.shape, as_dtype(a.dtype).name, a.nbytes] for slot, a in arrays.items()
            ],
            "shared": self.shared,
            "flow": to_rows(self.flow),
            "ahead": [[c.symbol, c.slots, c.scratch, c.zeroed] for c in self.ahead],
            "sizes": [[d.name, d.min, d.max, d.likely, slot] for d, slot in self.sizes],
            "numbers": [[size_row(number), slot] for number, slot in self.numbers],
            "lives": [[x.slot, x.name, size_row(x.nbytes), x.start, x.end] for x in self.lives],
            "shares": self.shares,
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
            calls=tuple(map(_call_of_row, head["calls"])),
            inputs=tuple(_port(row) for row in head["inputs"]),
            outputs=tuple(_port(row) for row in head["outputs"]),
            donated=dict(head["donated"]),
            slots=head["slots"],
            plan=MemoryPlan(tuple(Rectangle(*row) for row in head["rectangles"]), *head["plan"]),
            constants=constants,
            objects={symbol: next(blobs) for symbol, _ in head["objects"]},
            flow=from_rows(head["flow"]),
            ahead=tuple(_ahead_of_row(row) for row in head["ahead"]),
            shared=tuple(head["shared"]),
            sizes=tuple((Dim(*row[:4]), row[4]) for row in head["sizes"]),
            numbers=tuple((size_of_row(number), slot) for number, slot in head["numbers"]),
            lives=tuple(Lifetime(s, n, size_of_row(b), *t) for s, n, b, *t in head["lives"]),
            shares=tuple((a, b) for a, b in head["shares"]),
        )


def make_program(compiled: Compiled, threads: int, store: ObjectStore | None = None) -> Program:
    """Compile what is not in `store`, and place memory for `threads` threads.

    Raises:
        CompileError: a pass or a kernel failed.
    """
    objects = compiled.objects(store)
    binding = compiled.bind(objects)
    arguments, packs, sizes, numbers, flow, ahead = binding
    lowered = compiled.lowered
    scratch = {a.scratch: objects[a.symbol].scratch for a in arguments if a.scratch is not None}
    code = {symbol: made.code for symbol, made in objects.items()}
    graph = compiled.graph
    lives, shares = program_lives(lowered, arguments, scratch, threads)
    lives += _lives_ahead(ahead)
    code |= {made.pack.symbol: made.pack.code for made in ahead}
    likely_lives = [replace(x, nbytes=likely(x.nbytes)) for x in lives]
    plan = plan_memory([x for x in likely_lives if x.nbytes], shares)
    return Program(
        name=lowered.name,
        entry=compiled.entry,
        calls=tuple(map(_call, lowered.calls, arguments, turns(lowered.steps))),
        inputs=_ports(lowered.inputs, [v.type for v in graph.inputs]),
        outputs=_ports(lowered.outputs, [v.type for v in graph.outputs]),
        donated=dict(compiled.donated),
        slots=binding.slots(len(lowered.slots)),
        plan=plan,
        constants=_used(pack_constants(_constants(lowered), packs), arguments, flow),
        objects={**code, compiled.entry: compiled.entry_object(binding)},
        flow=flow,
        ahead=tuple(made.call for made in ahead),
        shared=tuple(map(str, compiled.passes.shared)),
        sizes=sizes,
        numbers=numbers,
        lives=tuple(lives) if sizes else (),
        shares=tuple(shares) if sizes else (),
    )


def _lives_ahead(ahead: Sequence[AheadCall]) -> list[Lifetime]:
    """Copies that loops make live as long as the loop, the memory to make them in until its first
    call.
    """
    lives = []
    for made in ahead:
        name = f"copy for {made.pack.symbol}"
        lives.append(Lifetime(made.call.slots[-1], name, made.call.zeroed, made.begin, made.end))
        if made.call.scratch is not None:
            size = made.pack.scratch
            lives.append(Lifetime(made.call.scratch, name, size, made.begin, made.begin))
    return lives


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
    return plan_memory(*program_lives(lowered, arguments, scratch, threads))


def program_lives(
    lowered: LoweredProgram,
    arguments: Sequence[KernelArguments],
    scratch: Mapping[int, Scratch],
    threads: int,
) -> tuple[list[Lifetime], list[tuple[int, int]]]:
    """What `plan_memory` places: lifetimes of temporaries and scratch memory, and shared slots."""
    alive, calls = spans(lowered.steps, lambda call: call.args), lowered.calls
    temps = [s for s in lowered.slots if s.role == "temp" and s.id in alive]
    temps = [s for s in temps if prove(s.type.nbytes, "==", 0) is not True]
    lives = [Lifetime(s.id, f"t{s.id}", s.type.nbytes, *alive[s.id]) for s in temps]
    for k, (call, args) in enumerate(zip(calls, arguments, strict=True)):
        if args.scratch is not None:
            nbytes = scratch[args.scratch].nbytes(threads)
            lives.append(Lifetime(args.scratch, f"scratch of {call.kernel.name}", nbytes, k, k))
    shares = [(c.args[o], c.args[i]) for c in calls for o, i in c.inplace]
    return _named(lives, lowered), shares


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
    flops, nbytes = call.cost.flops * times, call.cost.bytes * times
    return ProgramCall(
        call.kernel.name, arguments.symbol, arguments.slots, arguments.scratch,
        call.nodes, call.sources, flops, nbytes, arguments.host, call.host_key,
    )  # fmt: skip


def _ports(slots: Sequence[int], types: Sequence[Any]) -> tuple[Port, ...]:
    return tuple(
        Port(slot, type.shape, type.dtype.name) for slot, type in zip(slots, types, strict=True)
    )


def _call_row(call: ProgramCall) -> list[Any]:
    known = _row(replace(call, flops=0, nbytes=0))
    return [*known, size_row(call.flops), size_row(call.nbytes)]


def _call_of_row(row: list[Any]) -> ProgramCall:
    *fields, flops, nbytes = row
    made = ProgramCall(*map(_frozen, fields))
    return replace(made, flops=size_of_row(flops), nbytes=size_of_row(nbytes))


def _port_row(port: Port) -> list[Any]:
    return [port.slot, [size_row(n) for n in port.shape], port.dtype]


def _port(row: list[Any]) -> Port:
    slot, shape, dtype = row
    return Port(slot, tuple(map(size_of_row, shape)), dtype)


def _row(record: ProgramCall | Rectangle) -> list[Any]:
    """A record's fields; `asdict` would copy what is in them."""
    return [getattr(record, field.name) for field in fields(record)]


def _ahead_of_row(row: Sequence[Any]) -> KernelArguments:
    symbol, slots, scratch, zeroed = row
    return KernelArguments(symbol=symbol, slots=tuple(slots), scratch=scratch, zeroed=zeroed)


def _cut(data: bytes, start: int, sizes: Sequence[int]) -> Iterator[bytes]:
    for size in sizes:
        yield data[start : start + size]
        start += size


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
