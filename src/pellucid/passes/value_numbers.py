"""Value numbering: equal nodes get equal numbers, and each node that computes gets a position.

Enters: a graph. Leaves: `Numbered`, the graph as arrays of integers, in which equal parts can be
looked for quickly. A node is one of three:

- a *literal* follows from no input, like a constant or the positions along an axis;
- a *move* only says where the elements of one value are (`transpose`, `broadcast_to`, a `slice` of
  an input): it is part of how its *root* is read, the value at the end of a chain of moves;
- any other node computes. Those have positions, in the order of their first occurrence.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import DType
from pellucid.core.size import likely
from pellucid.graph.ir import ArrayAttr, Attr, Attrs, Graph, Node, TensorType, Value
from pellucid.passes.eliminate_common_subexpressions import KEPT_APART

Ints = NDArray[np.int64]

MOVES = frozenset({"broadcast_to", "reshape", "stop_gradient", "transpose"})
CUTS = frozenset({"slice"})  # moves of inputs only: less than a computed root may be enough
LITERAL = -1  # the root of what follows from no input
PLAIN = 0  # the chain of a value that is its own root


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbered:
    """A graph by numbers. A value's number is its index in the lists that are "per value".

    Attributes:
        graph: the graph.
        number: the number of each value; equal values share one.
        values: per value, the first occurrence.
        root: per value, the number of its root, or `LITERAL`.
        chain: per value, which moves lead from the root to it; `PLAIN` for none. Equal moves have
            equal chains; every literal has a chain of its own.
        types: per value, a number for its type.
        nbytes: per value, its bytes.
        made_at: per value, the position of its node; -1 for inputs, literals and moved values.
        nodes: per position, the node.
        first: per position, the number of the node's first output.
        width: per position, how many outputs the node has.
        tokens: per position, a number for op, attributes, output types and chains of the operands.
        reads: the roots of all operands of all positions, in order.
        reader: for each of `reads`, the position that reads it.
    """

    graph: Graph
    number: dict[Value, int]
    values: list[Value]
    root: list[int]
    chain: list[int]
    types: Ints
    nbytes: Ints
    made_at: Ints
    nodes: list[Node]
    first: Ints
    width: Ints
    tokens: Ints
    reads: Ints
    reader: Ints

    @property
    def inputs(self) -> int:
        """How many values are inputs of the graph; they have the first numbers."""
        return len(self.graph.inputs)


def number_values(graph: Graph) -> Numbered:
    """The numbers of a graph."""
    return _Numbering(graph).finish()


def _attr_key(attr: Attr) -> Hashable:
    """Equal for attributes that mean the same; `1`, `1.0` and `True` differ, so do the zeros."""
    kind = type(attr)
    if kind is int or kind is str or attr is None:
        return attr
    if isinstance(attr, tuple):
        return ("tuple", *[_attr_key(part) for part in attr])
    if isinstance(attr, DType):
        return "dtype", attr.name
    if isinstance(attr, ArrayAttr):
        return "array", attr.digest
    if isinstance(attr, Graph):
        return "graph", id(attr)
    return kind.__name__, repr(attr)


def attrs_key(attrs: Attrs) -> Hashable:
    """Equal for attributes that mean the same and come in the same order."""
    return tuple([(name, _attr_key(attr)) for name, attr in attrs.items()])


class _Numbering:
    """`Numbered` under construction. One walk over the graph; a few microseconds a node."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.number: dict[Value, int] = {}
        self.values: list[Value] = []
        self.root: list[int] = []
        self.chain: list[int] = []
        self.made_at: list[int] = []
        self.types: list[int] = []
        self.nodes: list[Node] = []
        self.first: list[int] = []
        self.tokens: list[int] = []
        self.reads: list[int] = []
        self.reader: list[int] = []
        self.seen: dict[Hashable, int] = {}
        self.known: dict[Hashable, int] = {}
        self.sizes: dict[Hashable, tuple[int, int]] = {}

    def finish(self) -> Numbered:
        """Walk over the graph."""
        for value in self.graph.inputs:
            self.number[value] = len(self.values)
            self._value(value, len(self.values), PLAIN, -1)
        for node in self.graph.nodes:
            self._node(node)
        sizes = np.array([likely(nbytes) for _, nbytes in self.sizes.values()], np.int64)
        types = np.array(self.types, np.int64)
        return Numbered(
            graph=self.graph, number=self.number, values=self.values,
            root=self.root, chain=self.chain, types=types,
            nbytes=sizes[types] if len(types) else types,
            made_at=np.array(self.made_at, np.int64), nodes=self.nodes,
            first=np.array(self.first, np.int64),
            width=np.array([len(n.outputs) for n in self.nodes], np.int64),
            tokens=np.array(self.tokens, np.int64),
            reads=np.array(self.reads, np.int64), reader=np.array(self.reader, np.int64),
        )  # fmt: skip

    def _node(self, node: Node) -> None:
        number = self.number
        inputs = [number[v] for v in node.inputs]
        kind: Hashable = (node.op, attrs_key(node.attrs)) if node.attrs else node.op
        key: Hashable = node if node.op.name in KEPT_APART else (kind, *inputs)
        first = self.seen.get(key)
        if first is None:
            first = self.seen[key] = len(self.values)
            self._add(node, kind, inputs)
        for place, value in enumerate(node.outputs):
            number[value] = first + place

    def _add(self, node: Node, kind: Hashable, inputs: list[int]) -> None:
        roots = [self.root[k] for k in inputs]
        if all(root == LITERAL for root in roots):
            for value in node.outputs:
                self._value(value, LITERAL, -1 - len(self.values), -1)
        elif node.op.name in MOVES or (node.op.name in CUTS and self.made_at[roots[0]] < 0):
            chain = self._known(("chain", kind, self.chain[inputs[0]]))
            self._value(node.outputs[0], roots[0], chain, -1)
        else:
            self._compute(node, kind, inputs, roots)

    def _compute(self, node: Node, kind: Hashable, inputs: list[int], roots: list[int]) -> None:
        position = len(self.nodes)
        self.nodes.append(node)
        self.first.append(len(self.values))
        for value in node.outputs:
            self._value(value, len(self.values), PLAIN, position)
        types = self.types[self.first[-1] :]
        self.tokens.append(self._known((kind, *types, *[self.chain[k] for k in inputs])))
        kept = [root for root in roots if root != LITERAL]
        self.reads += kept
        self.reader += [position] * len(kept)

    def _value(self, value: Value, root: int, chain: int, position: int) -> None:
        self.values.append(value)
        self.root.append(root)
        self.chain.append(chain)
        self.made_at.append(position)
        self.types.append(self._type(value.type))

    def _type(self, type: TensorType) -> int:
        key = type.shape, type.dtype.name
        found = self.sizes.get(key)
        if found is None:
            found = self.sizes[key] = len(self.sizes), type.nbytes
        return found[0]

    def _known(self, key: Hashable) -> int:
        """A number, from 1, for each distinct key."""
        return self.known.setdefault(key, len(self.known) + 1)
