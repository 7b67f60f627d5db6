"""`if` and `a if c else b` on tensors: both branches recorded, one chosen when the program runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid import ops
from pellucid.autodiff.switch import switch
from pellucid.core.dtype import int32
from pellucid.core.errors import TraceError
from pellucid.core.source import user_line
from pellucid.graph.ir import Graph, GraphBuilder, Value
from pellucid.tensor.box import Box
from pellucid.tensor.convert.assign import assign
from pellucid.tensor.convert.journal import retried
from pellucid.tensor.convert.leaves import (
    Content,
    Kind,
    Leaf,
    Made,
    MismatchError,
    Outer,
    Plain,
    check_structure,
    joined,
    same,
    zeros,
)
from pellucid.tensor.convert.logic import is_recorded, truth
from pellucid.tensor.convert.regions import (
    Region,
    commit,
    fresh,
    inputs_for,
    outer_trace,
    read_outside,
    rebuilt,
    record_region,
    wired,
    without_unread,
    written_cells,
)
from pellucid.tensor.convert.state import ABSENT, Scope, Variable, leave_empty, values
from pellucid.tensor.trace import Capture, Trace

Block = Callable[[], Any]


def nothing() -> None:
    """A block without statements."""


def if_(test: Any, then: Any, orelse: Any = nothing, **scope: Any) -> None:
    """Run or record an `if` statement."""
    if is_recorded(test):
        record_branches(test, then, orelse, Scope(then, **scope).variables())
    else:
        (then if test else orelse)()


def choose(test: Any, then: Block, orelse: Block) -> Any:
    """The value of `then() if test else orelse()`."""
    if not is_recorded(test):
        return then() if test else orelse()
    return record_branches(test, then, orelse, [])


def record_branches(test: Any, then: Block, orelse: Block, variables: Sequence[Variable]) -> Any:
    """Record both branches as one `switch`; returns what they return."""

    def attempt(places: Sequence[Variable]) -> _Merge:
        return _Merge([_record("true", places, then), _record("false", places, orelse)], places)

    return retried(variables, attempt).emit(truth(test))


def _record(name: str, variables: Sequence[Variable], run: Block) -> Region:
    def enter(trace: Trace) -> list[Any]:
        return [
            fresh(v) if place.changed else v
            for place, v in zip(variables, values(variables), strict=True)
        ]

    return record_region(name, variables, enter, run)


@dataclass(slots=True)
class _Output:
    """A tensor that the `switch` gives: a leaf of each branch, in one type; None is not there."""

    kind: Kind
    leaves: tuple[Leaf | None, Leaf | None]


class _Merge:
    """What two branches left, as one: which tensors the program must choose, and what is built of
    them.
    """

    def __init__(self, pair: Sequence[Region], variables: Sequence[Variable]) -> None:
        self._pair, self._variables = pair, variables
        self._outputs: list[_Output] = []
        left = [self._returns(region) for region in pair]
        self._gone = left.index(True) if left.count(True) == 1 else None

    def _returns(self, region: Region) -> bool:
        """Whether a branch has returned from the function: nobody looks at what else it left."""
        for variable, content in zip(self._variables, region.contents, strict=True):
            if variable.flag and variable.place.name.startswith("returned_") and content:
                return content.leaves == (Plain(True),)
        return False

    def emit(self, test: Box) -> Any:
        """Record the choice; gives the variables their values and returns the result."""
        line = user_line()
        result = self._result(line)
        plans = [self._plan(i, line) for i in range(len(self._variables))]
        cells = written_cells(self._pair)
        boxes = self._recorded(test, cells)
        chosen = boxes[: len(self._outputs)]
        for variable, before, plan in zip(
            self._variables, values(self._variables), plans, strict=True
        ):
            if isinstance(plan, str):
                leave_empty(variable, plan)
            elif plan is not None:
                built = rebuilt(plan.content, [_read(leaf, chosen) for leaf in plan.leaves])
                assign(variable, before, built, plan.same)
        commit(cells, boxes[len(self._outputs) :])
        return rebuilt(result.content, [_read(leaf, chosen) for leaf in result.leaves])

    def _result(self, line: str) -> _Plan:
        a, b = self._pair[0].result, self._pair[1].result
        try:
            return self._joined(a, b)
        except MismatchError as error:
            rule = f"both sides must have one type: it is {error.told('where')}"
            fix = (
                "choose between tensors or numbers of one shape; a string or None cannot be chosen"
            )
            raise TraceError("conditional expression", rule, source=line, fix=fix) from None

    def _plan(self, i: int, line: str) -> _Plan | str | None:
        """How to build a variable's value; None leaves it, a text tells why it has none."""
        variable = self._variables[i]
        a, b = self._pair[0].contents[i], self._pair[1].contents[i]
        if not variable.kept or (a is None and b is None and variable.place.get() is ABSENT):
            return None
        if self._gone is not None and not variable.flag:
            content = b if self._gone == 0 else a
            if content is not None:
                leaves = [self._flag(v, self._gone == 1) for v in content.leaves]
                return _Plan(content, leaves, self._pair[1 - self._gone].same[i])
        try:
            if a is None or b is None:
                return self._one_sided(variable, a, b, line)
            plan = self._joined(a, b)
        except MismatchError as error:
            why = (
                f"after the `if` at {line}, which depends on a tensor, it is {error.told('where')}"
            )
            return _refused(variable, why)
        plan.same = self._pair[0].same[i] and self._pair[1].same[i]
        return plan

    def _one_sided(
        self, variable: Variable, a: Content | None, b: Content | None, line: str
    ) -> _Plan | str:
        """A variable that one branch left without a value."""
        if a is None and b is None:
            return f"both branches of the `if` at {line} delete it"
        content = a or b
        if variable.flag and content is not None:
            leaves = [self._flag(leaf, a is not None) for leaf in content.leaves]
            return _Plan(content, leaves)
        side = "where the condition holds" if a is not None else "where the condition does not hold"
        return _refused(
            variable, f"the `if` at {line} depends on a tensor and gives it a value only {side}"
        )

    def _flag(self, leaf: Leaf, first: bool) -> Any:
        if not isinstance(leaf, Made):
            return leaf
        self._outputs.append(_Output(leaf.kind, (leaf, None) if first else (None, leaf)))
        return len(self._outputs) - 1

    def _joined(self, a: Content, b: Content) -> _Plan:
        check_structure(a, b)
        leaves: list[Any] = []
        for x, y in zip(a.leaves, b.leaves, strict=True):
            if same(x, y):
                leaves.append(x)
            else:
                self._outputs.append(_Output(joined(x, y), (x, y)))
                leaves.append(len(self._outputs) - 1)
        return _Plan(a, leaves)

    def _recorded(self, test: Box, cells: Sequence[Capture]) -> list[Box]:
        """The chosen tensors, then the new values of cells."""
        if not self._outputs and not cells:
            return []
        wanted = [leaf for o in self._outputs for leaf in o.leaves if leaf is not None]
        own = [c.read() for c in cells]
        outside = list(dict.fromkeys([*read_outside(self._pair, wanted), *own]))
        graphs = [self._graph(k, outside, cells) for k in (1, 0)]  # number 1 is the true branch
        graphs, kept = without_unread(graphs, len(outside))

        def emit(index: Value, *operands: Value) -> tuple[Value, ...]:
            return switch(ops.astype(index, int32), graphs, *operands)

        boxes = outer_trace().record(emit, [test, *(outside[i] for i in kept)], {})
        for box, output in zip(boxes, self._outputs, strict=False):
            box.weak = output.kind.weak
            if any(isinstance(leaf, Outer) for leaf in output.leaves):
                outer_trace().perhaps_shared.add(box)
        return list(boxes)

    def _graph(self, k: int, outside: Sequence[Box], cells: Sequence[Capture]) -> Graph:
        region = self._pair[k]
        with GraphBuilder("then" if k == 0 else "otherwise") as builder:
            inputs = inputs_for(builder, outside)
            wires, written = wired(region, (), inputs, {})
            made = []
            for output in self._outputs:
                leaf = output.leaves[k]
                made.append(zeros(output.kind) if leaf is None else wires.value(leaf, output.kind))
            made += [written[c] if c in written else inputs[c.read()] for c in cells]
            return builder.finish(made)


@dataclass(slots=True)
class _Plan:
    """How to build a value: its structure, and per leaf a number of an output or the leaf."""

    content: Content
    leaves: Sequence[Any]
    same: bool = False


def _read(leaf: Any, chosen: Sequence[Box]) -> Any:
    if isinstance(leaf, int):
        return chosen[leaf]
    return leaf.value if isinstance(leaf, Plain) else leaf.box


def _refused(variable: Variable, why: str) -> str:
    """The reason, for a variable that can be left without a value; others are refused at once."""
    if not variable.place.name.isidentifier():
        raise TraceError("convert", f"{variable.place.name} has no value here: {why}")
    return why
