"""The canonical key of a graph: equal for graphs of equal structure, whatever their names and
source lines.

Enters: a `Graph`. Leaves: a hexadecimal SHA-256. Records count by name; where several of one name
live in this process (a user registered an operator again), all but one have a number beside it.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Sequence
from operator import itemgetter
from weakref import WeakKeyDictionary, ref

from pellucid.core.dtype import DType
from pellucid.graph.ir import ArrayAttr, Attr, Attrs, Graph, Node, TensorType, Value
from pellucid.graph.op import Op
from pellucid.graph.sizes import graph_dims


class _Ops:
    """The records that were met, by name; weak, so that none is kept."""

    def __init__(self) -> None:
        self._first: dict[str, ref[Op]] = {}
        self._others: WeakKeyDictionary[Op, int] = WeakKeyDictionary()
        self._count = itertools.count(2)
        self._lock = threading.Lock()

    def key(self, op: Op) -> str:
        """The record's name, with a number where another record of that name is in use."""
        known = self._first.get(op.name)
        if known is not None and known() is op:
            return op.name
        with self._lock:
            if op not in self._others:
                known = self._first.get(op.name)
                if known is None or known() is None:
                    self._first[op.name] = ref(op)
                    return op.name
                self._others[op] = next(self._count)
            return f"{op.name}#{self._others[op]}"


_OPS = _Ops()


def op_key(op: Op) -> str:
    """The record's name, with a number where another record of that name is in use."""
    return _OPS.key(op)


def graph_key(graph: Graph) -> str:
    """A hash of input types, nodes (op, operands, attributes, output types) and outputs.

    Source: content addressing as in Nix and Bazel; values are numbered in order of definition.
    """
    numbers = {value: i for i, value in enumerate(graph.inputs)}
    dims = [f"{d}={d.min}..{d.max}" for d in graph_dims(graph)]
    inputs = "\n".join([*dims, "in:", *(str(v.type) for v in graph.inputs)])
    text = f"{inputs}\n{nodes_key(graph.nodes, numbers, graph.outputs)}"
    return hashlib.sha256(text.encode()).hexdigest()


def nodes_key(nodes: Sequence[Node], numbers: dict[Value, int], outputs: Sequence[Value]) -> str:
    """Nodes as canonical text.

    Args:
        nodes: in order.
        numbers: a number for each value from outside; the nodes' own are added.
        outputs: the values that are asked for.
    """
    parts = []
    texts: dict[object, str] = {}  # of types: programs have few
    for node in nodes:
        operands = ",".join([str(numbers[v]) for v in node.inputs])
        attrs = attrs_key(node.attrs) if node.attrs else ""
        types = ",".join([_type_key(v.type, texts) for v in node.outputs])
        parts.append(f"{_OPS.key(node.op)}({operands};{attrs})->{types}")
        for value in node.outputs:
            numbers[value] = len(numbers)
    parts.append("out:" + ",".join([str(numbers[v]) for v in outputs]))
    return "\n".join(parts)


def _type_key(type: TensorType, texts: dict[object, str]) -> str:
    key = type.shape, type.dtype.short
    text = texts.get(key)
    if text is None:
        text = texts[key] = str(type)
    return text


def attrs_key(attrs: Attrs) -> str:
    """Attributes as canonical text, sorted by name."""
    return ";".join(
        f"{name}={attr_key(value)}" for name, value in sorted(attrs.items(), key=itemgetter(0))
    )


def attr_key(value: Attr) -> str:
    """One attribute as canonical text; `1`, `1.0` and `True` differ, all NaN are equal."""
    if isinstance(value, tuple):
        return f"({','.join([attr_key(item) for item in value])},)"
    if isinstance(value, DType):
        return value.short
    if isinstance(value, ArrayAttr):
        return f"array:{value.digest}"
    if isinstance(value, Graph):
        return f"graph:{graph_key(value)}"
    return repr(value)
