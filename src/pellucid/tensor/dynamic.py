"""Which sizes of a function's arguments are left open: `{"x": {0: "batch", 1: "seq"}}`.

Enters: what the user says of arguments by name, and the arguments of a call. Leaves: their types
with named sizes, and what the names stand for in this call. Does not run anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pellucid.core.dtype import ALL
from pellucid.core.errors import ArgumentError, ShapeError, did_you_mean
from pellucid.core.shape import Shape
from pellucid.core.size import Dim, Size, Sizes, as_size, dims_of
from pellucid.core.size_input import dim, parse_size
from pellucid.graph.ir import TensorType

Axes = Mapping[int, "str | int"]
_TYPE = re.compile(r"\s*(\w+)\s*\[(.*)\]\s*")
_DTYPES = {d.short: d for d in ALL} | {d.name: d for d in ALL}


class Dynamic:
    """The open sizes of arguments.

    Args:
        op: who takes them, for messages.
        given: by argument, the name or `pellucid.dim` of each open axis: `{0: "batch"}`, or a
            sequence with None for the axes that are known. What is said of an argument that is a
            container holds for all tensors in it; `x['tokens']` names one of them.

    Raises:
        ArgumentError: an axis is no integer, a size no dimension, or one name has two bounds.
    """

    def __init__(self, op: str, given: Mapping[str, Any]) -> None:
        self.op = op
        dims: dict[str, Dim] = {}
        self._axes = {name: self._read(axes, dims) for name, axes in given.items()}
        self.dims: Mapping[str, Dim] = dims

    def _read(self, axes: Any, dims: dict[str, Dim]) -> dict[int, int]:
        items = axes.items() if isinstance(axes, Mapping) else enumerate(axes)
        return {self._axis(k): self._size(v, dims) for k, v in items if v is not None}

    def _axis(self, axis: Any) -> int:
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise ArgumentError(self.op, "axes are integers", operands={"axis": repr(axis)})
        return axis

    def _size(self, given: Any, dims: dict[str, Dim]) -> int:
        size = dim(given) if isinstance(given, str) else given
        found = dims_of(size)
        if not isinstance(size, Size) or len(found) != 1 or size != as_size(found[0]):
            raise ArgumentError(
                self.op, "an open axis has a name", operands={"it": repr(given)},
                fix='give "batch", or pellucid.dim("batch", min=1, max=4096)',
            )  # fmt: skip
        known = dims.setdefault(found[0].name, found[0])
        if known != found[0]:
            if isinstance(given, str):
                return as_size(known)
            if not known.is_bounded:
                dims[known.name] = found[0]
                return size
            raise ArgumentError(self.op, f"{known} has two bounds", operands={"one": known.max})
        return size

    def known_to(self, parameters: Sequence[str]) -> None:
        """Refuse names that are no arguments.

        Raises:
            ArgumentError: there is one.
        """
        for name in self._axes:
            if re.split(r"[\[.]", name)[0] not in parameters:
                operands = {"argument": repr(name), "arguments": list(parameters)}
                raise ArgumentError(self.op, "dynamic names no argument", operands=operands)

    def shape_of(self, name: str, shape: Shape) -> Shape:
        """The shape of an argument with its open sizes by name.

        Raises:
            ArgumentError: it has no such axis.
        """
        axes = self._axes.get(name)
        if axes is None:
            axes = self._axes.get(re.split(r"[\[.]", name)[0], {})
        made = list(shape)
        for axis, size in axes.items():
            if not -len(shape) <= axis < len(shape):
                operands: dict[str, object] = {name: shape, "axis": axis}
                raise ArgumentError(self.op, "dynamic names an axis that is not there",
                                    operands=operands)  # fmt: skip
            (open_dim,) = dims_of(size)
            made[axis] = as_size(self.dims[open_dim.name])
        return tuple(made)


def sizes_of(
    op: str, names: Sequence[str], shapes: Sequence[Shape], actual: Sequence[Shape]
) -> dict[str, int]:
    """What the names in `shapes` stand for in arrays of the `actual` shapes.

    Raises:
        ShapeError: one name stands for two sizes, or for one outside its bounds.
    """
    found: dict[str, tuple[int, str]] = {}
    for name, shape, real in zip(names, shapes, actual, strict=True):
        for axis, (size, number) in enumerate(zip(shape, real, strict=True)):
            if not isinstance(size, Size):
                continue
            (open_dim,) = dims_of(size)
            place = f"axis {axis} of {name}"
            first, where = found.setdefault(open_dim.name, (number, place))
            if first != number:
                operands: dict[str, object] = {where: first, place: number}
                raise ShapeError(op, f"{open_dim} is one size", operands=operands)
            if not open_dim.min <= number <= open_dim.max:
                rule = f"{open_dim} must be in {open_dim.min}..{open_dim.max}"
                raise ShapeError(op, rule, operands={place: number})
    return {name: number for name, (number, _) in found.items()}


def with_likely(shape: Shape, sizes: Sizes) -> Shape:
    """A shape whose dimensions are likely to have these sizes."""
    dims = {d.name: as_size(replace(d, likely=sizes[d.name])) for d in dims_of(shape)}
    return tuple(dims[dims_of(n)[0].name] if isinstance(n, Size) else n for n in shape)


def parse_type(text: str, dims: dict[str, Dim]) -> TensorType:
    """`f32[batch, 784]` as a type; names that are new become dimensions.

    Raises:
        ArgumentError: it is no type.
    """
    match = _TYPE.fullmatch(text)
    if match is None or match[1] not in _DTYPES:
        raise ArgumentError(
            "infer_shapes", "a type reads f32[batch, 784]", operands={"it": repr(text)},
            fix=did_you_mean(match[1], _DTYPES) if match else "",
        )  # fmt: skip
    words = [w.strip() for w in match[2].split(",") if w.strip()]
    for name in (n for w in words for n in re.findall(r"[A-Za-z_]\w*", w)):
        dims.setdefault(name, Dim(name))
    return TensorType(tuple(parse_size(w, dims) for w in words), _DTYPES[match[1]])
