"""What a recorded loop carries from turn to turn: found by recording its body until types settle.

Tensors are carried. A Python value stays one as long as a turn leaves it as it was; a number that
changes becomes a tensor. A variable that cannot be carried (another type, shape or structure after
a turn) is left without a value, so that only reading it is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pellucid.core.errors import TraceError
from pellucid.graph.ir import GraphBuilder, Value
from pellucid.tensor.box import Box
from pellucid.tensor.convert.growing import Growing
from pellucid.tensor.convert.leaves import (
    Content,
    Kind,
    Leaf,
    MismatchError,
    Outer,
    Plain,
    described,
    joined,
    kind_of,
    same,
    structure,
)
from pellucid.tensor.convert.regions import Region, record_region
from pellucid.tensor.convert.state import ABSENT, Variable, leave_empty, values
from pellucid.tensor.trace import Trace
from pellucid.tensor.tree import TreeDef, flatten, unflatten

_MOST_TRIES = 32


@dataclass(slots=True)
class Slot:
    """How one variable goes through a loop.

    Attributes:
        variable: which.
        before: its value before the loop.
        treedef: its structure; None while it has no value.
        leaves: per leaf the type it is carried in, or the Python value or tensor it keeps.
        born: it has a value only once a turn has given it one.
        empty: no turn may read it before giving it a value.
        grows: a list that only grows: how many items a turn adds.
        why: why it cannot be carried.
    """

    variable: Variable
    before: Any
    treedef: TreeDef | None = None
    leaves: list[Kind | Plain | Outer] = field(default_factory=list)
    born: bool = False
    empty: bool = False
    grows: int = 0
    why: str = ""

    @property
    def kinds(self) -> list[Kind]:
        """The types of the leaves that are carried."""
        return [leaf for leaf in self.leaves if isinstance(leaf, Kind)]


def slots_for(variables: Sequence[Variable]) -> list[Slot]:
    """How variables go into a loop: tensors are carried, everything else is as it is."""
    found = []
    for variable, value in zip(variables, values(variables), strict=True):
        slot = Slot(variable, value)
        if value is not ABSENT:
            leaves, slot.treedef = flatten(value)
            slot.leaves = [_carried(v, variable.changed) for v in leaves]
        found.append(slot)
    return found


def _carried(value: Any, changed: bool) -> Kind | Plain | Outer:
    """How a leaf is carried at first; one that may only be changed in place stays as it is."""
    if not isinstance(value, Box):
        return Plain(value)
    return Outer(value, kind_of(value)) if changed and not value.weak else kind_of(value)


class Loop:
    """One loop, recorded.

    Args:
        name: what it is called in messages: "the `while`", with its line.
        variables: what its body may change.
        certain: it makes at least one turn.
        items: types of what each turn is given besides.
    """

    def __init__(
        self, name: str, variables: Sequence[Variable], certain: bool, items: Sequence[Kind] = ()
    ) -> None:
        self.name, self._certain, self.items = name, certain, items
        self.slots = slots_for(variables)
        self._variables = variables

    @property
    def carried(self) -> list[Kind]:
        """Types of all that is carried."""
        return [k for slot in self.slots for k in slot.kinds]

    def settle(self, run: Callable[[Sequence[Box]], Any]) -> Region:
        """Record the body, again and again until what it leaves has the types it began with.

        Args:
            run: the body, on the items of a turn.
        """
        for _ in range(_MOST_TRIES):
            region = self.record("body", run)
            changed = [self._update(s, c, k) for s, c, k in zip(
                self.slots, region.contents, region.same, strict=True)]  # fmt: skip
            if not any(changed):
                return region
        raise TraceError("convert", f"the types in {self.name} change with every turn")

    def record(self, name: str, run: Callable[[Sequence[Box]], Any]) -> Region:
        """Record a function of the carried values."""
        items: list[Box] = []

        def enter(trace: Trace) -> list[Any]:
            start = [_entered(slot, trace) for slot in self.slots]
            items.extend(_input(k, trace) for k in self.items)
            for slot in self.slots:
                if slot.why or slot.empty:
                    leave_empty(slot.variable, slot.why or self._not_yet(slot))
            return start

        return record_region(name, self._variables, enter, lambda: run(items))

    def _not_yet(self, slot: Slot) -> str:
        return f"{self.name} gives it a value only in a turn: give it one before the loop"

    def _update(self, slot: Slot, content: Content | None, kept: bool) -> bool:
        """Fit a slot to what a turn left; whether that changed it."""
        if slot.why:
            return False
        try:
            if slot.treedef is None:
                return self._born(slot, content)
            if content is None:
                raise MismatchError(_shown(slot), "nothing")
            if slot.grows or self._is_growing(slot, content, kept):
                return self._grown(slot, content)
            return _fit(slot, content)
        except MismatchError as error:
            self._drop(slot, error.told("turn"))
            return True

    def _born(self, slot: Slot, content: Content | None) -> bool:
        """A variable that has no value before the loop."""
        if content is None:
            return False
        if not (self._certain or slot.variable.flag):
            slot.why = f"{self.name} may make no turn: give it a value before the loop"
            return True
        slot.born, slot.treedef = True, content.treedef
        slot.empty = not slot.variable.flag
        slot.leaves = [v if isinstance(v, Plain) else v.kind for v in content.leaves]
        return True

    def _drop(self, slot: Slot, text: str) -> None:
        slot.why = f"{self.name} would change its type: it is {text}"
        slot.treedef, slot.leaves, slot.born, slot.empty = None, [], False, False
        if not slot.variable.place.name.isidentifier():
            raise TraceError("convert", f"{slot.variable.place.name}: {slot.why}")

    def _is_growing(self, slot: Slot, content: Content, kept: bool) -> bool:
        """Whether a turn of a loop whose turns are counted only added items to a list."""
        longer = len(content.leaves) > len(slot.leaves)
        return self._certain and kept and type(slot.before) is list and longer

    def _grown(self, slot: Slot, content: Content) -> bool:
        if not slot.grows:
            added = len(content.treedef.children) - len(slot.before)
            slot.grows, slot.leaves = added, []
            return True
        if any(isinstance(leaf, Plain) for leaf in content.leaves):
            raise MismatchError("a list", "one with new items that are no tensors")
        return False


def _fit(slot: Slot, content: Content) -> bool:
    if content.treedef != slot.treedef:
        raise MismatchError(_shown(slot), structure(content))
    before = list(slot.leaves)
    slot.leaves = [_fitted(a, b) for a, b in zip(slot.leaves, content.leaves, strict=True)]
    return any(a is not b and a != b for a, b in zip(before, slot.leaves, strict=True))


def _fitted(carried: Kind | Plain | Outer, left: Leaf) -> Kind | Plain | Outer:
    """How a leaf is carried, given what a turn made of it."""
    if isinstance(carried, Outer):
        if isinstance(left, Outer) and left.box is carried.box:
            return carried
        carried = carried.kind
    if isinstance(carried, Plain):
        return carried if same(carried, left) else _join(carried, left)
    if isinstance(left, Plain) or left.kind != carried:
        return _join(carried, left)
    return carried


def _join(carried: Kind | Plain, left: Leaf) -> Kind:
    first: Any = carried if isinstance(carried, Plain) else _Typed(carried)
    try:
        return joined(first, left)
    except MismatchError:
        old = described(carried) if isinstance(carried, Plain) else str(carried)
        raise MismatchError(old, described(left)) from None


@dataclass(frozen=True, slots=True)
class _Typed:
    """A leaf of which only the type matters."""

    kind: Kind


def _shown(slot: Slot) -> str:
    if slot.treedef is not None and slot.treedef.kind is None:
        leaf = slot.leaves[0]
        return str(leaf) if isinstance(leaf, Kind) else described(leaf)
    name = slot.treedef.kind.__name__ if slot.treedef and slot.treedef.kind else "nothing"
    return f"a {name} of {len(slot.leaves)}"


def may_be_held(value: Any) -> bool:
    """Whether other names may hold the tensor that a carried value is before the first turn."""
    return isinstance(value, Box) and not value.weak


def starts(slot: Slot) -> list[Any]:
    """The carried leaves before the first turn."""
    if slot.born:
        return [0 for _ in slot.kinds]
    found = [] if slot.grows or slot.treedef is None else flatten(slot.before)[0]
    return [v for k, v in zip(slot.leaves, found, strict=True) if isinstance(k, Kind)]


def _input(kind: Kind, trace: Trace) -> Box:
    box = trace.wrap(trace.argument(kind.type, "x")._require_value())
    box.weak = kind.weak
    return box


def _entered(slot: Slot, trace: Trace) -> Any:
    """The value of a variable at the start of a turn; its carried leaves are arguments."""
    if slot.grows:
        return Growing()
    carried = [_input(v, trace) if isinstance(v, Kind) else kept(v) for v in slot.leaves]
    arguments = [c for c, v in zip(carried, slot.leaves, strict=True) if isinstance(v, Kind)]
    pairs = zip(arguments, starts(slot), strict=True)
    trace.perhaps_shared.update(box for box, start in pairs if may_be_held(start))
    if slot.why or slot.empty or slot.treedef is None:
        return ABSENT
    return unflatten(slot.treedef, carried)


def kept(leaf: Plain | Outer) -> Any:
    """A leaf that all turns leave as it is."""
    return leaf.value if isinstance(leaf, Plain) else leaf.box


def inputs_of(kinds: Sequence[Kind], builder: GraphBuilder) -> list[Value]:
    """One input of a graph for each type."""
    return [builder.input(k.type, "c") for k in kinds]
