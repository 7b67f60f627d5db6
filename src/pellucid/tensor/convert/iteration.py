"""What a `for` can go over besides Python values: rows of tensors, ranges with recorded ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from pellucid import ops
from pellucid.core import dtype as dt
from pellucid.core.errors import TraceError
from pellucid.core.size import is_static
from pellucid.core.source import user_line
from pellucid.graph.ir import TensorType
from pellucid.tensor.convert.leaves import Kind
from pellucid.tensor.convert.logic import is_recorded
from pellucid.tensor.dispatch import apply
from pellucid.tensor.functions import arange
from pellucid.tensor.tensor import Tensor

MOST_UNROLLED = 8  # rows of a tensor that a `for` takes one by one


@dataclass(frozen=True, slots=True)
class Counted:
    """`range` with recorded numbers."""

    start: Any
    stop: Any
    step: Any

    def before_end(self, i: Any) -> Any:
        """Whether the range goes on at i."""
        if is_recorded(self.step):
            return apply(ops.where, self.step > 0, i < self.stop, i > self.stop)
        return i < self.stop if self.step > 0 else i > self.stop

    def _refuse(self, *args: Any) -> NoReturn:
        raise TraceError(
            "range",
            "how many numbers there are depends on a tensor, so only a `for` statement can go over "
            "them",
            fix="write a loop, or use pellucid.arange with a known size and a mask",
            source=user_line(),
        )

    __iter__ = __len__ = __getitem__ = __contains__ = _refuse


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one or more tensors at once.

    Attributes:
        columns: the tensors; equally long.
        shape: what an item is made of: a column's number, or a tuple of such.
        length: number of items.
        numbers: columns that stand for Python ints: those of `enumerate`.
        reverse: from the last to the first.
        begun: the first item has been taken off.
    """

    columns: tuple[Tensor, ...]
    shape: Any
    length: int
    numbers: tuple[int, ...] = ()
    reverse: bool = False
    begun: bool = False

    def kinds(self) -> list[Kind]:
        """The type of a row of each column."""
        return [
            Kind(TensorType(c.shape[1:], c.dtype), i in self.numbers)
            for i, c in enumerate(self.columns)
        ]

    def item(self, rows: Sequence[Any]) -> Any:
        """An item of these rows."""
        return _filled(self.shape, rows)

    def at(self, i: Any) -> Any:
        """The item of this number."""
        rows = [c[i] for c in self.columns]
        for k in self.numbers:
            rows[k].weak = True
        return self.item(rows)

    def first(self) -> Any:
        """The item of the first turn."""
        return self.at(self.length - 1 if self.reverse else 0)

    def rest(self) -> Rows:
        """The others."""
        keep = slice(0, self.length - 1) if self.reverse else slice(1, self.length)
        columns = tuple(c[keep] for c in self.columns)
        return replace(self, columns=columns, length=self.length - 1, begun=True)

    def __iter__(self) -> Iterator[Any]:
        order = range(self.length)
        return (self.at(i) for i in (reversed(order) if self.reverse else order))


def _filled(shape: Any, rows: Sequence[Any]) -> Any:
    if isinstance(shape, tuple):
        return tuple(_filled(s, rows) for s in shape)
    return rows[shape]


def rows_of(iterable: Any) -> Any:
    """A recorded tensor as its rows; anything else as it is.

    Raises:
        ShapeError: the tensor has no axes.
    """
    if not isinstance(iterable, Tensor):
        return iterable
    # len would settle a size that is open
    return Rows((iterable,), 0, iterable.shape[0] if iterable.shape else len(iterable))


def range_(*bounds: Any) -> Any:
    """`range`, also of recorded tensors."""
    if not any(is_recorded(b) for b in bounds):
        return range(*bounds)
    start, stop, step = (0, *bounds, 1) if len(bounds) == 1 else (*bounds, 1)[:3]
    return Counted(*(_number(b) for b in (start, stop, step)))


def _number(bound: Any) -> Any:
    """A bound as what a Python int is while recording."""
    if not is_recorded(bound):
        return bound
    if not bound.dtype.is_integer or bound.size != 1:
        raise TraceError(
            "range", "takes whole numbers", operands={"it": bound.type},
            fix="use .astype('int64')", source=user_line(),
        )  # fmt: skip
    number = bound.reshape(()) if bound.shape else bound
    if not number.weak:
        number = number.astype(dt.int64) if number.dtype != dt.int64 else number.clone()
        number.weak = True
    return number


def enumerate_(iterable: Any, start: Any = 0) -> Any:
    """`enumerate`; the numbers are recorded where the items are rows of many."""
    rows = rows_of(iterable) if is_recorded(iterable) else iterable
    open_size = isinstance(rows, Rows) and not is_static(rows.length)
    few = isinstance(rows, Rows) and not open_size and rows.length <= MOST_UNROLLED
    if not isinstance(rows, Rows) or few or is_recorded(start):
        return enumerate(rows, start)
    numbers = arange(start, start + rows.length)
    if rows.reverse:
        numbers = numbers[::-1]
    counts = (0, *(k + 1 for k in rows.numbers))
    shape = (0, _shifted(rows.shape, 1))
    return replace(rows, columns=(numbers, *rows.columns), shape=shape, numbers=counts)


def zip_(*iterables: Any, strict: bool = False) -> Any:
    """`zip`; one loop over the rows of tensors where all are."""
    every = [rows_of(i) if is_recorded(i) else i for i in iterables]
    if not every or not all(isinstance(i, Rows) and not i.reverse for i in every):
        return zip(*every, strict=strict)
    length = min(r.length for r in every)
    if strict and any(r.length != length for r in every):
        return zip(*every, strict=True)
    columns: list[Tensor] = []
    shapes, numbers = [], []
    for rows in every:
        numbers += [k + len(columns) for k in rows.numbers]
        shapes.append(_shifted(rows.shape, len(columns)))
        columns += [c if c.shape[0] == length else c[:length] for c in rows.columns]
    return Rows(tuple(columns), tuple(shapes), length, tuple(numbers))


def reversed_(iterable: Any) -> Any:
    """`reversed`, also of rows."""
    rows = rows_of(iterable) if is_recorded(iterable) else iterable
    return replace(rows, reverse=not rows.reverse) if isinstance(rows, Rows) else reversed(rows)


def _shifted(shape: Any, by: int) -> Any:
    return tuple(_shifted(s, by) for s in shape) if isinstance(shape, tuple) else shape + by
