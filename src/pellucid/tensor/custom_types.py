"""Type rules of custom operators, written as signatures: `(m, k), (k, n) -> (m, n)`.

A name stands for a size that is the same wherever it is written, a number for itself, and a leading
`...` for any axes in front, the same ones wherever it is written. Source: NumPy's generalised
ufuncs; unlike there, the axes in front are equal, not broadcast.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import Shape
from pellucid.graph.ir import TensorType

Size = str | int
_GROUP = re.compile(r"\(([^()]*)\)")
_FRONT = "..."


@dataclass(frozen=True, slots=True)
class Group:
    """One operand's axes: their sizes, and whether there may be more in front."""

    sizes: tuple[Size, ...]
    open: bool

    def __str__(self) -> str:
        return f"({', '.join([_FRONT] * self.open + [str(s) for s in self.sizes])})"


@dataclass(frozen=True, slots=True)
class Signature:
    """The shapes that an operator takes and gives."""

    inputs: tuple[Group, ...]
    outputs: tuple[Group, ...]

    def __str__(self) -> str:
        sides = (", ".join(map(str, side)) for side in (self.inputs, self.outputs))
        return " -> ".join(sides)

    @property
    def takes_axes_in_front(self) -> bool:
        """Whether all operands and results may have more axes, so that a batch is one of them."""
        return all(g.open for g in (*self.inputs, *self.outputs))

    def shapes(self, name: str, types: Sequence[TensorType]) -> tuple[Shape, ...]:
        """The shapes of the outputs.

        Raises:
            ShapeError: the inputs' shapes are not as written; names the operator `name`.
        """
        known: dict[Size, Any] = {}
        operands = {f"x{k}": t for k, t in enumerate(types)}
        if len(types) != len(self.inputs):
            raise ShapeError(name, f"takes {self}", operands=operands)
        for k, (group, type) in enumerate(zip(self.inputs, types, strict=True)):
            rule = _match(group, type.shape, known)
            if rule:
                raise ShapeError(name, f"takes {self}: x{k} must have {rule}", operands=operands)
        return tuple(_filled(group, known) for group in self.outputs)


def _match(group: Group, shape: Shape, known: dict[Size, Any]) -> str:
    """Note what the names stand for; what the shape must have and has not, or nothing."""
    rank = len(group.sizes)
    if len(shape) < rank or (len(shape) > rank and not group.open):
        return f"{rank} axes{' or more' if group.open else ''}"
    front, rest = shape[: len(shape) - rank], shape[len(shape) - rank :]
    if group.open and known.setdefault(_FRONT, front) != front:
        return f"{known[_FRONT]} in front"
    for size, found in zip(group.sizes, rest, strict=True):
        wanted = size if isinstance(size, int) else known.setdefault(size, found)
        if wanted != found:
            return f"{size} = {wanted}" if isinstance(size, str) else f"a size of {wanted}"
    return ""


def _filled(group: Group, known: Mapping[Size, Any]) -> Shape:
    front: Shape = known[_FRONT] if group.open else ()
    return (*front, *[s if isinstance(s, int) else known[s] for s in group.sizes])


def parse_signature(name: str, text: str) -> Signature:
    """The signature that `text` spells.

    Raises:
        ArgumentError: it is none, or a name of an output stands in no input.
    """
    left, arrow, right = text.partition("->")
    sides = [tuple(_group(name, text, g) for g in _GROUP.findall(side)) for side in (left, right)]
    rest = _GROUP.sub("", left + right).replace(",", "").strip()
    if not arrow or rest or not sides[1]:
        raise _bad(name, text, "is no signature")
    known = {s for g in sides[0] for s in (*g.sizes, *([_FRONT] if g.open else []))}
    for group in sides[1]:
        for size in (*group.sizes, *([_FRONT] if group.open else [])):
            if isinstance(size, str) and size not in known:
                raise _bad(name, text, f"gives an output the size {size}, which no input has")
    return Signature(sides[0], sides[1])


def _group(name: str, text: str, inside: str) -> Group:
    words = [w.strip() for w in inside.split(",") if w.strip()]
    is_open = bool(words) and words[0] == _FRONT
    sizes = words[1:] if is_open else words
    if not all(w.isidentifier() or w.isdigit() for w in sizes):
        raise _bad(name, text, "is no signature")
    return Group(tuple(int(w) if w.isdigit() else w for w in sizes), is_open)


def _bad(name: str, text: str, problem: str) -> ArgumentError:
    return ArgumentError(
        "custom_op", f"the type rule of {name} {problem}", operands={"it": repr(text)},
        fix="write '(m, k), (k, n) -> (m, n)', or give a function of types",
    )  # fmt: skip
