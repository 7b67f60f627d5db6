"""Segments: equal parts of a program, which can be optimised once for all of them.

Enters: a numbered program. Leaves: `Segment`s, sets of positions, and classes of equal ones. A
layer's forward stretch, its backward stretch and the update of its parameters lie apart in the
program, but make one segment, so that fusion may reach from one to another. The *parts* of a
segment are its stretches in order.

Two segments are equal if their nodes are, and if these read each other, what lies outside, and are
read from outside in the same pattern. This is compared exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.passes.find_runs import FEWEST_TIMES, find_runs
from pellucid.passes.place_cuts import Cuts
from pellucid.passes.value_numbers import LITERAL, PLAIN, Ints, Numbered

FEWEST_SAVED = 48  # nodes of a class that need not be looked at
MOST_OUTPUTS = 1 << 10  # of a node, for numbering the values of a segment

Spans = Sequence[tuple[int, int]]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Segment:
    """Some positions of a program, and what crosses their border. Values are numbers.

    Attributes:
        positions: in order.
        starts: the first position of each part.
        part: per position, which part it is in.
        outer: values read from outside, in order of their first use.
        arrives: per value of `outer`, the part that reads it first; 0 for the program's inputs.
        given: values read outside, or returned, in order.
        leaves: per value of `given`, the part before which it is read outside; the number of parts
            where that is after all of them.
        returned: outputs of the program that are moved values of the segment.
        key: equal for equal segments.
    """

    positions: Ints
    starts: tuple[int, ...]
    part: Ints
    outer: tuple[int, ...]
    arrives: tuple[int, ...]
    given: tuple[int, ...]
    leaves: tuple[int, ...]
    returned: tuple[int, ...]
    key: bytes

    def arriving(self, part: int) -> tuple[int, ...]:
        """The values from outside that a part is the first to read."""
        return tuple(v for v, k in zip(self.outer, self.arrives, strict=True) if k == part)

    def leaving(self, part: int) -> tuple[int, ...]:
        """The values that are first read outside before a part; for their number, after all."""
        return tuple(v for v, k in zip(self.given, self.leaves, strict=True) if k == part)


def equal_segments(numbered: Numbered) -> list[list[Segment]]:
    """Classes of equal segments, those that come often enough to be worth it; last a class of one
    segment with all the rest. Empty where nothing repeats.
    """
    classes = _classes(numbered)
    if not classes:
        return []
    groups = [_spans(segment) for segments in classes for segment in segments]
    rest = _gaps(groups, len(numbered.nodes))
    border = Border(numbered, [*groups, rest])
    return [*classes, [border.segment(rest, border.loose_outputs())]]


def _classes(numbered: Numbered) -> list[list[Segment]]:
    runs = find_runs(numbered.tokens)
    if not runs:
        return []
    cuts = Cuts(numbered)
    for k, run in enumerate(runs):
        cuts.cut(run, k)
    groups = _join_stretches(numbered, cuts)
    border = Border(numbered, groups)
    classes: dict[bytes, list[Segment]] = {}
    for group in groups:
        segment = border.segment(group)
        classes.setdefault(segment.key, []).append(segment)
    return [c for c in classes.values() if _is_worth_it(c)]


def _spans(segment: Segment) -> Spans:
    lengths = np.bincount(segment.part, minlength=len(segment.starts)).tolist()
    return [(a, a + n) for a, n in zip(segment.starts, lengths, strict=True)]


def _gaps(groups: Sequence[Spans], end: int) -> Spans:
    """What no group covers; one empty stretch where they cover all."""
    gaps, top = [], 0
    for start, stop in sorted(span for spans in groups for span in spans):
        if start > top:
            gaps.append((top, start))
        top = stop
    if top < end or not gaps:
        gaps.append((top, end))
    return gaps


def _is_worth_it(segments: Sequence[Segment]) -> bool:
    saved = (len(segments) - 1) * len(segments[0].positions)
    return len(segments) >= FEWEST_TIMES and saved >= FEWEST_SAVED


def _join_stretches(numbered: Numbered, cuts: Cuts) -> list[Spans]:
    """Stretches of different runs that read each other, as one group each."""
    groups = {k: [k] for k in range(len(cuts.spans))}
    for reader, maker in _links(numbered, cuts):
        mine, other = groups[reader], groups[maker]
        taken = {cuts.runs[k] for k in other}
        if len(mine) == 1 and cuts.runs[reader] not in taken:
            other += mine
            groups[reader] = other
    unique = {id(g): sorted(cuts.spans[k] for k in g) for g in groups.values()}
    return list(unique.values())


def _links(numbered: Numbered, cuts: Cuts) -> list[tuple[int, int]]:
    """Pairs of a stretch and the one of another run that it reads the most bytes of."""
    made = numbered.made_at[numbered.reads]
    reader, maker = cuts.stretch_of[numbered.reader], cuts.stretch_of[made]
    runs = np.array(cuts.runs, np.int64)
    linked = (made >= 0) & (reader >= 0) & (maker >= 0)
    linked[linked] = runs[reader[linked]] != runs[maker[linked]]
    codes = reader[linked] * len(runs) + maker[linked]
    pairs, at = np.unique(codes, return_inverse=True)
    sizes = np.bincount(at, numbered.nbytes[numbered.reads[linked]], len(pairs))
    best: dict[int, tuple[float, int]] = {}
    for pair, size in zip(pairs.tolist(), sizes.tolist(), strict=True):
        stretch, other = divmod(pair, len(runs))
        best[stretch] = max(best.get(stretch, (0.0, -1)), (size, other))
    return sorted((stretch, other) for stretch, (_, other) in best.items())


class Border:
    """Who reads whom across the borders of groups of stretches."""

    def __init__(self, numbered: Numbered, groups: Sequence[Spans]) -> None:
        self.numbered = numbered
        self.end = len(numbered.nodes)
        owner = np.full(self.end, -1, np.int64)
        for k, spans in enumerate(groups):
            for start, stop in spans:
                owner[start:stop] = k
        made = numbered.made_at[numbered.reads]
        outside = (made >= 0) & (owner[numbered.reader] != owner[made])
        self.read_at = np.full(len(numbered.values), self.end + 1, np.int64)
        np.minimum.at(self.read_at, numbered.reads[outside], numbered.reader[outside])
        self.moved: dict[int, list[int]] = {}
        for number in dict.fromkeys(numbered.number[v] for v in numbered.graph.outputs):
            if numbered.chain[number] == PLAIN:
                self.read_at[number] = min(self.read_at[number], self.end)
            else:
                self.moved.setdefault(numbered.root[number], []).append(number)
        self.offsets = np.searchsorted(numbered.reader, np.arange(self.end + 1))

    def segment(self, spans: Spans, returned: Sequence[int] = ()) -> Segment:
        """A group of stretches as a segment, which also returns some moved inputs or literals."""
        numbered = self.numbered
        lengths = np.array([stop - start for start, stop in spans], np.int64)
        positions = _ranges(spans)
        part = np.repeat(np.arange(len(spans)), lengths)
        flat = _ranges([(self.offsets[start], self.offsets[stop]) for start, stop in spans])
        reads, reader = numbered.reads[flat], numbered.reader[flat]
        inside, operands = self._inside(positions, reads)
        outer, codes, at = _by_first_use(reads[~inside])
        operands[~inside] = -1 - codes
        arrives = part[np.searchsorted(positions, reader[~inside][at])]
        arrives[outer < numbered.inputs] = 0
        given, leaves, codes = self._given(positions, [start for start, _ in spans])
        moved = [(k, m) for k, v in enumerate(given) for m in self.moved.get(v, ())]
        chains = np.array([(k, numbered.chain[m]) for k, m in moved], np.int64)
        shape = np.array([len(spans), len(positions), len(outer), len(given)])
        key = (
            shape, lengths, numbered.tokens[positions], operands, numbered.types[outer], arrives,
            codes, leaves, chains,
        )  # fmt: skip
        kept = leaves >= 0
        roots = dict.fromkeys(numbered.root[m] for m in returned)
        more = [root for root in roots if root != LITERAL and root not in outer]
        return Segment(
            positions=positions, starts=tuple(start for start, _ in spans), part=part,
            outer=(*outer.tolist(), *more), arrives=(*arrives.tolist(), *[0 for _ in more]),
            given=tuple(given[kept].tolist()), leaves=tuple(leaves[kept].tolist()),
            returned=(*[m for _, m in moved], *returned), key=b"".join(k.tobytes() for k in key),
        )  # fmt: skip

    def loose_outputs(self) -> list[int]:
        """What the program returns that no node computes: literals, inputs' elements moved."""
        made = self.numbered.made_at
        return [
            m for root, ms in self.moved.items() if root == LITERAL or made[root] < 0 for m in ms
        ]

    def _inside(self, positions: Ints, reads: Ints) -> tuple[NDArray[np.bool_], Ints]:
        """Which operands are made at one of these positions, and by which node of them."""
        if not len(positions):
            return np.zeros(len(reads), bool), np.zeros(len(reads), np.int64)
        made = self.numbered.made_at[reads]
        at = np.minimum(np.searchsorted(positions, made), len(positions) - 1)
        place = reads - self.numbered.first[made]
        return positions[at] == made, at * MOST_OUTPUTS + place

    def _given(self, positions: Ints, starts: Sequence[int]) -> tuple[Ints, Ints, Ints]:
        """The values made at these positions that are asked for elsewhere; where each leaves (-1:
        it is only the root of what is returned), and which it is of the values made here.
        """
        width = self.numbered.width[positions]
        local = np.repeat(np.arange(len(positions)), width)
        place = np.arange(len(local)) - np.repeat(np.cumsum(width) - width, width)
        values = self.numbered.first[positions][local] + place
        read_at = self.read_at[values]
        leaves = np.where(read_at > self.end, -1, np.searchsorted(starts, read_at))
        asked = leaves >= 0
        if self.moved:
            asked |= np.isin(values, list(self.moved))
        return values[asked], leaves[asked], (local * MOST_OUTPUTS + place)[asked]


def _ranges(spans: Sequence[tuple[int, int]]) -> Ints:
    return np.concatenate([np.arange(start, stop) for start, stop in spans])


def _by_first_use(values: Ints) -> tuple[Ints, Ints, Ints]:
    """Distinct values in order of their first use, for each use which one it is, and for each
    value its first use.
    """
    found, at, which = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(at)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return found[order], rank[which], at[order]
