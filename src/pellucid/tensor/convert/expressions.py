"""Expressions that look at truth values, and calls, as calls of the runtime.

before: `a and b`, `not a`, `a < b < c`, `x in t`, `a if c else b`, `assert c`, `f(x)`
after: `pl_.and_(a, lambda: b)`, …, `pl_.call(f)(x)`: operands that Python evaluates only if needed
stay so.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from pellucid.core.errors import TraceError
from pellucid.tensor.convert.names import MUTATORS
from pellucid.tensor.convert.statements import is_runtime_call, runtime_call, thunk


class Expressions(ast.NodeTransformer):
    """Rewrites the expressions of one function, and of functions defined in it, in place.

    Args:
        file: for error messages.
        receiver: the first parameter, for `super()`.
    """

    def __init__(self, file: str, receiver: str) -> None:
        self._file, self._receiver = file, receiver

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:  # the visitor's form
        """Classes stay as they are; their methods are converted when they are called."""
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """A function inside: decorators and defaults too."""
        before = self._receiver
        self._receiver = node.args.args[0].arg if node.args.args else before
        self.generic_visit(node)
        self._receiver = before
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        """`a and b and c`."""
        self._refuse_binding(node.values[1:], "the right side of `and` or `or`")
        values = [self.visit(v) for v in node.values]
        name = "and_" if isinstance(node.op, ast.And) else "or_"
        return runtime_call(name, [values[0], *map(thunk, values[1:])], node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        """`not a`."""
        self.generic_visit(node)
        return runtime_call("not_", [node.operand], node) if _is_not(node) else node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """`a < b < c`, with b evaluated once; `a in b`."""
        if len(node.ops) > 1:
            function, args = _chained(node)
            return _made(self.visit(function), [self.visit(a) for a in args], node)
        self.generic_visit(node)
        if isinstance(node.ops[0], (ast.In, ast.NotIn)):
            found = runtime_call("contains", [node.comparators[0], node.left], node)
            return found if isinstance(node.ops[0], ast.In) else runtime_call("not_", [found], node)
        return node

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        """`a if c else b`."""
        self._refuse_binding([node.body, node.orelse], "a branch of a conditional expression")
        self.generic_visit(node)
        return runtime_call("choose", [node.test, thunk(node.body), thunk(node.orelse)], node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """`f(x)`: f is converted first, where it is a user's."""
        if is_runtime_call(node):
            node.args = [self.visit(a) for a in node.args]
            return node
        if isinstance(node.func, ast.Name) and node.func.id == "super" and not node.args:
            here = [ast.Name("__class__", ast.Load()), ast.Name(self._receiver, ast.Load())]
            node.args = [ast.copy_location(n, node) for n in here]
            return node
        self.generic_visit(node)
        if isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            node.func.value = runtime_call("items", [node.func.value], node.func.value)
        node.func = runtime_call("call", [node.func], node.func)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """`x.a = v` says first that it changes `a`."""
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            node.value = runtime_call("owner", [node.value, ast.Constant(node.attr)], node.value)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """`x[i] = v` says first that it changes x."""
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            node.value = runtime_call("items", [node.value], node.value)
        return node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """`assert c, message`."""
        self.generic_visit(node)
        message = [thunk(node.msg)] if node.msg else []
        call = ast.Expr(runtime_call("assert_", [node.test, *message], node))
        return ast.copy_location(call, node)

    def visit_Raise(self, node: ast.Raise) -> list[ast.AST]:
        """`raise` has no place in a block that is recorded without knowing whether it runs."""
        self.generic_visit(node)
        return [ast.copy_location(ast.Expr(runtime_call("raising", [], node)), node), node]

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        """`for x in xs if c`: how many there are must be known."""
        self.generic_visit(node)
        node.ifs = [runtime_call("known", [c], c) for c in node.ifs]
        return node

    def _refuse_binding(self, operands: Sequence[ast.expr], where: str) -> None:
        for operand in operands:
            if any(isinstance(n, ast.NamedExpr) for n in ast.walk(operand)):
                raise TraceError(
                    "convert",
                    f"`:=` in {where} cannot be converted",
                    fix="assign on a line of its own, before",
                    source=f"{self._file}:{operand.lineno}",
                )


def _made(function: ast.expr, args: list[ast.expr], at: ast.AST) -> ast.expr:
    return ast.copy_location(ast.Call(function, args, []), at)


def _is_not(node: ast.UnaryOp) -> bool:
    return isinstance(node.op, ast.Not)


def _chained(node: ast.Compare) -> tuple[ast.Lambda, list[ast.expr]]:
    """The function and arguments of `(lambda a, b: a < b and b < c)(a, b)`, for any number of
    comparisons.
    """
    left, right = ast.Name("left_", ast.Load()), ast.Name("right_", ast.Load())
    one = ast.Compare(left, [node.ops[0]], [right])
    later = ast.Compare(right, list(node.ops[1:]), node.comparators[1:])
    names = ast.arguments([], [ast.arg("left_"), ast.arg("right_")], None, [], [], None, [])
    both = ast.BoolOp(ast.And(), [one, later])
    function = ast.fix_missing_locations(ast.copy_location(ast.Lambda(names, both), node))
    return function, [node.left, node.comparators[0]]
