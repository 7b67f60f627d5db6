"""Which names are still needed: before each statement, and at the head of each loop.

A backward walk over structured statements. Where it cannot know, a name counts as needed: that
makes the program larger, never wrong.

Source: the classic analysis of live variables (Aho, Sethi and Ullman, Compilers, section 9.2.5).
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from pellucid.tensor.convert.jumps import StoppedFor
from pellucid.tensor.convert.names import bound, read

Names = frozenset[str]
_EMPTY: Names = frozenset()


class Liveness:
    """What is needed after each statement of a function, and at the head of its loops.

    Args:
        body: the function's statements.
        always: names that may be read at any time: captured, `global` and `nonlocal` ones.
    """

    def __init__(self, body: Sequence[ast.stmt], always: Names) -> None:
        self._always = always
        self._after: dict[ast.stmt, Names] = {}
        self._before: dict[ast.stmt, Names] = {}
        self._head: dict[ast.stmt, Names] = {}
        self._caught = _EMPTY  # what handlers around the current statement may need
        self.block(body, _EMPTY)

    def after(self, statement: ast.stmt) -> Names:
        """Names needed after a statement."""
        return self._after[statement] | self._always

    def before(self, block: Sequence[ast.stmt]) -> Names:
        """Names needed before a block: in it, or after it."""
        return self._before[block[0]] | self._always if block else self._always

    def head(self, loop: ast.stmt) -> Names:
        """Names needed when a loop begins a turn."""
        return self._head[loop] | self._always

    def block(self, statements: Sequence[ast.stmt], after: Names) -> Names:
        """Names needed before these statements, given those needed after them."""
        for statement in reversed(statements):
            after = after | self._caught
            self._after[statement] = after
            after = self._before[statement] = self._statement(statement, after)
        return after

    def _statement(self, s: ast.stmt, after: Names) -> Names:
        match s:
            case ast.If():
                return frozenset(read([s.test])) | self.block(s.body, after) | self.block(
                    s.orelse, after
                )  # fmt: skip
            case ast.While() | ast.For():
                return self._loop(s, after)
            case ast.With():
                inside = self.block(s.body, after)
                return (inside | read(s.items)) - bound(s.items) | read(s.items)
            case ast.Try():
                return self._try(s, after)
            case ast.Match():
                cases = [self.block(c.body, after) for c in s.cases]
                guards = [g for c in s.cases for g in (c.pattern, *filter(None, [c.guard]))]
                return after.union(*cases) | read([s.subject, *guards])
            case ast.AugAssign() | ast.Delete():
                return after | read([s]) | bound([s])
        return (after - bound([s])) | read([s])

    def _loop(self, s: ast.While | ast.For, after: Names) -> Names:
        rest = self.block(s.orelse, after)
        source = s.iter if isinstance(s, ast.For) else s.test
        targets = bound([s.target]) if isinstance(s, ast.For) else _EMPTY
        test = frozenset(read([s.test])) if isinstance(s, ast.While) else _EMPTY
        stops = read(s.stops) if isinstance(s, StoppedFor) else _EMPTY
        head = rest | test | stops
        while True:
            grown = head | (self.block(s.body, head) - targets)
            if grown == head:
                break
            head = grown
        self._head[s] = head
        return head | read([source])

    def _try(self, s: ast.Try, after: Names) -> Names:
        final = self.block(s.finalbody, after)
        handlers = _EMPTY.union(*[self.block(h.body, final) for h in s.handlers])
        handlers |= read([h.type for h in s.handlers if h.type is not None])
        before, self._caught = self._caught, self._caught | handlers | final
        inside = self.block(s.body, self.block(s.orelse, final))
        self._caught = before
        return inside | handlers | final
