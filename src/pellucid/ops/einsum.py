"""Einstein sums: any number of operands, repeated indices, ellipses, implicit outputs.

Operands are contracted in pairs, the pair with the smallest result first, each pair as one
`dot_general`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.core.errors import ArgumentError, ShapeError
from pellucid.core.shape import normalize_axis, size_of
from pellucid.core.size import Size
from pellucid.graph.ir import Value
from pellucid.ops.broadcast import sum_axes
from pellucid.ops.comparison import equal, where
from pellucid.ops.contraction import dot_general
from pellucid.ops.create import iota
from pellucid.ops.layout import moveaxis, permute_dims, reshape, squeeze
from pellucid.ops.movement import slice_
from pellucid.ops.promotion import as_value, common_dtype, refuse_bool

# stand for an ellipsis's axes, the last axis first; no letter of a subscript
_HIDDEN = "0123456789"


@dataclass(frozen=True)
class _Term:
    """An operand and the label of each of its axes."""

    value: Value
    labels: str


def einsum(subscripts: str, *operands: Value) -> Value:
    """The sum of products that the subscripts describe, as NumPy's: `ij,jk->ik`, `...ii->...i`.

    Axes of size 1 broadcast. Without `->` the result has the ellipsis's axes, then the labels that
    occur once, in alphabetical order. An ellipsis that a given result leaves out is summed over.

    Raises:
        ArgumentError: the subscripts do not parse, or do not fit the number of operands.
        ShapeError: a label stands for axes of different sizes, or an operand has another rank.
    """
    inputs, output = _parse(subscripts, operands)
    dtype = common_dtype("einsum", operands)
    values = [as_value("einsum", x, dtype) for x in operands]
    refuse_bool("einsum", values)
    terms = [_Term(v, labels) for v, labels in zip(values, inputs, strict=True)]
    sizes = _sizes(subscripts, terms)
    terms = [_one_axis_per_label(_without_ones(term, sizes)) for term in terms]
    while len(terms) > 1:
        a, b = _cheapest(terms, output, sizes)
        rest = [t for i, t in enumerate(terms) if i not in (a, b)]
        terms = [*rest, _contract(terms[a], terms[b], _needed(rest, output))]
    last = _summed(terms[0], set(output))
    order = tuple(last.labels.index(label) for label in output)
    return permute_dims(last.value, order)


def diagonal(x: Value, offset: int = 0, axis1: int = -2, axis2: int = -1) -> Value:
    """The elements whose positions along two axes differ by `offset`, as a new last axis.

    Raises:
        ShapeError: the axes are the same or out of range.
    """
    first = normalize_axis("diagonal", axis1, x.shape)
    second = normalize_axis("diagonal", axis2, x.shape)
    if first == second:
        operands: dict[str, object] = {"x": x.type, "axes": (axis1, axis2)}
        raise ShapeError("diagonal", "takes two different axes", operands=operands)
    front = moveaxis(x, (first, second), (-2, -1))
    *lead, rows, columns = front.shape
    if offset == 0 and rows == columns and any(isinstance(n, Size) for n in front.shape):
        # of open sizes: a slice of steps, which depend on them, has a size that nothing simplifies
        on = equal(iota((rows, rows), 0), iota((rows, rows), 1))
        return sum_axes(where(on, front, 0), (front.rank - 2,))
    count = max(0, min(rows + min(offset, 0), columns - max(offset, 0)))
    start = max(offset, 0) - min(offset, 0) * columns
    flat = reshape(front, (*lead, rows * columns))
    stop = start + (count - 1) * (columns + 1) + 1 if count else start
    if not count:
        start = stop = 0
    return slice_(
        flat,
        (*[0] * len(lead), start),
        (*lead, stop),
        (*[1] * len(lead), columns + 1),
    )


def trace(x: Value, offset: int = 0) -> Value:
    """The sum of a diagonal of the last two axes."""
    line = diagonal(x, offset)
    return sum_axes(line, (line.rank - 1,))


def _bad(rule: str, subscripts: str, fix: str = "") -> ArgumentError:
    return ArgumentError("einsum", rule, operands={"subscripts": repr(subscripts)}, fix=fix)


def _parse(subscripts: str, operands: Sequence[Value]) -> tuple[list[str], str]:
    """The label of every axis, operand by operand, and of the result."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(operands):
        raise _bad(f"names {len(inputs)} operands where there are {len(operands)}", subscripts)
    letters = text.replace("...", "").replace("->", "").replace(",", "")
    if not letters.isalpha() and letters:
        raise _bad("takes letters, commas, '...' and one '->'", subscripts)
    expanded = [_expand(s, x, subscripts) for s, x in zip(inputs, operands, strict=True)]
    hidden = "".join(sorted({c for s in expanded for c in s if c in _HIDDEN}, reverse=True))
    if not arrow:
        counts = Counter("".join(expanded))
        once = sorted(c for c, n in counts.items() if n == 1 and c not in _HIDDEN)
        return expanded, hidden + "".join(once)
    output = right.replace("...", hidden)
    unknown = set(output) - set("".join(expanded))
    if unknown or len(set(output)) != len(output):
        raise _bad("the result's labels must be distinct and occur in an operand", subscripts)
    return expanded, output


def _expand(labels: str, x: Value, subscripts: str) -> str:
    plain = labels.replace("...", "")
    extra = x.rank - len(plain)
    if "." in plain or labels.count("...") > 1 or (extra != 0 and "..." not in labels) or extra < 0:
        operands: dict[str, object] = {"subscripts": repr(labels), "operand": x.type}
        raise ShapeError("einsum", "one label per axis is needed", operands=operands)
    if extra > len(_HIDDEN):
        raise _bad(f"an ellipsis stands for at most {len(_HIDDEN)} axes", subscripts)
    return labels.replace("...", _HIDDEN[:extra][::-1])


def _sizes(subscripts: str, terms: Sequence[_Term]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for term in terms:
        for label, n in zip(term.labels, term.value.shape, strict=True):
            known = sizes.setdefault(label, n)
            if known == 1:
                sizes[label] = n
            elif n not in (1, known):
                operands: dict[str, object] = {
                    f"operand {i}": t.value.type for i, t in enumerate(terms)
                }
                rule = f"label {label!r} of {subscripts!r} stands for sizes {known} and {n}"
                raise ShapeError("einsum", rule, operands=operands)
    return sizes


def _without_ones(term: _Term, sizes: dict[str, int]) -> _Term:
    """Axes of size 1 that broadcast against another operand are dropped."""
    pairs = zip(term.labels, term.value.shape, strict=True)
    drop = [i for i, (label, n) in enumerate(pairs) if n == 1 and sizes[label] != 1]
    labels = "".join(c for i, c in enumerate(term.labels) if i not in drop)
    return _Term(squeeze(term.value, drop) if drop else term.value, labels)


def _one_axis_per_label(term: _Term) -> _Term:
    """Repeated labels become one axis, the diagonal."""
    value, labels = term.value, term.labels
    while len(set(labels)) < len(labels):
        label = next(c for c in labels if labels.count(c) > 1)
        i, j = labels.index(label), labels.rindex(label)
        value = diagonal(value, 0, i, j)
        labels = "".join(c for k, c in enumerate(labels) if k not in (i, j)) + label
    return _Term(value, labels)


def _needed(rest: Sequence[_Term], output: str) -> set[str]:
    return {c for t in rest for c in t.labels} | set(output)


def _cheapest(terms: Sequence[_Term], output: str, sizes: dict[str, int]) -> tuple[int, int]:
    def result_size(pair: tuple[int, int]) -> int:
        rest = [t for i, t in enumerate(terms) if i not in pair]
        both = {c for i in pair for c in terms[i].labels}
        return size_of([sizes[c] for c in both & _needed(rest, output)])

    return min(itertools.combinations(range(len(terms)), 2), key=result_size)


def _summed(term: _Term, needed: set[str]) -> _Term:
    """Labels that nothing else needs are summed away."""
    axes = [i for i, label in enumerate(term.labels) if label not in needed]
    labels = "".join(c for c in term.labels if c in needed)
    return _Term(sum_axes(term.value, axes), labels)


def _contract(a: _Term, b: _Term, needed: set[str]) -> _Term:
    a = _summed(a, needed | set(b.labels))
    b = _summed(b, needed | set(a.labels))
    shared = [c for c in a.labels if c in b.labels]
    batch = [c for c in shared if c in needed]
    contract = [c for c in shared if c not in needed]
    value = dot_general(
        a.value,
        b.value,
        _axes(a, b, contract),
        _axes(a, b, batch),
    )
    free = [c for t in (a, b) for c in t.labels if c not in shared]
    return _Term(value, "".join(batch + free))


def _axes(a: _Term, b: _Term, labels: list[str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(a.labels.index(c) for c in labels), tuple(b.labels.index(c) for c in labels)
