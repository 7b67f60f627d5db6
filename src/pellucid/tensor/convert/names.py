"""Which names statements bind, change in place and read: the scopes of one function.

Everything here works on the statements of one function. What functions, lambdas, classes and
generator expressions inside it read may be read at any time, so it counts as captured.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Sequence

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_LAZY = (*SCOPES, ast.GeneratorExp)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
MUTATORS = frozenset(
    "append extend insert pop remove clear update setdefault popitem add discard reverse sort "
    "appendleft popleft".split()
)


def own_nodes(roots: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """These nodes and all below them, except the insides of other functions and classes.

    What is evaluated outside such an inside (decorators, defaults, base classes) is included.
    """
    todo = list(roots)[::-1]
    while todo:
        node = todo.pop()
        yield node
        todo += reversed(list(_outside(node) if isinstance(node, SCOPES) else _children(node)))


def _children(node: ast.AST) -> Iterator[ast.AST]:
    return ast.iter_child_nodes(node)


def _outside(node: ast.AST) -> list[ast.AST]:
    """The parts of a definition that are evaluated where it stands."""
    if isinstance(node, ast.ClassDef):
        return [*node.decorator_list, *node.bases, *(k.value for k in node.keywords)]
    args: ast.arguments = node.args  # type: ignore[attr-defined]  # all other scopes have them
    defaults = [*args.defaults, *(d for d in args.kw_defaults if d is not None)]
    return [*getattr(node, "decorator_list", ()), *defaults]


def bound(roots: Iterable[ast.AST]) -> set[str]:
    """Names that these statements bind or unbind: assignment, loops, `with`, `def` and the like."""
    names: set[str] = set()
    for node in _without_comprehension_targets(roots):
        names |= _bound_by(node)
    return names


def _without_comprehension_targets(roots: Iterable[ast.AST]) -> Iterator[ast.AST]:
    hidden: set[ast.AST] = set()
    for node in own_nodes(roots):
        if isinstance(node, _COMPREHENSIONS):
            hidden.update(n for g in node.generators for n in ast.walk(g.target))
        if node not in hidden:
            yield node


def _bound_by(node: ast.AST) -> set[str]:
    match node:
        case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
            return {name}
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.ExceptHandler(name=str(name)):
            return {name}
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            return {name}
        case ast.MatchMapping(rest=str(name)):
            return {name}
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return {a.asname or a.name.partition(".")[0] for a in aliases}
    return set()


def changed(roots: Sequence[ast.AST]) -> set[str]:
    """Names whose object these statements change in place: `x[i] = v`, `x += v`, `x.append(v)`."""
    return {n.id for n in _changed_objects(roots) if isinstance(n, ast.Name)}


def _changed_objects(roots: Sequence[ast.AST]) -> Iterator[ast.expr]:
    for node in own_nodes(roots):
        match node:
            case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()):
                yield _innermost(value)
            case ast.AugAssign(target=ast.Name() | ast.Attribute() as target):
                yield target
            case ast.Call(func=ast.Attribute(value=value, attr=attr)) if attr in MUTATORS:
                yield _innermost(value)


def _innermost(value: ast.expr) -> ast.expr:
    """`x` of `x[i][j]`: what holds what is changed."""
    while isinstance(value, ast.Subscript):
        value = value.value
    return value


def attributes(roots: Sequence[ast.AST]) -> dict[str, tuple[ast.expr, str, bool]]:
    """Attributes these statements set: owner, name, and whether the object in it is changed.

    Only `name.a` and `name.a.b` are followed, and only where the statements do not bind `name`.
    """
    found: dict[str, tuple[ast.expr, str, bool]] = {}
    taken = bound(roots)
    inplace = list(_changed_objects(roots))
    for node in own_nodes(roots):
        is_set = isinstance(node, ast.Attribute) and isinstance(node.ctx, (ast.Store, ast.Del))
        if isinstance(node, ast.Attribute) and (is_set or node in inplace):
            base = _base(node)
            if base is not None and base not in taken:
                path = ast.unparse(node)
                before = found.get(path, (node.value, node.attr, False))
                found[path] = (*before[:2], before[2] or node in inplace)
    return found


def _base(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def read(roots: Iterable[ast.AST]) -> set[str]:
    """Names these statements may read, also within functions defined there."""
    names: set[str] = set()
    for root in roots:
        for node in ast.walk(root):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                names.add(node.id)
            elif isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
    return names


def captured(roots: Sequence[ast.stmt]) -> set[str]:
    """Names that functions, classes and generator expressions in these statements mention."""
    names: set[str] = set()
    for node in own_nodes(roots):
        if isinstance(node, _LAZY):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name):
                    names.add(inner.id)
                elif isinstance(inner, (ast.Nonlocal, ast.Global)):
                    names.update(inner.names)
    return names


def declared(roots: Sequence[ast.stmt], kind: type[ast.Nonlocal] | type[ast.Global]) -> set[str]:
    """Names a function declares `nonlocal` or `global`."""
    return {n for node in own_nodes(roots) if isinstance(node, kind) for n in node.names}


def every_name(root: ast.AST) -> set[str]:
    """All identifiers in a tree, so that a new one can be told apart."""
    names = {n.id for n in ast.walk(root) if isinstance(n, ast.Name)}
    names |= {n.arg for n in ast.walk(root) if isinstance(n, ast.arg)}
    return names | bound([root]) | {n for f in ast.walk(root) for n in _bound_by(f)}
