"""Graphs as text: what `parser.py` reads back exactly.

Enters: a `Graph`. Leaves: text whose parse prints the same and has the same `graph_key`. Does not
verify anything.

```
graph train_step(x: f32[64, 784], w: f32[784, 10]) {
  a: f32[64, 10] = dot_general(x, w, contract=((1,), (0,)))  # mnist.py:12
  return a
}
```
A graph with sizes that are not known yet begins with their names and bounds:
`graph f[batch=(0, None)](x: f32[batch, 784]) {`.
"""

from __future__ import annotations

import base64
import keyword
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.core.dtype import ALL, DType, as_dtype
from pellucid.core.size import MOST, Size
from pellucid.graph.ir import ArrayAttr, Attr, Graph, Node, TensorType, Value
from pellucid.graph.sizes import graph_dims

INLINE_ELEMENTS = 16
"""Constant arrays of up to this many elements print as numbers, larger ones as base64."""

RESERVED = frozenset(
    {"graph", "return", "array", "inf", "nan", *keyword.kwlist, *(d.short for d in ALL)}
)
"""Words that mean something in the text form and so cannot name a value."""

_SOURCE_COLUMN = 44
_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def print_graph(graph: Graph, *, elide_arrays: bool = False) -> str:
    """The graph as text, one node a line, each with its source line as a comment.

    Args:
        graph: any graph; values that share a name get distinct ones.
        elide_arrays: print large constants as `array(f32[64, 784], ...)`, for people; such text
            does not parse.
    """
    return "\n".join(_Printer(elide_arrays).graph(graph)) + "\n"


def print_node(node: Node) -> str:
    """One node as text without its source and large constants: for messages and reports."""
    printer = _Printer(elide_arrays=True)
    names = {v: v.name for v in (*node.inputs, *node.outputs)}
    return "\n".join(printer.node(node, names)).strip()


def array_type(array: ArrayAttr) -> TensorType:
    """The type of a constant array."""
    return TensorType(array.array.shape, as_dtype(array.array.dtype))


def encode_elements(array: ArrayAttr) -> str | None:
    """The elements as numbers, where reading those back gives the same bytes; else None."""
    flat = array.array.reshape(-1)
    words = [_element(x) for x in flat]
    if decode_elements(words, array.array.dtype).tobytes() != flat.tobytes():
        return None
    return ", ".join(words)


def decode_elements(words: list[str], dtype: np.dtype[np.generic]) -> NDArray[Any]:
    """The flat array that `encode_elements` wrote as words.

    Raises:
        ValueError: a word is not a number of that dtype.
    """
    kind = as_dtype(dtype).kind
    if kind == "bool":
        return np.array([{"True": True, "False": False}[w] for w in words], dtype)
    if kind == "complex":
        return np.array([complex(w) for w in words], np.complex128).astype(dtype)
    if kind == "float":
        return np.array([float(w) for w in words], np.float64).astype(dtype)
    return np.array([int(w) for w in words], dtype)


def _element(x: np.generic) -> str:
    if x.dtype.kind in "biu":
        return str(x)
    if x.dtype.kind == "c":
        return f"{_element(x.real)}{'' if str(x.imag)[0] == '-' else '+'}{_element(x.imag)}j"
    text = str(x)
    value = float(text)
    return text if x.dtype.type(value) == x else repr(float(x))


class _Printer:
    def __init__(self, elide_arrays: bool) -> None:
        self.elide_arrays = elide_arrays

    def graph(self, graph: Graph) -> list[str]:
        names = _names(graph)
        params = ", ".join(f"{names[v]}: {v.type}" for v in graph.inputs)
        lines = [f"graph {_graph_name(graph.name)}{_dims_text(graph)}({params}) {{"]
        for node in graph.nodes:
            body = self.node(node, names)
            if node.source:
                body[-1] = f"{body[-1]:<{_SOURCE_COLUMN}}  # {node.source}"
            lines += ["  " + line for line in body]
        returned = ", ".join(names[v] for v in graph.outputs)
        return [*lines, f"  return {returned}".rstrip(), "}"]

    def node(self, node: Node, names: dict[Value, str]) -> list[str]:
        made = ", ".join(f"{names[v]}: {v.type}" for v in node.outputs)
        args = [names[v] for v in node.inputs]
        args += [f"{name}={self.attr(value)}" for name, value in node.attrs.items()]
        return f"{made} = {node.op.name}({', '.join(args)})".split("\n")

    def attr(self, value: Attr) -> str:
        match value:
            case Graph():
                return "\n".join(self.graph(value))
            case ArrayAttr():
                return self.array(value)
            case tuple():
                inner = ", ".join(self.attr(item) for item in value)
                return f"({inner},)" if len(value) == 1 else f"({inner})"
            case DType():
                return value.short
            case complex():
                return _element(np.complex128(value))
            case Size():
                return str(value)
            case _:
                return repr(value)

    def array(self, value: ArrayAttr) -> str:
        kind = array_type(value)
        if kind.size <= INLINE_ELEMENTS:
            elements = encode_elements(value)
            if elements is not None:
                return f"array({kind}, [{elements}])"
        if self.elide_arrays:
            return f"array({kind}, ...)"
        return f'array({kind}, "{base64.b64encode(value.array.tobytes()).decode()}")'


def _dims_text(graph: Graph) -> str:
    dims = [f"{d}=({d.min}, {d.max if d.max < MOST else None})" for d in graph_dims(graph)]
    return f"[{', '.join(dims)}]" if dims else ""


def _graph_name(name: str) -> str:
    return name if _WORD.fullmatch(name) and name not in RESERVED else repr(name)


def _names(graph: Graph) -> dict[Value, str]:
    """A printable name for every value, distinct in the graph; its own name where possible."""
    taken: set[str] = set()
    names: dict[Value, str] = {}
    for value in (*graph.inputs, *(v for n in graph.nodes for v in n.outputs)):
        word = _value_word(value.name)
        candidate, count = word, 0
        while candidate in taken:
            count += 1
            candidate = f"{word}_{count}"
        taken.add(candidate)
        names[value] = candidate
    return names


def _value_word(name: str) -> str:
    word = name if _WORD.fullmatch(name) else re.sub(r"\W|^(?=\d)", "_", name, flags=re.ASCII)
    return f"{word or 'v'}_" if word in RESERVED or not word else word
