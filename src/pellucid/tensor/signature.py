"""What a call of a jitted function is looked up by: structure of the arguments, types of what is
data, values of what is static.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from pellucid.core.errors import ArgumentError, DTypeError
from pellucid.tensor.box import leaked
from pellucid.tensor.tensor import Tensor
from pellucid.tensor.tree import Told, TreeDef


@dataclass(frozen=True, slots=True)
class Signature:
    """What a compiled program was made for: the arguments' structure, and type or static value of
    each leaf.
    """

    structure: TreeDef
    leaves: tuple[Any, ...]
    names: tuple[str, ...]
    grad: bool

    @property
    def key(self) -> Any:
        """What calls are looked up by."""
        return (self.structure, self.leaves, self.grad)

    def tensor_names(self) -> list[str]:
        """Names of the leaves that are tensors, as identifiers."""
        pairs = zip(self.names, self.leaves, strict=True)
        return [re.sub(r"\W+", "_", n).strip("_") for n, leaf in pairs if leaf[0] != "static"]

    def differences(self, other: Signature) -> list[str]:
        """In words, what changed from `other` to this."""
        if self.structure != other.structure:
            return ["the arguments' structure (number, names or nesting)"]
        changed = [
            f"{name}: {leaf_text(b)} -> {leaf_text(a)}"
            for name, a, b in zip(self.names, self.leaves, other.leaves, strict=True)
            if a != b
        ]
        if self.grad != other.grad:
            changed.append(f"gradient recording: {other.grad} -> {self.grad}")
        return changed


def leaf_text(leaf: Any) -> str:
    """An entry of a signature in words."""
    if leaf[0] == "number":
        return f"a Python {leaf[1].__name__}"
    if leaf[0] == "tensor":
        _, shape, dtype, wants = leaf
        return f"{dtype}{list(shape)}" + (" requires_grad" if wants else "")
    text = repr(leaf[2])
    return f"static {text}" if "\n" not in text else f"static {type(leaf[2]).__name__}"


_NUMBERS: Mapping[type, Any] = MappingProxyType(
    {int: np.int64, float: np.float64, complex: np.complex128}
)


def is_data(leaf: Any) -> bool:
    """Whether an argument is data: a tensor, an array or a number."""
    return isinstance(leaf, (Tensor, np.ndarray, np.generic)) or type(leaf) in _NUMBERS


def describe_leaf(leaf: Any, boxes: list[Tensor]) -> Any:
    """An argument as part of a signature; data is moved to `boxes` as tensors."""
    if not is_data(leaf):
        return ("static", type(leaf), static_key("argument", leaf))
    if type(leaf) in _NUMBERS:
        boxes.append(_number(leaf))
        return ("number", type(leaf))
    box = leaf if isinstance(leaf, Tensor) else Tensor(leaf)
    if box._array is None:
        raise leaked()
    boxes.append(box)
    return ("tensor", box.shape, box.dtype, box.requires_grad)


def _number(value: complex) -> Tensor:
    """A Python number as data, with all its digits; operations round it to what it meets."""
    try:
        box = Tensor.plain(np.asarray(value, _NUMBERS[type(value)]))
    except OverflowError:
        raise DTypeError("jit", "an int argument must fit int64", operands={"it": value}) from None
    box.weak = True
    return box


def static_key(name: str, value: Any) -> Any:
    """A hashable stand-in for a static argument, equal only for values that act alike."""
    try:
        hash(value)
    except TypeError:
        raise ArgumentError(
            "jit",
            "a static argument must be hashable",
            operands={name: type(value).__name__},
            fix="pass a tuple, or tensors",
        ) from None
    return Told(value) if isinstance(value, (float, tuple)) else value
