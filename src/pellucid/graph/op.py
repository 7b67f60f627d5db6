"""The operator record: everything Pellucid knows about one primitive, in one place.

The record's class lives here because graph nodes point at records; the records themselves live in
`ops/`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.loop.compute import Lowering

if TYPE_CHECKING:  # the graph IR points here; only annotations point back
    from pellucid.graph.ir import Attr, Attrs, TensorType, Value


@dataclass(frozen=True, slots=True)
class Cost:
    """What one application does at least: arithmetic operations, and bytes read plus written."""

    flops: int
    bytes: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.bytes + other.bytes)


@dataclass(frozen=True, slots=True)
class Sample:
    """One test case: inputs (a type to fill from `[low, high)`, or an array) and attributes."""

    inputs: tuple[TensorType | np.ndarray, ...]
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    low: float = -2.0
    high: float = 2.0


@dataclass(frozen=True, slots=True)
class Site:
    """One application of an op as its rules see it: input values, output values, attributes.

    `wanted` says which inputs need a gradient (empty: all of them). A vjp rule may answer `None`
    for the others; it need not, because what is not used is pruned.
    """

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attrs: Attrs
    wanted: tuple[bool, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False, weakref_slot=True)
class Op:
    """A primitive. Every field is required; what does not exist is spelt `None`.

    Attributes:
        name: the field's term, unique in the catalogue.
        doc: one sentence, then what matters; the source where there is one.
        infer: type rule, `infer(*input_types, **attrs) -> TensorType | tuple[TensorType, ...]`;
            raises on bad operands.
        reference: the meaning in NumPy, `reference(*arrays, **attrs) -> array | tuple of arrays`;
            the oracle.
        vjp: `vjp(site, *cotangents) -> one Value or None per input` (None: no gradient flows);
            `None`: not differentiable. Emits into the current builder through ops functions, so it
            is itself differentiable. The cotangent of a float output is always a value; that of
            another output is always `None`.
        jvp: `jvp(site, *tangents) -> one Value or None per output`; a `None` tangent is zero.
        batch: `batch(site, batched, size) -> output values`, all batched. `site.inputs[i]` has the
            batch axis first where `batched[i]`, else no batch axis; every output must have the
            batch axis (of `size`) first.
        lower: `lower(input_types, output_types, attrs) -> Lowering`.
        cost: `cost(input_types, output_types, attrs) -> Cost`.
        samples: test cases; tests, docs and fuzzers use them.
    """

    name: str
    doc: str
    infer: Callable[..., TensorType | tuple[TensorType, ...]]
    reference: Callable[..., Any]
    vjp: Callable[..., Sequence[Value | None]] | None
    jvp: Callable[..., Sequence[Value | None]] | None
    batch: Callable[[Site, tuple[bool, ...], int], Sequence[Value]] | None
    lower: Callable[[Sequence[TensorType], Sequence[TensorType], Attrs], Lowering]
    cost: Callable[[Sequence[TensorType], Sequence[TensorType], Attrs], Cost]
    samples: Callable[[], Sequence[Sample]]

    def __repr__(self) -> str:
        return f"<op {self.name}>"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Composite(Op):
    """An op that every node spells out: its attribute `body` is a graph, put in the node's place
    before lowering. Until then it is one node, with derivatives of its own where it has some.
    """

    def __repr__(self) -> str:
        return f"<composite op {self.name}>"
