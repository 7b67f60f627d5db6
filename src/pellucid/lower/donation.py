"""Let outputs take over the memory of inputs: state that a program updates stays where it is.

Enters: a lowered program and pairs (output, input). Leaves: the program with the calls that make
such an output writing the input's slot. Where somebody still reads the old contents, the call is
moved behind the reader; where that cannot be, the output is made in a temporary and copied at the
end. The input's contents are lost either way: the caller gave them away.

A function of the host may fail and end the program. Inputs are written only behind the last one, so
that a program that fails leaves them all as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from pellucid.core.errors import ArgumentError
from pellucid.graph.ir import TensorType
from pellucid.graph.op import Cost
from pellucid.loop.ir import Buffer, For, Kernel, Load, Store, Var, as_expr
from pellucid.lower.flow import Branch, Step, leaves, nested, renamed
from pellucid.lower.program import BufferSlot, KernelCall, LoweredProgram

COPY = "copy"


def donate_inputs(program: LoweredProgram, pairs: Mapping[int, int]) -> LoweredProgram:
    """The program with output `o` made in the memory of input `i` for each pair `o: i`.

    Raises:
        ArgumentError: a position is out of range, an input is given twice, or the types differ.
    """
    _check_pairs(program, pairs)
    calls, slots, outputs = _Calls(program.steps), list(program.slots), list(program.outputs)
    late: list[KernelCall] = []
    for position, given in pairs.items():
        out, taken = outputs[position], program.inputs[given]
        outputs[position] = taken
        if not calls.take_over(out, taken):
            slots[out] = replace(slots[out], role="temp")
            late.append(copy_call(out, taken, slots[out].type))
    made = (*calls.in_order(), *late)
    return LoweredProgram(
        name=program.name,
        slots=_drop_unused(slots, made, (*program.inputs, *outputs)),
        steps=made,
        inputs=program.inputs,
        outputs=tuple(outputs),
    )


def copy_call(source: int, target: int, type: TensorType) -> KernelCall:
    """A call that copies one slot to another of the same type."""
    src, dst = (Buffer(name, (type.size,), type.dtype) for name in ("x0", "y0"))
    step = Store(dst, (Var("i0"),), Load(src, (Var("i0"),)))
    return KernelCall(
        kernel=Kernel(COPY, (src, dst), 1, (For("i0", as_expr(type.size), (step,)),)),
        args=(source, target),
        nodes=(),
        sources=(),
        cost=Cost(0, 2 * type.nbytes),
        inplace=((1, 0),),
    )


def touched(step: Step) -> tuple[int, ...]:
    """The slots a step reads or writes, its own ones included."""
    if isinstance(step, KernelCall):
        return step.args
    own = [step.index] if isinstance(step, Branch) else step.own_slots
    return (*own, *(s for steps in nested(step) for inner in steps for s in touched(inner)))


def written(step: Step) -> tuple[int, ...]:
    """The slots a step writes."""
    if isinstance(step, KernelCall):
        return step.args[len(step.args) - step.kernel.outputs :]
    own = [] if isinstance(step, Branch) else step.own_written
    return (*own, *(s for steps in nested(step) for inner in steps for s in written(inner)))


def read(step: Step) -> tuple[int, ...]:
    """The slots a step reads; of a branch or a loop all that it touches."""
    if isinstance(step, KernelCall):
        return step.args[: len(step.args) - step.kernel.outputs]
    return touched(step)


def _check_pairs(program: LoweredProgram, pairs: Mapping[int, int]) -> None:
    for output, given in pairs.items():
        if not (0 <= output < len(program.outputs) and 0 <= given < len(program.inputs)):
            raise ArgumentError(
                "donate",
                f"the program has {len(program.inputs)} inputs and {len(program.outputs)} outputs",
                operands={"output": output, "input": given},
            )
        types = [program.slots[s].type for s in (program.outputs[output], program.inputs[given])]
        if types[0] != types[1]:
            raise ArgumentError(
                "donate",
                "an output takes over the memory of an input of its own type",
                operands={f"output {output}": types[0], f"input {given}": types[1]},
            )
    if len(set(pairs.values())) != len(pairs):
        raise ArgumentError("donate", "an input is given away once", operands={"pairs": pairs})


class _Calls:
    """Steps in an order that may change, found by the slots they touch: programs are long."""

    def __init__(self, calls: Sequence[Step]) -> None:
        self.calls = dict(enumerate(calls))
        self.order = list(self.calls)
        self.place = {k: k for k in self.order}
        self.fallible = [k for k, step in self.calls.items() if _may_fail(step)]
        self.touching: dict[int, set[int]] = {}
        for k, call in self.calls.items():
            for slot in touched(call):
                self.touching.setdefault(slot, set()).add(k)

    def in_order(self) -> Iterator[Step]:
        """The steps as they are to run; copies of a slot to itself left out."""
        return (self.calls[k] for k in self.order if not _is_idle(self.calls[k]))

    def take_over(self, out: int, taken: int) -> bool:
        """Make `out` in `taken`, its writer behind all readers; False if that is impossible."""
        mine = sorted(self.touching.get(out, ()), key=self.place.__getitem__)
        writers = [k for k in mine if out in written(self.calls[k])]
        if not writers:  # nothing to compute: an empty array
            return True
        first, others = writers[0], self.touching.get(taken, set())
        if any(taken in written(self.calls[k]) for k in others):
            return False
        if first in self.fallible or not _overwrites(self.calls[first], out, taken):
            return False
        readers = [k for k in others if k not in writers]
        last = max((self.place[k] for k in (*readers, *self.fallible)), default=-1)
        if last > self.place[first] and not self._move(self.place[first], last):
            return False
        for k in mine:
            self.calls[k] = _rename(self.calls[k], out, taken)
        self.touching[taken] = others | self.touching.pop(out)
        return True

    def _move(self, first: int, last: int) -> bool:
        """Run call `first` of the order after call `last`, where none up to it needs its data."""
        if not _may_move([self.calls[k] for k in self.order[first : last + 1]]):
            return False
        self.order.insert(last, self.order.pop(first))
        self.place.update((k, n) for n, k in enumerate(self.order[first : last + 1], first))
        return True


def _may_fail(step: Step) -> bool:
    return any(call.host is not None and call.host.may_fail for call in leaves([step]))


def _is_idle(step: Step) -> bool:
    copies = isinstance(step, KernelCall) and step.kernel.name == COPY
    return copies and step.args[0] == step.args[1]


def _overwrites(call: Step, out: int, taken: int) -> bool:
    """True when the step may write `out` over each place where it reads `taken`."""
    if not isinstance(call, KernelCall):
        return False
    at = call.args.index(out)
    return all(
        (at, k) in call.inplace
        for k, slot in enumerate(call.args)
        if slot == taken and k < len(call.args) - call.kernel.outputs
    )


def _may_move(calls: Sequence[Step]) -> bool:
    """True when the first of these calls can run last: no other needs or changes its data."""
    makes, needs = set(written(calls[0])), set(read(calls[0]))
    return all(not makes & set(touched(c)) and not needs & set(written(c)) for c in calls[1:])


def _rename(step: Step, old: int, new: int) -> Step:
    def call(leaf: KernelCall) -> KernelCall:
        if old not in leaf.args:
            return leaf
        return replace(leaf, args=tuple(new if slot == old else slot for slot in leaf.args))

    renamed_step: Step = renamed(step, old, new, call)
    return renamed_step


def _drop_unused(
    slots: Sequence[BufferSlot], steps: Sequence[Step], kept: Sequence[int]
) -> tuple[BufferSlot, ...]:
    """Slots that nothing names any more become empty temporaries; ids stay positions."""
    used = {slot for step in steps for slot in touched(step)} | set(kept)
    return tuple(
        s
        if s.id in used
        else replace(s, role="temp", type=TensorType((0,), s.type.dtype), value=None)
        for s in slots
    )
