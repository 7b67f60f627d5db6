"""Direct calls: the latest programs of a function, tried on a call's arguments natively.

Enters: a program, and the arguments of a call that it has just run. Leaves: a `Direct`, which runs
the program for arguments of the same kind and structure, as long as the state it reads is where it
was, and declines otherwise. Jitted functions and eager operations both try these first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.codegen.llvm_call import Source
from pellucid.core.errors import CompileError
from pellucid.runtime.buffer import array_maker
from pellucid.runtime.direct import DirectPlan
from pellucid.runtime.executable import Executable
from pellucid.tensor.box import STATE, Array, Box
from pellucid.tensor.guards import EDITS
from pellucid.tensor.tree import unflatten

if TYPE_CHECKING:  # annotations only
    from pellucid.tensor.specialisation import Specialisation

DECLINED = object()
MOST_DIRECT = 4  # programs of one function that a call tries in turn
PLANNED_AT = frozenset(2**k for k in range(1, 24))  # runs after which a plan is made, or made anew
_CONTAINERS = (tuple, list, dict)
Plain = Callable[[Array], Box]


class Direct:
    """One program of a jitted function, called without reading its arguments in Python.

    Attributes:
        spec: the program and what it was made from.
        call: runs it for positional and named arguments.
    """

    __slots__ = (
        "_call", "_grad", "_grads", "_lock", "_makers", "_names", "_plain", "_plan", "_result",
        "_run", "call", "spec",
    )  # fmt: skip

    def __init__(self, spec: Specialisation, plan: DirectPlan, plain: Plain) -> None:
        recorded = spec.recorded
        self.spec, self._plan, self._call = spec, plan, plan.finish()
        self._lock = None if plan.is_brief else spec.executable.lock
        self._grad = STATE.grad
        self._names = [(g.read, g.seen) for g in recorded.guards]
        program, traced = spec.executable.program, recorded.traced
        fresh = [i for i in range(len(program.outputs)) if i not in program.donated]
        ports = [program.outputs[i] for i in fresh]
        self._makers = [array_maker(p.shape, p.numpy) for p in ports]
        written = [(traced.results + i, c) for i, c in enumerate(traced.writes)]
        self._grads = [(fresh.index(i), c.box) for i, c in written if c.slot == "grad"]
        self._plain = plain
        self._run = self._run_and_store if self._grads else self._call
        self._result = _result_maker(spec, plain)
        single = len(self._makers) == 1 and _is_single(spec)
        simple = single and self._lock is None and not self._grads
        self.call = self._one_result(self._makers[0]) if simple else self._any_results

    def _one_result(self, make: Callable[[], Array]) -> Callable[[Any, Any], Any]:
        """What `call` is where there is one result, no gradient and nothing to lock: as
        `_any_results`, in less time.
        """
        spec, grad, native, plain = self.spec, self._grad, self._call, self._plain
        names = self._names

        def run(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if spec.edits != EDITS.count or STATE.grad is not grad:
                return DECLINED
            for read, seen in names:
                if read() is not seen:
                    return DECLINED
            output = make()
            return plain(output) if native(args, kwargs, [output]) else DECLINED

        return run

    def _any_results(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The function's result, or `DECLINED` where the program does not fit; no trace is open."""
        if self.spec.edits != EDITS.count or STATE.grad is not self._grad:
            return DECLINED
        for read, seen in self._names:
            if read() is not seen:
                return DECLINED
        outputs = [make() for make in self._makers]
        if self._lock is None:
            done = self._run(args, kwargs, outputs)
        else:
            with self._lock:
                done = self._run(args, kwargs, outputs)
        return self._result(outputs) if done else DECLINED

    def _run_and_store(self, args: Any, kwargs: Any, outputs: list[Array]) -> bool:
        """Run, and put the gradients where they belong; an interrupt finds all or nothing done."""
        try:
            done = self._call(args, kwargs, outputs)
            if done:
                self._store(outputs)
        except BaseException:
            if self._plan.ran:
                self._store(outputs)
            raise
        return done

    def _store(self, outputs: list[Array]) -> None:
        for i, box in self._grads:
            box._grad = self._plain(outputs[i])


def make_direct(
    spec: Specialisation, args: tuple[Any, ...], kwargs: dict[str, Any], plain: Plain
) -> Direct | None:
    """Direct calls of a program that has just run with these arguments; None where it needs more
    care than they take.

    Args:
        spec: the program and what it was made from.
        args: positional arguments.
        kwargs: named ones.
        plain: makes a tensor that holds an array.
    """
    if not _is_simple(spec):
        return None
    plan = _plan_arguments(spec.executable, args, kwargs, numbers=True)
    if plan is None:
        return None
    _watch_state(spec, plan)
    return Direct(spec, plan, plain)


Attempt = Callable[[tuple[Any, ...], dict[str, Any]], Any]


def make_attempt(
    executable: Executable,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    plain: Plain,
    numbers: bool,
) -> Attempt | None:
    """Direct calls of an eager operation with one result: a function that returns the result, or
    None where the program does not fit.

    Args:
        executable: the program, which has just run with these arguments, no gradient wanted.
        args: positional arguments.
        kwargs: named ones.
        plain: makes a tensor that holds an array.
        numbers: whether Python numbers are inputs of the program rather than part of it.
    """
    plan = _plan_arguments(executable, args, kwargs, numbers)
    if plan is None or not plan.is_brief:
        return None
    call, port = plan.finish(), executable.program.outputs[0]
    make = array_maker(port.shape, port.numpy)

    def attempt(args: tuple[Any, ...], kwargs: dict[str, Any], _: DirectPlan = plan) -> Any:
        output = make()
        return plain(output) if call(args, kwargs, [output]) else None

    return attempt


def _plan_arguments(
    executable: Executable, args: tuple[Any, ...], kwargs: dict[str, Any], numbers: bool
) -> DirectPlan | None:
    if executable.watched or (executable.hosts is not None and executable.hosts.may_fail):
        return None
    try:
        plan = DirectPlan(executable, Box)
    except CompileError:  # not on this interpreter
        return None
    walk = _Arguments(plan, numbers)
    known = walk.describe(args, (0, Source.REGISTER, 0))
    return plan if known and walk.describe(kwargs, (1, Source.REGISTER, 0)) else None


class _Arguments:
    """The arguments of a call, told to a plan in the order in which they are read."""

    def __init__(self, plan: DirectPlan, numbers: bool) -> None:
        self.plan, self.numbers, self.inputs = plan, numbers, 0

    def describe(self, value: Any, place: tuple[int, Source, Any]) -> bool:
        """Tell what stands at a place; False where a plan cannot know it."""
        if type(value) in _CONTAINERS:
            register, source = self.plan.container(value, *place)
            items = value.items() if type(value) is dict else enumerate(value)
            return all([self.describe(v, (register, source, k)) for k, v in items])
        if isinstance(value, Box) or type(value) is np.ndarray:
            self.plan.data(self._next(), value, *place)
        elif self.numbers and type(value) in (float, int):
            return self.plan.number(self._next(), type(value), *place)
        elif isinstance(value, (*_CONTAINERS, np.ndarray, np.generic)):
            return False
        else:
            self.plan.static(value, *place)
        return True

    def _next(self) -> int:
        self.inputs += 1
        return self.inputs - 1


def _is_simple(spec: Specialisation) -> bool:
    """Whether a run changes nothing but contents of arrays in place, and gradients."""
    traced, program = spec.recorded.traced, spec.executable.program
    cells = [c.box for c in traced.captures if c.slot == "value"]
    donors = set(program.donated.values())
    return (
        not spec.recorded.narrow
        and len(cells) == len(traced.captures)
        and len(program.donated) == len([c for c in traced.writes if c.slot == "value"])
        and all(_is_plain(b, traced.arguments + i in donors) for i, b in enumerate(cells))
    )


def _is_plain(box: Box, donated: bool) -> bool:
    array = box._array
    if type(array) is not np.ndarray:
        return False
    flags = array.flags
    return flags.c_contiguous and flags.aligned and (flags.writeable or not donated)


def _watch_state(spec: Specialisation, plan: DirectPlan) -> None:
    recorded, traced = spec.recorded, spec.recorded.traced
    for i, capture in enumerate(traced.captures):
        plan.state(traced.arguments + i, capture.box)
    for box, wanted in recorded.wants:
        plan.watch(box, "requires_grad", wanted)
    for constant in traced.constants:
        plan.watch(constant.box, "_array", constant.array)
    for box, seen in recorded.grads_seen:
        plan.watch(box, "_grad", None, equal=not seen)
    for box in traced.cleared:
        plan.watch(box, "_grad", None)


def _is_single(spec: Specialisation) -> bool:
    """Whether a function returns one tensor, the first result of its program."""
    structure, leaves = spec.recorded.result, spec.recorded.leaves
    return structure.kind is None and [getattr(v, "index", None) for v in leaves] == [0]


def _result_maker(spec: Specialisation, plain: Plain) -> Callable[[list[Array]], Any]:
    """From the arrays of the results to what the function returns."""
    structure, leaves = spec.recorded.result, spec.recorded.leaves
    count = spec.recorded.traced.results  # gradients come after them
    if [getattr(v, "index", None) for v in leaves] != list(range(count)):
        return lambda arrays: unflatten(structure, spec.leaves([plain(a) for a in arrays[:count]]))
    if structure.kind is None:
        return lambda arrays: plain(arrays[0])
    if structure.kind is tuple and all(c.kind is None for c in structure.children):
        return lambda arrays: tuple([plain(a) for a in arrays[:count]])
    return lambda arrays: unflatten(structure, [plain(a) for a in arrays[:count]])
