"""From a graph to machine code: the stages in order, and everything each of them made.

Read this file first. A program goes through

    graph -> PASSES -> lower_graph -> donate_inputs -> schedule_kernel -> render_kernel -> object

and `Compiled` holds what comes out at every arrow, made when first asked for: a program whose code
is in the cache needs none of them to run. Enters: a `Graph`. Leaves: `Compiled`, with one object
file per distinct kernel and one for the entry that calls them all. Does not place memory, link or
run: that is `runtime/`'s.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from pellucid.codegen.kernel import CompiledKernel, KernelObject, PackObject, Scratch
from pellucid.codegen.llvm import (
    LLVM_VERSION,
    KernelArguments,
    compile_ir,
    host_target,
    render_entry,
)
from pellucid.codegen.llvm_host import render_host
from pellucid.core.config import Config, current_config
from pellucid.core.dtype import as_dtype
from pellucid.core.errors import CompileError, LoweringError
from pellucid.core.meanwhile import QUICK_TURNS
from pellucid.core.shape import size_of
from pellucid.core.size import Dim, estimating, is_static
from pellucid.core.target import Target
from pellucid.core.version import source_digest
from pellucid.graph.foreign import foreign_digest
from pellucid.graph.ir import Graph
from pellucid.graph.key import graph_key
from pellucid.graph.sizes import graph_dims
from pellucid.loop.ir import Kernel
from pellucid.loop.key import kernel_key
from pellucid.loop.printer import print_kernel
from pellucid.lower.ahead import Around, loop_before, loops_around, ready_slots, with_ahead
from pellucid.lower.donation import donate_inputs
from pellucid.lower.flow import numbered, open_numbers
from pellucid.lower.graph_to_loop import lower_graph
from pellucid.lower.program import KernelCall, LoweredProgram
from pellucid.passes import (
    absorb_padding,
    batch_steps,
    choose_layouts,
    eliminate_common_subexpressions,
    eliminate_dead_code,
    fold_constants,
    fold_scales,
    group_fusion,
    inline_calls,
    merge_loops,
    narrow_windows,
    pack_kernels,
    share_repeats,
    simplify_algebra,
    simplify_unsafe,
    sink_movement,
    split_complex,
    transform_convolutions,
    trim_loops,
)
from pellucid.passes.manager import Pass, PassResult, run_passes, select_passes
from pellucid.schedule.choice import RULES, Choice
from pellucid.schedule.recipes import schedule_kernel
from pellucid.schedule.search.records import NONE, tuned_choices

_INLINE = Pass("inline_calls", inline_calls.run, "Bodies of calls become part of the program.")
_MERGE = Pass("merge_loops", merge_loops.run, "Loops that do the same steps become one.")
_TRIM = Pass("trim_loops", trim_loops.run, "Loops lose what they do not need, or do alike always.")
_BATCH = Pass("batch_steps", batch_steps.run, "Thin products of all steps of a loop become one.")
_SHARE = Pass(
    "share_repeats",
    share_repeats.run,
    "Equal parts are optimised once, by all that follows.",
    divide=share_repeats.divide,
)
_SPLIT = Pass(
    "split_complex", split_complex.run, "Complex numbers become real and imaginary parts."
)
_FOLD = Pass("fold_constants", fold_constants.run, "What needs no input is computed now.")
_SIMPLIFY = Pass("simplify_algebra", simplify_algebra.run, "Cheaper nodes that give the same bits.")
_UNSAFE = Pass(
    "simplify_unsafe", simplify_unsafe.run, "Rules that may change last bits.", unsafe=True
)
_SINK = Pass("sink_movement", sink_movement.run, "Broadcasts and transposes move down, and meet.")
_SCALES = Pass(
    "fold_scales", fold_scales.run, "Scales and shifts go into the literal weights beside them."
)
_CSE = Pass(
    "eliminate_common_subexpressions",
    eliminate_common_subexpressions.run,
    "Equal nodes are computed once.",
)
_DCE = Pass("eliminate_dead_code", eliminate_dead_code.run, "Nodes that no output needs go.")
_NARROW = Pass(
    "narrow_windows", narrow_windows.run, "What a slice cuts off a convolution is not computed."
)
_LAYOUT = Pass(
    "choose_layouts", choose_layouts.run, "Channels of images last where that is cheapest."
)
_PAD = Pass(
    "absorb_padding", absorb_padding.run, "Convolutions of single channels pad for themselves."
)
_WINOGRAD = Pass(
    "transform_convolutions",
    transform_convolutions.run,
    "Convolutions of 3 x 3 taps by Winograd's way where that is faster.",
)
_PACK = Pass(
    "pack_kernels",
    pack_kernels.run,
    "Convolution kernels in panels of channels where that is faster.",
)
_FUSE = Pass("group_fusion", group_fusion.run, "Nodes that share one loop nest become one node.")

PASSES: tuple[Pass, ...] = (
    _INLINE,
    _SPLIT,
    _MERGE,
    _TRIM,
    _BATCH,
    _SHARE,
    _DCE,
    _FOLD,
    _SIMPLIFY,
    _UNSAFE,
    _CSE,
    _SINK,
    # sinking brings together what the first round could not see
    _FOLD,
    _SIMPLIFY,
    _SCALES,
    _NARROW,
    _WINOGRAD,
    _LAYOUT,  # after what moves operands, which would move them back
    _PAD,
    _PACK,
    _FOLD,
    _CSE,
    _DCE,
    _TRIM,
    _FUSE,  # last: fixes which nodes share a kernel
)
"""The graph passes in the order they run; `PELLUCID_DISABLE_PASSES` names those to leave out."""


class ObjectStore(Protocol):
    """Where compiled objects are looked up and kept: bytes by a hexadecimal key."""

    def get(self, key: str) -> bytes | None:
        """The bytes under `key`, or None."""

    def put(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`."""


class PackCall(NamedTuple):
    """Constants made ready for a kernel: by what code, from which slots, to which new slot."""

    pack: PackObject
    sources: tuple[int, ...]
    slot: int


class AheadCall(NamedTuple):
    """A copy that a loop makes before its first step: the code, the call, when it is needed."""

    pack: PackObject
    call: KernelArguments
    begin: int
    end: int


class Binding(NamedTuple):
    """A program's calls with the slots they get, and what runs once before the first of them.

    Attributes:
        calls: in order; slots for scratch memory, packed constants and the records of functions of
            the host follow the program's own.
        packs: what fills the slots of packed constants.
        sizes: open sizes and their slots.
        numbers: what loops count with that is made of open sizes, and its slots.
        flow: the calls' numbers in their branches and loops.
        ahead: copies that loops make before their first step, with the numbers of the first and
            the last call between which they are needed.
    """

    calls: tuple[KernelArguments, ...]
    packs: tuple[PackCall, ...]
    sizes: tuple[tuple[Dim, int], ...] = ()
    numbers: tuple[tuple[int, int], ...] = ()
    flow: tuple[Any, ...] = ()
    ahead: tuple[AheadCall, ...] = ()

    def slots(self, program: int) -> int:
        """How many slots there are, with those of the program itself."""
        made = [s for c in self.calls for s in (*c.slots, c.scratch, c.host) if s is not None]
        made += [p.slot for p in self.packs]
        made += [s for a in self.ahead for s in (*a.call.slots, a.call.scratch) if s is not None]
        made += [slot for _, slot in (*self.sizes, *self.numbers)]
        return max([program, *(s + 1 for s in made)])


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A program and every form it takes, each made when first asked for.

    Attributes:
        graph: what was given.
        target: the machine this is for.
        config: which passes are off, and whether unsafe math is allowed.
        donated: for each output made in an input's memory, that input.
        choices: what was found for kernels by tuning, by `kernel_key`; rules hold for the others.
        keep_dumps: whether `passes` keeps the graph before and after each pass.
        seconds: time by stage, for the stages that have run.
    """

    graph: Graph
    target: Target
    config: Config
    donated: Mapping[int, int]
    choices: Mapping[str, Choice] = field(default_factory=lambda: NONE)
    keep_dumps: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """A digest of everything the program depends on; what the cache looks it up by."""
        parts = [
            graph_key(self.graph), foreign_digest(self.graph), repr(sorted(self.donated.items())),
            repr((self.config.disable_passes, self.config.unsafe_math)), _machine(self.target),
            *(f"{kernel} {choice}" for kernel, choice in sorted(self.choices.items())),
        ]  # fmt: skip
        return _digest(*parts)

    @cached_property
    def passes(self) -> PassResult:
        """The optimised graph, and what each pass did."""
        with self._stage("passes"), estimating():
            return optimize(self.graph, self.config, keep_dumps=self.keep_dumps)

    @cached_property
    def lowered(self) -> LoweredProgram:
        """Slots and kernel calls, with donations settled."""
        graph = self.passes.graph
        with self._stage("lower"), estimating():
            return donate_inputs(lower_graph(graph), self.donated)

    @cached_property
    def constants(self) -> tuple[frozenset[str], ...]:
        """For each call, the parameters of its kernel whose contents are known, or the same in all
        steps of a loop around it.
        """
        lowered = self.lowered
        known = {slot.id for slot in lowered.slots if slot.role == "constant"}
        found = []
        for call, around in zip(lowered.calls, self.around, strict=True):
            ready = known | ready_slots(call, around)
            pairs = zip(call.kernel.params, call.args, strict=True)
            found.append(frozenset(p.name for p, a in pairs if a in ready))
        return tuple(found)

    @cached_property
    def around(self) -> list[tuple[Around, ...]]:
        """For each call the loops that it is in."""
        return loops_around(self.lowered)

    @cached_property
    def kernel_keys(self) -> tuple[str, ...]:
        """What tells each call's kernel from others: its structure, and which operands are known.

        Kernels that differ in names alone share it. Tuning keeps its choices by it. For functions
        of the host it is `host`.
        """
        calls = list(zip(self.lowered.calls, self.constants, strict=True))
        seen: dict[tuple[int, frozenset[str]], str] = {}  # programs use the same kernels often
        with self._stage("symbols"):
            for call, known in calls:
                if (id(call.kernel), known) not in seen:
                    seen[id(call.kernel), known] = self._kernel_key(call, known)
            return tuple(seen[id(call.kernel), known] for call, known in calls)

    def _kernel_key(self, call: KernelCall, known: frozenset[str]) -> str:
        if call.host is not None:
            return "host"
        key = _kernel_digest(call.kernel, known)
        if call.recipe is None:
            return key
        try:
            steps = schedule_kernel(call.kernel, self.target, known, RULES, call.recipe)
        except Exception as error:
            name, where = call.kernel.name, ", ".join(call.sources)
            rule = f"its own schedule fails: {type(error).__name__}: {error}"
            raise CompileError(f"kernel {name}", rule, source=where) from error
        return _digest(key, kernel_key(steps[-1].kernel))

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """The kernel's symbol, for each call; calls of equal kernels share it."""
        machine = _machine(self.target)
        chosen = [str(self.choices[k]) if k in self.choices else "" for k in self.kernel_keys]
        rows = zip(self.kernel_keys, chosen, self.lowered.calls, strict=True)
        return tuple(
            f"kernel_{_digest(key, machine, choice)[:32]}"
            if call.host is None
            else f"host_{_digest(_host_ir(call, 'host'), machine)[:32]}"
            for key, choice, call in rows
        )

    @cached_property
    def kernels(self) -> Mapping[str, CompiledKernel]:
        """The distinct kernels, by symbol."""
        keys = zip(self.symbols, self.kernel_keys, strict=True)
        choices = [(symbol, self.choices.get(key, RULES)) for symbol, key in keys]
        calls = zip(choices, self.lowered.calls, self.constants, strict=True)
        return {
            symbol: CompiledKernel(symbol, c.kernel, self.target, known, choice, c.recipe)
            for (symbol, choice), c, known in calls
            if c.host is None
        }

    @cached_property
    def hosts(self) -> Mapping[str, KernelObject]:
        """The code that calls functions of the host, by symbol."""
        pairs = zip(self.symbols, self.lowered.calls, strict=True)
        calls = {symbol: call for symbol, call in pairs if call.host is not None}
        return {
            symbol: KernelObject(
                compile_ir(_host_ir(call, symbol), self.target),
                Scratch(0 if call.host is None else call.host.workspace, 0),
                tuple(range(len(call.args))),
            )
            for symbol, call in calls.items()
        }

    @property
    def entry(self) -> str:
        """The symbol of the function that makes all calls, with a table of pointers by slot."""
        return f"program_{self.key[:32]}"

    def kernel_of(self, call: int) -> CompiledKernel:
        """The kernel that call number `call` runs."""
        return self.kernels[self.symbols[call]]

    def objects(self, store: ObjectStore | None = None) -> dict[str, KernelObject]:
        """The objects of distinct kernels and calls of the host, by symbol.

        Args:
            store: where kernels compiled before are found, and new ones kept.

        Raises:
            CompileError: a kernel failed; names it and the user's lines it comes from.
        """
        if self.config.threads == 1:
            made = {symbol: self._object(k, store)() for symbol, k in self.kernels.items()}
            return {**made, **self.hosts}
        # LLVM works without the interpreter's lock: it compiles one kernel while the next is
        # scheduled and printed
        with QUICK_TURNS, ThreadPoolExecutor(1, "pellucid-llvm") as llvm:
            try:
                begun = {s: llvm.submit(self._object(k, store)) for s, k in self.kernels.items()}
                return {**{s: future.result() for s, future in begun.items()}, **self.hosts}
            except BaseException:
                llvm.shutdown(cancel_futures=True)
                raise

    def bind(self, objects: Mapping[str, KernelObject]) -> Binding:
        """What every call is called with. New slots are numbered after the program's."""
        fresh = itertools.count(len(self.lowered.slots))
        sizes = {d: next(fresh) for d in graph_dims(self.graph)}
        numbers = {n: next(fresh) for n in dict.fromkeys(open_numbers(self.lowered.steps))}
        packs = _Packs(self.lowered, fresh)
        calls = []
        rows = zip(self.symbols, self.lowered.calls, self.around, strict=True)
        for symbol, call, around in rows:
            made = objects[symbol]
            copies = [packs.slot(p, [call.args[i] for i in p.sources], around) for p in made.packs]
            slots = tuple(call.args[i] if i >= 0 else copies[-1 - i] for i in made.params)
            if symbol in self.kernels:
                slots += tuple(sizes[d] for d in self.kernels[symbol].dims)
            elif not is_static(tuple(self.lowered.slots[k].type.shape for k in call.args)):
                raise LoweringError(call.kernel.name, "a function of the host wants to know sizes")
            scratch = None if made.scratch == (0, 0) else next(fresh)
            host = None if call.host is None else next(fresh)
            calls.append(KernelArguments(symbol=symbol, slots=slots, scratch=scratch, host=host))
        made_of = tuple(sizes.items()), tuple(numbers.items())
        flow = with_ahead(numbered(self.lowered.steps), packs.by_loop)
        return Binding(
            tuple(calls), tuple(packs.constant.values()), *made_of, flow, tuple(packs.ahead)
        )

    def entry_object(self, binding: Binding) -> bytes:
        """The object file of the entry, which makes these calls."""
        numbers = dict(binding.numbers)
        with self._stage("entry"):
            text = render_entry(
                binding.calls, self.entry, steps=binding.flow, numbers=numbers,
                ahead=[made.call for made in binding.ahead],
            )  # fmt: skip
            return compile_ir(text, self.target)

    @property
    def ir(self) -> str:
        """The LLVM IR of all kernels."""
        return "\n".join(k.ir for k in self.kernels.values())

    @property
    def assembly(self) -> str:
        """The machine code of all kernels, as text."""
        return "\n".join(k.assembly for k in self.kernels.values())

    def _object(
        self, kernel: CompiledKernel, store: ObjectStore | None
    ) -> Callable[[], KernelObject]:
        """Look the kernel's object up, or bring it to LLVM's door; what is left to do."""
        key = kernel.symbol.removeprefix("kernel_")
        known = store.get(key) if store else None
        if known is not None:
            return functools.partial(KernelObject.from_bytes, known)
        # form by form, so that each stage is timed by itself
        self._make(kernel, "schedule", "hoisted")
        self._make(kernel, "render", "ir")

        def finish() -> KernelObject:
            self._make(kernel, "llvm", "object")
            if store:
                store.put(key, kernel.object.to_bytes())
            return kernel.object

        return finish

    def _make(self, kernel: CompiledKernel, stage: str, form: str) -> None:
        try:
            with self._stage(stage):
                getattr(kernel, form)
        except Exception as error:
            raise self._failed(kernel, error) from error

    def _failed(self, kernel: CompiledKernel, error: Exception) -> CompileError:
        calls = zip(self.symbols, self.lowered.calls, strict=True)
        sources = [s for symbol, call in calls if symbol == kernel.symbol for s in call.sources]
        return CompileError(
            f"kernel {kernel.kernel.name}",
            f"{type(error).__name__}: {error}\nThe kernel:\n{print_kernel(kernel.kernel)}\n",
            source=", ".join(dict.fromkeys(sources)),
        )

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class _Packs:
    """Copies that kernels want made before they run: of constants once, else before a loop."""

    def __init__(self, lowered: LoweredProgram, fresh: Iterator[int]) -> None:
        self.fresh = fresh
        self.known = {s.id for s in lowered.slots if s.role == "constant"}
        self.constant: dict[tuple[str, tuple[int, ...]], PackCall] = {}
        self.ahead: list[AheadCall] = []
        self.by_loop: dict[int, tuple[int, ...]] = {}
        self._made: dict[tuple[str, tuple[int, ...], int], int] = {}

    def slot(self, pack: PackObject, sources: Sequence[int], around: Sequence[Around]) -> int:
        """Where the copy is, made if it is not there yet."""
        key = pack.symbol, tuple(sources)
        if self.known.issuperset(sources):
            if key not in self.constant:
                self.constant[key] = PackCall(pack, key[1], next(self.fresh))
            return self.constant[key].slot
        loop = loop_before(around, [s for s in sources if s not in self.known])
        if loop is None:
            raise CompileError(pack.symbol, "copies what changes in the loop around it")
        made = self._made.get((*key, loop.number))
        if made is None:
            made = self._made[*key, loop.number] = next(self.fresh)
            scratch = next(self.fresh) if pack.scratch else None
            nbytes = size_of(pack.shape) * as_dtype(pack.dtype).itemsize
            call = KernelArguments(
                symbol=pack.symbol, slots=(*sources, made), scratch=scratch, zeroed=nbytes
            )
            mine = self.by_loop.get(loop.number, ())
            self.by_loop[loop.number] = (*mine, len(self.ahead))
            self.ahead.append(AheadCall(pack, call, loop.begin, loop.end))
        return made


def compile_graph(
    graph: Graph,
    target: Target | None = None,
    config: Config | None = None,
    *,
    keep_dumps: bool = False,
    donate: Mapping[int, int] = MappingProxyType({}),
) -> Compiled:
    """The compilation of a graph for `target`; its stages run when they are asked for.

    Args:
        graph: the program.
        target: the machine to compile for; this one by default.
        config: which passes are off, and whether unsafe math is allowed; the process's by default.
        keep_dumps: keep the graph before and after each pass.
        donate: output position -> position of the input whose memory it takes over; that input's
            contents are lost.

    Raises:
        ArgumentError: a pass that is switched off does not exist. Later, by the stages: `donate`
            does not fit the program.
        CompileError: later, by the stages: a pass or a kernel failed.
    """
    config = config or current_config()
    target = this_machine() if target is None else target
    select_passes(PASSES, config.disable_passes, unsafe=config.unsafe_math)
    return Compiled(
        graph=graph,
        target=target,
        config=config,
        donated=dict(donate),
        choices=tuned_choices(config, target),
        keep_dumps=keep_dumps,
    )


@functools.cache
def this_machine() -> Target:
    """The machine this process runs on, looked at once."""
    return host_target()


def optimize(graph: Graph, config: Config | None = None, *, keep_dumps: bool = False) -> PassResult:
    """Run `PASSES`, less those that `config`, or else the process's, switches off.

    Raises:
        ArgumentError: a pass that is switched off does not exist.
        CompileError: a pass failed.
    """
    config = config or current_config()
    disabled, unsafe = config.disable_passes, config.unsafe_math
    return run_passes(graph, PASSES, disabled, keep=keep_dumps, unsafe=unsafe)


def _host_ir(call: KernelCall, symbol: str) -> str:
    if call.host is None:
        raise CompileError(call.kernel.name, "is no function of the host")
    return render_host(call.host, len(call.args), symbol)


def _kernel_digest(kernel: Kernel, constants: Collection[str]) -> str:
    known = [i for i, p in enumerate(kernel.params) if p.name in constants]
    return _digest(kernel_key(kernel), repr(known))


def _machine(target: Target) -> str:
    """What code depends on besides the program: the target and the compilers' versions."""
    return f"{target!r} {source_digest()} {LLVM_VERSION}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
