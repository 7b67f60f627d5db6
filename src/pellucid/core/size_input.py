"""Sizes as a user gives them: a named dimension, and the text of a polynomial.

Enters: a name with bounds, text, or the shapes of a call. Leaves: a size of `core/size.py`, or the
numbers that dimensions stand for.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pellucid.core.errors import ArgumentError
from pellucid.core.size import MOST, Dim, Size, as_size, dims_of


def dim(name: str, *, min: int = 0, max: int | None = None) -> int:
    """A named dimension, as a size.

    Args:
        name: an identifier; within one program, one name is one size.
        min: the least size there will be.
        max: the greatest; None: as large as memory allows.

    Returns:
        A size that can be used in shapes and computed with (`2 * seq + 1`).

    Raises:
        ArgumentError: the name is no identifier, or the bounds leave no size.
    """
    most = MOST if max is None else max
    if not (isinstance(name, str) and name.isidentifier()):
        raise ArgumentError("dim", "the name must be an identifier", operands={"name": repr(name)})
    if not 0 <= min <= most:
        bounds_given = {"min": min, "max": max}
        raise ArgumentError("dim", "the bounds must leave a size", operands=bounds_given)
    return as_size(Dim(name, min, most))


def size_row(size: int) -> Any:
    """A size as what JSON can hold; `size_of_row` reads it back."""
    if not isinstance(size, Size):
        return size
    return [str(size), *([d.name, d.min, d.max, d.likely] for d in dims_of(size))]


def size_of_row(row: Any) -> int:
    """The size that `size_row` wrote."""
    if isinstance(row, int):
        return row
    text, *dims = row
    return parse_size(text, {d[0]: Dim(*d) for d in dims})


def parse_size(text: str, dims: Mapping[str, Dim]) -> int:
    """The size that prints as `text`; names that are not in `dims` are refused.

    Raises:
        ArgumentError: it is no sum of products of names and integers.
    """
    try:
        return _parsed(ast.parse(text.strip(), mode="eval").body, dims)
    except (SyntaxError, KeyError, TypeError, ZeroDivisionError):
        raise ArgumentError(
            "size", "a size is made of names, integers and + - * // %", operands={"it": repr(text)}
        ) from None


_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip


def _parsed(node: ast.expr, dims: Mapping[str, Dim]) -> int:
    match node:
        case ast.Name(id=name):
            return as_size(dims[name])
        case ast.Constant(value=int(number)):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_parsed(inner, dims)
        case ast.BinOp(left=left, op=op, right=right):
            made = _OPERATORS[type(op)](_parsed(left, dims), _parsed(right, dims))
            return made if isinstance(made, Size) else int(made)
        case _:
            raise TypeError(node)


def solve(shapes: Sequence[Sequence[int]], actual: Sequence[Sequence[int]]) -> dict[str, int]:
    """The sizes of all dimensions that some axis tells, as `n` or `2*n + 1`; the first counts."""
    found: dict[str, int] = {}
    for shape, real in zip(shapes, actual, strict=True):
        for size, number in zip(shape, real, strict=True):
            if isinstance(size, Size) and (told := _told(size)):
                dim, count, constant = told
                if dim.name not in found and (number - constant) % count == 0:
                    found[dim.name] = (number - constant) // count
    return found


def _told(size: Size) -> tuple[Dim, int, int] | None:
    """`(n, 2, 1)` of `2*n + 1`."""
    terms = dict(size.terms)
    constant = terms.pop((), 0)
    if len(terms) == 1:
        ((monomial, count),) = terms.items()
        if len(monomial) == 1 and isinstance(monomial[0], Dim):
            return monomial[0], count, constant
    return None
