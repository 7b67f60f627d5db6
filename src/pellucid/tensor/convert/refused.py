"""What cannot be converted, each with its line and its reason."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from types import FunctionType

from pellucid.core.errors import TraceError
from pellucid.tensor.convert.jumps import jumps_in
from pellucid.tensor.convert.names import own_nodes

_SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_GENERATOR = (
    "a generator stops in the middle of its blocks, so it cannot be converted",
    "return a list, or keep the generator out of the recorded function",
)
_ASYNC = "`async` code cannot be converted", "wait for its result outside"
_YIELDS = (ast.Yield, ast.YieldFrom)


def is_generator(fn: ast.FunctionDef) -> bool:
    """Whether a function yields."""
    return any(isinstance(n, _YIELDS) for n in own_nodes(fn.body))


def yields(fn: FunctionType) -> bool:
    """Whether a function yields or awaits."""
    return bool(fn.__code__.co_flags & _SUSPENDS)


def refuse_suspending(fn: FunctionType) -> None:
    """Refuse a generator or a coroutine.

    Raises:
        TraceError: always.
    """
    generator = bool(fn.__code__.co_flags & inspect.CO_GENERATOR)
    rule, fix = _GENERATOR if generator else _ASYNC
    line = f"{fn.__code__.co_filename.rpartition('/')[2]}:{fn.__code__.co_firstlineno}"
    raise TraceError("convert", rule, fix=fix, source=line)


def refuse_unsound(fn: ast.FunctionDef, file: str) -> None:
    """Refuse a function that holds something whose meaning conversion would change.

    Raises:
        TraceError: it does; names the line.
    """
    for node in own_nodes(fn.body):
        for rule, fix in _reasons(node):
            line = f"{file}:{getattr(node, 'lineno', fn.lineno)}"
            raise TraceError("convert", rule, fix=fix, source=line)


def _reasons(node: ast.AST) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Yield() | ast.YieldFrom():
            yield _GENERATOR
        case ast.Await() | ast.AsyncFor() | ast.AsyncWith():
            yield _ASYNC
        case ast.TryStar():
            yield "`except*` cannot be converted", "use `except`"
        case ast.Try() if any(True for s in node.finalbody for _ in jumps_in(s)):
            yield (
                "`return`, `break` and `continue` in a `finally` block cannot be converted",
                "leave after the `try` statement",
            )
        case ast.Call(func=ast.Name(id="locals" | "eval" | "exec" as name)):
            yield (
                f"`{name}` sees the variables of one function, and conversion makes several",
                "name the variables",
            )
        case ast.Name(id="pl_"):
            yield "the name `pl_` is what converted code calls the runtime", "rename it"
