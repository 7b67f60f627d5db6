"""`while` and `for`: run in Python as long as Python values decide, recorded where tensors do.

A `for` over Python values runs in Python, so it is unrolled while recording; so is one over the
rows of a tensor with few of them. Over more rows it is one `scan`, over `range(n)` of a recorded n
a `while_loop`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pellucid.core.dtype import int64
from pellucid.core.size import is_static
from pellucid.core.source import user_line
from pellucid.ops.sizes import size_value
from pellucid.tensor.box import STATE
from pellucid.tensor.convert.branches import nothing, record_branches
from pellucid.tensor.convert.checks import holding
from pellucid.tensor.convert.emit import Emitter
from pellucid.tensor.convert.iteration import MOST_UNROLLED, Counted, Rows, rows_of
from pellucid.tensor.convert.journal import retried
from pellucid.tensor.convert.logic import and_, both, either, is_recorded, not_, truth
from pellucid.tensor.convert.plans import Loop
from pellucid.tensor.convert.regions import Region, new_gradients, outer_trace
from pellucid.tensor.convert.state import Scope, Variable

Body = Callable[..., Any]


def while_(test: Callable[[], Any], body: Any, **scope: Any) -> None:
    """Run or record a `while` statement: in Python until a recorded tensor decides."""
    while True:
        going = test()
        if is_recorded(going):
            record_while(test, body, Scope(body, **scope).variables())
            return
        if not going:
            return
        body()


def record_while(test: Callable[[], Any], body: Body, variables: list[Variable]) -> None:
    """Record a loop as one `while_loop`."""
    line = user_line()

    def attempt(places: Sequence[Variable]) -> Emitter:
        loop = Loop(f"the loop at {line}", places, certain=False)
        turn = loop.settle(lambda _: body())
        decision = loop.record("test", lambda _: truth(both(test(), holding())))
        return Emitter(loop, turn, decision)

    retried(variables, attempt).repeat(None)


def for_(iterable: Any, body: Any, **named: Any) -> None:
    """Run or record a `for` statement."""
    scope = Scope(body, **named)
    source = rows_of(iterable) if STATE.trace is not None else iterable
    if isinstance(source, Counted):
        _record_range(source, body, scope)
    elif isinstance(source, Rows) and not is_static(source.length):
        _record_open(source, body, scope)
    elif isinstance(source, Rows) and source.length > MOST_UNROLLED:
        _record_rows(source, body, scope)
    else:
        _run(source, body, scope)


def _run(items: Iterable[Any], body: Body, scope: Scope) -> None:
    """Turn by turn; once a recorded tensor may have stopped the loop, each turn under its `if`."""
    for item in items:
        stopped = _stopped(scope)
        if is_recorded(stopped):
            _guarded(stopped, functools.partial(body, item), scope)
        elif stopped:
            return
        else:
            body(item)


def _stopped(scope: Scope) -> Any:
    """Whether one of the flags that stop the loop is up."""
    flags = scope.stops() if scope.stops is not None else ()
    known = [f for f in flags if not is_recorded(f)]
    if any(known):
        return True
    found: Any = False
    for flag in flags:
        found = either(found, flag)
    return found


def _guarded(stopped: Any, turn: Callable[[], Any], scope: Scope) -> None:
    record_branches(stopped, nothing, turn, scope.variables())


def _record_rows(rows: Rows, body: Body, scope: Scope) -> None:
    """One `scan`. Where types settle only after the first turn, that one is made by itself."""
    line = user_line()

    def attempt(places: Sequence[Variable]) -> Emitter | None:
        loop = Loop(f"the loop at {line}", places, True, rows.kinds())
        try:
            region = loop.settle(lambda items: _run([rows.item(items)], body, scope))
        except NameError:  # a variable that is read has no type for all turns
            if rows.begun:
                raise
            return None
        return Emitter(loop, region, None) if rows.begun or _is_settled(loop, region) else None

    emitter = retried(scope.variables(), attempt)
    if emitter is not None:
        emitter.count(rows.length, rows.columns, rows.reverse)
        return
    _run([rows.first()], body, scope)
    _record_rows(rows.rest(), body, scope)


def _is_settled(loop: Loop, region: Region) -> bool:
    """Whether all that a turn leaves was there before it, in the same type."""
    return not (any(slot.why for slot in loop.slots) or new_gradients([region]))


def _record_open(rows: Rows, body: Body, scope: Scope) -> None:
    """Rows whose number is open (see `jit`'s `dynamic`): a `while_loop` over their places."""
    count = outer_trace().record(size_value, (rows.length, int64), {})
    count.weak = True

    def turn(i: Any) -> None:
        body(rows.at(count - 1 - i if rows.reverse else i))

    _record_range(Counted(0, count, 1), turn, scope)


class _Held:
    """A place for the number of a turn, which is no variable of the user's."""

    name = "the counter"
    owner = key = None

    def __init__(self, value: Any) -> None:
        self._value = value

    def get(self) -> Any:
        """The number."""
        return self._value

    def set(self, value: Any) -> None:
        """The next number."""
        self._value = value


def _record_range(source: Counted, body: Body, scope: Scope) -> None:
    """`for i in range(n)` of a recorded n, as a `while_loop` with a counter."""
    held = _Held(source.start)
    counter = Variable(held, kept=True, changed=False, flag=False)

    def test() -> Any:
        return and_(source.before_end(held.get()), lambda: not_(_stopped(scope)))

    def turn() -> None:
        body(held.get())
        held.set(held.get() + source.step)

    record_while(test, turn, [counter, *scope.variables()])
