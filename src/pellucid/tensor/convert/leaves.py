"""What a block left in a variable, and one type for what two blocks left there.

A variable's value is a container of leaves (see `tensor.tree`). A leaf is a tensor the block made,
a tensor from outside, or a Python value. Python numbers join tensors as they do in arithmetic;
Python values that are the same stay Python values; everything else must be of one type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid import ops
from pellucid.core import dtype as dt
from pellucid.graph.ir import TensorType, Value
from pellucid.tensor.box import Box
from pellucid.tensor.convert.growing import Growing
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.trace import Trace
from pellucid.tensor.tree import TreeDef, flatten

_NUMBERS = (bool, int, float)
_PLAIN = (*_NUMBERS, complex, str, bytes)


@dataclass(frozen=True, slots=True)
class Kind:
    """The type of a tensor, and whether it stands for a Python number (see `Box.weak`)."""

    type: TensorType
    weak: bool = False

    def __str__(self) -> str:
        return f"a Python {_word(self.type.dtype)}" if self.weak else str(self.type)


def _word(dtype: dt.DType) -> str:
    return "int" if dtype.is_integer else "float"


@dataclass(frozen=True, slots=True)
class Made:
    """A tensor made in a block: the block's output of this number."""

    index: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Outer:
    """A tensor from outside the block."""

    box: Box
    kind: Kind


@dataclass(frozen=True, slots=True)
class Plain:
    """A Python value."""

    value: Any


Leaf = Made | Outer | Plain


@dataclass(frozen=True, slots=True)
class Content:
    """A value as its structure and leaves.

    Attributes:
        treedef: the structure.
        leaves: what stands in it.
    """

    treedef: TreeDef
    leaves: tuple[Leaf, ...]


class MismatchError(Exception):
    """Two values that have no type in common, in words."""

    def __init__(self, first: str, second: str) -> None:
        self.first, self.second = first, second
        super().__init__(f"{first} and {second}")

    def told(self, of: str) -> str:
        """Both, of the branches of a condition (`where`) or of a turn of a loop."""
        if of == "where":
            return f"{self.first} where the condition holds, and {self.second} where not"
        return f"{self.first} before a turn, and {self.second} after it"


def kind_of(box: Box) -> Kind:
    """A tensor's type as it takes part in joining."""
    return Kind(box.type, box.weak)


def content_of(value: Any, trace: Trace, made: list[Box]) -> Content:
    """What a variable holds at the end of a block; tensors made there are added to `made`."""
    value = value.added() if isinstance(value, Growing) else value
    found, treedef = flatten(value)
    return Content(treedef, tuple(_leaf(v, trace, made) for v in found))


def _leaf(value: Any, trace: Trace, made: list[Box]) -> Leaf:
    if isinstance(value, (np.ndarray, np.generic)):
        value = Tensor(value)
    if not isinstance(value, Box):
        return Plain(value)
    if value._trace is not trace:
        return Outer(value, kind_of(value))
    made.append(value)
    return Made(len(made) - 1, kind_of(value))


def same(a: Leaf, b: Leaf) -> bool:
    """Whether two leaves are one tensor from outside, or equal Python values."""
    if isinstance(a, Outer) and isinstance(b, Outer):
        return a.box is b.box
    if not (isinstance(a, Plain) and isinstance(b, Plain)):
        return False
    if a.value is b.value:
        return True
    alike = type(a.value) is type(b.value) and isinstance(a.value, _PLAIN)
    return alike and repr(a.value) == repr(b.value)


def joined(a: Leaf, b: Leaf) -> Kind:
    """The type that holds both leaves.

    Raises:
        MismatchError: there is none.
    """
    if isinstance(a, Plain) and isinstance(b, Plain):
        return _joined_numbers(a.value, b.value)
    if isinstance(a, Plain):
        try:
            return joined(b, a)
        except MismatchError as error:
            raise MismatchError(error.second, error.first) from None
    if isinstance(b, Plain):
        return _with_number(a, b)
    if a.kind == b.kind:
        return a.kind
    if a.kind.weak and b.kind.weak:
        return Kind(TensorType((), dt.float64), True)
    weak, strong = (a, b) if a.kind.weak else (b, a)
    if weak.kind.weak and _takes(strong.kind, 0 if weak.kind.type.dtype.is_integer else 0.0):
        return strong.kind
    raise MismatchError(str(a.kind), str(b.kind))


def _joined_numbers(a: Any, b: Any) -> Kind:
    if not (type(a) in _NUMBERS and type(b) in _NUMBERS):
        raise MismatchError(described(Plain(a)), described(Plain(b)))
    if type(a) is type(b) is bool:
        return Kind(TensorType((), dt.bool_))
    dtype = dt.float64 if float in (type(a), type(b)) else dt.int64
    return Kind(TensorType((), dtype), True)


def _with_number(tensor: Made | Outer, plain: Plain) -> Kind:
    value, kind = plain.value, tensor.kind
    if type(value) in _NUMBERS:
        if kind.weak:
            wide = type(value) is float or kind.type.dtype.is_float
            return Kind(TensorType((), dt.float64 if wide else dt.int64), True)
        if _takes(kind, value):
            return kind
    raise MismatchError(described(tensor), described(plain))


def _takes(kind: Kind, value: Any) -> bool:
    """Whether a number becomes a tensor of this type without changing the tensor's own."""
    return not kind.type.shape and dt.scalar_dtype(kind.type.dtype, value) == kind.type.dtype


def described(leaf: Leaf) -> str:
    """A leaf's type in words."""
    if not isinstance(leaf, Plain):
        return str(leaf.kind)
    text = repr(leaf.value)
    if leaf.value is None or (isinstance(leaf.value, _PLAIN) and len(text) < 40):
        return text
    return f"a {type(leaf.value).__name__}"


def structure(content: Content) -> str:
    """A value's type in words."""
    if content.treedef.kind is None:
        return described(content.leaves[0])
    inside = ", ".join(map(described, content.leaves[:4])) + (", …" * (len(content.leaves) > 4))
    return f"a {content.treedef.kind.__name__} of {len(content.leaves)} ({inside})"


def check_structure(a: Content, b: Content) -> None:
    """Refuse containers of different structure.

    Raises:
        MismatchError: they differ.
    """
    if a.treedef != b.treedef:
        raise MismatchError(structure(a), structure(b))


def cast(value: Value, kind: Kind) -> Value:
    """A graph value in the dtype of a kind."""
    return value if value.dtype == kind.type.dtype else ops.astype(value, kind.type.dtype)


def constant(value: Any, kind: Kind) -> Value:
    """A Python number as a graph value."""
    return ops.full(kind.type.shape, value, dtype=kind.type.dtype)


def zeros(kind: Kind) -> Value:
    """A value for what nobody reads."""
    return ops.full(kind.type.shape, 0, dtype=kind.type.dtype)


def kinds(leaves: Sequence[Leaf]) -> list[Kind]:
    """The types of leaves that are tensors."""
    return [leaf.kind for leaf in leaves if not isinstance(leaf, Plain)]
