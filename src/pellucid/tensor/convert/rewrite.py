"""A function's code, converted: parsed, rewritten, compiled under the original's file and lines."""

from __future__ import annotations
import __future__

import ast
import copy
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import CellType, CodeType, FunctionType
from typing import Any

from pellucid.tensor.convert.expressions import Expressions
from pellucid.tensor.convert.refused import refuse_unsound
from pellucid.tensor.convert.source import definition_of, place
from pellucid.tensor.convert.statements import RUNTIME, convert_statements

_MOST_CODES = 4096
_FUTURES = sum(getattr(__future__, n).compiler_flag for n in __future__.all_feature_names)


@dataclass(frozen=True, slots=True)
class Converted:
    """Converted code, and its source as text."""

    code: CodeType
    source: str


class _Codes(dict[tuple[CodeType, str], Converted]):
    """Converted code by the code it was made from, emptied when a program never repeats one."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.RLock()

    def of(self, fn: FunctionType) -> Converted:
        key = (fn.__code__, fn.__code__.co_filename)
        with self._lock:
            if key not in self:
                if len(self) >= _MOST_CODES:
                    self.clear()
                self[key] = _convert(fn)
            return self[key]


_CODES = _Codes()


def converted_code(fn: FunctionType) -> Converted:
    """The converted code of a function, made at the first call.

    Raises:
        TraceError: the source is not available, or holds what cannot be converted.
    """
    return _CODES.of(fn)


def is_converted(fn: FunctionType) -> bool:
    """Whether a function was made here, or defined inside one that was."""
    return RUNTIME in fn.__code__.co_freevars


def with_code(fn: FunctionType, converted: Converted, runtime: Any) -> FunctionType:
    """A function of this code with the globals, defaults and closure cells of the original."""
    cells = dict(zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True))
    cells[RUNTIME] = CellType(runtime)
    closure = tuple(cells[name] for name in converted.code.co_freevars)
    new = FunctionType(converted.code, fn.__globals__, fn.__name__, fn.__defaults__, closure)
    new.__kwdefaults__ = fn.__kwdefaults__
    new.__qualname__, new.__doc__, new.__module__ = fn.__qualname__, fn.__doc__, fn.__module__
    new.__dict__.update(fn.__dict__)
    return new


def _convert(fn: FunctionType) -> Converted:
    code = fn.__code__
    node = _as_function(copy.deepcopy(definition_of(fn)))
    file = place(code).rpartition(":")[0]
    refuse_unsound(node, file)
    if "." in fn.__qualname__:
        _PrivateNames(fn.__qualname__.split(".")[-2]).visit(node)
    convert_statements(node, frozenset(code.co_freevars))
    receiver = node.args.args[0].arg if node.args.args else ""
    Expressions(file, receiver).visit(node)
    node.name = "converted_"  # so that in the factory its own name is not free
    node.body = node.body or [ast.Pass()]
    tree = ast.fix_missing_locations(_factory(node, code.co_freevars))
    compiled = compile(
        tree, code.co_filename, "exec", flags=code.co_flags & _FUTURES, dont_inherit=True
    )
    new = _code_in(_code_in(compiled, "factory_"), node.name)
    node.name = code.co_name if code.co_name.isidentifier() else node.name
    return Converted(
        new.replace(co_name=code.co_name, co_qualname=fn.__qualname__), ast.unparse(node)
    )


def _as_function(node: ast.FunctionDef | ast.Lambda) -> ast.FunctionDef:
    """A `def` without what is evaluated where it stands: the original's defaults are kept."""
    if isinstance(node, ast.Lambda):
        value = ast.copy_location(ast.Return(node.body), node.body)
        node = ast.copy_location(ast.FunctionDef("lambda_", node.args, [value], []), node)
    args = node.args
    args.defaults = [ast.Constant(None) for _ in args.defaults]
    args.kw_defaults = [d and ast.Constant(None) for d in args.kw_defaults]
    node.decorator_list, node.returns = [], None
    for arg in ast.walk(args):
        if isinstance(arg, ast.arg):
            arg.annotation = None
    return node


class _PrivateNames(ast.NodeTransformer):
    """`self.__x` means `self._Class__x` inside a class, which the new code is not."""

    def __init__(self, owner: str) -> None:
        self._owner = owner.lstrip("_")

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:  # the visitor's form
        """An attribute, and those it is reached through."""
        self.generic_visit(node)
        if node.attr.startswith("__") and not node.attr.endswith("__"):
            node.attr = f"_{self._owner}{node.attr}"
        return node


def _factory(node: ast.FunctionDef, free: Sequence[str]) -> ast.Module:
    """`def factory_(pl_, *free): def node(...): ...`, for the compiler to see what is free."""
    args = [ast.arg(name) for name in (RUNTIME, *free)]
    outer = ast.arguments([], args, None, [], [], None, [])
    return ast.Module([ast.FunctionDef("factory_", outer, [node], [])], [])


def _code_in(code: CodeType, name: str) -> CodeType:
    return next(c for c in code.co_consts if isinstance(c, CodeType) and c.co_name == name)
