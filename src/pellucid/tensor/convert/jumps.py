"""`break`, `continue` and early `return` as flags, so that every block runs to its end.

before: `if c: return a` … `return b`  ->  after: `if c: result_ = a` `else: result_ = b`, one
`return result_` at the end. Where a block jumps on every path the rest moves into the other
branch; elsewhere the rest is put under `if not flag`. Loops get the flags that stop them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pellucid.tensor.convert.names import SCOPES, every_name

N = TypeVar("N", bound=ast.AST)
_LOOPS = (ast.While, ast.For)
_JUMPS = (ast.Return, ast.Break, ast.Continue)


class StoppedFor(ast.For):
    """A `for` that ends as soon as one of its flags (names, in `stops`) is true."""

    _fields = (*ast.For._fields, "stops")
    stops: list[ast.expr]


@dataclass(frozen=True)
class _Loop:
    broke: str
    skipped: str


class Jumps:
    """Lowers the jumps of one function.

    Args:
        fn: the function; names that it uses are not taken for flags.

    Attributes:
        made: names of flags and of the result, as far as they are used.
    """

    def __init__(self, fn: ast.FunctionDef) -> None:
        self._taken = every_name(fn)
        self.made: list[str] = []
        self._count = 0
        self._returned = self._result = ""

    def lower(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """The statements of a function without jumps, but for a `return` at the end."""
        returns = [n for s in body for n in jumps_in(s) if isinstance(n, ast.Return)]
        if returns and (len(returns) > 1 or returns[0] is not body[-1]):
            self._returned, self._result = self._name("returned_"), self._name("result_")
            last = body[-1]
            if not _always_jumps(body):
                body = [*body, at_place(ast.Return(ast.Constant(None)), last)]
            lowered = self._block(body, None)
            start = at_place(_set(self._returned, False), body[0])
            lowered = [start, *lowered, at_place(ast.Return(_load(self._result)), last)]
        else:
            lowered = self._block(body, None)
        return self._without_unread(lowered)

    def _name(self, wanted: str) -> str:
        while wanted in self._taken:
            wanted += "_"
        self._taken.add(wanted)
        self.made.append(wanted)
        return wanted

    def _without_unread(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """The statements without flags that nobody looks at."""
        seen = {
            n.id
            for s in body
            for n in ast.walk(s)
            if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)
        }
        unread = set(self.made) - seen
        self.made = [n for n in self.made if n in seen]
        holder = _Remover(unread).visit(ast.Module(body, []))
        return list(holder.body)

    def _block(self, statements: Sequence[ast.stmt], loop: _Loop | None) -> list[ast.stmt]:
        out: list[ast.stmt] = []
        for i, statement in enumerate(statements):
            s = statement
            rest = list(statements[i + 1 :])
            if isinstance(s, _JUMPS):
                return [*out, *self._jump(s, loop)]
            if isinstance(s, ast.If) and rest and any(jumps_in(s)):
                s, rest = _with_rest(s, rest)
            out += self._statement(s, loop)
            flags = self._flags(s, loop)
            if flags and rest:
                guard = at_place(ast.If(_none_of(flags), self._block(rest, loop), []), rest[0])
                return [*out, guard]
            if not rest:
                return out
        return out

    def _jump(self, s: ast.stmt, loop: _Loop | None) -> list[ast.stmt]:
        if isinstance(s, ast.Return):
            if not self._result:
                return [s]
            value = s.value or ast.Constant(None)
            result = ast.Assign([ast.Name(self._result, ast.Store())], value)
            return [at_place(result, s), at_place(_set(self._returned, True), s)]
        if loop is None:
            return [s]  # Python has refused it already
        return [at_place(_set(loop.broke if isinstance(s, ast.Break) else loop.skipped, True), s)]

    def _flags(self, s: ast.stmt, loop: _Loop | None) -> list[str]:
        """Flags that a statement may raise for what follows it in its block."""
        kinds = {type(j) for j in jumps_in(s)}
        flags = [self._returned] if ast.Return in kinds else []
        if loop is not None:
            flags += [loop.broke] if ast.Break in kinds else []
            flags += [loop.skipped] if ast.Continue in kinds else []
        return flags

    def _statement(self, s: ast.stmt, loop: _Loop | None) -> list[ast.stmt]:
        match s:
            case ast.If():
                new = ast.If(s.test, self._block(s.body, loop), self._block(s.orelse, loop))
                return [at_place(new, s)]
            case ast.While() | ast.For():
                return self._loop(s, loop)
            case ast.With():
                return [at_place(ast.With(s.items, self._block(s.body, loop)), s)]
            case ast.Try():
                return [self._try(s, loop)]
            case ast.Match():
                cases = [
                    ast.match_case(c.pattern, c.guard, self._block(c.body, loop)) for c in s.cases
                ]
                return [at_place(ast.Match(s.subject, cases), s)]
        return [s]

    def _try(self, s: ast.Try, loop: _Loop | None) -> ast.stmt:
        flags = sorted({f for b in s.body for f in self._flags(b, loop)})
        orelse = self._block(s.orelse, loop)
        if flags and orelse:
            orelse = [at_place(ast.If(_none_of(flags), orelse, []), s.orelse[0])]
        handlers = [
            at_place(ast.ExceptHandler(h.type, h.name, self._block(h.body, loop)), h)
            for h in s.handlers
        ]  # fmt: skip
        body = self._block(s.body, loop)
        return at_place(ast.Try(body, handlers, orelse, list(s.finalbody)), s)

    def _loop(self, s: ast.While | ast.For, outer: _Loop | None) -> list[ast.stmt]:
        self._count += 1
        s = _plain_test(s)
        inside = {type(j) for b in s.body for j in jumps_in(b)}
        number = f"{self._count}_"
        loop = _Loop(self._name(f"broke_{number}"), self._name(f"skipped_{number}"))
        body = self._block(s.body, loop)
        if ast.Continue in inside:
            body = [at_place(_set(loop.skipped, False), s), *body]
        stops = [loop.broke] if ast.Break in inside else []
        out: list[ast.stmt] = [at_place(_set(loop.broke, False), s)] if stops else []
        stops += [self._returned] if ast.Return in inside else []
        out.append(_stopped(s, body, stops))
        orelse = self._block(s.orelse, outer)
        if orelse and stops:
            orelse = [at_place(ast.If(_none_of(stops), orelse, []), s.orelse[0])]
        return [*out, *orelse]


def _plain_test(s: ast.While | ast.For) -> ast.While | ast.For:
    """A `while` whose test binds a name, with the test at the start of its body."""
    if isinstance(s, ast.For) or not any(isinstance(n, ast.NamedExpr) for n in ast.walk(s.test)):
        return s
    leave = ast.If(ast.UnaryOp(ast.Not(), s.test), [ast.Break()], [])
    return at_place(ast.While(ast.Constant(True), [at_place(leave, s.test), *s.body], s.orelse), s)


def jumps_in(statement: ast.stmt) -> Iterator[ast.stmt]:
    """The jumps below a statement that leave it: not those of loops inside, nor of functions."""
    if isinstance(statement, _JUMPS):
        yield statement
    if isinstance(statement, SCOPES):
        return
    for child in _inner(statement):
        for jump in jumps_in(child):
            in_loop = isinstance(statement, _LOOPS) and child in statement.body
            if isinstance(jump, ast.Return) or not in_loop:
                yield jump


def _inner(statement: ast.stmt) -> Iterator[ast.stmt]:
    for name in ("body", "orelse", "finalbody"):
        yield from getattr(statement, name, ())
    for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield from part.body


def _with_rest(s: ast.If, rest: list[ast.stmt]) -> tuple[ast.If, list[ast.stmt]]:
    """The `if` with what follows it moved into the branch that goes on, where only one does."""
    ends, other = _always_jumps(s.body), _always_jumps(s.orelse)
    if ends and other:
        return s, []
    if ends:
        return at_place(ast.If(s.test, s.body, [*s.orelse, *rest]), s), []
    if other:
        return at_place(ast.If(s.test, [*s.body, *rest], s.orelse), s), []
    return s, rest


def _always_jumps(block: Sequence[ast.stmt]) -> bool:
    """Whether no path through these statements reaches their end."""
    for s in block:
        if isinstance(s, (*_JUMPS, ast.Raise)):
            return True
        if isinstance(s, ast.If) and _always_jumps(s.body) and _always_jumps(s.orelse):
            return True
        if isinstance(s, ast.With) and _always_jumps(s.body):
            return True
        if isinstance(s, ast.While) and isinstance(s.test, ast.Constant) and s.test.value:
            return not any(isinstance(j, ast.Break) for b in s.body for j in jumps_in(b))
    return False


def _stopped(s: ast.While | ast.For, body: list[ast.stmt], stops: list[str]) -> ast.stmt:
    """The loop with a new body, ended by these flags."""
    if isinstance(s, ast.For):
        new = StoppedFor(s.target, s.iter, body, [])
        new.stops = [_load(f) for f in stops]
        return at_place(new, s)
    test = ast.BoolOp(ast.And(), [_none_of(stops), s.test]) if stops else s.test
    return at_place(ast.While(test, body, []), s)


def _set(name: str, value: bool) -> ast.stmt:
    return ast.Assign([ast.Name(name, ast.Store())], ast.Constant(value))


def _load(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _none_of(flags: Sequence[str]) -> ast.expr:
    every = [_load(f) for f in flags]
    first = every[0] if len(every) == 1 else ast.BoolOp(ast.Or(), every)
    return ast.UnaryOp(ast.Not(), first)


class _Remover(ast.NodeTransformer):
    """Removes assignments to some flags."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:  # the visitor's form
        target = node.targets[0]
        constant = isinstance(node.value, ast.Constant)
        unread = constant and isinstance(target, ast.Name) and target.id in self._names
        return None if unread else node

    def _block(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        if not node.body:  # type: ignore[attr-defined]  # only statements with a block come here
            node.body = [ast.copy_location(ast.Pass(), node)]  # type: ignore[attr-defined]
        return node

    visit_If = visit_While = visit_StoppedFor = visit_With = visit_match_case = _block
    visit_Try = visit_ExceptHandler = _block


def at_place(new: N, old: ast.AST) -> N:
    """A new node, and what is new below it, at the place of an old one."""
    ast.copy_location(new, old)
    return ast.fix_missing_locations(new)
