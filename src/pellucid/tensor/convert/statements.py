"""`if`, `while` and `for` as calls of the runtime: each block becomes a function of its own.

Enters: a function without jumps (see `jumps`). Leaves: the same with, in place of each construct,
the blocks as nested functions that share the variables by `nonlocal`, and one call that runs or
records them. The call is told where the variables live and which of them are needed afterwards.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Sequence

from pellucid.tensor.convert.jumps import Jumps, StoppedFor, at_place
from pellucid.tensor.convert.liveness import Liveness
from pellucid.tensor.convert.names import (
    attributes,
    bound,
    captured,
    changed,
    declared,
    every_name,
    own_nodes,
)
from pellucid.tensor.convert.refused import is_generator

RUNTIME = "pl_"  # what converted code calls the runtime


def convert_statements(fn: ast.FunctionDef, outer: frozenset[str]) -> None:
    """Rewrite a function's body, and those of functions defined in it, in place.

    Args:
        fn: the function.
        outer: variables of the functions around it.
    """
    jumps = Jumps(fn)
    body = jumps.lower(fn.body)
    fn.body = _Statements(fn, body, jumps.made, outer).rewritten()


def _parameters(fn: ast.FunctionDef) -> set[str]:
    return {a.arg for a in ast.walk(fn.args) if isinstance(a, ast.arg)}


def runtime_call(name: str, args: Sequence[ast.expr], at: ast.AST, **named: ast.expr) -> ast.Call:
    """`pl_.name(*args, **named)` at the place of a node."""
    function = ast.Attribute(ast.Name(RUNTIME, ast.Load()), name, ast.Load())
    keywords = [ast.keyword(k, v) for k, v in named.items()]
    return _at_line_of(at, ast.Call(function, list(args), keywords))


def _at_line_of(at: ast.AST, new: ast.Call) -> ast.Call:
    """A call on the first line of a node: Python takes the last line for that of the call."""
    ast.copy_location(new, at)
    if new.end_lineno != new.lineno:
        new.end_lineno, new.end_col_offset = new.lineno, new.col_offset + 1
    return ast.fix_missing_locations(new)


def is_runtime_call(node: ast.Call) -> bool:
    """Whether `runtime_call` made it."""
    function = node.func
    return isinstance(function, ast.Attribute) and _is_runtime(function.value)


def _is_runtime(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == RUNTIME


def thunk(value: ast.expr) -> ast.expr:
    """`lambda: value`."""
    return ast.copy_location(ast.Lambda(_no_parameters(), value), value)


def _no_parameters(name: str = "") -> ast.arguments:
    args = [ast.arg(name)] if name else []
    return ast.arguments([], args, None, [], [], None, [])


class _Statements:
    """Rewrites the statements of one function."""

    def __init__(
        self, fn: ast.FunctionDef, body: list[ast.stmt], made: Sequence[str], outer: frozenset[str]
    ) -> None:
        self._body, self._parameters, self._made = body, _parameters(fn), made
        self._taken = every_name(fn) | set(made) | outer
        self._globals = declared(body, ast.Global)
        self._nonlocals = declared(body, ast.Nonlocal)
        self._visible = (outer | self._parameters | bound(body)) - self._globals
        always = frozenset(captured(body) | self._globals | self._nonlocals)
        self._live = Liveness(body, always)

    def rewritten(self) -> list[ast.stmt]:
        """The function's new statements."""
        known = self._parameters | self._nonlocals
        body = self._with_declarations(self._block(self._body), known)
        heads = [s for s in body if isinstance(s, (ast.Global, ast.Nonlocal))]
        return [*heads, *self._outside(), *(s for s in body if s not in heads)]

    def _outside(self) -> list[ast.stmt]:
        """A call that tells of variables outside of the function that it may change."""
        if not self._globals | self._nonlocals:
            return []
        told: dict[str, ast.expr] = {}
        if self._nonlocals:
            cells = _tuple([_load(n) for n in sorted(self._nonlocals)])
            told["cells"] = ast.Lambda(_no_parameters(), cells)
        if self._globals:
            told["names"] = ast.Constant(" ".join(sorted(self._globals)))
        return [_statement(runtime_call("outside", [], self._body[0], **told))]

    def _block(self, statements: Sequence[ast.stmt]) -> list[ast.stmt]:
        return [new for s in statements for new in self._statement(s)]

    def _statement(self, s: ast.stmt) -> list[ast.stmt]:
        match s:
            case ast.If():
                return self._if(s)
            case ast.While():
                return self._while(s)
            case StoppedFor():
                return self._for(s)
            case ast.With():
                s.body = self._block(s.body)
            case ast.Try():
                s.body, s.orelse = self._block(s.body), self._block(s.orelse)
                s.finalbody = self._block(s.finalbody)
                for handler in s.handlers:
                    handler.body = self._block(handler.body)
            case ast.Match():
                for case in s.cases:
                    case.body = self._block(case.body)
            case ast.FunctionDef() if not is_generator(s):
                convert_statements(s, frozenset(self._visible))
        return [s]

    def _if(self, s: ast.If) -> list[ast.stmt]:
        blocks = [*s.body, *s.orelse]
        after = self._live.after(s)
        before = self._live.before(s.body) | self._live.before(s.orelse)
        shared = self._shared(blocks, after | before)
        told = self._told(blocks, shared, after)
        made = [self._function("then", s.body, shared, s)]
        if s.orelse:
            made.append(self._function("else", s.orelse, shared, s))
        args = [s.test, *(_load(f.name) for f in made)]
        return [*made, _statement(runtime_call("if_", args, s, **told))]

    def _while(self, s: ast.While) -> list[ast.stmt]:
        needed = self._live.head(s) | self._live.after(s)
        shared = self._shared(s.body, needed)
        told = self._told(s.body, shared, needed)
        body = self._function("body", s.body, shared, s)
        call = runtime_call("while_", [thunk(s.test), _load(body.name)], s, **told)
        return [body, _statement(call)]

    def _for(self, s: StoppedFor) -> list[ast.stmt]:
        needed = self._live.head(s) | self._live.after(s)
        target, statements = s.target, s.body
        shared = self._shared([target, *s.body], needed)
        told = self._told([target, *s.body], shared, needed)
        if s.stops:
            told["stops"] = ast.Lambda(_no_parameters(), _tuple(s.stops))
        item = target.id if isinstance(target, ast.Name) else ""
        if not item or item in shared | self._globals or item in captured(s.body):
            item = self._name("item")
            statements = [at_place(ast.Assign([target], _load(item)), target), *statements]
        body = self._function("body", statements, shared, s, item)
        return [body, _statement(runtime_call("for_", [s.iter, _load(body.name)], s, **told))]

    def _shared(self, blocks: Sequence[ast.AST], needed: Iterable[str]) -> set[str]:
        """Names that blocks bind and others look at."""
        return bound(blocks) & set(needed)

    def _name(self, kind: str) -> str:
        number = 1
        while f"{kind}_{number}" in self._taken:
            number += 1
        self._taken.add(f"{kind}_{number}")
        return f"{kind}_{number}"

    def _function(
        self, kind: str, body: Sequence[ast.stmt], shared: set[str], at: ast.AST, item: str = ""
    ) -> ast.FunctionDef:
        """A block as a function that binds `shared` outside of itself."""
        binds, name = bound(body), self._name(kind)
        own, outside = sorted((shared & binds) - self._globals), sorted(binds & self._globals)
        inside = self._with_declarations(self._block(body), shared | {item})
        heads: list[ast.stmt] = [ast.Nonlocal(own)] if own else []
        heads += [ast.Global(outside)] if outside else []
        return at_place(ast.FunctionDef(name, _no_parameters(item), [*heads, *inside], []), at)

    def _with_declarations(self, body: list[ast.stmt], known: set[str]) -> list[ast.stmt]:
        """The statements, told of names that only functions made here bind: they are local."""
        missing = sorted(_bound_inside(body) - known - bound(body) - self._globals)
        heads = [ast.AnnAssign(_store(n), _load("object"), None, 1) for n in missing]
        return [*[at_place(h, body[0]) for h in heads], *body]

    def _told(
        self, blocks: Sequence[ast.AST], shared: set[str], needed: Iterable[str]
    ) -> dict[str, ast.expr]:
        """What the runtime must know of the variables of a construct."""
        inplace = changed(blocks) & self._visible
        cells = sorted((shared | inplace) - self._globals)
        words = {
            "keep": sorted(shared & set(needed)),
            "inplace": sorted(inplace),
            "flags": [n for n in self._made if n in shared],
        }
        told: dict[str, ast.expr] = {k: ast.Constant(" ".join(v)) for k, v in words.items() if v}
        if cells:
            told["cells"] = ast.Lambda(_no_parameters(), _tuple([_load(n) for n in cells]))
        if found := attributes(blocks):
            rows = [
                _tuple([copy.deepcopy(owner), ast.Constant(attr), ast.Constant(inplace)])
                for owner, attr, inplace in found.values()
            ]
            told["attributes"] = ast.Lambda(_no_parameters(), _tuple(rows))
        return told


def _bound_inside(body: Sequence[ast.stmt]) -> set[str]:
    """Names that the functions among these statements declare `nonlocal`."""
    functions = [n for n in own_nodes(body) if isinstance(n, ast.FunctionDef)]
    heads = [h for f in functions for h in f.body if isinstance(h, ast.Nonlocal)]
    return {name for h in heads for name in h.names}


def _load(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _store(name: str) -> ast.Name:
    return ast.Name(name, ast.Store())


def _tuple(items: Sequence[ast.expr]) -> ast.expr:
    return ast.Tuple(list(items), ast.Load())


def _statement(call: ast.Call) -> ast.stmt:
    return at_place(ast.Expr(call), call)
