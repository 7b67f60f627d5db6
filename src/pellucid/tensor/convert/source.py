"""A function's syntax tree, with the line numbers of the file it was written in.

Enters: a Python function. Leaves: its `def` or `lambda` as parsed from the whole file, so that no
line has to be shifted. The file is looked up as tracebacks do it: notebooks and doctests count.
"""

from __future__ import annotations

import ast
import functools
import linecache
from types import CodeType, FunctionType

from pellucid.core.errors import TraceError

Definition = ast.FunctionDef | ast.Lambda


def place(code: CodeType, line: int = 0) -> str:
    """`file.py:12` of a line of this code, as error messages say it."""
    return f"{code.co_filename.rpartition('/')[2]}:{line or code.co_firstlineno}"


def definition_of(fn: FunctionType) -> Definition:
    """The syntax tree of a function.

    Raises:
        TraceError: its source cannot be found, or several fit.
    """
    code = fn.__code__
    linecache.checkcache(code.co_filename)
    lines = linecache.getlines(code.co_filename, fn.__globals__)
    tree = _parsed("".join(lines), code.co_filename)
    found = [] if tree is None else _candidates(tree, code)
    if len(found) > 1:
        found = [n for n in found if _begins_inside(n, code)] or found
    if len({ast.dump(n) for n in found}) != 1:
        raise TraceError(
            "convert",
            "the source of this function is not available" if not found
            else "several functions of this name begin on this line",
            operands={"function": fn.__qualname__},
            fix="define it with def, on lines of its own in a file",
            source=place(code),
        )  # fmt: skip
    return found[0]


@functools.lru_cache(maxsize=32)
def _parsed(text: str, name: str) -> ast.Module | None:
    """The tree of a whole file; None where there is none."""
    try:
        return ast.parse(text, name) if text.strip() else None
    except SyntaxError:  # the file has changed, or is no Python: then this is not the source
        return None


def _candidates(tree: ast.Module, code: CodeType) -> list[Definition]:
    functions = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.Lambda))]
    return [
        n
        for n in functions
        if _first_line(n) == code.co_firstlineno
        and getattr(n, "name", "<lambda>") == code.co_name
        and _parameters(n) == code.co_varnames[: len(_parameters(n))]
    ]


def _first_line(node: ast.AST) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])  # type: ignore[attr-defined]


def _parameters(node: Definition) -> tuple[str, ...]:
    a = node.args
    every = [*a.posonlyargs, *a.args, *a.kwonlyargs, *filter(None, [a.vararg, a.kwarg])]
    return tuple(p.arg for p in every)


def _begins_inside(node: Definition, code: CodeType) -> bool:
    """Whether the code's own instructions lie within this node: for lambdas on one line."""
    body = node.body if isinstance(node.body, ast.expr) else node.body[0]
    spans = [(p[0], p[2], p[1], p[3]) for p in code.co_positions() if None not in p[:4]]
    inner = [s for s in spans if s[1] is not None and s[0] == body.lineno and s[3] != s[1]]
    if not inner:
        return False
    first = min(s[1] for s in inner if s[1] is not None)
    last = max(s[3] for s in inner if s[3] is not None)
    return first == body.col_offset and last <= (body.end_col_offset or 0)
